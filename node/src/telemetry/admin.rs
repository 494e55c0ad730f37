//! The admin port: `/livez`, `/readyz`, `/healthz/cluster` and `/metrics` over HTTP, on loopback by default.
//!
//! Liveness only says that the runtime turns over. Readiness is what the role says of itself. Cluster health asks
//! whether writes would be acknowledged now. The port is bounded like every other: see [`super::port`].

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::BoxFuture;
use tokio::{net::TcpListener, sync::watch};

use super::{
    metrics::{Form, Metrics},
    port::Bounded,
};
use crate::shutdown::Shutdown;

/// The reason of a process that has not started its nodes yet.
const STARTING: &str = "starting";

/// Whether this process does its work, with the reason while it does not. It does if all its parts do: the process
/// itself, and each node in it.
#[derive(Clone, Debug)]
pub struct Readiness {
    parts: Arc<watch::Sender<BTreeMap<String, Component>>>,
    part: String,
}

/// What a part says of itself.
#[derive(Clone)]
enum Component {
    Known(Result<(), String>),
    Asked(Arc<dyn Fn() -> Result<(), String> + Send + Sync>),
}

impl Component {
    fn state(&self) -> Result<(), String> {
        match self {
            Self::Known(state) => state.clone(),
            Self::Asked(probe) => probe(),
        }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        let parts = BTreeMap::from([(String::new(), Component::Known(Err(STARTING.to_owned())))]);
        Self { parts: Arc::new(watch::Sender::new(parts)), part: String::new() }
    }
}

impl Readiness {
    /// The handle of a part, which is not ready until it says so.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        let part = Self { parts: self.parts.clone(), part: name.to_owned() };
        part.set(Component::Known(Err(format!("{name} is starting"))));
        part
    }

    /// This part does its work from now on.
    pub fn ready(&self) {
        self.set(Component::Known(Ok(())));
    }

    /// This part does its work from now on, whenever `probe` says so. It must be quick and must not block.
    pub fn ready_while(&self, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.set(Component::Asked(Arc::new(probe)));
    }

    /// This part does not do its work, for a reason shown to whoever asks.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Component::Known(Err(reason.into())));
    }

    fn set(&self, state: Component) {
        self.parts.send_modify(|parts| drop(parts.insert(self.part.clone(), state)));
    }

    /// The state of all parts now.
    ///
    /// # Errors
    /// The reason for which the first that is not ready is not. While the process starts, what a part waits for says more.
    pub fn state(&self) -> Result<(), String> {
        let parts: Vec<Component> = self.parts.borrow().values().cloned().collect();
        let state = parts.iter().try_for_each(Component::state);
        let waits = || parts.iter().skip(1).find_map(|part| part.state().err());
        state.map_err(|reason| if reason == STARTING { waits().unwrap_or(reason) } else { reason })
    }
}

/// Whether the cluster acknowledges writes, as the asked node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterHealth {
    /// Enough nodes are usable for a write to be acknowledged.
    pub writable: bool,
    /// JSON for people and dashboards; an object.
    pub detail: serde_json::Value,
}

type ClusterProbe = Arc<dyn Fn() -> BoxFuture<'static, ClusterHealth> + Send + Sync>;

/// What the admin port serves.
#[derive(Clone)]
pub struct Admin {
    readiness: Readiness,
    metrics: Metrics,
    cluster: Arc<OnceLock<ClusterProbe>>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

impl Admin {
    /// An admin port without cluster health, as a datanode has.
    pub fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self { readiness, metrics, cluster: Arc::default() }
    }

    /// Gives `/healthz/cluster` its answer, once the coordinator of this process is started; a second call changes
    /// nothing. The probe must not block, and must end within seconds.
    pub fn set_cluster<F>(&self, probe: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ClusterHealth> + Send + 'static,
    {
        let probe: ClusterProbe = Arc::new(move || Box::pin(probe()));
        let _ = self.cluster.set(probe);
    }

    fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || "live\n"))
            .route("/readyz", get(readyz))
            .route("/healthz/cluster", get(cluster))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.readiness.state() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn cluster(State(admin): State<Admin>) -> Response {
    let Some(probe) = admin.cluster.get() else {
        return (StatusCode::NOT_FOUND, "cluster health is known to the coordinator; ask its admin port\n")
            .into_response();
    };
    let health = probe().await;
    let status = if health.writable { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", health.detail)).into_response()
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let form = Form::accepted(&accepts.collect::<Vec<_>>().join(","));
    ([(header::CONTENT_TYPE, form.content_type())], admin.metrics.encode(form).await).into_response()
}

/// Serves the admin port until the node stops. It goes on while the node drains, so that readiness can be seen to
/// fall.
///
/// # Errors
/// The listener's address cannot be read.
pub async fn serve(listener: TcpListener, admin: Admin, shutdown: Shutdown) -> io::Result<()> {
    let listener = Bounded::new(listener);
    let stopping = async move { shutdown.stopping().await };
    axum::serve(listener, admin.router()).with_graceful_shutdown(stopping).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncWriteExt as _, net::TcpSocket, time::timeout};

    use super::*;
    use crate::{config::HostPort, telemetry::healthcheck};

    /// Many who ask without an end, or ask much and read nothing.
    async fn crowd(address: &HostPort, words: &[u8]) -> Vec<tokio::net::TcpStream> {
        let mut crowd = vec![];
        for _ in 0..100 {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(4096).expect("a small window");
            let to = format!("{address}").parse().expect("an address");
            let mut stream = socket.connect(to).await.expect("connected");
            // What is not taken at once is not taken by a server that waits for its answers to be read.
            let _ = timeout(Duration::from_millis(20), stream.write_all(words)).await;
            crowd.push(stream);
        }
        crowd
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_is_silent_or_does_not_read_keeps_no_health_check_out() {
        let shutdown = Shutdown::new();
        let address = started(Admin::new(Readiness::default(), Metrics::new()), shutdown.clone()).await;
        let _slow = crowd(&address, b"GET /livez HTTP/1.1\r\nHost: x\r\n").await;
        assert!(ask(&address, "/livez").await.is_ok());
        let _deaf = crowd(&address, &b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000)).await;
        for _ in 0..20 {
            assert!(ask(&address, "/livez").await.is_ok());
        }
        shutdown.stop();
    }

    async fn started(admin: Admin, shutdown: Shutdown) -> HostPort {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(serve(listener, admin, shutdown));
        HostPort::new("127.0.0.1", port)
    }

    async fn ask(address: &HostPort, path: &'static str) -> Result<String, String> {
        let address = address.clone();
        let asked = move || healthcheck::get(&address, path, Duration::from_secs(5));
        tokio::task::spawn_blocking(asked).await.expect("no panic")
    }

    #[tokio::test]
    async fn health_follows_what_the_role_says() {
        let readiness = Readiness::default();
        let admin = Admin::new(readiness.clone(), Metrics::new());
        admin.set_cluster(async || ClusterHealth {
            writable: false,
            detail: serde_json::json!({"usable": 1}),
        });
        let shutdown = Shutdown::new();
        let address = started(admin, shutdown.clone()).await;
        assert!(ask(&address, "/livez").await.is_ok());
        let refused = ask(&address, "/readyz").await.expect_err("not ready yet");
        assert!(refused.contains("503") && refused.contains("starting"), "{refused}");
        let node = readiness.part("dn1");
        readiness.ready();
        let refused = ask(&address, "/readyz").await.expect_err("one of two is ready");
        assert!(refused.contains("dn1 is starting"), "{refused}");
        node.ready();
        assert!(ask(&address, "/readyz").await.is_ok());
        let unwritable = ask(&address, "/healthz/cluster").await.expect_err("no quorum");
        assert!(unwritable.contains("503") && unwritable.contains("usable"), "{unwritable}");
        assert!(ask(&address, "/metrics").await.is_ok_and(|text| text.contains("dfs_build_info")));
        shutdown.stop();
    }

    #[tokio::test]
    async fn a_datanode_sends_questions_about_the_cluster_to_the_coordinator() {
        let address = started(Admin::new(Readiness::default(), Metrics::new()), Shutdown::new()).await;
        let refused = ask(&address, "/healthz/cluster").await.expect_err("not here");
        assert!(refused.contains("404") && refused.contains("coordinator"), "{refused}");
    }
}
