//! The root of a node's tree: started once, and its end is the end of the process.

use std::sync::Arc;
use std::time::Duration;

use crate::watch;
use ractor::ActorCell;

use super::child::SpawnContext;
use super::exit::ActorError;
use super::remains::Alive;
use super::rules::KILL_GRACE;
use super::spec::SupervisorSpec;
use super::stats::ActorState;
use super::tree::ActorTree;
use crate::env::{Clock, Env};

/// How the tree of a node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It was shut down in order.
    Stopped,
    /// The root supervisor gave up. The process should end, so that whoever runs it starts it anew.
    Escalated(String),
    /// It was killed, or did not stop in time.
    Killed,
}

impl Exit {
    /// The exit code of the process: 0, 70 (`EX_SOFTWARE` of sysexits) or 75 (`EX_TEMPFAIL`).
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Escalated(_) => 70,
            Self::Killed => 75,
        }
    }
}

/// A running tree of actors. Dropping it kills them all; [`Root::shutdown`] is the orderly way.
pub struct Root {
    cell: ActorCell,
    clock: Arc<dyn Clock>,
    budget: Duration,
    ready: watch::Receiver<bool>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Root {
    /// Starts `spec` as the root of `tree`. Returns at once: [`Root::ready`] tells when all children are up.
    ///
    /// # Errors
    /// If the runtime cannot start actors at all. A child that fails to start is a matter for the supervisor.
    pub async fn start(env: Env, tree: ActorTree, spec: SupervisorSpec) -> Result<Self, ActorError> {
        let (tell_ready, ready) = watch::channel(false);
        let (tell_exit, exit) = watch::channel(None);
        let (budget, path) = (spec.shutdown_budget(), spec.name.clone().into());
        let child = spec.into_child();
        let clock = Arc::clone(&env.clock);
        let on_ready = Box::new(move || {
            tell_ready.send_replace(true);
        });
        let (alive, _remains) = Alive::begin();
        let context = SpawnContext { env, tree, path, temporary: false, parent: None, on_ready, alive };
        let (cell, join) = (child.spawn)(context)
            .await
            .map_err(|error| ActorError::fatal("start the root supervisor", error))?;
        let watch = async move {
            drop(join.await);
            child.slot.close();
            let stats = child.slot.stats();
            let last = stats.last_exit().unwrap_or_default();
            tell_exit.send_replace(Some(match stats.state() {
                ActorState::Stopped => Exit::Stopped,
                _ if last == "killed" => Exit::Killed,
                _ => Exit::Escalated(last),
            }));
        };
        #[expect(clippy::disallowed_methods, reason = "outlives all actors, and ends with the root")]
        tokio::spawn(watch);
        Ok(Self { cell, clock, budget, ready, exit })
    }

    /// Waits up to `limit` until every actor of the tree is up; tells whether they are. Cancel safe.
    pub async fn ready(&self, limit: Duration) -> bool {
        let mut ready = self.ready.clone();
        matches!(self.clock.timeout(limit, ready.wait_for(|ready| *ready)).await, Ok(Ok(_)))
    }

    /// Waits until the tree has ended, for as long as that takes. Cancel safe.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        // If the runtime is going down it took the watching task with it, and there is no word.
        let _ = exit.wait_for(Option::is_some).await;
        exit.borrow().clone().unwrap_or(Exit::Killed)
    }

    /// Stops the tree in order, and kills it if it takes longer than all its limits together.
    pub async fn shutdown(&self) -> Exit {
        self.cell.stop(Some("stop: shutdown".to_owned()));
        if let Ok(exit) = self.clock.timeout(self.budget, self.wait()).await {
            return exit;
        }
        self.cell.kill();
        self.clock.timeout(KILL_GRACE, self.wait()).await.unwrap_or(Exit::Killed)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.cell.kill();
    }
}
