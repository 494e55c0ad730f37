//! How a client behaves: where the cluster is, how much memory it may use, how long it waits, how often it retries.

use std::time::Duration;

use dfs_wire::limits::{CHUNK_BYTES_MAX, DATA_FRAME_BYTES};
use dfs_wire::tls::Tls;

/// Default port of a coordinator, for endpoints that name none.
pub const COORDINATOR_PORT_DEFAULT: u16 = 8080;

/// What [`crate::Client::connect`] needs to know. Every field but the endpoints has a good default.
///
/// ```
/// use dfs_client::ClientConfig;
///
/// let config = ClientConfig { parallel_chunks: 8, ..ClientConfig::new(["127.0.0.1:8080"]) };
/// assert_eq!(config.endpoints, ["127.0.0.1:8080"]);
/// ```
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Coordinators, `host:port` each; the port may be left out. The first that answers is used.
    pub endpoints: Vec<String>,
    /// Bytes of file data held in memory at once, by all operations of this client together: one half for uploads,
    /// one half for downloads. Each half is at least one largest chunk (64 MiB), so the true bound is
    /// `max(memory_limit, 128 MiB)`; memory is only taken while it is used.
    pub memory_limit: u64,
    /// Chunks of one file that move at the same time. Less are used when their memory does not fit.
    pub parallel_chunks: usize,
    /// Connections to one datanode at most.
    pub links_per_datanode: usize,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// When to try again, and when to stop trying.
    pub retry: RetryPolicy,
    /// Name of the program, for the logs of the nodes.
    pub agent: String,
    /// Secures every connection, and says who this client is; `None` = they are plain. Never both: a client that has this
    /// talks to nobody who has not.
    pub tls: Option<Tls>,
    /// Connects as an operator: nodes keep places for such connections when clients fill all others, and carry no chunks
    /// over them. For status and inspection.
    pub operator: bool,
}

impl ClientConfig {
    /// The defaults, for these coordinators.
    pub fn new<I, S>(endpoints: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            memory_limit: 256 * 1024 * 1024,
            parallel_chunks: 4,
            links_per_datanode: 4,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            agent: concat!("dfs-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            tls: None,
            operator: false,
        }
    }

    /// Bounds what is done for one request to the coordinator, and the search for one, by `patience`: connecting and
    /// shaking hands with each endpoint in turn, waiting for the answer, trying again. Chunks on their way have the
    /// same budget for failing; while their bytes move, it does not run.
    pub fn give_up_after(&mut self, patience: Duration) {
        let turns = u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX).max(1);
        let turn = patience / turns;
        let (timeouts, retry) = (&mut self.timeouts, &mut self.retry);
        timeouts.connect = timeouts.connect.min(turn);
        timeouts.handshake = timeouts.handshake.min(turn);
        timeouts.request = timeouts.request.min(patience);
        retry.connect_budget = patience;
        retry.budget = patience;
        retry.busy_budget = patience;
        retry.limit = Some(patience);
    }

    /// Slabs that one direction (uploads or downloads) may use.
    pub(crate) fn slabs_per_direction(&self) -> usize {
        let half = self.memory_limit / 2;
        let bytes = half.max(u64::from(CHUNK_BYTES_MAX));
        usize::try_from(bytes).unwrap_or(usize::MAX) / DATA_FRAME_BYTES
    }
}

/// How long to wait for what. No wait of the client is without one of these.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a TCP connection (and the look-up of its name).
    pub connect: Duration,
    /// For the handshake on it.
    pub handshake: Duration,
    /// For the answer to one metadata or administrative request.
    pub request: Duration,
    /// A read that brings no byte for so long goes on at another replica; one whose connection brings others has six
    /// times as long. Where there is another copy, it is asked beside the first after the time that 99 of 100 reads of the
    /// last minute did not exceed (200 ms to 2 s).
    pub read_stall: Duration,
    /// A write whose bytes nobody takes, or whose durable answer does not come, for so long is given up; one whose
    /// connection moves other bytes has six times as long. Long, because a busy cluster makes writers wait their turn;
    /// dead nodes are noticed by `keepalive`.
    pub write_stall: Duration,
    /// Idle connections are asked for a sign of life this often; three silent times and they are dead.
    pub keepalive: Duration,
    /// Connections that nobody used for so long are closed.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            handshake: Duration::from_secs(3),
            request: Duration::from_secs(15),
            read_stall: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            keepalive: Duration::from_secs(3),
            idle: Duration::from_secs(60),
        }
    }
}

/// When to try again, and when to stop trying.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// How long one step (a metadata request, one chunk) may go on failing before its error is shown.
    pub budget: Duration,
    /// The same while the other side only says that it is busy: nothing is wrong, there is a queue.
    pub busy_budget: Duration,
    /// Attempts of one step at most, whatever the time; answers of "busy" do not count.
    pub attempts: u32,
    /// First pause; doubled each time, with jitter.
    pub pause_min: Duration,
    /// The pause grows no longer than this.
    pub pause_max: Duration,
    /// How long [`crate::Client::connect`] looks for a coordinator that answers.
    pub connect_budget: Duration,
    /// A request to the coordinator is given up after so long, whatever is being done for it then. `None`: an attempt
    /// that was begun is finished, and at least two are made.
    pub limit: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(30),
            busy_budget: Duration::from_secs(300),
            attempts: 20,
            pause_min: Duration::from_millis(50),
            pause_max: Duration::from_secs(3),
            connect_budget: Duration::from_secs(5),
            limit: None,
        }
    }
}
