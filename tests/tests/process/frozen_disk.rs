//! Disks that do not answer: neither with data nor with an error. What needs them waits; nothing else does.

use std::time::{Duration, Instant};

use dfs_client::{PutOptions, PutSource};
use dfs_tests::{Cluster, Content, LoopDisk, NodeHandle, Options, eventually, path};
use serde_json::Value;

const MIB: u64 = 1024 * 1024;

/// What the coordinator says of a node.
fn said_of(cluster: &Cluster, name: &str) -> Result<Value, String> {
    let said = cluster.dfsctl(&["-o", "json", "nodes"]).run();
    let nodes: Value = serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())?;
    let found = nodes["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == name));
    found.cloned().ok_or_else(|| format!("{name} is not there: {nodes}"))
}

/// The metrics of a node, which has to give them at once.
fn metrics(node: &NodeHandle) -> String {
    let asked = Instant::now();
    let (code, text) =
        node.get("/metrics").unwrap_or_else(|error| panic!("{} /metrics: {error}", node.name()));
    assert!(code == 200 && asked.elapsed() < Duration::from_secs(2), "{code} after {:?}", asked.elapsed());
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_and_metrics_go_on_while_a_disk_is_frozen_and_the_coordinator_is_restarted() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(disks) = LoopDisk::several("a frozen disk", home.path(), &["dn1"], 256 * MIB) else { return };
    let dirs = vec![disks[0].dir().join("data")];
    let mut cluster = Cluster::start(4, Options { datanode_dirs: dirs, ..Options::default() });
    // After half a minute a node says so.
    cluster.logs().allow("the node's identity could not be saved");
    cluster.logs().allow("disk does not answer");
    let client = cluster.client().await;
    let kept = Content::new("kept", 0, 3 * MIB);
    client.put(PutSource::from(kept.bytes()), &path("/kept"), PutOptions::default()).await.expect("put");

    let frozen = disks[0].freeze();
    cluster.coordinator().restart();
    cluster.coordinator().wait_ready();
    // The node is taken in by the new reign, which its disk does not let it remember; the others come in their own time.
    eventually("all are heard of", Duration::from_secs(20), async || {
        let nodes = ["dn1", "dn2", "dn3", "dn4"].map(|name| said_of(&cluster, name));
        let all: Vec<_> = nodes.into_iter().collect::<Result<_, _>>()?;
        let away = all.iter().find(|node| node["state"] != "up" || node["last_seen_ms"].is_null());
        away.map_or(Ok(()), |node| Err(format!("{node}")))
    })
    .await;
    let until = Instant::now() + Duration::from_secs(12);
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        let (file, content) = (path(&format!("/f{number}")), Content::new("f", number, MIB));
        let put = client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await;
        put.unwrap_or_else(|error| panic!("{file}: {error:?}"));
        metrics(cluster.datanode(0));
        let node = said_of(&cluster, "dn1").expect("listed");
        let silent_ms = node["last_seen_ms"].as_u64().expect("a number");
        assert!(node["state"] == "up" && silent_ms < 4_000, "{node}");
    }
    let text = metrics(cluster.datanode(0));
    let oldest =
        text.lines().find_map(|line| line.strip_prefix("dfs_disk_oldest_job_seconds{node=\"dn1\"} "));
    let oldest: f64 = oldest.and_then(|seconds| seconds.parse().ok()).expect("it is told");
    assert!(oldest > 5.0, "the disk is watched: {oldest} s");
    assert!(
        cluster.datanode(0).get("/readyz").expect("an answer").0 != 200,
        "it is not in the new reign yet"
    );
    kept.expect("/kept", &cluster.read(&client, &path("/kept")).await.expect("read"));

    drop(frozen);
    cluster.wait_for_nodes();
    for number in 1..=number {
        let (file, content) = (path(&format!("/f{number}")), Content::new("f", number, MIB));
        content.expect(file.as_str(), &cluster.read(&client, &file).await.expect("read"));
    }
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_is_sent_to_disks_that_answer_first_and_back_when_a_frozen_one_has_thawed() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(disks) = LoopDisk::several("a frozen disk", home.path(), &["dn1"], 256 * MIB) else { return };
    let dirs = vec![disks[0].dir().join("data")];
    let cluster = Cluster::start(3, Options { datanode_dirs: dirs, ..Options::default() });
    let client = cluster.client().await;
    let (file, content) = (path("/kept"), Content::new("kept", 0, 4 * MIB));
    client.put(PutSource::from(content.bytes()), &file, PutOptions::default()).await.expect("put");
    // Of each chunk, at which place the copy on the disk that freezes is to be tried.
    let places = async || {
        let opened = client.open_read(&file, None, 0, 0).await.map_err(|error| format!("{error:?}"))?;
        let place = |chunk: &dfs_client::metadata::ChunkLocation| {
            chunk.replicas.iter().position(|replica| replica.name == "dn1").expect("a copy on each node")
        };
        Ok::<_, String>(opened.chunks.iter().map(place).collect::<Vec<_>>())
    };
    assert!(places().await.expect("asked").contains(&0), "it is the first for some chunks");
    let read_last =
        || metrics(cluster.coordinator()).contains("dfs_datanodes_read_last{node=\"coordinator\"} 1.0");

    let frozen = disks[0].freeze();
    let writing = tokio::spawn({
        let client = client.clone();
        let content = Content::new("more", 0, 4 * MIB);
        async move { client.put(PutSource::from(content.bytes()), &path("/more"), PutOptions::default()).await }
    });
    eventually("it is the last for all", Duration::from_secs(20), async || match places().await? {
        places if places.iter().all(|place| *place == 2) && read_last() => Ok(()),
        places => Err(format!("{places:?}")),
    })
    .await;
    content.expect("/kept", &cluster.read(&client, &file).await.expect("read"));

    drop(frozen);
    writing.await.expect("no panic").expect("the other two had it");
    eventually("it is the first for some again", Duration::from_secs(30), async || match places().await? {
        places if places.contains(&0) && !read_last() => Ok(()),
        places => Err(format!("{places:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_answered_while_the_disk_of_the_metadata_is_frozen() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(disks) = LoopDisk::several("a frozen metadata disk", home.path(), &["c"], 256 * MIB) else {
        return;
    };
    let datanode_dirs = (0..3).map(|n| home.path().join(format!("d{n}"))).collect();
    let options = Options { data: Some(disks[0].dir().to_owned()), datanode_dirs, ..Options::default() };
    let cluster = Cluster::start(3, options);
    let client = cluster.client().await;
    let kept = Content::new("kept", 0, MIB);
    client.put(PutSource::from(kept.bytes()), &path("/kept"), PutOptions::default()).await.expect("put");

    let frozen = disks[0].freeze();
    let changing = tokio::spawn({
        let client = client.clone();
        async move { client.mkdir(&path("/d"), Default::default()).await }
    });
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        metrics(cluster.coordinator());
        kept.expect("/kept", &cluster.read(&client, &path("/kept")).await.expect("read"));
        for name in ["dn1", "dn2", "dn3"] {
            let node = said_of(&cluster, name).expect("listed");
            assert!(node["state"] == "up", "{node}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (_, health) = cluster.coordinator().get("/healthz/cluster").expect("an answer");
    assert!(health.contains("METADATA_FAILING"), "{health}");
    drop(frozen);
    changing.await.expect("no panic").expect("it was only slow");
    drop(cluster);
}
