//! Data directories that come from somewhere else: copied, restored from an archive, tampered with by accident.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use dfs_tests::{Cluster, Content, LoopDisk, NodeHandle, Options, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn fifo(path: &Path) {
    let _old = fs::remove_file(path);
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

/// Starts a node that has to end by itself, at once, and returns what it said.
fn refused(node: &NodeHandle) -> String {
    let began = Instant::now();
    let output = node.command().output().expect("it runs");
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for {:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_data_directory_copied_without_its_empty_directories_works_and_what_it_lost_is_told() {
    let cluster = Cluster::start(3, Options::default());
    let content = Content::new("in", 0, 700_000).bytes();
    cluster.file("in", &content);
    cluster.ok(&["put", "in", "/f"]);
    let node = cluster.datanode(0);
    node.kill();
    // From the leaves on: a directory that has become empty goes, too.
    for entry in walkdir::WalkDir::new(node.data_dir()).contents_first(true) {
        let _not_empty = fs::remove_dir(entry.expect("listed").path());
    }
    assert!(!node.data_dir().join("tmp").exists() && !node.chunk_files().is_empty());
    node.start();
    cluster.wait_for_nodes();
    assert!(node.log().contains("directories were missing and are made again"), "{}", node.log());
    cluster.ok(&["put", "in", "/g"]);
    cluster.ok(&["verify", "/f", "/g"]);
    drop(cluster);
}

#[test]
fn a_start_waits_for_no_fifo_socket_or_directory_where_a_file_is_expected() {
    let mut cluster = Cluster::start(3, Options::default());
    cluster.logs().allow("chunk file damaged");
    cluster.logs().allow("found damaged at start");
    cluster.file("in", &Content::new("in", 0, 700_000).bytes());
    cluster.ok(&["put", "in", "/f"]);
    let node = cluster.datanode(0);
    node.kill();
    let at = |name: &str| node.data_dir().join(name);
    let chunk = |n: u32| format!("chunks/0/0/{n:032x}.1");
    fifo(&at(&chunk(1)));
    let _socket = UnixListener::bind(at(&chunk(2))).expect("a socket");
    fs::create_dir(at(&chunk(3))).expect("a directory");
    std::os::unix::fs::symlink("/dev/zero", at(&chunk(4))).expect("a link");
    fifo(&at("identity.spare"));
    fifo(&at("tmp/7.part"));
    fs::create_dir(at("tmp/8.part")).expect("a directory");
    fifo(&at(&format!("quarantine/{:032x}.1.1000.0", 9)));
    fs::create_dir(at(&format!("quarantine/{:032x}.1.1000.1", 9))).expect("a directory");
    node.start();
    cluster.wait_for_nodes();
    let aside: Vec<_> = fs::read_dir(at("quarantine/damaged")).expect("listed").collect();
    let damaged = aside.iter().flatten().filter(|e| e.file_name().to_string_lossy().ends_with(".damaged"));
    assert_eq!(damaged.count(), 4, "{aside:?}");
    cluster.ok(&["verify", "/f"]);

    node.kill();
    fifo(&at("identity"));
    let said = refused(node);
    assert!(said.contains("a FIFO is there, not a file where the file `identity` should be"), "{said}");
    let coordinator = cluster.coordinator();
    coordinator.kill();
    for file in ["metadata/metadata.redb", "cluster"] {
        let path = coordinator.data_dir().join(file);
        fs::rename(&path, path.with_extension("kept")).expect("moved aside");
        fifo(&path);
        let said = refused(coordinator);
        assert!(said.contains("a FIFO is there, not a file") && said.contains(file), "{said}");
        fs::remove_file(&path).expect("removed");
        fs::rename(path.with_extension("kept"), &path).expect("moved back");
    }
    fs::remove_file(at("identity")).expect("removed");
    fifo(&at("lock"));
    let said = refused(node);
    assert!(said.contains("a FIFO is there, not a file"), "{said}");
    drop(cluster);
}

#[test]
fn a_datanode_on_a_read_only_mount_serves_and_takes_writes_once_it_may() {
    let home = tempfile::tempdir().expect("a directory");
    let disks = LoopDisk::several("a read-only disk", home.path(), &["dn1"], 256 * 1024 * 1024);
    let Some(disks) = disks else { return };
    let dirs = vec![disks[0].dir().join("data")];
    let mut cluster = Cluster::start(2, Options { datanode_dirs: dirs, ..Options::default() });
    for alarm in ["Read-only file system", "disk takes no writes any more"] {
        cluster.logs().allow(alarm);
    }
    let content = Content::new("in", 0, 700_000).bytes();
    cluster.file("in", &content);
    cluster.ok(&["put", "--replication", "2", "in", "/f"]);
    let node = cluster.datanode(0);
    node.kill();
    disks[0].remount("ro");
    node.start();
    cluster.wait_for_nodes();
    let writable = |wanted: u8| {
        wait_until(&format!("dn1 says {wanted}"), || {
            let said = node.get("/metrics").expect("an answer").1;
            said.contains(&format!("dfs_disk_writable{{node=\"dn1\"}} {wanted}"))
        });
    };
    writable(0);
    cluster.datanode(1).kill();
    cluster.ok(&["get", "/f", "back"]);
    assert_eq!(fs::read(cluster.home().join("back")).expect("read"), content, "what it holds is served");
    cluster.datanode(1).start();
    cluster.wait_for_nodes();
    disks[0].remount("rw");
    writable(1);
    wait_until("new chunks go there", || cluster.code(&["put", "--replication", "2", "in", "/g"]).0 == 0);
    let chunks = node.chunk_files().len();
    assert_eq!(chunks, 6, "of both files");
    node.kill();
    node.start();
    cluster.wait_for_nodes();
    drop(cluster);
}
