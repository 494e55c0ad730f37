//! Names of every lawful kind, and many files at once.

use std::{collections::BTreeMap, fs};

use dfs_client::{MkdirOptions, PutOptions, PutSource, metadata::EntryKind};
use dfs_tests::{Cluster, Content, Options, path};

#[tokio::test(flavor = "multi_thread")]
async fn names_with_spaces_quotes_unicode_and_255_bytes_are_kept_to_the_byte() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let names = [
        "with a space".to_owned(),
        " leading and trailing ".to_owned(),
        "quotes ' \" and $(dollars) `ticks` \\ backslash".to_owned(),
        "-rf".to_owned(),
        "...".to_owned(),
        "größe Ω 文件 🦀".to_owned(),
        // The same to the eye, other bytes: composed and decomposed.
        "caf\u{e9}".to_owned(),
        "cafe\u{301}".to_owned(),
        "*?[a]{b}".to_owned(),
        "x".repeat(255),
        format!("{}a", "é".repeat(127)),
    ];
    for (number, name) in names.iter().enumerate() {
        let content = Content::new(name, 1, 100 + number as u64);
        fs::write(cluster.home().join(name), content.bytes()).expect("a local file");
        cluster.dfsctl(&["put", "--", &format!("./{name}"), &format!("/{name}")]).run().ok();
        let back = cluster.dfsctl(&["get", "--literal", "--", &format!("/{name}"), "-"]).run().ok();
        content.expect(name, &back.stdout);
        content.expect(name, &cluster.read(&client, &path(&format!("/{name}"))).await.expect("read"));
    }
    let listed = client.list_all(&path("/"), false).await.expect("a listing");
    let found: Vec<_> = listed.iter().map(|entry| entry.path.name().unwrap_or_default().to_owned()).collect();
    let mut expected = names.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    for bad in ["/..", "/a/../b", "/a\u{7}b", &format!("/{}", "x".repeat(256))] {
        cluster.dfsctl(&["put", "-", bad]).input("x").run().code(2);
    }
}

/// Every file below a directory, by its path relative to it.
fn files_below(dir: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let entry = entry.expect("an entry").path();
            if entry.is_dir() {
                waiting.push(entry);
            } else {
                let relative = entry.strip_prefix(dir).expect("below").to_string_lossy().into_owned();
                found.insert(relative, fs::read(&entry).expect("a file"));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_many_small_files_goes_up_and_comes_back_with_r() {
    let cluster = Cluster::start(3, Options::default());
    let tree = cluster.home().join("tree");
    for number in 0..400_u64 {
        let dir = tree.join(format!("d{}", number % 7)).join(format!("e {}", number % 3));
        fs::create_dir_all(&dir).expect("a directory");
        let content = Content::new("tree", number, number * 37 % 5_000);
        fs::write(dir.join(format!("file {number}")), content.bytes()).expect("a file");
    }
    fs::create_dir_all(tree.join("empty")).expect("a directory");
    cluster.dfsctl(&["put", "-r", "tree", "/"]).run().ok();
    cluster.dfsctl(&["get", "-r", "/tree", "back"]).run().ok();
    let back = cluster.home().join("back");
    let back = if back.join("tree").exists() { back.join("tree") } else { back };
    assert!(files_below(&tree) == files_below(&back), "the trees differ");
    assert!(back.join("empty").is_dir());

    let client = cluster.client().await;
    let listed = client.list_all(&path("/tree"), true).await.expect("a listing");
    assert_eq!(listed.iter().filter(|entry| entry.kind == EntryKind::File).count(), 400);
    let usage = client.du(&path("/tree")).await.expect("du");
    let bytes: u64 = files_below(&tree).values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!((usage.files, usage.bytes, usage.raw_bytes), (400, bytes, 3 * bytes));
    cluster.dfsctl(&["rm", "-r", "/tree"]).run().ok();
    assert_eq!(client.list_all(&path("/"), true).await.expect("a listing"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_in_pages_never_leaves_out_what_is_there_all_the_time() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let dir = path("/pages");
    client.mkdir(&dir, MkdirOptions::default()).await.expect("mkdir");
    // Directories, because they need no bytes: 600 make three pages.
    for number in 0..600 {
        let steady = path(&format!("/pages/steady-{number:04}"));
        client.mkdir(&steady, MkdirOptions::default()).await.expect("mkdir");
    }
    let churn = tokio::spawn({
        let client = client.clone();
        async move {
            for round in 0..u64::MAX {
                let at = path(&format!("/pages/steady-{:04}-churn", round * 37 % 600));
                let put = client.put(PutSource::from(b"x".to_vec()), &at, PutOptions::default()).await;
                put.expect("put");
                client.delete(&at, Default::default()).await.expect("delete");
            }
        }
    });
    for _ in 0..10 {
        let listed = client.list_all(&dir, false).await.expect("a listing");
        let names: Vec<_> = listed.iter().filter_map(|entry| entry.path.name()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "in order, nothing twice");
        let steady = names.iter().filter(|name| !name.ends_with("churn")).count();
        assert_eq!(steady, 600);
    }
    churn.abort();
}
