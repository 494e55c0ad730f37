//! Actors that panic, die and hang on order: they are restarted, their siblings do not notice, and no file is harmed.
//!
//! Needs nodes built with the feature `chaos`, which this suite builds: behind the feature of the same name here.

mod program;

use std::{collections::BTreeMap, time::Duration};

use dfs_client::{
    Client,
    admin::{ActorInfo, Chaos, ChaosAction},
};
use dfs_tests::chaos::CHAOS_TOKEN;
use dfs_tests::{Cluster, Content, NodeHandle, Options, Variant, eventually, path};

async fn start(datanodes: usize) -> Cluster {
    let options = Options { variant: Variant::Chaos, ..Options::default() }
        .set("chaos.enabled", "true")
        .set("chaos.token", CHAOS_TOKEN);
    let mut cluster = Cluster::start(datanodes, options);
    // A panic is logged, and so is what the supervisor does about it.
    for alarm in ["panic", "restart", "chaos", "killed", "stopped"] {
        cluster.logs().allow(alarm);
    }
    cluster
}

async fn actors(client: &Client, node: &NodeHandle) -> BTreeMap<String, ActorInfo> {
    let list = client.actors(Some(node.address())).await.unwrap_or_else(|error| panic!("{error:?}"));
    list.into_iter().map(|actor| (actor.path.clone(), actor)).collect()
}

/// Paths of the actors to strike: one of each kind, without the root and those that come and go with a connection.
fn targets(tree: &BTreeMap<String, ActorInfo>) -> Vec<ActorInfo> {
    let mut kinds = BTreeMap::new();
    for actor in tree.values().filter(|actor| actor.state == "running") {
        let passing = ["session", "stream", "replica"].iter().any(|word| actor.kind.contains(word));
        if !passing && actor.path.contains('/') {
            kinds.entry(actor.kind.clone()).or_insert_with(|| actor.clone());
        }
    }
    kinds.into_values().collect()
}

/// Strikes one actor and waits until it is back; fails if it is not a supervisor and another was restarted too.
async fn strike(
    cluster: &Cluster,
    client: &Client,
    node: &NodeHandle,
    victim: &ActorInfo,
    action: ChaosAction,
) {
    let before = actors(client, node).await;
    let order = Chaos { actor: victim.path.clone(), action, token: CHAOS_TOKEN.to_owned() };
    let hit = client.chaos(Some(node.address()), order).await;
    let hit = hit.unwrap_or_else(|error| panic!("{} {}: {error:?}", node.name(), victim.path));
    assert_eq!(hit, 1, "{} {}", node.name(), victim.path);
    let what = format!("{}: {} is back after {action:?}", node.name(), victim.path);
    eventually(&what, Duration::from_secs(30), async || {
        // The connection may have gone with the actor; the client makes another.
        let list = client.actors(Some(node.address())).await.map_err(|error| format!("{error:?}"))?;
        let now = list.iter().find(|actor| actor.path == victim.path).ok_or("it is not there")?;
        let back = now.restarts > victim.restarts && now.state == "running";
        if back { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    let below = format!("{}/", victim.path);
    let after = actors(client, node).await;
    for (path, actor) in &before {
        let same = after.get(path).is_none_or(|now| now.restarts == actor.restarts);
        let passing = actor.kind.contains("session");
        // What is started after a supervisor builds on it, and is restarted with it (rest for one).
        let struck = path == &victim.path || path.starts_with(&below) || victim.kind == "supervisor";
        assert!(same || passing || struck, "{path} was restarted with {}", victim.path);
    }
    cluster.wait_for_nodes();
}

async fn strike_each_kind(node_of: impl Fn(&Cluster) -> &NodeHandle, action: ChaosAction) {
    let cluster = start(3).await;
    let client = cluster.client().await;
    let (file, content) = (path("/before"), Content::new("/before", 1, 700_000));
    client.put(content.bytes().into(), &file, Default::default()).await.expect("put");
    let node = node_of(&cluster);
    let victims = targets(&actors(&client, node).await);
    assert!(victims.len() >= 3, "too few kinds of actors: {victims:?}");
    for (number, victim) in victims.iter().enumerate() {
        println!("{}: {action:?} to {} ({})", node.name(), victim.path, victim.kind);
        strike(&cluster, &client, node, victim, action).await;
        content.expect("after a strike", &cluster.read(&client, &file).await.expect("read"));
        let another = path(&format!("/after-{number}"));
        client.put(content.bytes().into(), &another, Default::default()).await.expect("put after a strike");
        assert!(client.verify(&another, None).await.expect("verify").is_clean());
    }
    assert!(cluster.nodes().all(NodeHandle::runs), "no process ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_each_kind_of_actor_of_a_datanode_is_survived() {
    strike_each_kind(|cluster| cluster.datanode(0), ChaosAction::Panic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_each_kind_of_actor_of_a_coordinator_is_survived() {
    strike_each_kind(Cluster::coordinator, ChaosAction::Panic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_is_killed_comes_back_like_one_that_panics() {
    strike_each_kind(|cluster| cluster.datanode(1), ChaosAction::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_panic_during_uploads_cost_retries_and_no_data() {
    let cluster = start(3).await;
    let client = cluster.client().await;
    let content = Content::new("/long", 1, 24 << 20);
    let file = path("/long");
    let putting = client.put(content.bytes().into(), &file, Default::default());
    let striking = async {
        let control = cluster.client().await;
        let mut hits = 0;
        for round in 0..6 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let node = cluster.datanode(round % 3);
            let list = control.actors(Some(node.address())).await.unwrap_or_default();
            for actor in list.iter().filter(|actor| actor.kind.contains("stream")).take(2) {
                let order = Chaos {
                    actor: actor.path.clone(),
                    action: ChaosAction::Panic,
                    token: CHAOS_TOKEN.to_owned(),
                };
                hits += control.chaos(Some(node.address()), order).await.unwrap_or(0);
            }
        }
        hits
    };
    let (put, hits) = tokio::join!(putting, striking);
    put.unwrap_or_else(|error| panic!("after {hits} strikes: {error:?}"));
    println!("{hits} streaming sessions were struck");
    content.expect("/long", &cluster.read(&client, &file).await.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_nobody_can_strike_an_actor() {
    let cluster = Cluster::start(1, Options { variant: Variant::Chaos, ..Options::default() });
    let client = cluster.client().await;
    let order = Chaos { actor: "root".to_owned(), action: ChaosAction::Panic, token: CHAOS_TOKEN.to_owned() };
    let refused = client.chaos(Some(cluster.datanode(0).address()), order).await.expect_err("refused");
    assert!(["PermissionDenied", "Unsupported"].contains(&refused.code()), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_strikes_actors_and_what_is_not_there_is_not_found() {
    let cluster = start(3).await;
    let with = |token: &str, args: &[&str]| {
        cluster.dfsctl(&[&["chaos", "--node", "dn1"], args].concat()).env("DFS_CHAOS_TOKEN", token).run()
    };
    let ran = |args: &[&str]| with(CHAOS_TOKEN, args);
    for wrong in ["", "another token of the same", &CHAOS_TOKEN[1..]] {
        let said = with(wrong, &["kill-actor", "--kind", "inventory"]);
        assert!(said.code == 5 && said.stderr.contains("PermissionDenied"), "{wrong}: {}", said.stderr);
    }
    assert!(ran(&["ls"]).text().contains("heartbeat"));
    for lever in [
        &["delay-actor", "--kind", "links", "--by", "5ms"][..],
        &["delay-actor", "--kind", "links", "--by", "0s"],
        &["pause-actor", "--id", "root/agents/quarantine", "--for", "10ms"],
        &["panic-actor", "--kind", "heartbeat"],
        &["kill-actor", "--kind", "inventory"],
    ] {
        let said = ran(lever);
        assert_eq!((said.code, said.text().trim()), (0, "1 actor of dn1 hit"), "{lever:?}: {}", said.stderr);
    }
    assert_eq!(ran(&["kill-actor", "--kind", "nobody"]).code, 3);
    assert_eq!(ran(&["kill-actor"]).code, 2, "whom?");
    let content = Content::new("after", 1, 300_000);
    let client = cluster.client().await;
    client.put(content.bytes().into(), &path("/after"), Default::default()).await.expect("put");
}
