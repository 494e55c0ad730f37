//! Directories that are not what they should be: an old copy of the metadata, none at all, another cluster's, a datanode's
//! twice. Nothing is deleted for it, and nobody gives up who is in the right.

use std::{fs, path::Path, time::Duration};

use dfs_tests::{Cluster, NodeHandle, Options, data::noise, wait_until};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a listing").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn chunk_files(cluster: &Cluster) -> usize {
    cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum()
}

/// Waits until no datanode is ready, and each says why.
fn wait_apart(cluster: &Cluster, why: &str) {
    for node in cluster.datanodes() {
        wait_until(&format!("{} stays apart", node.name()), || {
            node.get("/readyz").is_ok_and(|(status, text)| status == 503 && text.contains(why))
        });
    }
}

/// The word after `coordinator.give_up_epoch=` in a status.
fn epoch_named(status: &str) -> Option<String> {
    let (_, rest) = status.split_once("coordinator.give_up_epoch=")?;
    Some(rest.chars().take_while(char::is_ascii_digit).collect())
}

#[test]
fn an_old_copy_of_the_metadata_is_found_out_and_gone_on_with_only_on_purpose() {
    let mut cluster = Cluster::start(3, Options::default());
    cluster.logs().allow("it is an old copy");
    cluster.logs().allow("this node stays apart");
    let metadata = cluster.coordinator().data_dir().join("metadata");
    let (backup, newest) = (cluster.home().join("backup"), cluster.home().join("newest"));
    cluster.file("in", &noise(1, 300_000));
    cluster.ok(&["put", "in", "/before"]);
    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    copy(&metadata, &backup);
    cluster.coordinator().start();
    cluster.wait_for_nodes();
    cluster.ok(&["put", "in", "/after"]);
    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    let chunks = chunk_files(&cluster);
    let swap = |from: &Path| {
        fs::remove_dir_all(&metadata).expect("removed");
        copy(from, &metadata);
    };

    copy(&metadata, &newest);
    swap(&backup);
    cluster.coordinator().start();
    wait_until("it is found out", || cluster.dfsctl(&["status"]).run().text().contains("METADATA_OUTDATED"));
    wait_apart(&cluster, "metadata is older");
    assert_eq!(cluster.code(&["stat", "/after"]).0, 3);
    assert_eq!(cluster.code(&["status", "--check"]).0, 11);
    assert_eq!(cluster.coordinator().stop().code(), Some(0));

    swap(&newest);
    cluster.coordinator().start();
    cluster.wait_for_nodes();
    cluster.ok(&["get", "/after", "back"]);
    assert!(!cluster.ok(&["status"]).contains("METADATA_OUTDATED"));
    assert_eq!((chunk_files(&cluster), cluster.coordinator().stop().code()), (chunks, Some(0)));

    swap(&backup);
    cluster.coordinator().start();
    let mut epoch = None;
    wait_until("it is found out again", || {
        epoch = epoch_named(&cluster.dfsctl(&["status"]).run().text());
        epoch.is_some()
    });
    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    let key = format!("coordinator.give_up_epoch={}", epoch.expect("an epoch"));
    cluster.coordinator().start_with(&["--set", &key]);
    cluster.wait_for_nodes();
    cluster.ok(&["get", "/before", "back2"]);
    assert_eq!(cluster.code(&["stat", "/after"]).0, 3);
    assert!(!cluster.ok(&["status"]).contains("METADATA_OUTDATED"));
}

#[test]
fn a_copy_that_was_made_while_the_coordinator_ran_is_found_out_without_a_start_in_between() {
    let mut cluster = Cluster::start(3, Options::default());
    cluster.logs().allow("it is an old copy");
    cluster.logs().allow("this node stays apart");
    let metadata = cluster.coordinator().data_dir().join("metadata");
    let backup = cluster.home().join("backup");
    cluster.file("in", &noise(1, 300_000));
    cluster.ok(&["put", "in", "/before"]);
    // Stopped in its tracks for the copy, as a snapshot of the file system would have it.
    cluster.coordinator().pause();
    copy(&metadata, &backup);
    cluster.coordinator().resume();
    cluster.wait_for_nodes();
    cluster.ok(&["put", "in", "/after"]);
    std::thread::sleep(Duration::from_secs(5));
    let chunks = chunk_files(&cluster);
    // What they heard is on their disks: they name it in their next run.
    for node in cluster.datanodes() {
        assert_eq!(node.stop().code(), Some(0));
    }
    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    fs::remove_dir_all(&metadata).expect("removed");
    copy(&backup, &metadata);
    cluster.coordinator().start();
    cluster.datanodes().iter().for_each(NodeHandle::start);
    wait_until("it is found out", || cluster.dfsctl(&["status"]).run().text().contains("METADATA_OUTDATED"));
    wait_apart(&cluster, "metadata is older");
    assert_eq!(cluster.code(&["status", "--check"]).0, 11);
    let epoch = epoch_named(&cluster.dfsctl(&["status"]).run().text()).expect("an epoch");
    assert_eq!((chunk_files(&cluster), cluster.coordinator().stop().code()), (chunks, Some(0)));
    cluster.coordinator().start_with(&["--set", &format!("coordinator.give_up_epoch={epoch}")]);
    cluster.wait_for_nodes();
    cluster.ok(&["get", "/before", "back"]);
    assert!(!cluster.ok(&["status"]).contains("METADATA_OUTDATED"));
}

#[test]
fn datanodes_wait_for_their_own_cluster_and_a_lost_database_is_no_reason_to_begin_a_new_one() {
    let mut cluster = Cluster::start(2, Options::plain());
    cluster.logs().allow("this node stays apart");
    cluster.logs().allow("metadata.redb is missing");
    cluster.logs().allow("ended code=1");
    cluster.file("in", &noise(2, 100_000));
    cluster.ok(&["put", "in", "/f"]);
    let (home, aside) = (cluster.coordinator().data_dir(), cluster.home().join("aside"));
    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    fs::rename(home, &aside).expect("moved");
    cluster.coordinator().start();
    cluster.coordinator().wait_ready();
    wait_apart(&cluster, "cluster");
    std::thread::sleep(Duration::from_secs(2));
    assert!(cluster.datanodes().iter().all(NodeHandle::runs));
    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    fs::remove_dir_all(home).expect("removed");
    fs::rename(&aside, home).expect("moved back");
    cluster.coordinator().start();
    cluster.wait_for_nodes();
    cluster.ok(&["get", "/f", "back"]);

    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    fs::rename(home.join("metadata"), &aside).expect("moved");
    cluster.coordinator().start();
    assert_eq!(cluster.coordinator().wait(Duration::from_secs(20)).code(), Some(1));
    assert!(cluster.coordinator().log().contains("but this was the coordinator of cluster"));
    fs::rename(&aside, home.join("metadata")).expect("moved back");
    cluster.coordinator().start();
    cluster.wait_for_nodes();
}

#[test]
fn of_two_datanodes_with_one_identity_the_second_ends_with_a_code_that_says_so() {
    let cluster = Cluster::start(2, Options::plain());
    let node = cluster.datanode(0);
    node.kill();
    let home = tempfile::tempdir().expect("a temporary directory");
    copy(node.data_dir(), &home.path().join("datanode"));
    node.start();
    cluster.wait_for_nodes();
    let coordinator = cluster.coordinator().address();
    let double = NodeHandle::alone("datanode", home.path(), &["--coordinator", coordinator]);
    double.start();
    assert_eq!(double.wait(Duration::from_secs(30)).code(), Some(77), "{}", double.log());
    assert!(node.runs());
}
