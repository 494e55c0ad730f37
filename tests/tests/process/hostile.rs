//! Bytes that nobody should send: the connection is closed with a reason, the node does not grow, others are served.

use std::time::Duration;

use dfs_tests::{Cluster, Content, Options, PeerLink, Rng, ScriptedPeer, Trust, client_hello, path};
use dfs_wire::{
    codec,
    frame::{FrameKind, Header},
    message::{Request, admin::AdminRequest},
    status::StatusCode,
};

const MIB: u64 = 1024 * 1024;
/// Time in which a connection that breaks the rules must be gone: the handshake's patience and some.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

fn short_patience() -> Options {
    Options::default().set("network.handshake_timeout", "1s")
}

/// What to send before the handshake, whether a reason must come back, and which.
fn openings(rng: &mut Rng) -> Vec<(&'static str, Vec<u8>, Option<StatusCode>)> {
    use StatusCode::{ProtocolViolation, VersionMismatch};
    let preface = b"DFS1\x01\x00\x01\x00";
    let header = |head_len: u16, tail_len: u32| {
        let kind = FrameKind::Hello as u8;
        let header =
            Header { kind, flags: 0, head_len, tail_len, stream: 0, tail_crc: 0, head_crc: 0, sequence: 0 };
        [&preface[..], &header.seal(&[])].concat()
    };
    vec![
        ("noise", rng.bytes(100_000), Some(ProtocolViolation)),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Some(ProtocolViolation)),
        ("a version nobody speaks", b"DFS1\x63\x00\x64\x00".to_vec(), Some(VersionMismatch)),
        ("a head of 65,535 bytes", header(u16::MAX, 0), Some(ProtocolViolation)),
        ("a tail of 4 GiB", header(10, u32::MAX), Some(ProtocolViolation)),
        (
            "a head that is not what was announced",
            [header(4, 0), vec![9; 4]].concat(),
            Some(ProtocolViolation),
        ),
        ("noise after the preface", [preface.to_vec(), rng.bytes(5_000)].concat(), Some(ProtocolViolation)),
        ("half a preface", b"DFS".to_vec(), None),
        ("half a handshake", [&preface[..], &[1; 10]].concat(), None),
        ("nothing", vec![], None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_do_not_speak_the_protocol_are_told_why_and_closed() {
    let mut rng = Rng::for_test("strangers");
    let cluster = Cluster::start(2, short_patience());
    for node in cluster.nodes() {
        for (what, bytes, reason) in openings(&mut rng) {
            let mut peer = ScriptedPeer::connect(node.address()).await;
            peer.send(&bytes).await;
            let (answer, closed) = peer.until_closed(CLOSED_WITHIN).await;
            assert!(closed, "{}: still open after {what}", node.name());
            let told = ScriptedPeer::reason(&answer).map(|status| status.code);
            if let Some(reason) = reason {
                // A node may close before it has read all: then the reset can overtake the reason.
                let overtaken = bytes.len() > 1_000 && told.is_none();
                assert!(told == Some(reason) || overtaken, "{}: {told:?} after {what}", node.name());
            }
        }
    }
}

/// Frames that break a rule after a proper handshake.
fn broken_frames(rng: &mut Rng) -> Vec<(&'static str, Vec<u8>)> {
    let frame = |kind: u8, head: &[u8], tail_len: u32, sequence: u32, tail_crc: u32| {
        let head_len = u16::try_from(head.len()).expect("a short head");
        let header =
            Header { kind, flags: 0, head_len, tail_len, stream: 1, tail_crc, head_crc: 0, sequence };
        [&header.seal(head)[..], head].concat()
    };
    let data = FrameKind::Data as u8;
    let mut damaged = frame(FrameKind::Ping as u8, &[0; 8], 0, 0, 0);
    damaged[20] ^= 1;
    vec![
        ("noise", rng.bytes(50_000)),
        ("a damaged header", damaged),
        ("a tail of 4 GiB", frame(data, &[], u32::MAX, 0, 0)),
        ("a frame number out of turn", frame(FrameKind::Ping as u8, &[0; 8], 0, 77, 0)),
        (
            "a second handshake",
            frame(FrameKind::Hello as u8, &codec::encode(&client_hello()).expect("a head"), 0, 0, 0),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn friends_who_break_the_rules_are_closed_and_others_do_not_notice() {
    let mut rng = Rng::for_test("friends");
    let cluster = Cluster::start(3, Options { trust: Trust::Everybody, ..short_patience() });
    let client = cluster.client().await;
    let (file, content) = (path("/f"), Content::new("/f", 1, 300_000));
    client.put(content.bytes().into(), &file, Default::default()).await.expect("put");
    for node in cluster.nodes() {
        let witness = PeerLink::connect(node.address()).await;
        for (what, bytes) in broken_frames(&mut rng) {
            let mut peer = ScriptedPeer::connect(node.address()).await;
            peer.handshake(&client_hello()).await.expect("a proper handshake");
            peer.send(&bytes).await;
            let (_, closed) = peer.until_closed(CLOSED_WITHIN).await;
            assert!(closed, "{}: still open after {what}", node.name());
            let answer = witness.ask(1, Request::Admin(AdminRequest::NodeInfo)).await;
            assert!(answer.is_ok(), "{}: a bystander after {what}: {answer:?}", node.name());
        }
    }
    content.expect("others are served", &cluster.read(&client, &file).await.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_knows_is_answered_and_the_connection_serves_on() {
    let cluster = Cluster::start(1, Options::plain());
    for node in cluster.nodes() {
        let mut peer = ScriptedPeer::connect(node.address()).await;
        peer.handshake(&client_hello()).await.expect("a proper handshake");
        let head = [0xff; 100];
        let kind = FrameKind::Request as u8;
        let header = Header {
            kind,
            flags: 0,
            head_len: 100,
            tail_len: 0,
            stream: 1,
            tail_crc: 0,
            head_crc: 0,
            sequence: 0,
        };
        peer.send(&[&header.seal(&head)[..], &head].concat()).await;
        let (answer, closed) = peer.until_closed(Duration::from_secs(1)).await;
        assert!(closed || answer.len() > 24, "{}: neither an answer nor an end", node.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_garbage_and_of_silent_connections_make_no_node_grow_and_others_are_served() {
    let mut rng = Rng::for_test("floods");
    let cluster = Cluster::start(3, short_patience());
    let client = cluster.client().await;
    let (file, content) = (path("/f"), Content::new("/f", 1, 300_000));
    client.put(content.bytes().into(), &file, Default::default()).await.expect("put");
    content.expect("before", &cluster.read(&client, &file).await.expect("read"));
    let before: Vec<_> = cluster.nodes().map(|node| (node.rss(), node.fds())).collect();
    let mut silent = vec![];
    for node in cluster.nodes() {
        for round in 0..60 {
            let mut peer = ScriptedPeer::connect(node.address()).await;
            match round % 3 {
                0 => peer.send(&rng.bytes(100_000)).await,
                1 => peer.send(b"DFS1\x01\x00").await,
                _ => {}
            }
            silent.push(peer);
        }
        let mut admin = ScriptedPeer::connect(node.admin()).await;
        admin.send(&rng.bytes(50_000)).await;
        let (_, closed) = admin.until_closed(Duration::from_secs(20)).await;
        assert!(closed, "the admin port of {} stays open", node.name());
    }
    content.expect("during", &cluster.read(&client, &file).await.expect("read"));
    client.put(content.bytes().into(), &path("/g"), Default::default()).await.expect("put during the flood");
    for (node, (rss, _)) in cluster.nodes().zip(&before) {
        let now = node.rss();
        assert!(now < rss + 24 * MIB, "{} grew from {rss} to {now}", node.name());
    }
    // The node closes those who say nothing; their files go with them.
    for mut peer in silent {
        assert!(peer.until_closed(CLOSED_WITHIN).await.1, "a silent connection stays open");
    }
    for (node, (_, fds)) in cluster.nodes().zip(&before) {
        assert!(node.fds() < fds + 30, "{}: {fds} files open before, {} now", node.name(), node.fds());
    }
}
