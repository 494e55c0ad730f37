//! Disks that are full: a clear refusal, nothing partial, and deletes that still work.

use dfs_client::{ErrorKind, PutOptions, PutSource};
use dfs_tests::{Cluster, Content, MayMount, Mount, Options, may_mount, path};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_refused_with_the_name_of_its_node_and_nothing_partial_is_seen() {
    if may_mount("a full disk") != MayMount::Yes {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let disks: Vec<_> = (0..3).map(|n| Mount::memory(&home.path().join(format!("d{n}")), 48 * MIB)).collect();
    let dirs = disks.iter().map(|disk| disk.dir().join("data")).collect();
    let cluster = Cluster::start(3, Options { datanode_dirs: dirs, ..Options::default() });
    let client = cluster.client().await;
    let mut stored = vec![];
    let error = loop {
        let number = stored.len() as u64;
        assert!(number < 30, "more was stored than the disks hold");
        let (file, content) = (path(&format!("/f{number}")), Content::new("full", number, 6 * MIB));
        match client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await {
            Ok(_) => stored.push((file, content)),
            Err(error) => break error,
        }
    };
    assert!(stored.len() >= 3, "only {} files fit: {error:?}", stored.len());
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    let named = |text: &str| ["dn1", "dn2", "dn3"].iter().any(|name| text.contains(name));
    assert!(error.node().is_some() || named(&format!("{error:?}")), "no node is named: {error:?}");

    cluster.file("big", &Content::new("big", 1, 6 * MIB).bytes());
    let said = cluster.dfsctl(&["put", "big", "/big"]).run().code(9);
    assert!(named(&said.stderr), "no node is named: {}", said.stderr);

    let listed = client.list_all(&path("/"), true).await.expect("a listing");
    assert_eq!(listed.len(), stored.len(), "nothing partial is visible: {listed:?}");
    for (file, content) in &stored {
        content.expect(file.as_str(), &cluster.read(&client, file).await.expect("read"));
    }
    // Deletes, renames and directories need no room on a datanode.
    cluster.ok(&["mkdir", "/d"]);
    cluster.ok(&["mv", "/f0", "/d/f0"]);
    cluster.ok(&["rm", "/d/f0"]);
    cluster.ok(&["rm", "/f1"]);
    assert_eq!(client.list_all(&path("/"), true).await.expect("a listing").len(), stored.len() - 1);
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_full_disk_of_four_is_passed_over_and_writes_go_on() {
    if may_mount("a full disk among others") != MayMount::Yes {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let disk = Mount::memory(&home.path().join("small"), 16 * MIB);
    let cluster =
        Cluster::start(4, Options { datanode_dirs: vec![disk.dir().join("data")], ..Options::default() });
    let client = cluster.client().await;
    for number in 0..12 {
        let (file, content) = (path(&format!("/f{number}")), Content::new("some", number, 4 * MIB));
        let put = client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await;
        put.unwrap_or_else(|error| panic!("/f{number}: {error:?}"));
        content.expect(file.as_str(), &cluster.read(&client, &file).await.expect("read"));
    }
    drop(cluster);
}
