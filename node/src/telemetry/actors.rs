//! The actors of a node as metrics, summed by kind: kinds are few, names are not.

use std::collections::BTreeMap;

use dfs_actors::supervisor::{ActorState, ActorTree};

use super::metrics::{Metrics, Sample, SampleValue};

#[derive(Default)]
struct Sum {
    running: f64,
    mailbox: f64,
    handled: f64,
    slow: f64,
    stuck: f64,
    restarts: f64,
    tasks: f64,
}

/// Shows the tree's counters at each scrape.
pub fn observe_actors(metrics: &Metrics, tree: &ActorTree) {
    let tree = tree.clone();
    metrics.sample(move || samples(&tree));
}

// Counts stay far below 2^53, where f64 would begin to round.
fn number(count: u64) -> f64 {
    count as f64
}

fn samples(tree: &ActorTree) -> Vec<Sample> {
    let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
    for row in tree.snapshot() {
        let sum = sums.entry(row.kind).or_default();
        sum.running += f64::from(u8::from(row.stats.state == ActorState::Running));
        sum.mailbox += number(row.stats.depth);
        sum.handled += number(row.stats.handled);
        sum.slow += number(row.stats.slow);
        sum.stuck += number(row.stats.stuck);
        sum.restarts += number(row.stats.restarts);
        sum.tasks += number(row.stats.tasks);
    }
    let mut samples = Vec::new();
    for (kind, sum) in sums {
        let mut push = |name, help, value| {
            let labels = vec![("node", tree.node().to_owned()), ("kind", kind.to_owned())];
            samples.push(Sample { name, help, labels, value });
        };
        push("actors_running", "Actors that take messages", SampleValue::Gauge(sum.running));
        push("actor_mailbox_messages", "Messages waiting or in hand", SampleValue::Gauge(sum.mailbox));
        push("actor_tasks", "Tasks that actors own", SampleValue::Gauge(sum.tasks));
        push(
            "actor_messages_handled",
            "Messages, ticks and timers handled",
            SampleValue::Counter(sum.handled),
        );
        push("actor_slow_handlers", "Handlers that took too long", SampleValue::Counter(sum.slow));
        push(
            "actor_stuck_kills",
            "Actors killed because a handler did not end",
            SampleValue::Counter(sum.stuck),
        );
        push("actor_restarts", "Actors started again after they failed", SampleValue::Counter(sum.restarts));
    }
    samples
}
