//! Nodes that die in the middle, and clusters that die altogether.

use std::{
    fs,
    io::{Read as _, Write as _},
    time::Duration,
};

use dfs_client::metadata::FsckKind;
use dfs_tests::{
    Cluster, Options, Rng,
    data::{noise, sha256},
};

use crate::load::Load;

const MIB: usize = 1024 * 1024;

#[test]
fn a_datanode_killed_during_an_upload_is_not_noticed_by_the_client() {
    let cluster = Cluster::start(4, Options::default());
    let bytes = noise(1, 32 * MIB);
    let (first, rest) = bytes.split_at(bytes.len() / 3);
    let mut put = cluster.dfsctl(&["put", "--chunk-size", "1MiB", "-", "/big"]).start();
    let mut pipe = put.stdin.take().expect("a pipe");
    pipe.write_all(first).expect("taken");
    cluster.datanode(1).kill();
    pipe.write_all(rest).expect("taken");
    drop(pipe);
    assert!(put.wait().expect("it ends").success(), "the upload fails");
    assert_eq!(sha256(&cluster.dfsctl(&["cat", "/big"]).run().ok().stdout), sha256(&bytes));
    cluster.start_all();
    assert_eq!(sha256(&cluster.dfsctl(&["cat", "/big"]).run().ok().stdout), sha256(&bytes));
}

#[test]
fn a_datanode_killed_during_a_download_is_not_noticed_by_the_client() {
    let cluster = Cluster::start(3, Options::default());
    let bytes = noise(2, 48 * MIB);
    cluster.file("in", &bytes);
    cluster.ok(&["put", "--chunk-size", "1MiB", "in", "/big"]);
    for victim in 0..2 {
        let mut get = cluster.dfsctl(&["get", "/big", "-"]).start();
        let mut pipe = get.stdout.take().expect("a pipe");
        let mut back = vec![0; bytes.len() / 6];
        pipe.read_exact(&mut back).expect("the beginning comes");
        // The second time, one node is gone before: a single copy is left.
        cluster.datanode(victim).kill();
        pipe.read_to_end(&mut back).expect("the rest comes");
        assert!(get.wait().expect("it ends").success(), "the download fails");
        assert_eq!(sha256(&back), sha256(&bytes));
    }
}

/// Kills the whole cluster under load and starts it again, `rounds` times; then audits what the writers were told.
async fn everything_dies(rounds: u32) {
    let mut rng = Rng::for_test("everything_dies");
    let cluster = Cluster::start(3, Options::default());
    for _ in 0..rounds {
        let load = Load::start(&cluster, 6, &mut rng).await;
        tokio::time::sleep(Duration::from_millis(1_000) + rng.up_to(Duration::from_millis(700))).await;
        cluster.kill_all();
        let account = load.end().await;
        let told = account.acknowledged;
        assert!(
            told.puts > 0 && told.deletes > 0 && told.renames > 0,
            "too little was acknowledged: {told:?}"
        );
        cluster.start_all();
        let client = cluster.client().await;
        account.audit(&cluster, &client).await;
        for entry in client.list_all(&"/".parse().expect("a path"), true).await.expect("a listing") {
            let report = client.verify(&entry.path, None).await.expect("verify");
            // Two copies are enough for an acknowledgement if the third fell behind; none may be bad.
            let bad = report.chunks.iter().flat_map(|chunk| &chunk.copies).any(|copy| copy.result.is_err());
            assert!(!bad && report.fewest_good().is_none_or(|good| good >= 2), "{}: {report:?}", entry.path);
            client.delete(&entry.path, Default::default()).await.expect("a clean table for the next round");
        }
        let left =
            |node: &dfs_tests::NodeHandle| fs::read_dir(node.data_dir().join("tmp")).expect("tmp").count();
        assert!(cluster.datanodes().iter().all(|node| left(node) == 0), "half-written files are left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_change_survives_the_death_of_everything_and_nothing_half_done_is_seen() {
    everything_dies(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_during_changes_leaves_only_honest_outcomes() {
    let mut rng = Rng::for_test("coordinator_killed");
    let cluster = Cluster::start(3, Options::default());
    let load = Load::start(&cluster, 8, &mut rng).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(500) + rng.up_to(Duration::from_millis(500))).await;
        cluster.coordinator().kill();
        tokio::time::sleep(rng.up_to(Duration::from_millis(500))).await;
        cluster.coordinator().start();
        cluster.wait_for_nodes();
    }
    let account = load.end().await;
    assert!(account.acknowledged.puts > 10, "{:?}", account.acknowledged);
    let client = cluster.client().await;
    account.audit(&cluster, &client).await;
    let lost = cluster.fsck(&client).await;
    let serious = |kind| matches!(kind, FsckKind::ChunkLost | FsckKind::Metadata | FsckKind::CopyCorrupt);
    assert!(!lost.iter().any(|problem| serious(problem.kind)), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_for_a_coordinator_that_restarts_and_its_operations_succeed() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let changes = tokio::spawn(async move {
        for number in 0..40 {
            let file = dfs_tests::path(&format!("/f{number}"));
            let content = dfs_tests::Content::new("patient", number, 50_000);
            client.put(content.bytes().into(), &file, Default::default()).await.expect("put");
        }
        client
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.coordinator().restart();
    cluster.wait_for_nodes();
    let client = changes.await.expect("every put succeeds");
    let listed = client.list_all(&dfs_tests::path("/"), false).await.expect("a listing");
    assert_eq!(listed.len(), 40);
}
