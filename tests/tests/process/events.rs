//! What needs attention, since when; what is muted; and what happened, whatever restarts.

use dfs_tests::{Cluster, Options, wait_until};
use serde_json::Value;

fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let text = cluster.ok(&[&["-o", "json"], args].concat());
    serde_json::from_str(&text).expect("JSON")
}

fn finding(cluster: &Cluster, code: &str) -> Value {
    let findings = json(cluster, &["health"])["findings"].as_array().expect("findings").clone();
    findings.into_iter().find(|finding| finding["code"] == code).unwrap_or_default()
}

#[test]
fn what_needs_attention_can_be_muted_for_a_while_and_what_happened_is_kept() {
    let options = Options::default().set("cluster.suspect_after", "2s").set("cluster.down_after", "4s");
    let cluster = Cluster::start(4, options);
    assert_eq!(cluster.ok(&["health"]), "OK    health\n");
    assert_eq!(cluster.ok(&["status"]).lines().count(), 3, "all is well");
    assert_eq!(cluster.ok(&["health", "mutes"]), "nothing is muted\n");
    for (wrong, code) in [
        (vec!["mute", "NODE_DONW"], 2),
        (vec!["mute", "NODE_DOWN", "--for", "0s"], 2),
        (vec!["mute", "NODE_DOWN", "--for", "31days"], 2),
        (vec!["mute", "NODE_DOWN", "--node", "dn9"], 3),
        (vec!["mute", "CHUNKS_LOST"], 4),
    ] {
        let (said, text) = cluster.code(&[&["health"], &wrong[..]].concat());
        assert_eq!(said, code, "{wrong:?}: {text}");
    }

    cluster.datanode(1).kill();
    wait_until("it needs attention", || finding(&cluster, "NODE_DOWN")["subject"] == "dn2");
    wait_until("it is known since when", || finding(&cluster, "NODE_DOWN")["age_ms"].as_u64() > Some(1_000));
    assert_eq!(cluster.code(&["health", "--check"]).0, 10);
    assert!(cluster.ok(&["health", "mute", "node-down", "--node", "dn2", "--for", "2h"]).contains("dn2"));
    assert_eq!(cluster.code(&["health", "--check"]).0, 0);
    assert_eq!(cluster.code(&["status", "--check"]).0, 0);
    assert!(cluster.ok(&["status"]).contains("muted for"), "it is listed all the same");
    let age = || finding(&cluster, "NODE_DOWN")["age_ms"].as_u64().unwrap_or(0);
    let before = age();

    cluster.coordinator().kill();
    cluster.coordinator().restart();
    cluster.coordinator().wait_ready();
    wait_until("what is remembered is read", || age() > before);
    assert!(finding(&cluster, "NODE_DOWN")["muted_ms"].as_u64() > Some(3_600_000));
    assert_eq!(cluster.ok(&["health", "unmute", "NODE_DOWN", "--node", "dn2"]), "nothing is muted\n");
    assert_eq!(finding(&cluster, "NODE_DOWN")["muted_ms"], 0);

    cluster.datanode(1).restart();
    cluster.ok(&["maintenance", "start", "dn3", "--for", "10min"]);
    wait_until("it is back", || {
        cluster.ok(&["events", "--node", "dn2"]).contains("datanode dn2 is up, it was")
    });
    let all = cluster.ok(&["events"]);
    let said = [
        "the coordinator has started",
        "dn2 is down",
        "NODE_DOWN: datanode dn2",
        "wants to hear nothing of NODE_DOWN of dn2 for 120 min",
        "the coordinator has started",
        "wants to hear of NODE_DOWN of dn2 again",
        "has datanode dn3 in maintenance for 10 min",
    ];
    let mut rest = all.as_str();
    for text in said {
        let at =
            rest.find(text).unwrap_or_else(|| panic!("'{text}' is not there, or not in its place: {all}"));
        rest = &rest[at + text.len()..];
    }
    let events = json(&cluster, &["events", "-n", "2"])["events"].as_array().expect("events").clone();
    assert_eq!(events.len(), 2);
    assert_eq!(
        events[0]["number"].as_u64().map(|number| number + 1),
        events[1]["number"].as_u64(),
        "the last of all"
    );
    assert!(cluster.ok(&["events", "--since", "1ms"]).is_empty());
    assert!(cluster.ok(&["events", "--since", "1h"]).contains("the coordinator has started"));
    assert_eq!(cluster.code(&["-o", "json", "events", "--follow"]).0, 2);
    let lines = cluster.ok(&["-o", "jsonl", "events", "--node", "dn3"]);
    assert!(lines.lines().all(|line| line.contains(r#""node":"dn3""#)) && !lines.is_empty(), "{lines}");
}
