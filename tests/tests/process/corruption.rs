//! Bytes that rot on disk.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use dfs_client::{ErrorKind, PutOptions, PutSource, metadata::FsckKind};
use dfs_tests::{
    Cluster, Content, Options, Trust,
    data::{noise, sha256, sha256_of},
    eventually, path,
};
use dfs_wire::{
    link::Event,
    message::{
        Request,
        chunk::{ChunkRequest, ReadChunk},
    },
};

/// Flips one bit in the data of a chunk file.
fn flip(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the chunk file opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100_000).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], 100_000).expect("written");
    file.sync_all().expect("synced");
}

/// A cluster that repairs nothing, so that what rots stays so, and whose logs may speak of it.
fn start(options: Options) -> Cluster {
    let mut cluster = Cluster::start(3, options.set("cluster.repair_max", "0"));
    for alarm in ["chunk replica is corrupt", "chunk file damaged", "found damaged at start"] {
        cluster.logs().allow(alarm);
    }
    cluster
}

#[test]
fn a_rotten_copy_is_named_and_the_file_is_read_from_another() {
    let cluster = start(Options::default());
    let bytes = noise(1, 1_000_000);
    cluster.file("in", &bytes);
    cluster.ok(&["put", "--chunk-size", "256KiB", "in", "/f"]);
    let victim = cluster.datanode(1);
    let files = victim.chunk_files();
    assert_eq!(files.len(), 4);
    // The last chunk is short, but longer than where the bit is flipped.
    files.iter().for_each(|path| flip(path));
    cluster.ok(&["get", "/f", "back"]);
    assert_eq!(sha256_of(&cluster.home().join("back")), sha256(&bytes));
    let (code, chunks) = cluster.verified("/f");
    assert_eq!(code, 10, "{chunks:?}");
    for chunk in &chunks {
        assert_eq!(chunk["good"], 2, "{chunk}");
        let copies = chunk["copies"].as_array().expect("copies");
        let bad: Vec<_> = copies.iter().filter(|copy| copy["good"] == false).collect();
        assert_eq!(bad.len(), 1, "{chunk}");
        assert_eq!(bad[0]["node"], victim.name(), "{chunk}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_copy_is_reported_to_the_coordinator_by_its_node() {
    let cluster = start(Options::default());
    let client = cluster.client().await;
    let (file, content) = (path("/f"), Content::new("/f", 1, 200_000));
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    assert_eq!(cluster.fsck(&client).await, []);
    let chunk = client.explain(&file).await.expect("explain").chunks[0].chunk;
    let victim = cluster.datanode(0);
    flip(&cluster.chunk_file(victim, chunk).expect("a chunk file"));
    // Whichever copy is read, the answer is right; verify reads them all.
    content.expect("one rotten copy", &cluster.read(&client, &file).await.expect("read"));
    let report = client.verify(&file, None).await.expect("verify");
    let bad: Vec<_> = report.chunks[0].copies.iter().filter(|copy| copy.result.is_err()).collect();
    assert_eq!(bad.len(), 1, "{report:?}");
    assert_eq!(bad[0].name, victim.name());
    assert_eq!(bad[0].result.as_ref().expect_err("bad").kind(), ErrorKind::Integrity);
    eventually("the coordinator knows", Duration::from_secs(20), async || {
        let problems = cluster.fsck(&client).await;
        let known = problems.iter().any(|problem| {
            problem.kind == FsckKind::CopyCorrupt
                && problem.chunk == Some(chunk)
                && problem.node == Some(bad[0].node)
        });
        if known { Ok(()) } else { Err(format!("{problems:?}")) }
    })
    .await;
    content.expect("a known rotten copy", &cluster.read(&client, &file).await.expect("read"));
}

#[test]
fn when_all_copies_are_rotten_the_read_fails_and_writes_nothing() {
    let cluster = start(Options::default());
    cluster.file("in", &noise(2, 200_000));
    cluster.ok(&["put", "in", "/f"]);
    for node in cluster.datanodes() {
        node.chunk_files().iter().for_each(|path| flip(path));
    }
    let (code, said) = cluster.code(&["get", "/f", "back"]);
    assert_eq!(code, 7, "{said}");
    assert!(!cluster.home().join("back").exists());
    let left: Vec<_> =
        fs::read_dir(cluster.home()).expect("readable").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("back")), "{left:?}");
    assert_eq!(cluster.verified("/f").0, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_standard_output_ends_before_the_first_wrong_byte() {
    let cluster = start(Options::default());
    let client = cluster.client().await;
    let (file, content) = (path("/f"), Content::new("/f", 1, 1_000_000));
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    let third = client.explain(&file).await.expect("explain").chunks[2].chunk;
    for node in cluster.datanodes() {
        flip(&cluster.chunk_file(node, third).expect("a chunk file"));
    }
    let said = cluster.dfsctl(&["get", "/f", "-"]).run().code(7);
    assert_eq!(content.first_difference(0, &said.stdout), None, "only right bytes");
    assert!(said.stdout.len() <= 2 * 256 * 1024 + 65_536, "{} bytes", said.stdout.len());
    // What is not rotten can still be read.
    let bytes = client.read_range(&file, 0..500_000).await.expect("a range of good chunks");
    assert_eq!(content.first_difference(0, &bytes), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_file_that_is_cut_short_or_gone_is_found_by_verify_and_others_serve() {
    let cluster = start(Options::default());
    let client = cluster.client().await;
    let (file, content) = (path("/f"), Content::new("/f", 1, 600_000));
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    let files = cluster.datanode(2).chunk_files();
    cluster.datanode(2).kill();
    OpenOptions::new().write(true).open(&files[0]).and_then(|file| file.set_len(10_000)).expect("cut short");
    fs::remove_file(&files[1]).expect("removed");
    cluster.start_all();
    content.expect("read", &cluster.read(&client, &file).await.expect("read"));
    // The metadata calls what is young missing only after a while (it may be younger than a report): verify asks the nodes.
    let report = client.verify(&file, None).await.expect("verify");
    let bad: Vec<_> = report.chunks.iter().map(|chunk| (chunk.good(), chunk.copies.len())).collect();
    assert_eq!(bad.iter().filter(|(good, _)| *good == 2).count(), 2, "{report:?}");
    let named = report.chunks.iter().flat_map(|chunk| &chunk.copies).filter(|copy| copy.result.is_err());
    assert!(named.clone().count() == 2 && named.into_iter().all(|copy| copy.name == "dn3"), "{report:?}");
}

/// Where in the file of a chunk the last part that a process has mapped begins, once that does not change any more.
async fn last_mapped(pid: u32, chunk: &Path) -> u64 {
    let name = chunk.to_string_lossy().into_owned();
    let mut before = None;
    eventually("the node waits for its reader", Duration::from_secs(20), async || {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|error| error.to_string())?;
        let of_chunk = maps.lines().filter(|line| line.ends_with(&name));
        let offset = |line: &str| u64::from_str_radix(line.split_whitespace().nth(2)?, 16).ok();
        let last = of_chunk.filter_map(offset).max();
        tokio::time::sleep(Duration::from_millis(200)).await;
        match std::mem::replace(&mut before, last) {
            same if same == last => last.ok_or_else(|| "nothing is mapped".to_owned()),
            other => Err(format!("{other:?}, then {last:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_under_a_mapping_on_its_way_to_a_reader_ends_a_connection_and_no_node() {
    let plain = Options { trust: Trust::Everybody, ..Options::default() };
    let options = plain.set("storage.read_mode", "mmap").set("cluster.chunk_size", "16MiB");
    let cluster = start(options);
    let (client, file) = (cluster.client().await, path("/mapped"));
    let content = Content::new("mapped", 0, 16 * 1024 * 1024);
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    let chunk = client.open_read(&file, None, 0, 0).await.expect("open").chunks.remove(0);
    let copy = chunk.replicas[0].clone();
    let node = cluster.named(&copy.name);
    let link = cluster.peer(&copy.address).await;
    let read =
        ReadChunk { grant: chunk.grant.clone(), mac: copy.mac, offset: 0, len: chunk.len, facts: false };
    let stream = link.begin(Request::Chunk(ChunkRequest::Read(read))).await.expect("asked");
    // A reader that takes nothing: what the node has mapped last waits, and nothing of it is a frame yet.
    let on_disk = &node.chunk_files()[0];
    let last = last_mapped(node.pid(), on_disk).await;
    assert!(last > 0, "more than one part is mapped");
    // What a load finds beyond the end of a file is what it finds on a bad sector: SIGBUS.
    fs::OpenOptions::new().write(true).open(on_disk).and_then(|file| file.set_len(last)).expect("cut");
    let mut taken = 0;
    let taking = async {
        loop {
            match stream.recv().await {
                Ok(Event::Data(frame)) => taken += frame.bytes.len() as u64,
                Ok(other) => panic!("the bytes are nowhere any more: {other:?}"),
                Err(_) => return,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taking).await.expect("the reader is told");
    assert!((1..=last).contains(&taken), "{taken} bytes came, {last} are there");
    for node in cluster.datanodes() {
        assert!(node.runs() && node.get("/livez").expect("an answer").0 == 200, "{} ended", node.name());
    }
    content.expect("/mapped", &cluster.read(&client, &file).await.expect("from another copy"));
}
