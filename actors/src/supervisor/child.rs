//! What a supervisor knows of one child: how to start it, and the rules for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, SpawnErr};
use tokio::task::JoinHandle;

use super::addr::{Addr, AnySlot};
use super::behaviour::Behaviour;
use super::context::OnReady;
use super::host::{Birth, Host};
use super::remains::Alive;
use super::rules::{Backoff, Restart, Rules};
use super::tree::ActorTree;
use crate::env::Env;

/// How long a child may take to become ready, unless its spec says otherwise.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a child's orderly stop may take, unless its spec says otherwise.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a child may sit in one handler, unless its spec says otherwise.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Where a new actor goes.
pub(crate) struct SpawnContext {
    pub(crate) env: Env,
    pub(crate) tree: ActorTree,
    pub(crate) path: Arc<str>,
    pub(crate) temporary: bool,
    pub(crate) parent: Option<ActorCell>,
    pub(crate) on_ready: OnReady,
    pub(crate) alive: Alive,
}

pub(crate) type Spawned = Result<(ActorCell, JoinHandle<()>), SpawnErr>;
type Spawn = Arc<dyn Fn(SpawnContext) -> BoxFuture<'static, Spawned> + Send + Sync>;

/// One child of a supervisor. Cheap to clone.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) name: String,
    pub(crate) rules: Rules,
    pub(crate) stuck_after: Option<Duration>,
    pub(crate) slot: Arc<dyn AnySlot>,
    pub(crate) spawn: Spawn,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// A permanent child called `name` (no slash) that lives at `addr` and is built from `args`, again at each restart.
    #[must_use]
    pub fn new<B: Behaviour>(name: impl Into<String>, addr: &Addr<B::Msg>, args: B::Args) -> Self {
        let home = addr.clone();
        let spawn = move |context: SpawnContext| -> BoxFuture<'static, Spawned> {
            Box::pin(spawn_at::<B>(home.clone(), args.clone(), context))
        };
        Self {
            name: name.into().replace('/', "-"),
            rules: Rules {
                restart: Restart::Permanent,
                backoff: Backoff::DEFAULT,
                start_timeout: Some(START_TIMEOUT),
                shutdown_timeout: SHUTDOWN_TIMEOUT,
            },
            stuck_after: Some(STUCK_AFTER),
            slot: Arc::clone(&addr.slot) as Arc<dyn AnySlot>,
            spawn: Arc::new(spawn),
        }
    }

    /// When to start it again.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// How long to wait before that.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = backoff;
        self
    }

    /// How long it may take to become ready; `None` waits for ever.
    #[must_use]
    pub fn start_timeout(mut self, limit: Option<Duration>) -> Self {
        self.rules.start_timeout = limit;
        self
    }

    /// How long its orderly stop may take.
    #[must_use]
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.rules.shutdown_timeout = limit;
        self
    }

    /// How long one handler may run before the child counts as stuck and is killed; `None` never.
    #[must_use]
    pub fn stuck_after(mut self, limit: Option<Duration>) -> Self {
        self.stuck_after = limit;
        self
    }
}

async fn spawn_at<B: Behaviour>(addr: Addr<B::Msg>, args: B::Args, context: SpawnContext) -> Spawned {
    let SpawnContext { env, tree, path, temporary, parent, on_ready, alive } = context;
    let birth = Birth::<B> { args, addr, env, tree, path, temporary, on_ready, alive };
    let (actor, join) = match parent {
        Some(parent) => Host::spawn_linked(None, Host::<B>::new(), birth, parent).await?,
        None => Host::spawn(None, Host::<B>::new(), birth).await?,
    };
    Ok((actor.get_cell(), join))
}
