//! From a configuration to running trees of actors: here disks, sockets and times are made and handed over; which
//! actors there are is said in `dfs_actors`, in the `tree` of each role.
//!
//! `all` is one coordinator and several datanodes, each with a tree of its own, in one process.

mod coordinator;
mod datanode;
mod observe;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dfs_actors::env::Env;
use dfs_actors::peer::listener::Bound;
use dfs_actors::peer::session::{Places, RequestStats, Service, SessionLimits};
use dfs_actors::peer::tree::{Transport, TransportArgs, transport};
use dfs_actors::supervisor::Root;
use dfs_actors::watch;
use dfs_wire::slab::SlabBudget;
use futures_util::future::{BoxFuture, join_all};

use crate::config::{Config, HostPort, Live, Role};
use crate::process::{Node, RoleContext, Started, bind_patiently};

/// Patience with a tree that starts.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A node that was started, and what else is to be done with it.
struct Begun {
    node: Node,
    address: HostPort,
    drain: BoxFuture<'static, ()>,
}

/// Starts whatever the configured role asks for.
///
/// # Errors
/// If a directory, a database or a socket cannot be opened.
pub async fn start(context: RoleContext) -> anyhow::Result<Started> {
    let config = context.config();
    let begun = match config.node.role {
        Role::Coordinator => vec![coordinator::start(&context, &config).await?],
        Role::Datanode => vec![datanode::start(&context, &config).await?],
        Role::All => start_all(&context, &config).await?,
    };
    let (nodes, drains): (Vec<_>, Vec<_>) = begun.into_iter().map(|begun| (begun.node, begun.drain)).unzip();
    let drain = Box::pin(async move {
        join_all(drains).await;
    });
    Ok(Started { nodes, drain })
}

async fn start_all(context: &RoleContext, config: &Config) -> anyhow::Result<Vec<Begun>> {
    let coordinator = coordinator::start(&context.apart(), &config.coordinator_of_all()).await?;
    let address = coordinator.address.clone();
    let mut begun = vec![coordinator];
    for index in 0..config.node.datanodes {
        let config = config.datanode_of_all(index, address.clone());
        begun.push(datanode::start(&context.apart(), &config).await?);
    }
    Ok(begun)
}

/// The part of a tree that talks, shown as metrics.
fn talk(
    bound: Bound,
    service: Arc<dyn Service>,
    budget: SlabBudget,
    name: &str,
    context: &RoleContext,
) -> Transport {
    let RoleContext { live, metrics, .. } = context;
    let places = Places::new(live.current().network.places, context.env.clock.clone());
    let limits = follow(live, |config| SessionLimits {
        handshake_timeout: config.network.handshake_timeout,
        idle_timeout: config.network.idle_timeout,
    });
    let (clock, gate) = (context.env.clock.clone(), live.current().security.mode);
    let talk =
        transport(TransportArgs { bound, service, budget, limits, places: places.clone(), clock, gate });
    observe::requests(metrics, name, &talk.requests);
    observe::connections(metrics, name, &places, &talk.knocks);
    talk
}

/// How often a draining or joining node looks whether it is done.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until every request is answered and `idle` holds.
async fn drained(requests: RequestStats, idle: impl Fn() -> bool + Send) {
    while requests.open() > 0 || !idle() {
        tokio::time::sleep(LOOK).await;
    }
}

/// What a part of the configuration comes to, now and after each reload.
fn follow<T: Send + Sync + 'static>(
    live: &Live,
    make: impl Fn(&Config) -> T + Send + 'static,
) -> watch::Receiver<T> {
    let mut configs = live.subscribe();
    let (sender, receiver) = watch::channel(make(&live.current()));
    tokio::spawn(async move {
        while configs.changed().await.is_ok() {
            let new = make(&configs.borrow_and_update());
            sender.send_replace(new);
        }
    });
    receiver
}

async fn bind(env: &Env, config: &Config) -> anyhow::Result<(Bound, HostPort)> {
    let listen = &config.node.listen;
    let address = listen.to_string();
    let bound = bind_patiently(listen, || Bound::bind(env, &address)).await;
    let bound = bound.with_context(|| format!("listen on {listen} (node.listen_host, node.listen_port)"))?;
    let address = HostPort::new(listen.host.clone(), bound.address().port());
    Ok((bound, address))
}

async fn ready(root: Root, tree: dfs_actors::supervisor::ActorTree) -> anyhow::Result<Node> {
    if root.ready(START_TIMEOUT).await {
        return Ok(Node { tree, root });
    }
    let late: Vec<_> = tree.snapshot().into_iter().filter(|row| row.stats.last_exit.is_some()).collect();
    let why =
        late.first().and_then(|row| row.stats.last_exit.clone()).unwrap_or_else(|| "it hangs".to_owned());
    root.shutdown().await;
    anyhow::bail!("the actors of {} did not start: {why}", tree.node())
}
