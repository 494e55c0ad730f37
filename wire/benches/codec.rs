//! What the wire costs: messages, headers, checksums, and a link over loopback against a plain copy.
//!
//! `cargo bench -p dfs-wire` runs all; `cargo bench -p dfs-wire -- link` only the copy. Its figures are the ratios:
//! the machine's own speed is in both numbers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use dfs_wire::auth::{Grant, GrantOp, Mac};
use dfs_wire::frame::{FrameKind, Header};
use dfs_wire::id::{ChunkId, Epoch, Generation, InodeId, NodeId, OpId, VersionId};
use dfs_wire::limits::{CONNECTION_CREDIT_BYTES, DATA_FRAME_BYTES, HEAD_BYTES_MAX};
use dfs_wire::link::{DataFrame, Event, Link, LinkParams, Role};
use dfs_wire::message::admin::{AdminRequest, AdminResponse};
use dfs_wire::message::chunk::{ChunkRequest, Target, WriteChunk};
use dfs_wire::message::metadata::{EntryKind, FileStat, Listed, MetadataRequest, MetadataResponse, PathOnly};
use dfs_wire::message::{Request, RequestHead, Response, ResponseHead};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::{codec, path::DfsPath};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn request(body: Request) -> RequestHead {
    RequestHead { op: OpId(u128::MAX / 3), deadline_ms: 30_000, trace: None, body }
}

fn write_chunk() -> RequestHead {
    let grant = Grant {
        epoch: Epoch(7),
        op: GrantOp::Write,
        chunk: ChunkId(u128::MAX / 5),
        generation: Generation(1),
        file: InodeId(123_456),
        index: 17,
        len_max: 8 << 20,
        expires_ms: 1_700_000_000_000,
    };
    let target =
        |n: u128| Target { node: NodeId(u128::MAX / n), address: "10.0.0.17:8081".into(), mac: Mac([7; 16]) };
    let write = WriteChunk {
        grant,
        mac: Mac([9; 16]),
        len_hint: 8 << 20,
        replicas: vec![target(7), target(11)],
        min_ack: 2,
    };
    request(Request::Chunk(ChunkRequest::Write(write)))
}

fn listing() -> ResponseHead {
    let entry = |n: u64| FileStat {
        path: DfsPath::parse(&format!("/projects/alpha/data/part-{n:05}.parquet")).expect("a path"),
        inode: InodeId(n),
        kind: EntryKind::File,
        size: n << 20,
        mtime_ns: 1_700_000_000_000_000_000 + i64::try_from(n).unwrap_or(0),
        created_ms: 1_700_000_000_000,
        version: VersionId(u128::MAX / (u128::from(n) + 1)),
        chunk_size: 8 << 20,
        chunk_count: 12,
        replication: 3,
    };
    Ok(Response::Metadata(MetadataResponse::Listed(Listed {
        entries: (0..256).map(entry).collect(),
        next: None,
    })))
}

fn messages(c: &mut Criterion) {
    let stat = request(Request::Metadata(MetadataRequest::Stat(PathOnly {
        path: DfsPath::parse("/projects/alpha/data/part-00001.parquet").expect("a path"),
    })));
    let mut group = c.benchmark_group("encode");
    let mut out = Vec::with_capacity(HEAD_BYTES_MAX);
    let mut encode = |name: &str, run: &dyn Fn(&mut Vec<u8>)| {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                run(&mut out);
                black_box(out.len())
            })
        });
    };
    encode("stat request", &|out| codec::encode_into(&stat, out).expect("encodes"));
    let write = write_chunk();
    encode("write request", &|out| codec::encode_into(&write, out).expect("encodes"));
    let page = listing();
    encode("listing of 256", &|out| codec::encode_into(&page, out).expect("encodes"));
    group.finish();

    let mut group = c.benchmark_group("decode");
    let (stat, write) = (codec::encode(&stat).expect("encodes"), codec::encode(&write).expect("encodes"));
    let page = codec::encode(&page).expect("encodes");
    group.bench_function("stat request", |b| b.iter(|| codec::decode::<RequestHead>(black_box(&stat))));
    group.bench_function("write request", |b| b.iter(|| codec::decode::<RequestHead>(black_box(&write))));
    group.bench_function("listing of 256", |b| b.iter(|| codec::decode::<ResponseHead>(black_box(&page))));
    group.finish();
}

fn frames(c: &mut Criterion) {
    let header = Header {
        kind: FrameKind::Data as u8,
        flags: 0,
        head_len: 0,
        tail_len: DATA_FRAME_BYTES as u32,
        stream: 7,
        tail_crc: 9,
        head_crc: 0,
        sequence: 11,
    };
    let mut group = c.benchmark_group("header");
    group.bench_function("seal", |b| b.iter(|| black_box(header).seal(b"")));
    let sealed = header.seal(b"");
    group.bench_function("parse and verify", |b| {
        b.iter(|| Header::parse(black_box(&sealed), HEAD_BYTES_MAX).map(|h| h.verify_head(b"")))
    });
    group.finish();

    let payload = Bytes::from(vec![0x5a; DATA_FRAME_BYTES]);
    let mut group = c.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(DATA_FRAME_BYTES as u64));
    group.bench_function("blocks and whole of 256 KiB", |b| b.iter(|| DataFrame::new(payload.clone()).crc));
    group.bench_function("whole of 256 KiB, once", |b| b.iter(|| crc32fast::hash(black_box(&payload))));
    group.finish();
}

const TOTAL_BYTES: usize = 1 << 30;
const FRAMES: usize = TOTAL_BYTES / DATA_FRAME_BYTES;
const ROUNDS: usize = 5;

/// User and system time of this process, from the kernel's ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let (a, b) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (a, b) = (a.expect("connect"), b.expect("accept").0);
    a.set_nodelay(true).expect("nodelay");
    b.set_nodelay(true).expect("nodelay");
    (a, b)
}

/// What any program must pay: a reused buffer written, a reused buffer read.
async fn plain_copy() {
    let (mut from, mut to) = sockets().await;
    let sending = tokio::spawn(async move {
        let buffer = vec![0x5a; DATA_FRAME_BYTES];
        for _ in 0..FRAMES {
            from.write_all(&buffer).await.expect("write");
        }
        from
    });
    let receiving = tokio::spawn(async move {
        let mut buffer = vec![0; DATA_FRAME_BYTES];
        for _ in 0..FRAMES {
            to.read_exact(&mut buffer).await.expect("read");
            black_box(&buffer);
        }
    });
    receiving.await.expect("receive");
    sending.await.expect("send");
}

fn link(io: TcpStream, role: Role, budget: &SlabBudget) -> Link {
    let (reader, writer) = io.into_split();
    let params = LinkParams {
        role,
        budget: budget.clone(),
        send_credit: CONNECTION_CREDIT_BYTES,
        recv_credit: CONNECTION_CREDIT_BYTES,
    };
    let (link, driver) = Link::new(reader, writer, params);
    tokio::spawn(driver.reader);
    tokio::spawn(driver.writer);
    link
}

/// The same with the checksums that any end-to-end check must pay: one at each end.
async fn checked_copy() {
    let (mut from, mut to) = sockets().await;
    let sending = tokio::spawn(async move {
        let buffer = vec![0x5a; DATA_FRAME_BYTES];
        for _ in 0..FRAMES {
            black_box(crc32fast::hash(&buffer));
            from.write_all(&buffer).await.expect("write");
        }
        from
    });
    let receiving = tokio::spawn(async move {
        let mut buffer = vec![0; DATA_FRAME_BYTES];
        for _ in 0..FRAMES {
            to.read_exact(&mut buffer).await.expect("read");
            black_box(crc32fast::hash(&buffer));
        }
    });
    receiving.await.expect("receive");
    sending.await.expect("send");
}

/// The same bytes as an upload: credit, headers, checksums at both ends, slabs.
async fn upload(budget: &SlabBudget) {
    let (from, to) = sockets().await;
    let (client, server) = (link(from, Role::Connector, budget), link(to, Role::Acceptor, budget));
    let sending = tokio::spawn(async move {
        let payload = Bytes::from(vec![0x5a; DATA_FRAME_BYTES]);
        let ask = request(Request::Admin(AdminRequest::NodeInfo));
        let stream = client.open(&ask, Bytes::new()).expect("open");
        for _ in 0..FRAMES {
            stream.send(DataFrame::new(payload.clone())).await.expect("send");
        }
        while !matches!(stream.recv().await.expect("an answer"), Event::Response(..)) {}
    });
    let incoming = server.next_request().await.expect("a request");
    incoming.stream.grant(budget.reserve(16).await);
    for _ in 0..FRAMES {
        black_box(incoming.stream.recv().await.expect("data"));
    }
    let answer = Ok(Response::Admin(AdminResponse::Chaos(0)));
    incoming.stream.respond(answer, Bytes::new()).await.expect("respond");
    sending.await.expect("send");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn throughput() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let budget = SlabBudget::new(SlabPool::new(128), 128);
    let measure = |run: &dyn Fn()| {
        let (wall, cpu) = (Instant::now(), cpu_time());
        run();
        let wall = wall.elapsed().as_secs_f64();
        (TOTAL_BYTES as f64 / 1e9 / wall, (cpu_time() - cpu).as_secs_f64())
    };
    let (mut plain, mut checked, mut framed) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        plain.push(measure(&|| runtime.block_on(plain_copy())));
        checked.push(measure(&|| runtime.block_on(checked_copy())));
        framed.push(measure(&|| runtime.block_on(upload(&budget))));
    }
    let of = |rounds: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
    let ratio = |base: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
        median(framed.iter().zip(base).map(|(f, p)| pick(f) / pick(p)).collect())
    };
    println!("\n1 GiB over loopback in frames of 256 KiB, medians of {ROUNDS} rounds in turn");
    println!("| | GB/s | CPU-s/GiB |\n|---|---|---|");
    for (name, rounds) in [("plain copy", &plain), ("copy with CRC-32", &checked), ("link", &framed)] {
        println!("| {name} | {:.2} | {:.2} |", of(rounds, |r| r.0), of(rounds, |r| r.1));
    }
    println!("| link / plain | {:.2} | {:.2} |", ratio(&plain, |r| r.0), ratio(&plain, |r| r.1));
    println!("| link / CRC-32 | {:.2} | {:.2} |", ratio(&checked, |r| r.0), ratio(&checked, |r| r.1));
}

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if only.iter().all(|o| o != "link") {
        let mut c = Criterion::default()
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(30)
            .configure_from_args();
        messages(&mut c);
        frames(&mut c);
        c.final_summary();
    }
    // `cargo test --benches` only wants to know that it runs.
    if !std::env::args().any(|a| a == "--test") {
        throughput();
    }
}
