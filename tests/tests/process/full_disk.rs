//! Disks that are full: a clear refusal, nothing partial, and deletes that still work.

use std::{fs::File, io::Write as _, path::Path, time::Duration};

use dfs_client::{ErrorKind, PutOptions, PutSource};
use dfs_tests::{Cluster, Content, MayMount, Mount, Options, eventually, may_mount, path};

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

/// Takes what is left of a file system, to the last byte.
fn fill(dir: &Path) {
    let mut file = File::create(dir.join("filler")).expect("a file");
    for size in [65_536, 1] {
        let piece = vec![0x5a; size];
        while file.write_all(&piece).is_ok() {}
    }
    assert!(File::create(dir.join("more")).and_then(|mut more| more.write_all(b"x")).is_err(), "not full");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_disk_without_a_free_byte_restarts_rejoins_and_frees_what_is_deleted() {
    if may_mount("a disk without a free byte") != MayMount::Yes {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let disks: Vec<_> = (0..3).map(|n| Mount::memory(&home.path().join(format!("d{n}")), 32 * MIB)).collect();
    let options = Options {
        datanode_dirs: disks.iter().map(|disk| disk.dir().join("data")).collect(),
        ..Options::default()
    };
    let soon = [
        ("storage.quarantine_retention", "0s"),
        ("cluster.trash_retention", "0s"),
        ("cluster.read_lease", "1m"),
    ];
    let options = soon.into_iter().fold(options, |options, (key, value)| options.set(key, value));
    let cluster = Cluster::start(3, options);
    let client = cluster.client().await;
    let contents: Vec<_> = (0..4).map(|number| Content::new("full", number, 2 * MIB)).collect();
    for (number, content) in contents.iter().enumerate() {
        let file = path(&format!("/f{number}"));
        client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    }
    disks.iter().for_each(|disk| fill(disk.dir()));
    for node in cluster.datanodes() {
        node.kill();
    }
    cluster.start_all();
    cluster.wait_for_nodes();
    // A new run of the coordinator is a new reign, which every node must remember before it joins.
    cluster.coordinator().restart();
    cluster.wait_for_nodes();
    for (number, content) in contents.iter().enumerate() {
        let file = path(&format!("/f{number}"));
        content.expect(file.as_str(), &cluster.read(&client, &file).await.expect("read"));
    }
    let files = || cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum::<usize>();
    let before = files();
    cluster.ok(&["rm", "/f0", "/f1", "/f2"]);
    // Whoever opened it before may read it for a minute.
    let chunks = |dir: &Path| {
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().contains('.')).count()
    };
    // In the directories of hours, and, where there was no room for one, beside them.
    let aside = |dir: &Path| {
        let quarantine = dir.join("quarantine");
        let hours = std::fs::read_dir(&quarantine).expect("listed").flatten();
        hours.map(|hour| chunks(&hour.path())).sum::<usize>() + chunks(&quarantine)
    };
    eventually("what was deleted is gone", Duration::from_secs(180), async || {
        let aside: usize = cluster.datanodes().iter().map(|node| aside(node.data_dir())).sum();
        if files() <= before / 4 && aside == 0 { Ok(()) } else { Err(format!("{} and {aside}", files())) }
    })
    .await;
    let more = Content::new("more", 9, MIB);
    eventually("there is room", Duration::from_secs(20), async || {
        client.put(PutSource::from(more.bytes()), &path("/more"), PutOptions::default()).await
    })
    .await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_full_metadata_disk_takes_nothing_new_says_so_and_still_deletes() {
    if may_mount("a full metadata disk") != MayMount::Yes {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let disk = Mount::memory(&home.path().join("metadata"), 32 * MIB);
    let datanode_dirs = (0..3).map(|n| home.path().join(format!("d{n}"))).collect();
    let options = Options { data: Some(disk.dir().to_owned()), datanode_dirs, ..Options::default() };
    let mut cluster = Cluster::start(3, options);
    cluster.logs().allow("metadata commit failed");
    cluster.ok(&["mkdir", "/a"]);
    cluster.ok(&["mkdir", "/b"]);
    let health = |code: &str, status: u16| {
        let (found, text) = cluster.coordinator().get("/healthz/cluster").map_err(|e| e.to_string())?;
        let as_wanted = found == status && text.contains(code);
        if as_wanted { Ok(()) } else { Err(format!("{found}: {text}")) }
    };
    let filler = disk.dir().join("filler");
    let room = available(disk.dir());
    std::fs::write(&filler, vec![7; usize::try_from(room - MIB).expect("a size")]).expect("filled");
    let (code, said) = cluster.code(&["mkdir", "/c"]);
    assert_eq!(code, 9, "{said}");
    cluster.ok(&["rm", "-r", "/a"]);
    cluster.ok(&["mv", "/b", "/d"]);
    eventually("health tells", Duration::from_secs(20), async || health("METADATA_DISK_FULL", 503)).await;
    let metrics = cluster.coordinator().get("/metrics").expect("an answer").1;
    let does_not_fail = "dfs_metadata_failing{node=\"coordinator\"} 0";
    assert!(metrics.contains(does_not_fail), "a full disk is no failed one:\n{metrics}");

    // Not even the reserve is left: what is there can be read, whatever becomes of changes.
    std::fs::File::options()
        .append(true)
        .open(&filler)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &vec![7; 2 * 1024 * 1024]))
        .expect_err("it does not fit");
    let mut name = "d".to_owned();
    for number in 0..5 {
        let (code, said) = cluster.code(&["mkdir", "/c"]);
        assert_eq!(code, 9, "{said}");
        let next = format!("d{number}");
        match cluster.code(&["mv", &format!("/{name}"), &format!("/{next}")]) {
            (0, _) => name = next,
            (9, _) => {}
            (code, said) => panic!("neither done nor refused: {code}: {said}"),
        }
        let listed = cluster.ok(&["ls", "/"]);
        assert!(
            listed.trim().ends_with(&format!(" {name}/")) && listed.trim().lines().count() == 1,
            "{listed}"
        );
    }
    std::fs::remove_file(&filler).expect("room again");
    eventually("it takes changes again", Duration::from_secs(20), async || {
        let (code, said) = cluster.code(&["mkdir", "/c", "-p"]);
        if code == 0 { Ok(()) } else { Err(said) }
    })
    .await;
    eventually("health is good again", Duration::from_secs(20), async || health("", 200)).await;
    drop(cluster);
}

/// Bytes that are free on the file system of a directory.
fn available(dir: &std::path::Path) -> u64 {
    let said = std::process::Command::new("df").args(["-B1", "--output=avail"]).arg(dir).output();
    let said = String::from_utf8(said.expect("df runs").stdout).expect("text");
    said.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number")
}
