//! A link against any bytes: it ends with a reason, and gives all memory back.
//!
//! The first byte says how the rest is sent: as it is, or as a script of frames with right checksums and numbers, since
//! no fuzzer guesses those.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use dfs_wire::frame::Header;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::link::{Link, LinkParams, Role};
use dfs_wire::message::Response;
use dfs_wire::message::admin::AdminResponse;
use dfs_wire::slab::{SlabBudget, SlabPool};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};

const SLABS: usize = 3;
/// Longer scripts find nothing more, only later.
const SCRIPT_BYTES_MAX: usize = 1 << 20;
static TAIL: [u8; DATA_FRAME_BYTES + 1] = [7; DATA_FRAME_BYTES + 1];

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// Each frame of a script: kind, stream, size class of the tail, length of the head, the head.
fn frames(script: &[u8]) -> Vec<u8> {
    let (mut out, mut rest, mut sequence) = (vec![], script, 0);
    while let Some((&[kind, stream, class, head_len], more)) = rest.split_first_chunk::<4>() {
        let (head, more) = more.split_at(usize::from(head_len).min(more.len()));
        rest = more;
        let tail_len = match class % 8 {
            0..4 => usize::from(class / 8),
            4 => DATA_FRAME_BYTES,
            5 => 64 * 1024,
            6 => DATA_FRAME_BYTES + 1,
            _ => 64 * 1024 + 1,
        };
        if out.len() > SCRIPT_BYTES_MAX {
            return out;
        }
        let tail = TAIL.get(..tail_len).unwrap_or(&TAIL);
        let header = Header {
            kind: kind % 16,
            flags: 0,
            head_len: head.len() as u16,
            tail_len: tail_len as u32,
            stream: if stream == 255 { u32::MAX } else { stream.into() },
            tail_crc: crc32fast::hash(tail),
            head_crc: 0,
            sequence,
        };
        sequence += 1;
        out.extend_from_slice(&header.seal(head));
        out.extend_from_slice(head);
        out.extend_from_slice(tail);
    }
    out
}

async fn serve(link: Link, budget: SlabBudget, answer: bool) {
    let mut kept = vec![];
    while let Some(incoming) = link.next_request().await {
        if let Some(reservation) = budget.try_reserve(1) {
            incoming.stream.grant(reservation);
        }
        if answer {
            let head = Ok(Response::Admin(AdminResponse::Chaos(0)));
            incoming.stream.respond(head, Bytes::new()).await.ok();
        }
        kept.push(incoming);
        kept.truncate(8);
        link.tick();
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else { return };
    let bytes = if how & 1 == 0 { frames(rest) } else { rest.to_vec() };
    let role = if how & 2 == 0 { Role::Acceptor } else { Role::Connector };
    let run = async move {
        let budget = SlabBudget::new(SlabPool::new(SLABS), SLABS);
        let (mut peer, io) = tokio::io::duplex(32 * 1024);
        let (reader, writer) = tokio::io::split(io);
        let credit = (2 * DATA_FRAME_BYTES) as u64;
        let params = LinkParams { role, budget: budget.clone(), send_credit: credit, recv_credit: credit };
        let (link, driver) = Link::new(reader, writer, params);
        let halves = [tokio::spawn(driver.reader), tokio::spawn(driver.writer)];
        let owner = tokio::spawn(serve(link.clone(), budget.clone(), how & 4 == 0));
        peer.write_all(&bytes).await.ok();
        drop(peer);
        tokio::time::timeout(Duration::from_secs(5), link.closed()).await.expect("the link never ends");
        for half in halves {
            half.await.expect("the driver panicked");
        }
        owner.await.expect("the owner panicked");
        assert!(link.status().is_some());
        drop(link);
        assert_eq!((budget.available(), budget.pool().in_use()), (SLABS, 0), "memory was leaked");
    };
    RUNTIME.with(|runtime| runtime.block_on(run));
});
