//! A replica that is there and does nothing, and networks that lose, delay and damage: one upload slows down, within
//! limits; others do not.

use std::time::{Duration, Instant};

use dfs_client::{PutOptions, PutSource};
use dfs_tests::{Cluster, Content, Fault, Options, path};

const CHUNK: u64 = 1024 * 1024;

fn options(copies: u8) -> PutOptions {
    PutOptions::new().chunk_size(CHUNK as u32).replication(copies)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_in_the_middle_is_cut_off_and_the_put_succeeds_with_two_copies() {
    let settings = Options::default().set("cluster.straggler_timeout", "500ms");
    let cluster = std::sync::Arc::new(Cluster::start(3, settings));
    let client = cluster.client().await;
    let (file, content) = (path("/slow"), Content::new("/slow", 1, 16 * CHUNK));
    let pausing = cluster.clone();
    let source = PutSource::reader(content.reader(4 * CHUNK, move || pausing.datanode(2).pause()));
    let began = Instant::now();
    let putting = client.put(source, &file, options(3));

    // Others go on meanwhile: files of one copy that happen to be placed on the nodes that work.
    let other = cluster.client().await;
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut slowest = Duration::ZERO;
        for number in 0..10 {
            let began = Instant::now();
            let small = Content::new("other", number, 10_000);
            let put =
                other.put(PutSource::from(small.bytes()), &path(&format!("/o{number}")), options(2)).await;
            put.expect("another upload");
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (put, slowest) = tokio::join!(putting, others);
    let put = put.expect("the put succeeds");
    let took = began.elapsed();
    assert!(!put.degraded.is_empty() && put.degraded.iter().all(|chunk| chunk.copies == 2), "{put:?}");
    assert!(took < Duration::from_secs(40), "the put took {took:?}");
    assert!(slowest < Duration::from_secs(10), "another upload took {slowest:?}");

    cluster.datanode(2).resume();
    cluster.wait_for_nodes();
    content.expect("/slow", &cluster.read(&client, &file).await.expect("read"));
    assert_eq!(client.verify(&file, None).await.expect("verify").fewest_good(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_during_a_read_is_left_for_another() {
    let cluster = std::sync::Arc::new(Cluster::start(3, Options::default()));
    let client = cluster.client().await;
    let (file, content) = (path("/read"), Content::new("/read", 1, 16 * CHUNK));
    client.put(PutSource::from(content.bytes()), &file, options(3)).await.expect("put");
    let pausing = cluster.clone();
    let mut sink = content.checker(4 * CHUNK, move || pausing.datanode(0).pause());
    let began = Instant::now();
    client.get_to_writer(&file, &mut sink, Default::default()).await.expect("read");
    sink.expect_whole();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    cluster.datanode(0).resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_on_the_way_is_noticed_and_the_bytes_sent_again() {
    let cluster = Cluster::start(3, Options { proxied: true, ..Options::default() });
    let client = cluster.client().await;
    let (file, content) = (path("/flip"), Content::new("/flip", 1, 8 * CHUNK));
    for index in 0..3 {
        cluster.proxy(index).set(Fault::FlipBit);
    }
    client.put(PutSource::from(content.bytes()), &file, options(3)).await.expect("put");
    let flips: u64 = (0..3).map(|index| cluster.proxy(index).flips()).sum();
    assert!(flips > 0, "no bit was flipped");
    content.expect("put over a bad wire", &cluster.read(&client, &file).await.expect("read"));
    let report = client.verify(&file, None).await.expect("verify");
    // A copy whose bytes were damaged on their way from the primary is left to repair; two are promised.
    assert!(report.fewest_good().is_some_and(|good| good >= 2), "{report:?}");

    for index in 0..3 {
        cluster.proxy(index).set(Fault::FlipBit);
    }
    content.expect("got over a bad wire", &cluster.read(&client, &file).await.expect("read"));
    let again: u64 = (0..3).map(|index| cluster.proxy(index).flips()).sum();
    assert!(again > flips, "no bit was flipped on the way back");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_stalled_or_slow_cost_time_and_no_data() {
    let cluster = Cluster::start(3, Options { proxied: true, ..Options::default() });
    let client = cluster.client().await;
    let content = Content::new("/net", 1, 8 * CHUNK);
    let faults = [Fault::Cut, Fault::Stall, Fault::Delay(Duration::from_millis(5))];
    for (number, fault) in faults.into_iter().enumerate() {
        let file = path(&format!("/net-{number}"));
        let putting = client.put(PutSource::from(content.bytes()), &file, options(3));
        let disturbing = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cluster.proxy(number).set(fault);
        };
        let (put, ()) = tokio::join!(putting, disturbing);
        put.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        content.expect("under the fault", &cluster.read(&client, &file).await.expect("read"));
        cluster.proxy(number).set(Fault::None);
        content.expect("after the fault", &cluster.read(&client, &file).await.expect("read"));
    }
}
