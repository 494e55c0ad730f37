//! Getting.

use std::io::SeekFrom;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dfs_client::metadata::PinnedVersion;
use dfs_client::{ChunkId, Client, ErrorKind, GetOptions, Progress, PutOptions, RetryPolicy, StatusCode};
use dfs_wire::id::Generation;
use dfs_wire::status::Status;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::cluster::{Cluster, Fault};
use crate::{noise, path};

const CHUNK: usize = 1 << 20;

/// A node, a chunk of it, and its bytes.
type TakenChunk = (usize, (ChunkId, Generation), Vec<u8>);

/// A cluster of three with one file of `len` bytes on all of them.
async fn stored(len: usize) -> (Cluster, Client, Vec<u8>) {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    let data = noise(len);
    let options = PutOptions::new().chunk_size(CHUNK as u32);
    client.put(data.clone().into(), &path("/a"), options).await.unwrap();
    (cluster, client, data)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_whole_files_arrive_as_they_are() {
    let (_cluster, client, data) = stored(3 * CHUNK + 77).await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let size = data.len();
    for (from, end) in
        [(0, size), (0, 0), (5, 6), (CHUNK - 1, CHUNK + 1), (CHUNK, 2 * CHUNK), (70_000, size), (size, size)]
    {
        let range = from as u64..end as u64;
        let read = client.read_range(&path("/a"), range.clone()).await.unwrap();
        assert!(read == data[from..end], "{range:?}");
        let options = GetOptions::new().range(range.clone());
        let got = client.get_to_path(&path("/a"), &to, options).await.unwrap();
        assert_eq!(got.bytes, range.end - range.start);
        assert!(std::fs::read(&to).unwrap() == data[from..end], "{range:?}");
    }
    assert_eq!(
        client.read_range(&path("/a"), 10..u64::MAX).await.unwrap().len(),
        size - 10,
        "cut at the end"
    );
    let beyond = client.read_range(&path("/a"), u64::MAX - 1..u64::MAX).await.unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::InvalidArgument);
    assert_eq!(names(dir.path()), ["out"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_goes_past_the_page_cache_and_is_right() {
    let (_cluster, client, data) = stored(20 * CHUNK + 4_097).await;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    client.get_to_path(&path("/a"), &dir.path().join("out"), GetOptions::default()).await.unwrap();
    assert!(std::fs::read(dir.path().join("out")).unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_goes_on_where_one_broke_off() {
    for fault in [
        Fault::CutReadsAfter(512 * 1024),
        Fault::CutReadsAfter(0),
        Fault::Down,
        Fault::Mute,
        Fault::RefuseReads(Status::new(StatusCode::Unavailable, "draining")),
    ] {
        let (cluster, client, data) = stored(4 * CHUNK).await;
        cluster.fault(0, fault.clone());
        cluster.fault(1, fault.clone());
        let mut out = Vec::new();
        let got = client.get_to_writer(&path("/a"), &mut out, GetOptions::default()).await;
        let got = got.unwrap_or_else(|e| panic!("{fault:?}: {e:?}"));
        assert!(out == data, "{fault:?}");
        assert!(got.bad_copies.is_empty(), "{fault:?}: an unreachable copy is not a bad one");
        let dir = tempfile::tempdir().unwrap();
        client.get_to_path(&path("/a"), &dir.path().join("f"), GetOptions::default()).await.unwrap();
        assert!(std::fs::read(dir.path().join("f")).unwrap() == data, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_costs_a_moment_and_is_remembered() {
    let (cluster, client, data) = stored(24 * CHUNK).await;
    drop(client);
    let client = cluster.client_with(|c| c.timeouts.read_stall = Duration::from_secs(30)).await;
    client.get_to_writer(&path("/a"), &mut Vec::new(), GetOptions::default()).await.unwrap();
    cluster.fault(0, Fault::HangReads);
    for round in 0..3 {
        let begun = std::time::Instant::now();
        let mut out = Vec::new();
        let got = client.get_to_writer(&path("/a"), &mut out, GetOptions::default()).await.unwrap();
        assert!(out == data, "round {round}");
        assert!(begun.elapsed() < Duration::from_secs(2), "round {round}: {:?}", begun.elapsed());
        assert!(got.failovers <= 12, "round {round}: {} of 24 chunks tried the hung disk", got.failovers);
    }
    // Where there is no other copy, it is waited for.
    cluster.fault(0, Fault::SlowToBegin(Duration::from_millis(2500)));
    cluster.fault(1, Fault::Down);
    cluster.fault(2, Fault::Down);
    let late = cluster.client_with(|c| c.timeouts.read_stall = Duration::from_secs(30)).await;
    assert!(late.read_range(&path("/a"), 0..10).await.unwrap() == data[..10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_read_and_sought_like_a_local_one() {
    let (cluster, client, data) = stored(5 * CHUNK + 77).await;
    let mut file = client.open(&path("/a"), GetOptions::new()).await.unwrap();
    let mut all = Vec::new();
    file.read_to_end(&mut all).await.unwrap();
    assert!(all == data);
    for at in [0, 5, CHUNK - 1, CHUNK, 3 * CHUNK + 300_001, data.len() - 1, data.len(), data.len() + 9] {
        assert_eq!(file.seek(SeekFrom::Start(at as u64)).await.unwrap(), at as u64);
        let mut found = Vec::new();
        (&mut file).take(600_000).read_to_end(&mut found).await.unwrap();
        let from = at.min(data.len());
        assert!(found == data[from..data.len().min(from + 600_000)], "{at}");
    }
    file.seek(SeekFrom::End(-7)).await.unwrap();
    assert_eq!(file.seek(SeekFrom::Current(-3)).await.unwrap(), data.len() as u64 - 10);
    let mut last = Vec::new();
    file.read_to_end(&mut last).await.unwrap();
    assert!(last == data[data.len() - 10..]);
    assert!(file.seek(SeekFrom::Current(-(data.len() as i64) - 1)).await.is_err());

    // A range of it is a file of its own.
    let mut part = client.open(&path("/a"), GetOptions::new().range(100..200)).await.unwrap();
    assert_eq!(part.seek(SeekFrom::End(-10)).await.unwrap(), 90);
    let mut found = Vec::new();
    part.read_to_end(&mut found).await.unwrap();
    assert!(found == data[190..200]);

    let corrupt = Fault::RefuseReads(Status::new(StatusCode::Corrupt, "rot"));
    (0..3).for_each(|node| cluster.fault(node, corrupt.clone()));
    file.seek(SeekFrom::Start(0)).await.unwrap();
    let error = file.read_to_end(&mut Vec::new()).await.unwrap_err();
    let source = error.get_ref().and_then(|e| e.downcast_ref::<dfs_client::Error>());
    assert_eq!(source.map(|e| e.kind()), Some(ErrorKind::Integrity), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_read_in_the_coordinators_order() {
    let (cluster, client, data) = stored(8 * CHUNK).await;
    assert!(client.read_range(&path("/a"), 0..data.len() as u64).await.unwrap() == data);
    let reads: Vec<_> = cluster.lock().nodes.iter().map(|node| node.reads).collect();
    let first =
        cluster.lock().files[&path("/a")].chunks.values().map(|c| c.receipts[0].node).collect::<Vec<_>>();
    for (index, count) in reads.into_iter().enumerate() {
        let expected = first.iter().filter(|node| **node == crate::cluster::node_id(index)).count();
        assert_eq!(count as usize, expected, "node {index}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_is_not_a_stalled_read() {
    let (cluster, client, data) = stored(260 * 1024).await;
    drop(client);
    (0..3).for_each(|n| cluster.fault(n, Fault::SlowLine));
    let late = cluster.client_with(|c| c.timeouts.read_stall = Duration::from_secs(1)).await;
    let mut out = Vec::new();
    let got = late.get_to_writer(&path("/a"), &mut out, GetOptions::default()).await.unwrap();
    assert!(out == data);
    assert_eq!((got.retries, got.failovers), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_copy_is_passed_over_and_named() {
    let corrupt = Fault::RefuseReads(Status::new(StatusCode::Corrupt, "block 3 does not match"));
    for fault in [corrupt, Fault::LieOnReads] {
        let (cluster, client, data) = stored(4 * CHUNK).await;
        cluster.fault(0, fault.clone());
        cluster.fault(2, fault.clone());
        let mut out = Vec::new();
        let got = client.get_to_writer(&path("/a"), &mut out, GetOptions::default()).await.unwrap();
        assert!(out == data, "{fault:?}");
        assert!(!got.bad_copies.is_empty(), "{fault:?}");
        assert!(got.bad_copies.iter().all(|b| b.node != crate::cluster::node_id(1)), "{:?}", got.bad_copies);
        let report = client.verify(&path("/a"), None).await.unwrap();
        assert!(!report.is_clean());
        assert_eq!(report.fewest_good(), Some(1));
        for chunk in &report.chunks {
            let good: Vec<_> = chunk.copies.iter().filter(|c| c.result.is_ok()).map(|c| c.node).collect();
            assert_eq!(good, [crate::cluster::node_id(1)], "{fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_break_and_a_lie_together_are_told_apart() {
    let (cluster, client, data) = stored(CHUNK).await;
    cluster.fault(0, Fault::LieOnReads);
    cluster.fault(1, Fault::CutReadsAfter(512 * 1024));
    for _ in 0..6 {
        let mut out = Vec::new();
        client.get_to_writer(&path("/a"), &mut out, GetOptions::default()).await.unwrap();
        assert!(out == data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_bad_copies_are_an_integrity_error_and_no_byte() {
    for fault in [Fault::RefuseReads(Status::new(StatusCode::Corrupt, "rot")), Fault::LieOnReads] {
        let (cluster, client, _) = stored(CHUNK + 5).await;
        (0..3).for_each(|n| cluster.fault(n, fault.clone()));
        let mut out = Vec::new();
        let error = client.get_to_writer(&path("/a"), &mut out, GetOptions::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Integrity, "Corrupt"), "{error:?}");
        assert!(error.chunk().is_some() && out.is_empty());
        let dir = tempfile::tempdir().unwrap();
        let error =
            client.get_to_path(&path("/a"), &dir.path().join("f"), GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(names(dir.path()).is_empty(), "nothing is left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_copies_are_named_within_the_budget() {
    let (cluster, client, _) = stored(CHUNK).await;
    (0..3).for_each(|n| cluster.fault(n, Fault::Down));
    // The connections of the put live on; a client that comes later cannot dial.
    let late = cluster.client().await;
    drop(client);
    let error = late.read_range(&path("/a"), 0..10).await.unwrap_err();
    assert_eq!(error.code(), "ReplicasUnreachable", "{error:?}");
    assert!((0..3).all(|n| error.to_string().contains(&format!("n{n} (node-{n})"))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_known_to_be_away_are_named_soon_and_those_that_are_only_silent_are_waited_for() {
    use dfs_wire::message::membership::NodeState::{Down, Left, Suspect};
    let (cluster, client, data) = stored(CHUNK).await;
    drop(client);
    let know = |states: [_; 3]| {
        for (n, state) in states.into_iter().enumerate() {
            let node = &mut cluster.lock().nodes[n];
            (node.fault, node.known) = (Some(Fault::Down), Some(state));
        }
    };
    let waits = |budget| {
        cluster.client_with(move |config| {
            let (attempts, pause_max) = (1_000, Duration::from_millis(200));
            config.retry = RetryPolicy { budget, attempts, pause_max, ..RetryPolicy::default() };
        })
    };
    let began = Instant::now();
    let client = waits(Duration::from_secs(60)).await;
    know([Down, Left, Down]);
    let error = client.read_range(&path("/a"), 0..10).await.unwrap_err();
    let waited = began.elapsed();
    assert!((1_900..10_000).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(error.code(), "ReplicasUnreachable", "{error:?}");
    for said in ["chunk 0 ", "n0 (node-0): it is down", "n1 (node-1): it was stopped"] {
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(
        error.chunk().is_some() && error.hint().contains("start n0 or n1 or n2 again"),
        "{}",
        error.hint()
    );

    // Back within the time that a restart takes.
    let back = async {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        cluster.lock().nodes[1].fault = None;
    };
    let file = path("/a");
    let (read, ()) = tokio::join!(client.read_range(&file, 0..10), back);
    assert_eq!(read.unwrap()[..], data[..10]);

    know([Down, Left, Suspect]);
    let (client, began) = (waits(Duration::from_secs(4)).await, Instant::now());
    client.read_range(&path("/a"), 0..10).await.unwrap_err();
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "one may be back at any moment: {:?}",
        began.elapsed()
    );
}

/// Takes these chunks of `/a` from every node.
fn take_away(cluster: &Cluster, indices: impl IntoIterator<Item = u32>) -> Vec<TakenChunk> {
    let mut state = cluster.lock();
    let receipts = indices.into_iter().map(|i| state.files[&path("/a")].chunks[&i].receipts[0].clone());
    let keys: Vec<_> = receipts.map(|r| (r.chunk, r.generation)).collect();
    let nodes = state.nodes.iter_mut().enumerate();
    let taken = nodes.flat_map(|(n, node)| {
        keys.iter().filter_map(move |&key| node.chunks.remove(&key).map(|bytes| (n, key, bytes)))
    });
    taken.collect()
}

fn give_back(cluster: &Cluster, taken: Vec<TakenChunk>) {
    let mut state = cluster.lock();
    for (node, key, bytes) in taken {
        state.nodes[node].chunks.insert(key, bytes);
    }
}

/// The chunks that the trailer of the only part in `dir` names: the newer of its two slots of 4 KiB.
fn noted(dir: &Path) -> Vec<u32> {
    let names = names(dir);
    let [part] = names.as_slice() else { panic!("one part: {names:?}") };
    assert!(part.starts_with(".dfs-") && part.ends_with(".part"), "{part}");
    let bytes = std::fs::read(dir.join(part)).unwrap();
    let slots = bytes[bytes.len() - 8192..].chunks(4096).filter_map(|slot| {
        let text = slot[44..].split(|&byte| byte == 0).next()?;
        serde_json::from_slice::<Value>(text).ok()
    });
    let newest = slots.max_by_key(|trailer| trailer["sequence"].as_u64()).unwrap();
    let runs: Vec<(u32, u32)> = serde_json::from_value(newest["chunks"].clone()).unwrap();
    runs.into_iter().flat_map(|(first, last)| first..=last).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_get_goes_on_where_it_was() {
    // The first get only keeps what it has; the second uses it.
    let keeping = GetOptions::new().keep_partial(true);
    let resuming = GetOptions::new().resume(true);
    for first in [keeping, resuming.clone()] {
        let (cluster, client, data) = stored(6 * CHUNK + 9).await;
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("f");
        // The last chunk cannot be had: the get stays unfinished.
        let last = take_away(&cluster, [6]);
        let error = client.get_to_path(&path("/a"), &to, first).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error:?}");
        let kept = noted(dir.path());
        assert!(!kept.is_empty() && !kept.contains(&6), "{kept:?}");
        give_back(&cluster, last);
        // What was kept cannot be fetched again: it is not there.
        take_away(&cluster, kept.iter().copied());
        let got = client.get_to_path(&path("/a"), &to, resuming.clone()).await.unwrap();
        assert_eq!(got.resumed_bytes, (kept.len() * CHUNK) as u64);
        assert!(std::fs::read(&to).unwrap() == data);
        assert_eq!(names(dir.path()), ["f"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_there_already_is_checked_and_not_fetched() {
    let (cluster, client, data) = stored(2 * CHUNK + 9).await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("f");
    let options = GetOptions::new().resume(true);
    std::fs::write(&to, &data).unwrap();
    let taken = take_away(&cluster, 0..3);
    let got = client.get_to_path(&path("/a"), &to, options.clone()).await.unwrap();
    assert_eq!((got.bytes, got.resumed_bytes), (data.len() as u64, data.len() as u64));
    give_back(&cluster, taken);
    let mut other = data.clone();
    other[CHUNK] ^= 1;
    std::fs::write(&to, &other).unwrap();
    let got = client.get_to_path(&path("/a"), &to, options).await.unwrap();
    assert_eq!(got.resumed_bytes, 0);
    assert!(std::fs::read(&to).unwrap() == data);
    assert_eq!(names(dir.path()), ["f"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_is_not_believed() {
    let (cluster, client, data) = stored(6 * CHUNK + 9).await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("f");
    let last = take_away(&cluster, [6]);
    let keeping = GetOptions::new().keep_partial(true);
    client.get_to_path(&path("/a"), &to, keeping).await.unwrap_err();
    give_back(&cluster, last);
    // One byte of each chunk turns while nobody looks.
    let part = dir.path().join(&names(dir.path())[0]);
    let part = std::fs::File::options().read(true).write(true).open(part).unwrap();
    for chunk in 0..6 {
        let (mut byte, at) = ([0], (chunk * CHUNK) as u64 + 77);
        part.read_exact_at(&mut byte, at).unwrap();
        part.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    let options = GetOptions::new().resume(true);
    let got = client.get_to_path(&path("/a"), &to, options).await.unwrap();
    assert_eq!(got.resumed_bytes, 0);
    assert!(std::fs::read(&to).unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_gone_is_told() {
    let (cluster, client, _) = stored(CHUNK).await;
    let opened = client.open_read(&path("/a"), None, 0, 1).await.unwrap();
    let old = PinnedVersion { inode: opened.stat.inode, version: opened.stat.version };
    client.put(vec![1, 2, 3].into(), &path("/a"), PutOptions::default()).await.unwrap();
    let options = GetOptions::new().version(old);
    let mut out = Vec::new();
    let error = client.get_to_writer(&path("/a"), &mut out, options).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("VersionGone", ErrorKind::NotFound));
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_files_and_strange_destinations() {
    let (_cluster, client, data) = stored(10).await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("f");
    std::fs::write(&to, "mine").unwrap();
    let keep = GetOptions::new().overwrite(false);
    let error = client.get_to_path(&path("/a"), &to, keep).await.unwrap_err();
    assert_eq!((error.code(), std::fs::read(&to).unwrap()), ("AlreadyExists", b"mine".to_vec()));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&to, &link).unwrap();
    client.get_to_path(&path("/a"), &link, GetOptions::default()).await.unwrap();
    assert!(link.is_symlink() && std::fs::read(&to).unwrap() == data, "a link stays one");
    let loose = dir.path().join("loose");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &loose).unwrap();
    let error = client.get_to_path(&path("/a"), &loose, GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    assert!(loose.is_symlink(), "a link that leads nowhere stays one, too");
    client.get_to_path(&path("/a"), Path::new("/dev/null"), GetOptions::default()).await.unwrap();
    assert!(!Path::new("/dev/null").is_file(), "a device stays one");
    let error = client.get_to_path(&path("/a"), dir.path(), GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = client.get_to_path(&path("/none"), &to, GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_ends_where_the_file_ends() {
    let (_cluster, client, data) = stored(5 * CHUNK + 1).await;
    let last = Arc::new(Mutex::new(Progress::default()));
    let seen = last.clone();
    let progress: dfs_client::ProgressFn = Arc::new(move |p| *seen.lock().unwrap() = p);
    let mut out = Vec::new();
    let options = GetOptions::new().progress(progress);
    client.get_to_writer(&path("/a"), &mut out, options).await.unwrap();
    let last = *last.lock().unwrap();
    assert_eq!((last.bytes, last.bytes_total, last.chunks), (data.len() as u64, Some(data.len() as u64), 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_many_files_stays_within_its_memory() {
    let (_cluster, client, data) = stored(8 * CHUNK).await;
    let tasks = (0..6).map(|_| {
        let (client, data) = (client.clone(), data.clone());
        tokio::spawn(async move {
            let (mut writer, mut reader) = tokio::io::duplex(1024);
            let name = path("/a");
            let get = client.get_to_writer(&name, &mut writer, GetOptions::default());
            let slow = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let mut out = vec![0; data.len()];
                tokio::io::AsyncReadExt::read_exact(&mut reader, &mut out).await.unwrap();
                out
            };
            let (got, out) = tokio::join!(get, slow);
            got.unwrap();
            assert!(out == data);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_does_not_knock_one_by_one_at_a_deaf_node() {
    let (cluster, _, data) = stored(CHUNK).await;
    cluster.fault(0, Fault::Deaf);
    cluster.fault(1, Fault::Deaf);
    let late = cluster.client_with(|c| c.timeouts.handshake = Duration::from_millis(200)).await;
    let begun = std::time::Instant::now();
    let reads = (0..40u64).map(|i| {
        let late = late.clone();
        tokio::spawn(async move { late.read_range(&path("/a"), i * 100..i * 100 + 100).await })
    });
    for (i, read) in reads.collect::<Vec<_>>().into_iter().enumerate() {
        assert!(read.await.unwrap().unwrap() == data[i * 100..i * 100 + 100]);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}: forty times 200 ms is eight seconds",
        begun.elapsed()
    );
}
