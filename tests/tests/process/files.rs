//! A file's life: listed, renamed, replaced, deleted, brought back; and a cluster's: drained, restarted, found again.

use dfs_client::{
    DeleteOptions, ErrorKind, GetOptions, MkdirOptions, PutOptions, PutSource, RenameOptions, TrashTarget,
    metadata::PinnedVersion,
};
use dfs_tests::{Cluster, Content, Options, path};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_renamed_deleted_and_brought_back_and_each_is_seen_at_once() {
    let cluster = Cluster::start(3, Options::default());
    let (client, other) = (cluster.client().await, cluster.client().await);
    let content = Content::new("life", 1, 300_000);
    let (from, to) = (path("/d/from"), path("/d/to"));
    client.mkdir(&path("/d"), MkdirOptions::default()).await.expect("mkdir");
    client.put(PutSource::from(content.bytes()), &from, PutOptions::default()).await.expect("put");
    content.expect("another client", &cluster.read(&other, &from).await.expect("read"));

    client.rename(&from, &to, RenameOptions::default()).await.expect("rename");
    assert_eq!(other.stat(&from).await.expect_err("moved").kind(), ErrorKind::NotFound);
    content.expect("renamed", &cluster.read(&other, &to).await.expect("read"));
    client.rename(&path("/d"), &path("/e"), RenameOptions::default()).await.expect("rename of a directory");
    let to = path("/e/to");
    content.expect("in a renamed directory", &cluster.read(&other, &to).await.expect("read"));

    client.delete(&to, DeleteOptions::default()).await.expect("delete");
    assert_eq!(other.stat(&to).await.expect_err("deleted").kind(), ErrorKind::NotFound);
    assert_eq!(other.list_all(&path("/e"), false).await.expect("a listing"), []);
    cluster.dfsctl(&["get", "/e/to", "gone"]).run().code(3);
    assert!(!cluster.home().join("gone").exists());

    client.undelete(TrashTarget::Path(to.clone()), None, None).await.expect("undelete");
    content.expect("brought back", &cluster.read(&other, &to).await.expect("read"));
    assert!(client.verify(&to, None).await.expect("verify").is_clean());

    let gone = DeleteOptions::new().skip_trash(true);
    client.delete(&to, gone).await.expect("delete");
    let error = client.undelete(TrashTarget::Path(to), None, None).await.expect_err("not in the trash");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(cluster.fsck(&client).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_keeps_the_version_it_opened_though_it_is_replaced_and_deleted() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let (file, old) = (path("/f"), Content::new("f", 1, 700_000));
    let put = client.put(PutSource::from(old.bytes()), &file, PutOptions::default()).await.expect("put");
    let new = Content::new("f", 2, 600_000);
    let (pinned, client2, file2) = (client.clone(), client.clone(), file.clone());
    client.open_read(&file, None, 0, 0).await.expect("a lease");
    client2.put(PutSource::from(new.bytes()), &file2, PutOptions::default()).await.expect("replaced");
    client2.delete(&file2, DeleteOptions::new().skip_trash(true)).await.expect("deleted");
    let version = PinnedVersion { inode: put.stat.inode, version: put.stat.version };
    let mut bytes = vec![];
    let options = GetOptions::new().version(version);
    match pinned.get_to_writer(&file, &mut bytes, options).await {
        Ok(_) => old.expect("the version that was opened", &bytes),
        Err(error) => assert_eq!(error.code(), "VersionGone", "{error:?}"),
    }
    assert_eq!(client.stat(&file).await.expect_err("deleted").kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_stopped_in_order_ends_well_and_comes_back_with_all_it_had() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let contents: Vec<_> =
        (0..10).map(|n| (path(&format!("/f{n}")), Content::new("f", n, n * 100_000))).collect();
    for (file, content) in &contents {
        client.put(PutSource::from(content.bytes()), file, PutOptions::default()).await.expect("put");
    }
    for node in cluster.datanodes().iter().chain([cluster.coordinator()]) {
        let status = node.stop();
        assert!(status.success(), "{}: {status}\n{}", node.name(), node.log());
    }
    cluster.start_all();
    let client = cluster.client().await;
    for (file, content) in &contents {
        content.expect(file.as_str(), &cluster.read(&client, file).await.expect("read"));
        assert!(client.verify(file, None).await.expect("verify").is_clean(), "{file}");
    }
    assert_eq!(cluster.fsck(&client).await, []);
}
