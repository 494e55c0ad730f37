//! What waits to be freed is shown at each station, and nobody has to wait for the next round.

use std::time::Duration;

use dfs_tests::{Cluster, Content, Options, eventually};
use serde_json::Value;

/// A kind of what `gc status` shows.
fn waiting(cluster: &Cluster, kind: &str) -> Value {
    let told: Value = serde_json::from_str(&cluster.ok(&["-o", "json", "gc", "status"])).expect("JSON");
    let kinds = told["kinds"].as_array().unwrap_or_else(|| panic!("no kinds in {told}"));
    kinds.iter().find(|found| found["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {told}")).clone()
}

fn begin(cluster: &Cluster, kind: &str, more: &[&str]) -> Value {
    let words = [&["-o", "json", "gc", "run", "--now", kind], more].concat();
    serde_json::from_str(&cluster.ok(&words)).expect("JSON")
}

async fn comes_to(cluster: &Cluster, kind: &str, count: u64) {
    eventually(&format!("{count} {kind}"), Duration::from_secs(30), async || {
        let found = waiting(cluster, kind);
        if found["count"] == count { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_seen_on_its_way_to_being_free_and_goes_when_an_operator_says_now() {
    let options = Options::default()
        .set("cluster.gc_interval", "1h")
        .set("cluster.trash_retention", "0s")
        .set("cluster.read_lease", "1min")
        .set("storage.quarantine_retention", "0s");
    let cluster = Cluster::start(3, options);
    cluster.file("in", &Content::new("in", 0, 700_000).bytes());
    cluster.ok(&["put", "in", "/f"]);
    cluster.ok(&["put", "in", "/g"]);
    assert_eq!(waiting(&cluster, "live")["count"], 2);
    cluster.ok(&["rm", "/g"]);
    let trash = waiting(&cluster, "trash");
    assert_eq!((&trash["count"], &trash["bytes"]), (&1.into(), &2_100_000.into()), "{trash}");
    // Its first cycle is over: the next one is an hour away.
    assert_eq!(begin(&cluster, "trash", &["--dry-run"])["dry_run"], true);
    assert_eq!(waiting(&cluster, "pending")["count"], 0, "a dry run does nothing");
    begin(&cluster, "trash", &[]);
    comes_to(&cluster, "pending", 1).await;
    let pending = waiting(&cluster, "pending");
    assert_eq!((&pending["bytes"], &pending["due"]), (&2_100_000.into(), &0.into()), "{pending}");
    let left = pending["last_ms"].as_u64().expect("a time");
    assert!((30_000..=60_000).contains(&left), "{pending}");
    assert_eq!(begin(&cluster, "pending", &[])["due"], 0, "readers may still be at it");
    assert_eq!(waiting(&cluster, "pending")["count"], 1);

    tokio::time::sleep(Duration::from_millis(left + 500)).await;
    assert_eq!(begin(&cluster, "pending", &[])["due"], 1);
    comes_to(&cluster, "pending", 0).await;
    comes_to(&cluster, "orphan", 0).await;
    comes_to(&cluster, "quarantined", 9).await;
    let shown = cluster.ok(&["gc"]);
    assert!(shown.contains("quarantined") && shown.contains("with the next round"), "{shown}");
    assert_eq!(begin(&cluster, "quarantined", &[])["nodes"], 3);
    comes_to(&cluster, "quarantined", 0).await;
    assert_eq!(waiting(&cluster, "live")["count"], 1);
    let (code, said) = cluster.code(&["gc", "run", "--now", "live"]);
    assert!(code == 2 && said.contains("possible values: trash, pending, orphan, quarantined"), "{said}");
    drop(cluster);
}
