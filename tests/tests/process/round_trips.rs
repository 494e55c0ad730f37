//! Files of every critical size go up and come back, through the SDK, through `dfsctl`, and through pipes.

use dfs_client::{ErrorKind, GetOptions, PutOptions, PutSource};
use dfs_tests::{Cluster, Content, Options, path};

const CHUNK: u64 = 256 * 1024;
/// Nothing, one byte, around the block of a checksum, around a chunk, several chunks, an odd number.
const SIZES: [u64; 9] =
    [0, 1, 64 * 1024 - 1, 64 * 1024, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 12_345];

fn name(size: u64) -> String {
    format!("/size-{size}")
}

async fn expect_three_good_copies(client: &dfs_client::Client, name: &str, size: u64) {
    let report = client.verify(&path(name), None).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(report.is_clean(), "{name}: {report:?}");
    assert_eq!(report.chunks.len() as u64, size.div_ceil(CHUNK), "{name}");
    assert!(report.chunks.iter().all(|chunk| chunk.good() == 3 && chunk.copies.len() == 3), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_critical_size_come_back_through_the_sdk_with_three_good_copies() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    for size in SIZES {
        let (name, content) = (name(size), Content::new(&name(size), 1, size));
        let put = client.put(PutSource::from(content.bytes()), &path(&name), PutOptions::default()).await;
        let put = put.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!((put.stat.size, put.degraded.len()), (size, 0), "{name}");
        content.expect(&name, &cluster.read(&client, &path(&name)).await.expect(&name));
        expect_three_good_copies(&client, &name, size).await;

        let local = cluster.home().join("back");
        client.get_to_path(&path(&name), &local, GetOptions::default()).await.expect(&name);
        content.expect(&name, &std::fs::read(&local).expect("a local file"));
    }
    assert_eq!(cluster.fsck(&client).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_range_of_a_file_comes_back_as_its_bytes() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let content = Content::new("/ranges", 1, 2 * CHUNK + 1_000);
    let file = path("/ranges");
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    let whole = content.bytes();
    let ends =
        [0, 1, 65_535, 65_536, 65_537, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 999, 2 * CHUNK + 1_000];
    for (at, first) in ends.iter().enumerate() {
        for last in &ends[at..] {
            let bytes = client.read_range(&file, *first..*last).await.expect("a range");
            let expected = &whole[*first as usize..*last as usize];
            assert!(bytes == expected, "{first}..{last}: {} bytes", bytes.len());
        }
    }
    let past = client.read_range(&file, 2 * CHUNK + 990..u64::MAX).await.expect("cut at the end");
    assert_eq!(past.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_critical_size_come_back_through_dfsctl_and_its_pipes() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    for size in SIZES {
        let (name, content) = (name(size), Content::new("cli", size, size));
        let piped = format!("{name}-piped");
        std::fs::write(cluster.home().join("in"), content.bytes()).expect("an input");
        cluster.dfsctl(&["put", "in", &name]).run().ok();
        cluster.dfsctl(&["get", &name, "out"]).run().ok();
        content.expect(&name, &std::fs::read(cluster.home().join("out")).expect("an output"));
        // A pipe has no length to ask for.
        cluster.dfsctl(&["put", "-", &piped]).input(content.bytes()).run().ok();
        content.expect(&piped, &cluster.dfsctl(&["get", &piped, "-"]).run().ok().stdout);
        content.expect(&piped, &cluster.dfsctl(&["cat", &piped]).run().ok().stdout);
        expect_three_good_copies(&client, &piped, size).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_was_cut_off_goes_on_where_it_ended() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let (file, content) = (path("/long"), Content::new("/long", 1, 24 * CHUNK));
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    let local = cluster.home().join("long");
    let options = GetOptions::new().resume(true);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let progress = std::sync::Arc::new(move |now: dfs_client::Progress| {
        if now.chunks >= 8 {
            let _ = stop.send(true);
        }
    });
    let cut = options.clone().progress(progress);
    let mut stopped = stopped;
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stop| *stop) => {}
        done = client.get_to_path(&file, &local, cut) => panic!("it was to be cut off: {done:?}"),
    }
    assert!(!local.exists(), "a file appears under its name only when it is whole");
    let got = client.get_to_path(&file, &local, options).await.expect("the rest");
    assert!(got.resumed_bytes >= CHUNK, "{got:?}");
    content.expect("resumed", &std::fs::read(&local).expect("a local file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_a_put_hold_and_a_refused_put_changes_nothing() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let file = path("/conditional");
    let put = async |version: u64, precondition| {
        let options = PutOptions::new().precondition(precondition);
        client.put(PutSource::from(Content::new("c", version, 1_000).bytes()), &file, options).await
    };
    use dfs_client::metadata::Precondition::{Absent, Any, Match};
    let first = put(1, Absent).await.expect("nothing was there").stat.version;
    assert_eq!(put(2, Absent).await.expect_err("something is there").kind(), ErrorKind::Conflict);
    Content::new("c", 1, 1_000).expect("unchanged", &cluster.read(&client, &file).await.expect("read"));
    let second = put(3, Match(first)).await.expect("the version matches").stat.version;
    assert_ne!(first, second);
    assert_eq!(put(4, Match(first)).await.expect_err("no longer").kind(), ErrorKind::Conflict);
    Content::new("c", 3, 1_000).expect("the second", &cluster.read(&client, &file).await.expect("read"));
    put(5, Any).await.expect("replaced");
}

#[test]
fn a_file_that_is_here_is_checked_and_a_tree_goes_through_no_link() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", &[7; 300_000]);
    cluster.ok(&["mkdir", "-p", "/top/tree"]);
    cluster.ok(&["put", "here", "/top/tree/leaf"]);
    let said = cluster.dfsctl(&["get", "--resume", "-o", "json", "/top/tree/leaf", "here"]).run().ok();
    assert_eq!(said.json()["files"][0]["resumed_bytes"], 300_000, "{}", said.text());
    let (target, outside) = (cluster.home().join("target"), cluster.home().join("outside"));
    std::fs::create_dir(&target).expect("a directory");
    std::fs::create_dir(&outside).expect("a directory");
    std::os::unix::fs::symlink(&outside, target.join("tree")).expect("a link");
    cluster.dfsctl(&["get", "-r", "/top/tree", "target/"]).run().code(4).says(&["symbolic link"]);
    assert_eq!(std::fs::read_dir(&outside).expect("a directory").count(), 0);
    cluster.ok(&["get", "-r", "/top", "target/"]);
    assert!(target.join("top/tree/leaf").is_file());
}
