//! Strangers, newer peers and broken ones get a Reject with a reason, never silence and never an allocation.

use std::time::Duration;

use dfs_wire::codec;
use dfs_wire::frame::{FrameKind, Header};
use dfs_wire::handshake::{HandshakeError, Hello, MAGIC, Welcome, connect};
use dfs_wire::limits::{HANDSHAKE_HEAD_BYTES_MAX, HEADER_BYTES};
use dfs_wire::link::{Accepting, Link};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::version::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use crate::generate::{Counting, generate};

const PREFACE: [u8; 8] = *b"DFS1\x01\0\x01\0";

fn hello() -> Hello {
    generate(&mut Counting::default())
}

fn welcome(version: u16) -> Welcome {
    Welcome { version, ..generate(&mut Counting::default()) }
}

/// The header of a frame whose head would be `head_len` long, and the head that really follows.
fn frame(kind: u8, head_len: usize, head: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        flags: 0,
        head_len: head_len as u16,
        tail_len: 0,
        stream: 0,
        tail_crc: 0,
        head_crc: 0,
        sequence: 0,
    };
    [&header.seal(head)[..], head].concat()
}

fn budget() -> SlabBudget {
    SlabBudget::new(SlabPool::new(2), 2)
}

fn accept(io: DuplexStream) -> Accepting<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>> {
    let (reader, writer) = split(io);
    Link::accept(reader, writer, budget())
}

async fn reject_of(mut peer: DuplexStream) -> Status {
    let mut bytes = vec![];
    peer.read_to_end(&mut bytes).await.unwrap();
    let header = Header::parse(bytes[..HEADER_BYTES].try_into().unwrap(), HANDSHAKE_HEAD_BYTES_MAX).unwrap();
    assert_eq!(header.kind, FrameKind::Reject as u8);
    codec::decode(&bytes[HEADER_BYTES..]).unwrap()
}

/// What an acceptor says to `bytes`: it must refuse them, and tell the peer the reason it gives its owner.
async fn refused(bytes: &[u8]) -> Status {
    let (mut peer, io) = duplex(1 << 17);
    peer.write_all(bytes).await.unwrap();
    let mut accepting = accept(io);
    let heard = tokio::time::timeout(Duration::from_secs(5), accepting.hello()).await;
    let given = match heard.expect("it waits for more") {
        Err(error) => {
            drop(accepting);
            error.into_status()
        }
        Ok(_) => {
            let status = Status::new(StatusCode::WrongCluster, "not this one");
            accepting.refuse(status.clone()).await.unwrap();
            status
        }
    };
    let told = reject_of(peer).await;
    assert_eq!(given, told);
    told
}

#[tokio::test]
async fn a_stranger_is_told_what_this_is() {
    let status = refused(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status.code, StatusCode::ProtocolViolation);
    assert!(status.message.contains("dfs"), "{status}");
}

#[tokio::test]
async fn a_peer_of_another_version_is_told_both_ranges_before_its_hello_is_looked_at() {
    for (lowest, highest) in [(2_u16, 9_u16), (0, 0), (9, 2)] {
        let preface = [&MAGIC[..], &lowest.to_le_bytes(), &highest.to_le_bytes()].concat();
        let status = refused(&preface).await;
        assert_eq!(status.code, StatusCode::VersionMismatch);
        assert!(status.message.contains(&format!("{lowest} to {highest}")), "{status}");
    }
}

#[tokio::test]
async fn what_is_not_a_hello_is_refused() {
    let hello = codec::encode(&hello()).unwrap();
    let mut damaged = frame(FrameKind::Hello as u8, hello.len(), &hello);
    *damaged.last_mut().unwrap() ^= 1;
    let mut tailed = frame(FrameKind::Data as u8, 0, &[]);
    tailed[4] = 1;
    let bad = [
        frame(FrameKind::Request as u8, hello.len(), &hello),
        frame(99, 3, b"abc"),
        // Only the header is sent: the length alone is enough to refuse.
        frame(FrameKind::Hello as u8, HANDSHAKE_HEAD_BYTES_MAX + 1, &[]),
        damaged,
        tailed,
    ];
    for bytes in bad {
        let status = refused(&[&PREFACE[..], &bytes].concat()).await;
        assert_eq!(status.code, StatusCode::ProtocolViolation, "{status}");
    }
    // Whole, and of another build.
    let longer = frame(FrameKind::Hello as u8, hello.len() + 1, &[&hello[..], &[0]].concat());
    for bytes in [frame(FrameKind::Hello as u8, 3, b"abc"), longer] {
        let status = refused(&[&PREFACE[..], &bytes].concat()).await;
        assert_eq!(status.code, StatusCode::VersionMismatch, "{status}");
        assert!(status.message.contains("the other side is of another build"), "{status}");
    }
    let good = frame(FrameKind::Hello as u8, hello.len(), &hello);
    assert_eq!(refused(&[&PREFACE[..], &good].concat()).await.code, StatusCode::WrongCluster);
}

#[tokio::test]
async fn half_a_handshake_is_a_lost_connection() {
    let head = codec::encode(&hello()).unwrap();
    let whole = [&PREFACE[..], &frame(FrameKind::Hello as u8, head.len(), &head)].concat();
    for cut in 0..whole.len() {
        let (mut peer, io) = duplex(1 << 16);
        peer.write_all(&whole[..cut]).await.unwrap();
        drop(peer);
        let error = accept(io).hello().await.unwrap_err();
        let silent = matches!(error, HandshakeError::NothingSaid);
        assert!(
            silent == (cut == 0) && (silent || matches!(error, HandshakeError::Io(_))),
            "cut at {cut}: {error}"
        );
        assert_eq!(error.into_status().code, StatusCode::ConnectionLost);
    }
}

/// What a connector makes of an answer.
async fn answered(bytes: Vec<u8>) -> Result<Welcome, HandshakeError> {
    let (mut peer, mut io) = duplex(1 << 16);
    peer.write_all(&bytes).await.unwrap();
    peer.shutdown().await.unwrap();
    connect(&mut io, &hello()).await
}

#[tokio::test]
async fn a_connector_believes_only_an_answer() {
    let encoded = |w: &Welcome| {
        let head = codec::encode(w).unwrap();
        frame(FrameKind::Welcome as u8, head.len(), &head)
    };
    let good = welcome(ProtocolVersion::V1.number());
    assert_eq!(answered(encoded(&good)).await.unwrap(), good);
    let unspoken = answered(encoded(&welcome(77))).await.unwrap_err().into_status();
    assert_eq!(unspoken.code, StatusCode::VersionMismatch);
    let no = Status::new(StatusCode::Busy, "full").retry_after_ms(5);
    let head = codec::encode(&no).unwrap();
    let rejected = answered(frame(FrameKind::Reject as u8, head.len(), &head)).await.unwrap_err();
    assert_eq!(rejected.into_status(), no);
    for bad in [frame(FrameKind::Ping as u8, 1, &[0]), frame(250, 0, &[])] {
        assert_eq!(answered(bad).await.unwrap_err().into_status().code, StatusCode::ProtocolViolation);
    }
    let other = answered(frame(FrameKind::Welcome as u8, 2, b"ab")).await.unwrap_err().into_status();
    assert_eq!(other.code, StatusCode::VersionMismatch);
    assert_eq!(answered(b"HTTP".to_vec()).await.unwrap_err().into_status().code, StatusCode::ConnectionLost);
}

#[tokio::test]
async fn both_sides_agree() {
    let (a, b) = duplex(1 << 16);
    let (said, answer) = (hello(), welcome(1));
    let mut accepting = accept(b);
    let accepted = async {
        let heard = accepting.hello().await.unwrap();
        assert_eq!(heard, (said.clone(), ProtocolVersion::V1));
        accepting.welcome(&heard.0, answer.clone()).await.unwrap();
    };
    let (reader, writer) = split(a);
    let (connected, ()) = tokio::join!(Link::connect(reader, writer, &said, budget()), accepted);
    assert_eq!(connected.unwrap().welcome, answer);
}
