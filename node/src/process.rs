//! One process from its configuration to its exit code: logs, signals, the admin port, and around them whatever
//! nodes the role starts.

use std::{io, process::ExitCode, time::Duration};

use anyhow::Context as _;
use dfs_actors::env::Env;
use dfs_actors::peer::gate::Gate;
use dfs_actors::supervisor::{ActorTree, Exit, Root};
use futures_util::future::{BoxFuture, FutureExt as _, select_all};
use tokio::net::TcpListener;

use crate::{
    cli::EXIT_CONFIG,
    config::{Config, HostPort, Live},
    descriptors, env,
    security::{NoIdentity, Security},
    shutdown::{Phase, Shutdown, Signals},
    telemetry::{self, Admin, LogHandle, Metrics, Readiness, Sample, SampleValue},
};

/// How long a port that is in use is tried again, and how often.
const BIND_PATIENCE: Duration = Duration::from_secs(5);
const BIND_PAUSE: Duration = Duration::from_millis(100);
/// Exit code after an error.
const EXIT_FAILED: u8 = 1;
/// Exit code of a datanode that must end because a newer process has its identity.
pub const EXIT_SUPERSEDED: u8 = 77;
/// Patience with tasks that do not end when the runtime does.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(2);

/// What a role gets to start its nodes with.
#[derive(Clone, Debug)]
pub struct RoleContext {
    /// The configuration, which SIGHUP may change.
    pub live: Live,
    /// Clocks, network, randomness.
    pub env: Env,
    /// Who the node is to others.
    pub security: Security,
    /// Where the process stands in its life.
    pub shutdown: Shutdown,
    /// Metrics of all nodes of the process.
    pub metrics: Metrics,
    /// Each node sets a part of it ready once it does its work.
    pub readiness: Readiness,
    /// The admin port, for [`Admin::set_cluster`].
    pub admin: Admin,
}

impl RoleContext {
    /// The same, for one of several nodes of the process: each is somebody of its own to others.
    #[must_use]
    pub fn apart(&self) -> Self {
        let security = Security::default();
        let env = env::system(security.clone(), self.config().security.mode);
        Self { security, env, ..self.clone() }
    }

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

/// Runs the process until a signal or a failure ends it. `configure` reads the configuration, or says with what code
/// to end.
pub fn run<F, S>(configure: impl FnOnce() -> Result<Live, ExitCode>, start: S) -> ExitCode
where
    S: FnOnce(RoleContext) -> F,
    F: Future<Output = anyhow::Result<Started>>,
{
    // The handlers come before everything that takes time: until they are there, a signal ends the process without
    // a word.
    let begun = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(async { Signals::install() }).map(|signals| (runtime, signals)));
    let (runtime, signals) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("dfs-node: the threads or the signal handlers cannot be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let live = match configure() {
        Ok(live) => live,
        Err(code) => return code,
    };
    // The guard goes last: what was logged before the end is written then.
    let (logs, _writing) = match telemetry::init_logging(&live.current().log) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("dfs-node: the log cannot be set up: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let code = runtime.block_on(live_and_die(live, logs, signals, start));
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    if code != 0 {
        tracing::error!(code, "ended");
    }
    ExitCode::from(code)
}

/// The code to end with. An error is logged where it is met: what follows it takes time, and may be cut short.
async fn live_and_die<F, S>(live: Live, logs: LogHandle, signals: Signals, start: S) -> u8
where
    S: FnOnce(RoleContext) -> F,
    F: Future<Output = anyhow::Result<Started>>,
{
    let failed = |error: anyhow::Error| {
        tracing::error!(error = format!("{error:#}"), "cannot start");
        if error.is::<NoIdentity>() { EXIT_CONFIG } else { EXIT_FAILED }
    };
    let config = live.current();
    announce(&config);
    descriptors::raise(config.network.places.total());
    let (metrics, readiness, shutdown) = (Metrics::new(), Readiness::default(), Shutdown::new());
    observe_reloads(&metrics, &live);
    observe_log(&metrics, &logs);
    let security = Security::default();
    if config.security.mode != Gate::Off
        && let Some(own) = &config.security.own
        && let Err(error) = security.read(own)
    {
        return failed(error);
    }
    let admin = Admin::new(readiness.clone(), metrics.clone());
    let listener = match bind_admin(&config).await {
        Ok(listener) => listener,
        Err(error) => return failed(error),
    };
    let serving = tokio::spawn(telemetry::serve(listener, admin.clone(), shutdown.clone()));
    let (patience, reload) = (live.clone(), live.clone());
    let obeying =
        tokio::spawn(signals.obey(shutdown.clone(), move || patience.current().node.drain_timeout, {
            let security = security.clone();
            move || reread(reload.clone(), logs.clone(), security.clone())
        }));
    let context = RoleContext {
        live,
        env: env::system(security.clone(), config.security.mode),
        security,
        shutdown: shutdown.clone(),
        metrics,
        readiness,
        admin,
    };
    // A signal must not have to wait for a start that hangs.
    let started = tokio::select! {
        biased;
        started = start(context.clone()) => started,
        () = shutdown.stopping() => Ok(Started { nodes: vec![], drain: Box::pin(async {}) }),
    };
    let code = match started {
        Ok(started) => serve_until_end(started, &context).await,
        Err(error) => failed(error),
    };
    shutdown.stop();
    // Both end by themselves once the phase is `Stopping`; their outcome no longer matters.
    let _ = tokio::time::timeout(RUNTIME_TIMEOUT, async { tokio::join!(serving, obeying) }).await;
    code
}

/// Reads the configuration again: a file, on a disk that may not answer.
async fn reread(live: Live, logs: LogHandle, security: Security) {
    let reading = tokio::task::spawn_blocking(move || {
        live.reload(|level| logs.set_level(level));
        let config = live.current();
        let own = config.security.own.as_ref().filter(|_| security.current().is_some());
        if let Some(own) = own
            && let Err(error) = security.read(own)
        {
            tracing::error!(
                error = format!("{error:#}"),
                "certificate and key not read again, the old ones stay"
            );
        }
    });
    if let Err(error) = reading.await {
        tracing::error!(%error, "reading the configuration again ended early, the old one stays");
    }
}

async fn serve_until_end(started: Started, context: &RoleContext) -> u8 {
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
    let mut code = failed.map_or_else(|| shutdown.code(), |exit| exit.code());
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

fn observe_log(metrics: &Metrics, logs: &LogHandle) {
    let logs = logs.clone();
    metrics.sample(move || {
        vec![Sample {
            name: "log_lines_lost",
            help: "Log lines lost because standard error took them too slowly",
            labels: vec![],
            value: SampleValue::Counter(logs.lines_lost() as f64),
        }]
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
    if config.security.mode != Gate::Required {
        telemetry::warn_if_open("the node's port", &config.node.listen);
    }
    telemetry::warn_if_open("the admin port", &config.admin.listen);
}

/// Binds a port, and waits a while if it is in use: the process that this one follows may just be ending.
pub(crate) async fn bind_patiently<T, F>(address: &HostPort, mut bind: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let until = tokio::time::Instant::now() + BIND_PATIENCE;
    let mut told = false;
    loop {
        match bind().await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tokio::time::Instant::now() < until => {
                if !std::mem::replace(&mut told, true) {
                    let seconds = BIND_PATIENCE.as_secs();
                    tracing::warn!(%address, "the port is in use; trying for {seconds} s");
                }
                tokio::time::sleep(BIND_PAUSE).await;
            }
            other => return other,
        }
    }
}

async fn bind_admin(config: &Config) -> anyhow::Result<TcpListener> {
    let address = &config.admin.listen;
    let bound = bind_patiently(address, || TcpListener::bind((address.host.as_str(), address.port))).await;
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

    async fn started(drain: BoxFuture<'static, ()>) -> (Started, Addr<()>, RoleContext) {
        let tree = ActorTree::new("test");
        let env = env::system(Security::default(), Gate::Off);
        let addr = Addr::new(&env.clock, 4);
        let spec = SupervisorSpec::one_for_one(&env.clock, "root").child(ChildSpec::new::<Glass>(
            "glass",
            &addr,
            (),
        ));
        let root = Root::start(env, tree.clone(), spec).await.expect("a root");
        assert!(root.ready(Duration::from_secs(5)).await);
        let live = Live::start(Source::for_role(Role::All)).expect("the defaults hold");
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let admin = Admin::new(readiness.clone(), metrics.clone());
        let context = RoleContext {
            live,
            security: Security::default(),
            env: env::system(Security::default(), Gate::Off),
            shutdown: Shutdown::new(),
            metrics,
            readiness,
            admin,
        };
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
        assert!(
            context
                .metrics
                .encode(telemetry::Form::Text)
                .await
                .contains("dfs_actors_running{node=\"test\",kind=\"glass\"} 1")
        );
        finish.send(()).expect("still draining");
        assert_eq!(ending.await.expect("no panic"), 0);
        assert!(
            tree.snapshot().iter().all(|row| row.stats.state != dfs_actors::supervisor::ActorState::Running)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_in_use_is_waited_for_and_then_given_up() {
        let address = HostPort::new("localhost", 1);
        let used = || io::Error::from(io::ErrorKind::AddrInUse);
        let mut tries = 0;
        let bound = bind_patiently(&address, || {
            tries += 1;
            std::future::ready(if tries < 4 { Err(used()) } else { Ok(tries) })
        });
        assert_eq!(bound.await.expect("bound at last"), 4);
        let began = tokio::time::Instant::now();
        let bound = bind_patiently(&address, || std::future::ready(Err::<(), _>(used())));
        assert_eq!(bound.await.expect_err("in use for ever").kind(), io::ErrorKind::AddrInUse);
        assert!(began.elapsed() >= BIND_PATIENCE && began.elapsed() < BIND_PATIENCE * 2);
        let denied = || std::future::ready(Err::<(), _>(io::Error::from(io::ErrorKind::PermissionDenied)));
        let began = tokio::time::Instant::now();
        assert!(
            bind_patiently(&address, denied).await.is_err() && began.elapsed().is_zero(),
            "no use in waiting"
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
