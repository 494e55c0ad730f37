//! One process from its configuration to its exit code: logs, signals, the admin port, and around them whatever
//! nodes the role starts.

use std::{io, process::ExitCode, time::Duration};

use anyhow::Context as _;
use dfs_actors::{
    env::Env,
    supervisor::{ActorTree, Exit, Root},
};
use futures_util::future::{BoxFuture, FutureExt as _, select_all};
use tokio::net::TcpListener;

use crate::{
    cli::EXIT_CONFIG,
    config::{Config, Live},
    env,
    shutdown::{Phase, Shutdown, Signals},
    telemetry::{self, Admin, LogHandle, Metrics, Readiness, Sample, SampleValue},
};

/// Patience with tasks that do not end when the runtime does.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(2);

/// What a role gets to start its nodes with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration, which SIGHUP may change.
    pub live: Live,
    /// Clocks, network, randomness.
    pub env: Env,
    /// Where the process stands in its life.
    pub shutdown: Shutdown,
    /// Metrics of all nodes of the process.
    pub metrics: Metrics,
    /// Each node sets a part of it ready once it does its work.
    pub readiness: Readiness,
    /// The admin port, for [`Admin::set_cluster`].
    pub admin: Admin,
}

impl Context {
    /// The configuration now.
    pub fn config(&self) -> std::sync::Arc<Config> {
        self.live.current()
    }
}

/// A node that a role has started.
pub struct Node {
    /// Its tree, for the metrics.
    pub tree: ActorTree,
    /// Its root: if one of a process ends, the process does.
    pub root: Root,
}

/// Everything a role has started.
pub struct Started {
    /// Its nodes, in the order in which they were started; they are stopped in the opposite one.
    pub nodes: Vec<Node>,
    /// Completes when work in progress is finished. It is first polled when the process drains; from then on no new
    /// work may be taken.
    pub drain: BoxFuture<'static, ()>,
}

/// Runs the process until a signal or a failure ends it.
pub fn run<F, S>(live: Live, start: S) -> ExitCode
where
    S: FnOnce(Context) -> F,
    F: Future<Output = anyhow::Result<Started>>,
{
    let logs = match telemetry::init_logging(&live.current().log) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("dfs-node: the log cannot be set up: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(live_and_die(live, logs, start));
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended by an error");
            ExitCode::FAILURE
        }
    }
}

async fn live_and_die<F, S>(live: Live, logs: LogHandle, start: S) -> anyhow::Result<u8>
where
    S: FnOnce(Context) -> F,
    F: Future<Output = anyhow::Result<Started>>,
{
    let signals = Signals::install().context("install the signal handlers")?;
    let config = live.current();
    announce(&config);
    let (metrics, readiness, shutdown) = (Metrics::new(), Readiness::default(), Shutdown::new());
    observe_reloads(&metrics, &live);
    let admin = Admin::new(readiness.clone(), metrics.clone());
    let listener = bind_admin(&config).await?;
    let serving = tokio::spawn(telemetry::serve(listener, admin.clone(), shutdown.clone()));
    let (patience, reload) = (live.clone(), live.clone());
    let obeying = tokio::spawn(signals.obey(
        shutdown.clone(),
        move || patience.current().node.drain_timeout,
        move || reload.reload(|level| logs.set_level(level)),
    ));
    let context = Context { live, env: env::system(), shutdown: shutdown.clone(), metrics, readiness, admin };
    // A signal must not have to wait for a start that hangs.
    let started = tokio::select! {
        biased;
        started = start(context.clone()) => started,
        () = shutdown.stopping() => Ok(Started { nodes: vec![], drain: Box::pin(async {}) }),
    };
    let ended = match started {
        Ok(started) => Ok(serve_until_end(started, &context).await),
        Err(error) => Err(error),
    };
    shutdown.stop();
    // Both end by themselves once the phase is `Stopping`; their outcome no longer matters.
    let _ = tokio::time::timeout(RUNTIME_TIMEOUT, async { tokio::join!(serving, obeying) }).await;
    ended
}

async fn serve_until_end(started: Started, context: &Context) -> u8 {
    let Started { nodes, drain } = started;
    for node in &nodes {
        telemetry::observe_actors(&context.metrics, &node.tree);
    }
    context.readiness.ready();
    let shutdown = &context.shutdown;
    let failed = tokio::select! {
        biased;
        () = shutdown.draining() => None,
        exit = first_exit(&nodes) => Some(exit),
    };
    if failed.is_none() && shutdown.phase() == Phase::Draining {
        context.readiness.not_ready("draining");
        tokio::select! {
            biased;
            () = shutdown.stopping() => {}
            () = drain => tracing::info!("drained"),
        }
    }
    context.readiness.not_ready("stopping");
    let mut code = failed.map_or(0, |exit| exit.code());
    for node in nodes.iter().rev() {
        let exit = node.root.shutdown().await;
        tracing::info!(node = node.tree.node(), ?exit, "node stopped");
        code = if code == 0 { exit.code() } else { code };
    }
    code
}

/// The first node to end by itself. Without nodes it never completes.
async fn first_exit(nodes: &[Node]) -> Exit {
    if nodes.is_empty() {
        return std::future::pending().await;
    }
    let waits = nodes.iter().map(|node| async { (node.tree.node(), node.root.wait().await) }.boxed());
    let ((name, exit), ..) = select_all(waits).await;
    tracing::error!(node = name, ?exit, "a node of this process ended by itself");
    exit
}

fn observe_reloads(metrics: &Metrics, live: &Live) {
    let live = live.clone();
    metrics.sample(move || {
        let reloads = live.reloads();
        let sample = |outcome: &str, count: u64| Sample {
            name: "config_reloads",
            help: "Configurations read again at SIGHUP",
            labels: vec![("outcome", outcome.to_owned())],
            value: SampleValue::Counter(count as f64),
        };
        vec![sample("applied", reloads.applied), sample("refused", reloads.refused)]
    });
}

/// The first line of a log: what runs, where, and how safely.
fn announce(config: &Config) {
    let dangers = config.unsafe_settings();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role = %config.node.role,
        node = config.node.name,
        listen = %config.node.listen,
        admin = %config.admin.listen,
        data_dir = %config.node.data_dir.display(),
        environment = config.node.environment,
        safety = if dangers.is_empty() { "as promised" } else { "UNSAFE" },
        "starting"
    );
    for danger in dangers {
        tracing::warn!("UNSAFE: {danger}");
    }
    telemetry::warn_if_open("the node's port", &config.node.listen);
    telemetry::warn_if_open("the admin port", &config.admin.listen);
}

async fn bind_admin(config: &Config) -> anyhow::Result<TcpListener> {
    let address = &config.admin.listen;
    let bound: io::Result<TcpListener> = TcpListener::bind((address.host.as_str(), address.port)).await;
    let listener =
        bound.with_context(|| format!("bind the admin port to {address} (admin.host, admin.port)"))?;
    if address.port == 0 {
        tracing::info!(address = %listener.local_addr()?, "admin port chosen");
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use dfs_actors::supervisor::{ActorError, Addr, Behaviour, ChildSpec, Ctx, SupervisorSpec};

    use super::*;
    use crate::config::{Role, Source};

    /// Fails as soon as it is spoken to.
    struct Glass;

    impl Behaviour for Glass {
        type Msg = ();
        type Args = ();
        const KIND: &'static str = "glass";

        async fn start(_: (), _: &mut Ctx<()>) -> Result<Self, ActorError> {
            Ok(Self)
        }

        async fn handle(&mut self, _: (), _: &mut Ctx<()>) -> Result<(), ActorError> {
            Err(ActorError::fatal("break", io::Error::other("as expected")))
        }
    }

    async fn started(drain: BoxFuture<'static, ()>) -> (Started, Addr<()>, Context) {
        let tree = ActorTree::new("test");
        let addr = Addr::new(4);
        let spec = SupervisorSpec::one_for_one("root").child(ChildSpec::new::<Glass>("glass", &addr, ()));
        let root = Root::start(env::system(), tree.clone(), spec).await.expect("a root");
        assert!(root.ready(Duration::from_secs(5)).await);
        let live = Live::start(Source::for_role(Role::All)).expect("the defaults hold");
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let admin = Admin::new(readiness.clone(), metrics.clone());
        let context =
            Context { live, env: env::system(), shutdown: Shutdown::new(), metrics, readiness, admin };
        (Started { nodes: vec![Node { tree, root }], drain }, addr, context)
    }

    #[tokio::test]
    async fn a_drained_process_stops_its_nodes_and_ends_well() {
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let (started, _addr, context) = started(finished.map(|_| ()).boxed()).await;
        let tree = started.nodes[0].tree.clone();
        let ending = tokio::spawn({
            let context = context.clone();
            async move { serve_until_end(started, &context).await }
        });
        context.shutdown.drain();
        while context.readiness.state() != Err("draining".to_owned()) {
            tokio::task::yield_now().await;
        }
        assert!(context.metrics.encode().contains("dfs_actors_running{node=\"test\",kind=\"glass\"} 1"));
        finish.send(()).expect("still draining");
        assert_eq!(ending.await.expect("no panic"), 0);
        assert!(
            tree.snapshot().iter().all(|row| row.stats.state != dfs_actors::supervisor::ActorState::Running)
        );
    }

    #[tokio::test]
    async fn a_node_that_gives_up_ends_the_process_with_its_code() {
        let (started, addr, context) = started(std::future::pending().boxed()).await;
        let breaking = tokio::spawn(async move {
            // Each blow is survived by a restart, until there were too many in a short time.
            while addr.send((), Duration::from_secs(5)).await.is_ok() {}
        });
        let code = tokio::time::timeout(Duration::from_secs(60), serve_until_end(started, &context)).await;
        assert_eq!(code, Ok(70));
        breaking.abort();
    }
}
