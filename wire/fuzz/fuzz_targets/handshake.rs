//! Both sides of the handshake against any bytes: an answer or an error, never a panic, never a wait for ever.
//!
//! The first byte says how the rest is sent: as it is, or as the head of a frame with the right checksum.
#![no_main]

use std::time::Duration;

use dfs_wire::frame::{FrameKind, Header};
use dfs_wire::handshake::{self, ClientPeer, Hello, MAGIC, Peer};
use dfs_wire::id::ClientId;
use dfs_wire::limits::HANDSHAKE_HEAD_BYTES_MAX;
use dfs_wire::status::{Status, StatusCode};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fn sealed(kind: u8, head: &[u8]) -> Vec<u8> {
    let head = &head[..head.len().min(HANDSHAKE_HEAD_BYTES_MAX + 1)];
    let header = Header {
        kind,
        flags: 0,
        head_len: head.len() as u16,
        tail_len: 0,
        stream: 0,
        tail_crc: 0,
        head_crc: 0,
        sequence: 0,
    };
    [&header.seal(head)[..], head].concat()
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else { return };
    let kind = how % 16;
    let (accepting, bytes) = match how / 16 {
        0 => (true, [&MAGIC[..], &[1, 0, 1, 0], &sealed(kind, rest)].concat()),
        1 => (true, [&MAGIC[..], rest].concat()),
        2 => (true, rest.to_vec()),
        3 => (false, sealed(kind, rest)),
        4 => (false, sealed(FrameKind::Welcome as u8, rest)),
        _ => (false, rest.to_vec()),
    };
    let run = async move {
        let (mut peer, mut io) = tokio::io::duplex(1 << 18);
        peer.write_all(&bytes).await.expect("the pipe is large");
        peer.shutdown().await.expect("the pipe is open");
        let work = async {
            if accepting {
                if handshake::receive(&mut io).await.is_ok() {
                    let enough = Status::new(StatusCode::Unavailable, "enough");
                    handshake::answer(&mut io, &Err(enough)).await.expect("the pipe is large");
                }
            } else {
                let hello = Hello {
                    cluster: None,
                    peer: Peer::Client(ClientPeer { client: ClientId(1), name: "fuzz".into() }),
                    credentials: vec![],
                    features: 0,
                    connection_credit: 1 << 20,
                };
                handshake::connect(&mut io, &hello).await.ok();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), work).await.expect("the handshake waits for ever");
    };
    RUNTIME.with(|runtime| runtime.block_on(run));
});
