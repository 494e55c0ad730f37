//! Clusters that older builds left: they go on as if nothing had changed, and what is written from then on is of the format of now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dfs_node::store::layout::{Layout, parse_chunk_name};
use dfs_tests::{Cluster, Options, chunk_files_below, wait_until};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What `tests/golden/README.md` says that the files of those clusters hold.
fn content(name: &str, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..len.div_ceil(32)).flat_map(|i| Sha256::digest(format!("{name} {i}"))).collect();
    bytes.truncate(len);
    bytes
}

/// Lays the directories of a cluster out as the build left them that made it: each of three datanodes has every chunk.
fn lay_out(format: &str, base: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format);
    let copy = |from: PathBuf, to: PathBuf| {
        fs::create_dir_all(to.parent().expect("a directory")).expect("made");
        fs::copy(&from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    };
    copy(golden.join("metadata.redb"), base.join("coordinator/metadata/metadata.redb"));
    for number in 1..=3 {
        let node = base.join(format!("dn{number}"));
        copy(golden.join(format!("identity-{number}")), node.join("identity"));
        for chunk in fs::read_dir(golden.join("chunks")).expect("listed") {
            let chunk = chunk.expect("listed").path();
            let name = chunk.file_name().expect("a name").to_string_lossy().into_owned();
            let key = parse_chunk_name(&name).expect("a chunk's name");
            copy(chunk, Layout::new(&node).chunk_file(key));
        }
    }
}

/// What `dfs-node inspect` says of everything below a directory.
fn inspected(cluster: &Cluster, dir: &Path) -> Vec<Value> {
    let output = Command::new(&cluster.binaries().node).arg("inspect").arg(dir).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn told(cluster: &Cluster, file: &Path) -> Value {
    inspected(cluster, file).pop().expect("a line")
}

#[test]
fn a_cluster_of_format_1_goes_on() {
    let home = tempfile::tempdir().expect("a directory");
    lay_out("format-1", home.path());
    let data = Some(home.path().to_owned());
    let cluster = Cluster::start(3, Options { data, ..Options::plain().set("cluster.repair_grace", "1s") });
    let files = [
        ("/dir/empty", "empty", 0),
        ("/dir/odd name ü", "small", 100),
        ("/dir/chunks", "chunks", 200_000),
        ("/copied", "chunks", 200_000),
        ("/dir/replaced", "new", 80_000),
    ];
    let all_there = || {
        for (path, name, len) in files {
            let out = cluster.home().join("out");
            cluster.ok(&["get", path, out.to_str().expect("text")]);
            assert!(fs::read(&out).expect("read") == content(name, len), "{path}");
        }
    };
    all_there();
    let stat: Value =
        serde_json::from_str(&cluster.ok(&["stat", "/dir/chunks", "-o", "json"])).expect("JSON");
    assert!(stat.to_string().contains("1969-07-20T20:17:40.123456789Z"), "{stat}");
    cluster.ok(&["verify", "-r", "/"]);
    cluster.ok(&["fsck", "--fresh"]);

    // A copy made of a chunk of format 1 is of the format of now, and knows no more of its file than there was.
    let node = cluster.datanode(2);
    node.kill();
    let lost = chunk_files_below(node.data_dir()).pop().expect("it has chunks");
    let before = told(&cluster, &lost);
    fs::remove_file(&lost).expect("removed");
    node.start();
    wait_until("the chunk is copied again", || lost.exists());
    let after = told(&cluster, &lost);
    assert_eq!(after, before);
    assert_eq!((&after["offset"], &after["path"]), (&Value::Null, &Value::Null));
    let version = |file: &Path| {
        let bytes = fs::read(file).expect("read");
        let at = |trailer: usize| bytes.get(bytes.len() - trailer + 8..).and_then(|b| b.first().copied());
        (at(256), at(128))
    };
    assert_eq!(version(&lost).0, Some(2), "{lost:?}");

    // What is written now says where it belongs.
    cluster.file("in", &content("in", 300_000));
    cluster.ok(&["put", "--preserve", "in", "/later"]);
    let mut said = inspected(&cluster, cluster.datanode(0).data_dir());
    said.retain(|chunk| chunk["path"] == "/later");
    said.sort_by_key(|chunk| chunk["index"].as_u64());
    let offsets: Vec<_> =
        said.iter().map(|chunk| (chunk["offset"].as_u64(), chunk["last"].as_bool())).collect();
    assert_eq!(offsets, [(Some(0), Some(false)), (Some(262_144), Some(true))]);
    assert!(said.iter().all(|chunk| chunk["file_size"] == 300_000 && chunk["mtime_ns"].is_i64()), "{said:?}");
    all_there();
    cluster.ok(&["fsck", "--fresh"]);
}
