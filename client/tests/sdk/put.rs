//! Putting.

use std::time::Duration;

use dfs_client::{Client, ErrorKind, GetOptions, PutOptions, PutOutcome, PutSource, StatusCode};
use dfs_wire::status::Status;
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, Fault, Lost};
use crate::{noise, path};

const CHUNK: u32 = 1 << 20;

fn options() -> PutOptions {
    PutOptions::new().chunk_size(CHUNK)
}

async fn read_back(client: &Client, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    client.get_to_writer(&path(name), &mut out, GetOptions::default()).await.unwrap();
    out
}

async fn put(client: &Client, data: &[u8]) -> Result<PutOutcome, dfs_client::Error> {
    client.put(data.to_vec().into(), &path("/a"), options()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_and_every_length_comes_back() {
    let cluster = Cluster::new(4);
    let client = cluster.client().await;
    let chunk = CHUNK as usize;
    for len in [0, 1, 65_537, chunk - 1, chunk, chunk + 1, 5 * chunk + 3] {
        let data = noise(len);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), &data).unwrap();
        let sources = [
            PutSource::from(data.clone()),
            PutSource::path(dir.path().join("f")),
            PutSource::reader(std::io::Cursor::new(data.clone())),
        ];
        for source in sources {
            let shown = format!("{source:?} of {len}");
            let put = client.put(source, &path("/a"), options()).await.unwrap();
            assert_eq!(
                (put.stat.size, put.stat.chunk_count as usize),
                (len as u64, len.div_ceil(chunk)),
                "{shown}"
            );
            assert!(put.degraded.is_empty() && put.failovers == 0, "{shown}");
            assert_eq!(read_back(&client, "/a").await, data, "{shown}");
        }
    }
    assert!(cluster.lock().uploads.is_empty());
}

#[tokio::test]
async fn a_small_file_takes_three_round_trips() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    put(&client, b"small").await.unwrap();
    let names: Vec<_> = cluster.lock().log.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["metadata.open_upload", "metadata.commit_upload"]);
    assert_eq!(cluster.lock().nodes.iter().map(|n| n.writes).sum::<u32>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_chunks_are_recorded_in_batches() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    let data = noise(70 * 65_536 + 1);
    let options = PutOptions::new().chunk_size(65_536);
    let put = client.put(data.clone().into(), &path("/a"), options).await.unwrap();
    assert_eq!(put.stat.chunk_count, 71);
    assert_eq!(cluster.count("metadata.record_chunks"), (2, 2));
    assert_eq!(read_back(&client, "/a").await, data);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_operation() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    for name in ["metadata.open_upload", "metadata.commit_upload"] {
        cluster.lock().lost_answers.insert(name, 2);
    }
    put(&client, b"once").await.unwrap();
    assert_eq!(cluster.count("metadata.open_upload"), (3, 1));
    assert_eq!(cluster.count("metadata.commit_upload"), (3, 1));
    assert_eq!(cluster.lock().files.len(), 1);
}

/// Ways to lose an answer that look like one.
fn losses() -> Vec<Lost> {
    let codes =
        [StatusCode::ProtocolViolation, StatusCode::Unavailable, StatusCode::Busy, StatusCode::NotFound];
    let closed = codes.map(|code| Lost::Closed(Status::new(code, "a reason to close")));
    closed.into_iter().chain([Lost::Reset, Lost::Unsaid]).collect()
}

#[tokio::test]
async fn the_end_of_a_connection_or_a_request_is_not_taken_for_its_answer() {
    for lost in losses() {
        let cluster = Cluster::new(3);
        let client = cluster.client().await;
        cluster.lock().lost_by = lost.clone();
        cluster.lock().lost_answers.insert("metadata.commit_upload", 2);
        put(&client, b"once").await.unwrap_or_else(|e| panic!("{lost:?}: {e:?}"));
        assert_eq!(cluster.count("metadata.commit_upload"), (3, 1), "{lost:?}");
    }
    for lost in losses().into_iter().chain([Lost::Moved]) {
        let cluster = Cluster::new(3);
        let client = cluster.client().await;
        cluster.lock().lost_by = lost.clone();
        cluster.lock().lost_answers.insert("metadata.commit_upload", u32::MAX);
        let error = put(&client, b"perhaps").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{lost:?}: {error:?}");
        assert_eq!(cluster.lock().files.len(), 1, "{lost:?}: it is there");
    }
}

#[tokio::test]
async fn patience_with_the_coordinator_is_bounded_whatever_it_does() {
    let begun = std::time::Instant::now();
    let patience = Duration::from_millis(300);
    let cluster = Cluster::new(3);
    let client = cluster.client_with(|c| c.give_up_after(patience)).await;
    cluster.lock().mute = true;
    let error = client.stat(&path("/a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let error = client.mkdir(&path("/d"), Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    cluster.lock().deaf = true;
    let mut config = dfs_client::ClientConfig::new([crate::cluster::COORDINATOR; 2]);
    config.give_up_after(patience);
    let error = Client::connect_with(config, std::sync::Arc::new(cluster.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(begun.elapsed() < 3 * patience + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_commit_that_nobody_answers_has_an_unknown_outcome() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    cluster.lock().lost_answers.insert("metadata.commit_upload", u32::MAX);
    let error = put(&client, b"perhaps").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    let (_, ops) = cluster.count("metadata.commit_upload");
    let op = error.op().expect("the operation is named");
    assert!(ops == 1 && cluster.lock().log.contains(&("metadata.commit_upload", op)));
    assert!(error.to_string().contains(&op.to_string()));
    assert_eq!(cluster.count("metadata.abort_upload").0, 0, "it may have been done: nothing is given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_broken_full_and_mute_primaries_are_passed_over() {
    let faults = [
        Fault::Down,
        Fault::CutWritesAfter(512 * 1024),
        Fault::RefuseWrites(Status::new(StatusCode::NoSpace, "disk is full")),
        Fault::Mute,
    ];
    for fault in faults {
        let cluster = Cluster::new(4);
        let client = cluster.client().await;
        cluster.fault(1, fault.clone());
        let data = noise(4 * CHUNK as usize);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), &data).unwrap();
        for source in
            [PutSource::path(dir.path().join("f")), PutSource::reader(std::io::Cursor::new(data.clone()))]
        {
            let put = client
                .put(source, &path("/a"), options())
                .await
                .unwrap_or_else(|e| panic!("{fault:?}: {e:?}"));
            assert_eq!(put.stat.size, data.len() as u64);
        }
        assert!(cluster.lock().excluded.contains(&crate::cluster::node_id(1)), "{fault:?}");
        cluster.lock().nodes[1].fault = None;
        assert_eq!(read_back(&client, "/a").await, data, "{fault:?}");
    }
}

#[tokio::test]
async fn a_queue_is_waited_for() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    let busy = Status::new(StatusCode::Busy, "a queue").retry_after_ms(1);
    (0..3).for_each(|n| cluster.fault(n, Fault::RefuseFirstWrites(9, busy.clone())));
    let put = put(&client, &noise(100)).await.unwrap();
    assert!(put.retries >= 9, "{put:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_grants_are_renewed_without_blaming_a_node() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    let stale = Status::new(StatusCode::StaleEpoch, "the coordinator was restarted");
    (0..3).for_each(|n| cluster.fault(n, Fault::RefuseFirstWrites(2, stale.clone())));
    let put = put(&client, &noise(4 * CHUNK as usize)).await.unwrap();
    assert!(put.degraded.is_empty() && put.failovers >= 3, "{put:?}");
    assert!(cluster.lock().excluded.is_empty());
}

#[tokio::test]
async fn when_every_node_stumbled_none_is_excluded() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    let broken = Status::new(StatusCode::DiskFailed, "an I/O error");
    (0..3).for_each(|n| cluster.fault(n, Fault::RefuseFirstWrites(1, broken.clone())));
    let begun = std::time::Instant::now();
    put(&client, b"stumbling").await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn two_copies_of_three_are_success_and_told() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    cluster.fault(2, Fault::FailAsReplica);
    let put = put(&client, b"degraded").await.unwrap();
    let degraded = &put.degraded[0];
    assert_eq!((degraded.index, degraded.copies, degraded.wanted), (0, 2, 3));
    assert_eq!(degraded.failed[0].0, crate::cluster::node_id(2));
    assert_eq!(read_back(&client, "/a").await, b"degraded");
}

#[tokio::test]
async fn one_copy_is_not_enough_and_leaves_nothing() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    (0..3).for_each(|n| cluster.fault(n, Fault::FailAsReplica));
    let error = put(&client, b"too few").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let state = cluster.lock();
    assert!(state.files.is_empty() && state.uploads.is_empty(), "given up, nothing visible");
}

#[tokio::test]
async fn full_disks_everywhere_are_named() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    (0..3).for_each(|n| {
        let status = Status::new(StatusCode::NoSpace, format!("disk of n{n} is full"));
        cluster.fault(n, Fault::RefuseWrites(status));
    });
    let error = put(&client, b"no room").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(error.node().is_some() && error.to_string().contains("is full"), "{error}");
}

#[tokio::test]
async fn a_dropped_put_is_given_up() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    let (mut writer, reader) = tokio::io::duplex(64);
    let task = tokio::spawn({
        let client = client.clone();
        async move { client.put(PutSource::reader(reader), &path("/a"), options()).await }
    });
    writer.write_all(b"half of it").await.unwrap();
    cluster.eventually("the upload is open", |s| s.uploads.len() == 1).await;
    task.abort();
    cluster.eventually("the upload is given up", |s| s.uploads.is_empty()).await;
    assert!(cluster.lock().files.is_empty());
}

#[tokio::test]
async fn a_source_that_fails_fails_the_put() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    let missing = client.put(PutSource::path("/no/such/file"), &path("/a"), options()).await.unwrap_err();
    assert_eq!((missing.kind(), missing.code()), (ErrorKind::LocalIo, "LocalIo"));
    let directory = client.put(PutSource::path("/"), &path("/a"), options()).await.unwrap_err();
    assert_eq!(directory.kind(), ErrorKind::InvalidArgument);
    let broken = tokio_test_reader();
    let error = client.put(PutSource::reader(broken), &path("/a"), options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalIo, "{error:?}");
    let state = cluster.lock();
    assert!(state.files.is_empty() && state.uploads.is_empty());
}

/// Reads a little, then fails.
fn tokio_test_reader() -> impl tokio::io::AsyncRead + Send + Unpin {
    struct Broken(bool);
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if std::mem::replace(&mut self.0, true) {
                return std::task::Poll::Ready(Err(std::io::Error::other("unplugged")));
            }
            buf.put_slice(b"a little");
            std::task::Poll::Ready(Ok(()))
        }
    }
    Broken(false)
}

#[tokio::test]
async fn nobody_there_is_told_soon() {
    let cluster = Cluster::new(1);
    let config = dfs_client::ClientConfig {
        retry: dfs_client::RetryPolicy { connect_budget: Duration::from_millis(50), ..Default::default() },
        ..dfs_client::ClientConfig::new(["nowhere:1"])
    };
    let error = Client::connect_with(config, std::sync::Arc::new(cluster)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("nowhere:1") && !error.hint().is_empty(), "{error}");
}

#[tokio::test]
async fn before_the_commit_no_outcome_is_unknown() {
    let cluster = Cluster::new(3);
    let client = cluster.client().await;
    cluster.lock().lost_answers.insert("metadata.open_upload", u32::MAX);
    let error = put(&client, b"nothing").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(cluster.lock().files.is_empty());
}

#[tokio::test]
async fn an_id_that_is_too_old_is_replaced_if_nothing_was_sent_under_it() {
    let cluster = Cluster::new(3);
    cluster.lock().time_ms = 1_000;
    let client = cluster.client().await;
    {
        let mut state = cluster.lock();
        (state.time_ms, state.low_water_ms) = (900_000, Some(800_000));
    }
    put(&client, &noise(100)).await.unwrap();
    let log = cluster.lock().log.clone();
    assert_eq!(log[0].1.stamp_ms() / 1_000, 1);
    assert!(log[1..].iter().all(|(_, op)| op.stamp_ms() >= 900_000), "one new stamp is enough: {log:?}");
    assert_eq!(cluster.count("metadata.commit_upload"), (1, 1));

    let given = options().op(dfs_client::OpId(7));
    let error = client.put(noise(9).into(), &path("/given"), given).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "it may have been sent before: {error:?}");
    assert!(!cluster.lock().files.contains_key(&path("/given")));
}

#[tokio::test]
async fn a_repeat_whose_first_outcome_is_forgotten_is_not_done_again() {
    let cluster = Cluster::new(3);
    cluster.lock().time_ms = 1_000;
    let client = cluster.client().await;
    {
        let mut state = cluster.lock();
        state.forgetful = true;
        state.lost_answers.insert("metadata.commit_upload", 1);
    }
    let error = put(&client, b"perhaps").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    assert_eq!(cluster.count("metadata.commit_upload"), (2, 1), "under one id, and not under another");
}
