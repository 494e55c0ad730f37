//! Whatever bytes arrive, a link's reader ends with a reason and allocates no more than its limits.
//!
//! One test alone in its binary: the counter of allocations counts the whole process.

use std::time::Duration;

use dfs_wire::Bytes;
use dfs_wire::codec;
use dfs_wire::frame::{FrameKind, Header, PingHead, WindowHead};
use dfs_wire::id::OpId;
use dfs_wire::limits::{
    DATA_FRAME_BYTES, DECODE_BYTES_MAX, HEAD_BYTES_MAX, INLINE_TAIL_BYTES_MAX, SLAB_ALIGN,
};
use dfs_wire::link::{Event, Incoming, Link, LinkParams, Role};
use dfs_wire::message::admin::{AdminRequest, AdminResponse};
use dfs_wire::message::{EndHead, Request, RequestHead, Response, ResponseHead};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use peak_alloc::PeakAlloc;
use tokio::io::AsyncWriteExt;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Receive memory of the link under attack.
const SLABS: usize = 4;
/// What the test and the runtime take themselves: the pipe, tasks, queues, error texts.
const SLACK_BYTES: usize = 512 * 1024;
const PIPE_BYTES: usize = 64 * 1024;
const CASES: u64 = 600;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A head that fits the kind, now and then damaged or made of noise.
fn head(rng: &mut Rng, kind: u8) -> Vec<u8> {
    let status = Status::new(StatusCode::Cancelled, "x".repeat(rng.below(2_000)));
    let request = RequestHead {
        op: OpId(1),
        deadline_ms: 0,
        trace: None,
        body: Request::Admin(AdminRequest::NodeInfo),
    };
    let response: ResponseHead = Ok(Response::Admin(AdminResponse::Chaos(1)));
    let mut bytes = match FrameKind::from_number(kind) {
        Some(FrameKind::Request) => codec::encode(&request),
        Some(FrameKind::Response) => codec::encode(&response),
        Some(FrameKind::End) => {
            codec::encode(&EndHead { len: rng.next(), sha256: [0; 32], facts: Box::default() })
        }
        Some(FrameKind::Window) => codec::encode(&WindowHead { limit: rng.next() }),
        Some(FrameKind::Ping | FrameKind::Pong) => codec::encode(&PingHead { nonce: rng.next() }),
        Some(FrameKind::Data) => Ok(vec![]),
        _ => codec::encode(&status),
    }
    .unwrap();
    if rng.one_in(6) {
        // A length that announces more than there is, somewhere in the head: 253 marks eight bytes.
        let at = rng.below(bytes.len() + 1);
        bytes.splice(at..at, [253, 255, 255, 255, 255, 255, 255, 255, 127]);
    }
    if rng.one_in(10) {
        let len = rng.below(HEAD_BYTES_MAX);
        bytes = rng.noise(len);
    }
    bytes
}

fn tail_len(rng: &mut Rng, kind: u8) -> usize {
    let max = match FrameKind::from_number(kind) {
        Some(FrameKind::Data) | None => DATA_FRAME_BYTES,
        Some(FrameKind::Request | FrameKind::Response) => INLINE_TAIL_BYTES_MAX,
        _ => 0,
    };
    match rng.below(4) {
        0 => max,
        1 => max.min(rng.below(max + 1)),
        _ => max.min(rng.below(64)),
    }
}

/// A stream of frames, mostly right ones, with a fault now and then.
fn script(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![];
    let (mut next_stream, mut sequence) = (1, 0);
    for _ in 0..1 + rng.below(12) {
        let kind = if rng.one_in(2) { [4, 6, 7][rng.below(3)] } else { rng.below(20) as u8 };
        let stream = match (kind, rng.below(8)) {
            (_, 0) => rng.next() as u32,
            (4, _) => {
                next_stream += 2;
                next_stream - 2
            }
            _ => 1 + 2 * rng.below(3) as u32,
        };
        let head = head(rng, kind);
        let tail = vec![7; tail_len(rng, kind)];
        let header = Header {
            kind,
            flags: rng.next() as u8,
            head_len: head.len() as u16,
            tail_len: tail.len() as u32,
            stream,
            tail_crc: if rng.one_in(30) { 0 } else { crc32fast::hash(&tail) },
            head_crc: 0,
            sequence,
        };
        sequence += u32::from(!rng.one_in(40));
        let at = bytes.len();
        bytes.extend([&header.seal(&head)[..], &head, &tail].concat());
        if rng.one_in(20) {
            let hit = at + rng.below(bytes.len() - at);
            bytes[hit] ^= 1 << rng.below(8);
        }
    }
    if rng.one_in(3) {
        bytes.truncate(rng.below(bytes.len() + 1));
    }
    bytes
}

/// An owner of the link that grants memory, takes some data and answers some requests.
async fn serve(link: Link, budget: SlabBudget) {
    let mut kept: Vec<Incoming> = vec![];
    while let Some(incoming) = link.next_request().await {
        if let Some(reservation) = budget.try_reserve(1) {
            incoming.stream.grant(reservation);
        }
        if kept.len() % 3 == 2 {
            let answer = Ok(Response::Admin(AdminResponse::Chaos(0)));
            incoming.stream.respond(answer, Bytes::new()).await.ok();
        }
        kept.push(incoming);
        for incoming in &kept {
            let event = tokio::time::timeout(Duration::from_millis(1), incoming.stream.recv()).await;
            drop::<Option<Result<Event, Status>>>(event.ok());
        }
        kept.truncate(6);
    }
}

/// Sends `bytes` to a link; gives the reason it ended with, and the most memory it took.
async fn attack(role: Role, bytes: &[u8]) -> (Status, usize) {
    let budget = SlabBudget::new(SlabPool::new(0), SLABS);
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let (mut peer, io) = tokio::io::duplex(PIPE_BYTES);
    let (reader, writer) = tokio::io::split(io);
    let credit = (SLABS * DATA_FRAME_BYTES) as u64;
    let params = LinkParams { role, budget: budget.clone(), send_credit: credit, recv_credit: credit };
    let (link, driver) = Link::new(reader, writer, params);
    let tasks = [tokio::spawn(driver.reader), tokio::spawn(driver.writer)];
    let owner = tokio::spawn(serve(link.clone(), budget.clone()));
    // The link may close on it in the middle. Its answers are not read: the pipe takes some of them.
    peer.write_all(bytes).await.ok();
    drop(peer);
    tokio::time::timeout(Duration::from_secs(10), link.closed()).await.expect("the link never ended");
    let status = link.status().expect("it is closed");
    for task in tasks {
        task.await.expect("the driver panicked");
    }
    owner.await.expect("the owner panicked");
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    drop(link);
    assert_eq!(budget.available(), SLABS, "memory was leaked: {status}");
    (status, peak)
}

#[tokio::test]
async fn any_bytes_end_with_a_reason_and_within_the_memory_limit() {
    let slab_bytes = DATA_FRAME_BYTES + SLAB_ALIGN;
    let limit =
        SLABS * slab_bytes + DECODE_BYTES_MAX + 2 * HEAD_BYTES_MAX + INLINE_TAIL_BYTES_MAX + SLACK_BYTES;
    let mut reasons = std::collections::BTreeMap::<StatusCode, u32>::new();
    for seed in 0..CASES {
        let mut rng = Rng(seed);
        let bytes = if rng.one_in(8) {
            let len = rng.below(100_000);
            rng.noise(len)
        } else {
            script(&mut rng)
        };
        let role = if rng.one_in(4) { Role::Connector } else { Role::Acceptor };
        let (status, peak) = attack(role, &bytes).await;
        assert!(peak <= limit, "seed {seed}: {peak} bytes allocated, more than {limit}");
        *reasons.entry(status.code).or_default() += 1;
    }
    // The scripts reach what they are meant to reach.
    for code in [
        StatusCode::ProtocolViolation,
        StatusCode::ChecksumMismatch,
        StatusCode::FlowControl,
        StatusCode::ConnectionLost,
    ] {
        assert!(reasons.contains_key(&code), "no script ended with {code}: {reasons:?}");
    }
}
