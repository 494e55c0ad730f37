//! Crowds: however many connect, and whatever they say they are, datanodes and operators have places left, the idle make
//! room, and whoever is refused is told why.

use std::time::{Duration, Instant};

use dfs_client::{PutOptions, PutSource};
use dfs_tests::{
    Cluster, Content, NodeHandle, Options, PeerLink, Rng, ScriptedPeer, client_hello, path, wait_until,
};
use dfs_wire::{
    handshake::{ClientPeer, Hello, NodePeer, Peer},
    id::{ClientId, Incarnation, NodeId, OpId},
    message::{
        Request, RequestHead,
        admin::AdminRequest,
        chunk::{ChunkRequest, ReadChunk},
    },
    status::StatusCode,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{net::TcpSocket, task::JoinSet};

/// More than there are places for clients.
const CROWD: usize = 1_100;
/// What an operator waits for an answer, with two cores and everything else that runs there.
const SOON: Duration = Duration::from_secs(4);

fn many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more open files");
}

fn datanode(node: u128) -> Hello {
    let peer = NodePeer { node: NodeId(node), incarnation: Incarnation(1), name: "liar".to_owned() };
    Hello { peer: Peer::Datanode(peer), ..client_hello() }
}

fn operator() -> Hello {
    let peer = ClientPeer { client: ClientId(1), name: "liar".to_owned() };
    Hello { peer: Peer::Operator(peer), ..client_hello() }
}

/// Connections that have shaken hands and say nothing more. They come again when they are told Busy, as clients do: on a
/// fast machine all places are taken before the first of them counts as idle.
async fn idle(address: &str, count: usize) -> Vec<ScriptedPeer> {
    let mut peers = Vec::with_capacity(count);
    for number in 0..count {
        let began = Instant::now();
        peers.push(loop {
            let mut peer = ScriptedPeer::connect(address).await;
            match peer.handshake(&client_hello()).await.map_err(|error| error.into_status()) {
                Ok(_) => break peer,
                Err(status) if status.code == StatusCode::Busy && began.elapsed() < SOON => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(status) => panic!("client {number}: {status}"),
            }
        });
    }
    peers
}

/// The value of a metric of one class.
#[track_caller]
fn of_class(node: &NodeHandle, metric: &str, class: &str) -> f64 {
    let (_, text) = node.get("/metrics").expect("metrics");
    let label = format!("class=\"{class}\"");
    let line = text.lines().find(|line| line.starts_with(&format!("{metric}{{")) && line.contains(&label));
    let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no {metric} of {class} in {text}"))
}

/// What must work whoever else is there: the status, a datanode that comes back, a file stored and read.
async fn others_are_served(cluster: &Cluster, name: &str) {
    let began = Instant::now();
    let said = cluster.dfsctl(&["status"]).run();
    assert_eq!(said.code, 0, "{}\n{}", said.text(), said.stderr);
    assert!(began.elapsed() < SOON, "dfsctl status took {:?}", began.elapsed());
    cluster.datanode(1).restart();
    cluster.wait_for_nodes();
    let client = cluster.client().await;
    let (file, content) = (path(name), Content::new(name, 1, 300_000));
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    content.expect("read back", &cluster.read(&client, &file).await.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_keep_out_neither_datanodes_nor_operators_nor_another_client() {
    many_files();
    let cluster = Cluster::start(3, Options::plain());
    let mut crowds = vec![];
    for node in [cluster.coordinator(), cluster.datanode(0)] {
        crowds.push(idle(node.address(), CROWD).await);
        assert!(of_class(node, "dfs_connections", "client") <= 1024.0);
        assert!(of_class(node, "dfs_connections_evicted_total", "client") >= 76.0);
    }
    others_are_served(&cluster, "/beside-the-idle").await;
    for crowd in &mut crowds {
        let (said, closed) = crowd[0].until_closed(Duration::from_secs(5)).await;
        let reason = ScriptedPeer::reason(&said).expect("a Goaway");
        assert!(closed && reason.code == StatusCode::Busy && reason.message.contains("idle"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_introduce_themselves_keep_out_nobody_and_are_told_why_they_go() {
    many_files();
    let mut rng = Rng::for_test("slow");
    let cluster = Cluster::start(3, Options::plain().set("network.handshake_timeout", "1m"));
    let mut slow = vec![];
    for node in [cluster.coordinator(), cluster.datanode(0)] {
        for number in 0..CROWD {
            let mut peer = ScriptedPeer::connect(node.address()).await;
            let words = b"DFS1\x01\0\x01\0\x01\0\0\0";
            peer.send(&words[..usize::try_from(rng.below(words.len() as u64)).expect("small")]).await;
            slow.push((number, peer));
        }
        assert!(of_class(node, "dfs_connections", "newcomer") <= 256.0);
    }
    others_are_served(&cluster, "/beside-the-slow").await;
    for (number, peer) in slow.iter_mut().filter(|(number, _)| *number == 0) {
        let (said, closed) = peer.until_closed(Duration::from_secs(5)).await;
        let reason = ScriptedPeer::reason(&said).expect("a Reject");
        assert!(closed && reason.code == StatusCode::Busy, "{number}: {reason}");
    }
}

/// Connections from a source that claim to be somebody and ask for something all the time.
async fn busy_peers(address: &str, source: &str, hello: &Hello, count: usize) -> JoinSet<()> {
    let mut liars = JoinSet::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{source}:0").parse().expect("an address")).expect("another source");
        let stream = socket.connect(address.parse().expect("an address")).await.expect("connected");
        let link = PeerLink::over(stream, hello).await;
        liars.spawn(async move {
            let Ok(link) = link else { return };
            while link.ask(1, Request::Admin(AdminRequest::NodeInfo)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    liars
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_claims_to_be_a_datanode_or_an_operator_has_not_all_their_places() {
    let options = Options::plain().set("network.members_max", "8").set("network.operators_max", "4");
    let cluster = Cluster::start(3, options.set("network.connections_max", "32"));
    let address = cluster.coordinator().address();
    let mut liars = vec![];
    for (hello, count) in [(datanode(1), 40), (operator(), 40), (client_hello(), 80)] {
        liars.push(busy_peers(address, "127.0.0.2", &hello, count).await);
    }
    others_are_served(&cluster, "/beside-liars").await;
    for class in ["client", "member", "operator", "newcomer"] {
        let (open, max) = ("dfs_connections", "dfs_connections_max");
        let (open, max) =
            (of_class(cluster.coordinator(), open, class), of_class(cluster.coordinator(), max, class));
        assert!(open <= max, "{open} of {max} {class}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_all_places_busy_is_told_so_at_once_and_operators_move_no_chunks() {
    let cluster = Cluster::start(3, Options::plain().set("network.connections_max", "4"));
    let client = cluster.client().await;
    let (file, content) = (path("/f"), Content::new("/f", 1, 200_000));
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    let opened = client.open_read(&file, None, 0, 0).await.expect("open");
    let (grant, replica) = (opened.chunks[0].grant.clone(), &opened.chunks[0].replicas[0]);
    let head = |op| {
        let read = ReadChunk { grant: grant.clone(), mac: replica.mac, offset: 0, len: 100, facts: false };
        let body = Request::Chunk(ChunkRequest::Read(read));
        RequestHead { op: OpId(op), deadline_ms: 60_000, trace: None, body }
    };
    drop(client);
    // Readers who never say how much they can take.
    let mut busy = vec![];
    wait_until("four busy readers", || {
        of_class(cluster.named(&replica.name), "dfs_connections", "client") < 1.0
    });
    for number in 0..4 {
        let link = PeerLink::connect(&replica.address).await;
        let stream = link.link().open(&head(number), bytes::Bytes::new()).expect("opened");
        busy.push((link, stream));
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let began = Instant::now();
    let mut late = ScriptedPeer::connect(&replica.address).await;
    let refused = late.handshake(&client_hello()).await.expect_err("all are busy").into_status();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(refused.code, StatusCode::Busy, "{refused}");
    assert!(refused.message.contains("all 4 places for client connections"), "{refused}");
    assert!(refused.hint.contains("network.connections_max"), "{}", refused.hint);
    let node = cluster.named(&replica.name);
    assert_eq!(of_class(node, "dfs_connections_refused_total", "client"), 1.0);

    let stream = tokio::net::TcpStream::connect(&replica.address).await.expect("connected");
    let operator = PeerLink::over(stream, &operator()).await.expect("a place of its own");
    assert!(operator.ask(1, Request::Admin(AdminRequest::NodeInfo)).await.is_ok());
    let refused = operator.ask(2, head(2).body).await.expect_err("it moves no chunks");
    assert_eq!(refused.code, StatusCode::PermissionDenied, "{refused}");

    let coordinator = cluster.coordinator();
    let _busy = busy_peers(coordinator.address(), "127.0.0.1", &client_hello(), 4).await;
    let said = cluster.dfsctl(&["ls", "/"]).run().code(6);
    said.says(&["all 4 places for client connections are taken", "network.connections_max"]);
    cluster.ok(&["nodes"]);
}

#[test]
fn health_checks_by_bare_connect_are_one_line_a_minute_and_counted() {
    let cluster = Cluster::start(1, Options::plain());
    let node = cluster.coordinator();
    for _ in 0..50 {
        drop(std::net::TcpStream::connect(node.address()).expect("connected"));
    }
    wait_until("fifty knocks", || {
        let (_, text) = node.get("/metrics").expect("metrics");
        text.lines().any(|line| {
            line.starts_with("dfs_handshakes_failed_total{")
                && line.contains("reason=\"NothingSaid\"")
                && line.ends_with(" 50.0")
        })
    });
    let lines = node.log().lines().filter(|line| line.contains("came to nothing")).count();
    assert_eq!(lines, 1, "{}", node.log());
}
