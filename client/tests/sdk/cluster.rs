//! A whole cluster in memory, behind real links over pipes: a coordinator and datanodes that do as they are told, and
//! fail as they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dfs_client::metadata::{Allocation, EntryKind, FileStat, StoredChunk};
use dfs_client::{
    BoxReader, BoxWriter, ChunkId, Client, ClientConfig, ClusterId, ConnectFuture, Connector, DfsPath,
    InodeId, NodeId, OpId, RetryPolicy, StatusCode, Timeouts, VersionId,
};
use dfs_wire::auth::Grant;
use dfs_wire::handshake::Welcome;
use dfs_wire::id::{Epoch, Generation, SessionId};
use dfs_wire::identity::PeerName;
use dfs_wire::link::Link;
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::MetadataResponse;
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{coordinator, datanode};

/// Where the coordinator listens.
pub(crate) const COORDINATOR: &str = "coordinator:8080";
/// Connection credit of every end.
const CREDIT: u64 = 64 << 20;

/// A fault of one datanode.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nobody listens.
    Down,
    /// Takes connections and requests, and never answers.
    Mute,
    /// Takes connections and does not even answer the handshake.
    Deaf,
    /// Serves over a line that brings a frame in more time than a reader's patience.
    SlowLine,
    /// Takes reads and sends nothing for them, as a disk that hangs.
    HangReads,
    /// Sends nothing of a read for so long.
    SlowToBegin(Duration),
    /// Refuses reads of what it stores.
    RefuseReads(Status),
    /// Sends so many bytes of each read, then breaks the connection.
    CutReadsAfter(usize),
    /// Sends wrong bytes with right frame checksums.
    LieOnReads,
    /// Refuses writes as primary.
    RefuseWrites(Status),
    /// Refuses this many writes as primary, then serves.
    RefuseFirstWrites(u32, Status),
    /// Takes so many bytes of each write, then breaks the connection.
    CutWritesAfter(usize),
    /// Fails as a replica, not as primary.
    FailAsReplica,
}

/// How an answer is lost.
#[derive(Debug, Clone)]
pub(crate) enum Lost {
    /// It says itself that nobody knows what was done: whoever worked on it has ended.
    Unsaid,
    /// The connection ends for this reason.
    Closed(Status),
    /// The request's task ends without a word.
    Reset,
    /// The connection ends, and who answers next serves another cluster.
    Moved,
}

impl Default for Lost {
    fn default() -> Self {
        Self::Closed(Status::new(StatusCode::ConnectionLost, "told to lose the answer"))
    }
}

/// One datanode.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) chunks: BTreeMap<(ChunkId, Generation), Vec<u8>>,
    pub(crate) fault: Option<Fault>,
    /// What the coordinator knows of it; else that it is up.
    pub(crate) known: Option<NodeState>,
    pub(crate) reads: u32,
    pub(crate) writes: u32,
}

/// A committed file.
#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    pub(crate) stat: FileStat,
    pub(crate) chunks: BTreeMap<u32, StoredChunk>,
}

/// An open upload.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) path: DfsPath,
    pub(crate) chunk_size: u32,
    pub(crate) allocated: BTreeMap<u32, Allocation>,
    pub(crate) recorded: BTreeMap<u32, StoredChunk>,
}

/// All there is.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) files: BTreeMap<DfsPath, StoredFile>,
    pub(crate) uploads: BTreeMap<SessionId, Upload>,
    pub(crate) outcomes: BTreeMap<OpId, Result<MetadataResponse, Status>>,
    /// Every metadata request that came, with its operation.
    pub(crate) log: Vec<(&'static str, OpId)>,
    /// How often the request of this name is carried out without its answer arriving.
    pub(crate) lost_answers: BTreeMap<&'static str, u32>,
    /// How such an answer is lost.
    pub(crate) lost_by: Lost,
    /// The coordinator takes requests and never answers.
    pub(crate) mute: bool,
    /// The coordinator takes connections and does not even answer the handshake.
    pub(crate) deaf: bool,
    /// The cluster that the coordinator serves.
    pub(crate) cluster: u128,
    /// Nodes named as failed when chunks were allocated.
    pub(crate) excluded: BTreeSet<NodeId>,
    pub(crate) last_id: u128,
    /// The time that the coordinator tells.
    pub(crate) time_ms: u64,
    /// Operations with stamps up to this one are forgotten.
    pub(crate) low_water_ms: Option<u64>,
    /// Outcomes are forgotten whenever an answer is lost.
    pub(crate) forgetful: bool,
}

impl State {
    pub(crate) fn new_id(&mut self) -> u128 {
        self.last_id += 1;
        self.last_id
    }
}

/// The cluster; clones share it.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    connections: Arc<AtomicU64>,
}

impl Cluster {
    pub(crate) fn new(nodes: usize) -> Self {
        let nodes = (0..nodes).map(|_| Node::default()).collect();
        let state = State { nodes, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), connections: Arc::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn fault(&self, node: usize, fault: Fault) {
        self.lock().nodes[node].fault = Some(fault);
    }

    /// A client with little patience.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(|_| {}).await
    }

    pub(crate) async fn client_with(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = ClientConfig::new([COORDINATOR]);
        config.timeouts = Timeouts {
            request: Duration::from_secs(2),
            read_stall: Duration::from_millis(300),
            write_stall: Duration::from_millis(500),
            ..Timeouts::default()
        };
        config.retry = RetryPolicy {
            budget: Duration::from_secs(3),
            busy_budget: Duration::from_secs(5),
            attempts: 6,
            pause_min: Duration::from_millis(5),
            pause_max: Duration::from_millis(50),
            connect_budget: Duration::from_secs(1),
            limit: None,
        };
        change(&mut config);
        Client::connect_with(config, Arc::new(self.clone())).await.expect("the coordinator is there")
    }

    /// How often a metadata request came, and under how many operations.
    pub(crate) fn count(&self, name: &str) -> (usize, usize) {
        let state = self.lock();
        let ops: Vec<OpId> = state.log.iter().filter(|(n, _)| *n == name).map(|(_, op)| *op).collect();
        (ops.len(), ops.iter().collect::<BTreeSet<_>>().len())
    }

    /// Waits until something holds.
    pub(crate) async fn eventually(&self, what: &str, holds: impl Fn(&State) -> bool) {
        for _ in 0..300 {
            if holds(&self.lock()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never happened: {what}");
    }

    async fn serve(self, io: tokio::io::DuplexStream, node: Option<usize>) {
        let deaf = match node {
            Some(node) => matches!(self.lock().nodes[node].fault, Some(Fault::Deaf)),
            None => self.lock().deaf,
        };
        if deaf {
            return tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let (reader, writer) = tokio::io::split(io);
        let mut accepting = Link::accept(reader, writer, SlabBudget::new(SlabPool::new(8), 64));
        let Ok((hello, version)) = accepting.hello().await else { return };
        assert!(hello.connection_credit >= CREDIT);
        let (cluster, time_ms) = {
            let state = self.lock();
            (ClusterId(1 + state.cluster), if node.is_some() { 0 } else { state.time_ms })
        };
        let welcome = Welcome {
            version: version.number(),
            cluster: Some(cluster),
            node: node.map_or(NodeId(999), node_id),
            name: "fake".into(),
            role: if node.is_some() { "datanode" } else { "coordinator" }.into(),
            session: self.connections.fetch_add(1, Ordering::Relaxed),
            epoch: Epoch(1),
            time_ms,
            features: 0,
            connection_credit: CREDIT,
        };
        let Ok((link, driver)) = accepting.welcome(&hello, welcome).await else { return };
        tokio::spawn(driver.reader);
        tokio::spawn(driver.writer);
        while let Some(incoming) = link.next_request().await {
            let (cluster, link) = (self.clone(), link.clone());
            match node {
                None => tokio::spawn(async move { coordinator::serve(&cluster, &link, incoming).await }),
                Some(node) => {
                    tokio::spawn(async move { datanode::serve(&cluster, node, &link, incoming).await })
                }
            };
        }
    }
}

impl Connector for Cluster {
    fn connect<'a>(&'a self, address: &'a str, _: PeerName) -> ConnectFuture<'a> {
        Box::pin(async move {
            let node = match address.strip_prefix("node-").map(str::parse::<usize>) {
                Some(Ok(index)) => Some(index),
                _ if address == COORDINATOR => None,
                _ => return Err(io::Error::from(io::ErrorKind::AddrNotAvailable)),
            };
            if node.is_some_and(|n| matches!(self.lock().nodes[n].fault, Some(Fault::Down))) {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            }
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let slow = node.is_some_and(|n| matches!(self.lock().nodes[n].fault, Some(Fault::SlowLine)));
            let theirs = if slow { behind_a_slow_line(theirs) } else { theirs };
            tokio::spawn(self.clone().serve(theirs, node));
            let (reader, writer) = tokio::io::split(ours);
            Ok((Box::new(reader) as BoxReader, Box::new(writer) as BoxWriter))
        })
    }
}

/// The end of a line to `near` that brings 4 KiB every 20 ms, a frame in 1.3 seconds.
fn behind_a_slow_line(near: tokio::io::DuplexStream) -> tokio::io::DuplexStream {
    let (end, far) = tokio::io::duplex(16 * 1024);
    let (mut far_out, mut far_in) = tokio::io::split(far);
    let (mut near_out, mut near_in) = tokio::io::split(near);
    tokio::spawn(async move { tokio::io::copy(&mut near_out, &mut far_in).await });
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while let Ok(len @ 1..) = far_out.read(&mut bytes).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if near_in.write_all(&bytes[..len]).await.is_err() {
                return;
            }
        }
    });
    end
}

pub(crate) fn node_id(index: usize) -> NodeId {
    NodeId(index as u128 + 1)
}

pub(crate) fn address(index: usize) -> String {
    format!("node-{index}")
}

pub(crate) fn grant(chunk: ChunkId, generation: Generation, index: u32) -> Grant {
    Grant {
        epoch: Epoch(1),
        op: dfs_wire::auth::GrantOp::Read,
        chunk,
        generation,
        file: InodeId(2),
        index,
        len_max: 64 << 20,
        expires_ms: u64::MAX,
    }
}

pub(crate) fn stat(path: &DfsPath, version: u128, size: u64, chunk_size: u32, chunk_count: u32) -> FileStat {
    FileStat {
        path: path.clone(),
        inode: InodeId(2),
        kind: EntryKind::File,
        size,
        mtime_ns: 0,
        created_ms: 0,
        version: VersionId(version),
        chunk_size,
        chunk_count,
        replication: 3,
    }
}
