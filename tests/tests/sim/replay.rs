//! A run is a function of its seed.

use std::time::Duration;

use dfs_client::{GetOptions, PutOptions, PutSource};
use dfs_tests::sim::{Sent, Sim};
use dfs_tests::{Content, path};
use dfs_wire::frame::FrameKind;

const SEEDS: u64 = 20;
const DATANODES: usize = 3;
const CHUNK_BYTES: u32 = 256 * 1024;

/// Runs `work` in a world of its own: one thread, and time that passes only when nobody has anything to do.
fn run<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// What a run was like.
struct Run {
    sent: Vec<Sent>,
    took: Duration,
}

/// Stores files of sizes that follow from the seed, some bytes at once and some from a stream, and reads them back.
async fn store_and_read(seed: u64) -> Run {
    let sim = Sim::start(seed, DATANODES).await;
    let client = sim.client("client").await;
    let len = 3 * u64::from(CHUNK_BYTES) / 2 + seed * 10_007;
    let (known, streamed) = (Content::new("known", seed, len), Content::new("streamed", seed, len / 2));
    let (known_at, streamed_at) = (path("/d/known"), path("/d/streamed"));
    let options = PutOptions::new().chunk_size(CHUNK_BYTES).parents(true);
    let put = client.put(known.bytes().into(), &known_at, options.clone()).await.expect("stored");
    assert_eq!((put.stat.size, put.degraded.len()), (len, 0));
    let (other, copy) = tokio::join!(
        client.put(PutSource::reader(std::io::Cursor::new(streamed.bytes())), &streamed_at, options),
        client.read_range(&known_at, 1000..70_000),
    );
    assert_eq!(other.expect("stored").stat.size, len / 2);
    assert_eq!(known.first_difference(1000, &copy.expect("read")), None);
    for (content, at) in [(known, &known_at), (streamed, &streamed_at)] {
        let mut found = Vec::new();
        client.get_to_writer(at, &mut found, GetOptions::default()).await.expect("read");
        content.expect("what was read", &found);
    }
    let local = tempfile::tempdir().expect("a directory");
    let file = local.path().join("known");
    client.get_to_path(&known_at, &file, GetOptions::default()).await.expect("read");
    known.expect("the local file", &std::fs::read(file).expect("it is there"));
    let chunks = len.div_ceil(CHUNK_BYTES.into()) + (len / 2).div_ceil(CHUNK_BYTES.into());
    let copies: usize = sim.datanodes().iter().map(|node| node.chunks()).sum();
    assert_eq!(copies as u64, chunks * DATANODES as u64, "each chunk is on each datanode");
    // Several heartbeats more, and the goodbyes.
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(client);
    let (trace, took) = (sim.trace().clone(), sim.elapsed());
    sim.stop().await;
    Run { sent: trace.sent(), took }
}

/// Where two runs part, in words; `None` if they are the same.
fn difference(first: &Run, second: &Run) -> Option<String> {
    let (one, two) = (&first.sent, &second.sent);
    let at = one.iter().zip(two).position(|(a, b)| a != b);
    let at = at.or_else(|| (one.len() != two.len()).then(|| one.len().min(two.len())))?;
    let line = |sent: &[Sent], at: usize| sent.get(at).map_or("(end)".to_owned(), Sent::to_string);
    let before: String = (at.saturating_sub(3)..at).map(|at| format!("    {}\n", line(one, at))).collect();
    Some(format!(
        "frame {at} differs, after\n{before}  first:  {}\n  second: {}",
        line(one, at),
        line(two, at)
    ))
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let mut runs = Vec::new();
    for seed in 0..SEEDS {
        let (first, second) = (run(store_and_read(seed)), run(store_and_read(seed)));
        if let Some(difference) = difference(&first, &second) {
            panic!("seed {seed}: {difference}");
        }
        let data = first.sent.iter().filter(|sent| sent.header.kind == FrameKind::Data as u8).count();
        println!(
            "seed {seed}: {} frames, {data} of data, {:?} of virtual time",
            first.sent.len(),
            first.took
        );
        assert!(data >= 3 * DATANODES, "the files crossed the wire");
        runs.push(first);
    }
    assert!(difference(&runs[0], &runs[1]).is_some(), "another seed gives another run");
}

#[test]
fn a_difference_of_one_bit_is_seen() {
    let first = run(store_and_read(1));
    let mut second = Run { sent: first.sent.clone(), took: first.took };
    assert_eq!(difference(&first, &second), None);
    let last = second.sent.last_mut().expect("a frame");
    last.header.head_crc ^= 1;
    assert!(difference(&first, &second).is_some());
    second.sent.pop();
    assert!(difference(&first, &second).is_some());
}
