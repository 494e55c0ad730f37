//! What is told of space: each file system once, and what all of it is used for.

use std::time::Duration;

use dfs_tests::{Cluster, Content, Options, eventually};
use serde_json::Value;

fn told(cluster: &Cluster, verb: &str) -> Value {
    serde_json::from_str(&cluster.ok(&["-o", "json", verb])).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn df_and_status_count_a_file_system_that_nodes_share_once_and_say_what_is_used_for_what() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("in", &Content::new("in", 0, 1_000_000).bytes());
    cluster.ok(&["put", "in", "/f"]);
    cluster.ok(&["put", "in", "/g"]);
    cluster.ok(&["rm", "/g"]);
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} is no number"));
    eventually("every copy is counted", Duration::from_secs(20), async || {
        let df = told(&cluster, "df");
        // Four chunks of two files; what is in the trash is still there.
        let chunks = number(&df["total"]["used_chunks"]);
        if chunks == 2 * 3 * 1_000_000 { Ok(()) } else { Err(format!("{chunks}")) }
    })
    .await;
    let df = told(&cluster, "df");
    let (total, nodes) = (&df["total"], df["nodes"].as_array().expect("a list"));
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        assert_eq!(node["capacity"], total["capacity"], "they share one: {df}");
    }
    assert_eq!(number(&df["usable"]), number(&total["available"]) / 3, "{df}");
    let parts = ["used_chunks", "used_footers", "used_quarantine"].map(|part| number(&total[part]));
    let metadata = number(&df["metadata"]);
    assert!(metadata > 0 && parts[1] >= 2 * 3 * 4 * 4096, "{df}");
    assert_eq!(number(&total["used"]), parts.iter().sum::<u64>() + metadata, "{df}");
    let status = told(&cluster, "status");
    for (name, wanted) in [("capacity", &total["capacity"]), ("used_chunks", &total["used_chunks"])] {
        assert_eq!(&status[name], wanted, "{status}");
    }
    let shown = cluster.ok(&["df"]);
    for line in [
        "\nchunks      ",
        "\nfooters     ",
        "\nquarantine  ",
        "\nmetadata    ",
        "\ntrash       ",
        "\nusable      ",
    ] {
        assert!(shown.contains(line), "{line:?} is missing in\n{shown}");
    }
    drop(cluster);
}
