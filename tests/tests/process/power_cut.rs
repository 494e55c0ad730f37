//! The power goes, for the whole cluster at once: the disks keep what was synced and nothing else.
//!
//! Each node has a disk of its own: on a shared one, any node's sync would write the others' changes too, and a node that
//! forgot its own would not be found out.

use std::time::Duration;

use dfs_client::metadata::FsckKind;
use dfs_tests::{Cluster, LoopDisk, Options, Rng, eventually};

use crate::load::Load;

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_of_the_whole_cluster_under_load_loses_no_acknowledged_put_delete_or_rename() {
    let mut rng = Rng::for_test("power_cut");
    let home = tempfile::tempdir().expect("a directory");
    let names = ["coordinator", "dn1", "dn2", "dn3"];
    let Some(mut disks) = LoopDisk::several("a power cut", home.path(), &names, 512 * MIB) else { return };
    let data = Some(disks[0].dir().to_owned());
    let datanode_dirs = disks[1..].iter().map(|disk| disk.dir().join("data")).collect();
    let options = Options { data, datanode_dirs, ..Options::default() };
    let mut cluster = Cluster::start(3, options);
    // What nodes say as their disks vanish under them.
    for alarm in
        ["input/output error", "Input/output error", "os error 5", "I/O error", "os error 30", "ended by"]
    {
        cluster.logs().allow(alarm);
    }
    for _ in 0..2 {
        let load = Load::start(&cluster, 6, &mut rng).await;
        tokio::time::sleep(Duration::from_millis(1_000) + rng.up_to(Duration::from_millis(700))).await;
        // The coordinator's last: what it acknowledges must be on disks that are dark already.
        disks.iter().rev().for_each(LoopDisk::cut_power);
        cluster.kill_all();
        let account = load.end().await;
        let told = account.acknowledged;
        assert!(
            told.puts > 0 && told.deletes > 0 && told.renames > 0,
            "too little was acknowledged: {told:?}"
        );
        disks.iter_mut().for_each(LoopDisk::power_on);
        cluster.start_all();
        let client = cluster.client().await;
        account.audit(&cluster, &client).await;
        // Disks go dark one after another, in some milliseconds: a put in that moment may have been acknowledged with two
        // copies, which is promised; and orphans of uploads that were cut off are kept while their leases live.
        eventually("fsck finds nothing lost", Duration::from_secs(20), async || {
            let problems = cluster.fsck(&client).await;
            let lost =
                |kind| matches!(kind, FsckKind::ChunkLost | FsckKind::CopyCorrupt | FsckKind::Metadata);
            let serious: Vec<_> = problems.iter().filter(|problem| lost(problem.kind)).collect();
            if serious.is_empty() { Ok(()) } else { Err(format!("{serious:?}")) }
        })
        .await;
        for entry in client.list_all(&"/".parse().expect("a path"), true).await.expect("a listing") {
            let report = client.verify(&entry.path, None).await.expect("verify");
            assert!(report.fewest_good().is_none_or(|good| good >= 2), "{}: {report:?}", entry.path);
            client.delete(&entry.path, Default::default()).await.expect("a clean table for the next round");
        }
    }
    cluster.kill_all();
    drop(cluster);
}
