//! What a node stores is its user's alone: it holds keys, names and the contents of files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dfs_tests::{Cluster, Content, Options};
use walkdir::WalkDir;

/// What below a directory others may look at.
fn open_to_others(dir: &Path) -> Vec<String> {
    let entries = WalkDir::new(dir).into_iter().map(|entry| entry.expect("listed"));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    let open = entries.filter(|entry| mode(entry.path()) & 0o077 != 0);
    open.map(|entry| format!("{} {:04o}", entry.path().display(), mode(entry.path()))).collect()
}

#[test]
fn every_file_that_a_node_makes_is_its_users_alone_and_is_made_so_again_at_a_start() {
    let cluster = Cluster::start(2, Options::default());
    cluster.file("in", &Content::new("in", 0, 700_000).bytes());
    cluster.ok(&["put", "in", "/f"]);
    cluster.ok(&["put", "in", "/g"]);
    cluster.ok(&["rm", "/g"]);
    for node in cluster.nodes() {
        assert!(WalkDir::new(node.data_dir()).into_iter().count() > 3, "there is something to look at");
        assert_eq!(open_to_others(node.data_dir()), [""; 0], "{}", node.name());
    }
    for (node, files) in [
        (cluster.coordinator(), vec!["metadata/metadata.redb", "metadata", "cluster", "."]),
        (cluster.datanode(0), vec!["identity", "identity.spare", "lock", "chunks", "."]),
    ] {
        node.kill();
        for file in &files {
            let path = node.data_dir().join(file);
            let mode = if path.is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("opened to all");
        }
        node.start();
        node.wait_ready();
        assert_eq!(open_to_others(node.data_dir()), [""; 0], "{}", node.name());
        let told = node.log().matches("was open to other users of this machine, and is closed now").count();
        assert!(told >= files.len(), "{told} of {files:?} were told of");
    }
    cluster.wait_for_nodes();
    drop(cluster);
}
