//! A whole cluster in one thread: a coordinator, datanodes and a client, over lines and disks in memory.
//!
//! What all of them do follows from a seed, if the runtime has one thread and its clock is paused: real actors and the
//! real SDK, whose doors to the world (`dfs_actors::env::Env`, `dfs_client::Env`) lead into this one. [`Trace`] is what is
//! compared: every frame that crossed a line.

mod net;
mod node;
mod store;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use dfs_actors::env::{Clock, Env, Rng, SeededRng, TokioClock};
use dfs_client::{Client, ClientConfig};
use tokio::time::Instant;

use crate::rng::mix;
use net::SimNet;
pub use node::SimNode;
pub use trace::{Sent, Trace};

/// Where the coordinator listens, in this network.
const COORDINATOR: &str = "10.0.0.1:8080";
/// The date at which every world begins: 2026-01-01.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// How long datanodes may take to join.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// A coordinator and its datanodes.
pub struct Sim {
    net: Arc<SimNet>,
    clock: TokioClock,
    seed: u64,
    trace: Trace,
    coordinator: SimNode,
    datanodes: Vec<SimNode>,
}

impl Sim {
    /// Starts a coordinator and `count` datanodes, and waits until the coordinator counts on all of them.
    ///
    /// # Panics
    /// If they do not come up in 30 virtual seconds.
    pub async fn start(seed: u64, count: usize) -> Self {
        let (trace, clock) = (Trace::begin(), TokioClock::starting_at(BEGIN_MS));
        let net = SimNet::new(seed, trace.clone());
        let world = |name: &str| env(&net, &clock, seed, name);
        let coordinator = SimNode::coordinator(world(COORDINATOR), COORDINATOR).await;
        let mut datanodes = Vec::new();
        for number in 1..=count {
            let name = format!("10.0.1.{number}:8081");
            datanodes.push(SimNode::datanode(world(&name), &name, COORDINATOR).await);
        }
        let sim = Self { net, clock, seed, trace, coordinator, datanodes };
        sim.joined().await;
        sim
    }

    async fn joined(&self) {
        let operator = self.client("operator").await;
        let begun = Instant::now();
        loop {
            let status = operator.status().await.expect("the coordinator answers");
            if status.nodes_up as usize == self.datanodes.len() {
                return;
            }
            assert!(begun.elapsed() < JOIN_PATIENCE, "{} datanodes joined", status.nodes_up);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A client of this cluster, by any name: the real SDK.
    ///
    /// # Panics
    /// If the coordinator does not answer.
    pub async fn client(&self, name: &str) -> Client {
        let config = ClientConfig { agent: name.to_owned(), ..ClientConfig::new([COORDINATOR]) };
        let rng = ClientRng(seeded(self.seed, name));
        let env = dfs_client::Env::in_one_thread(Arc::new(self.net.as_seen_by(name)), Arc::new(rng));
        Client::connect_in(config, env).await.expect("the coordinator answers")
    }

    /// What crossed the lines so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The coordinator.
    pub fn coordinator(&self) -> &SimNode {
        &self.coordinator
    }

    /// The datanodes.
    pub fn datanodes(&self) -> &[SimNode] {
        &self.datanodes
    }

    /// Virtual time since the world began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.clock.now().as_micros())
    }

    /// Stops all nodes in order, the coordinator last.
    ///
    /// # Panics
    /// If one does not stop in order.
    pub async fn stop(self) {
        for node in self.datanodes {
            node.stop().await;
        }
        self.coordinator.stop().await;
    }
}

/// The world as one node sees it, with a generator of its own.
fn env(net: &Arc<SimNet>, clock: &TokioClock, seed: u64, name: &str) -> Env {
    Env::new(Arc::new(clock.clone()), Arc::new(net.as_seen_by(name)), Arc::new(seeded(seed, name)))
}

fn seeded(seed: u64, name: &str) -> SeededRng {
    SeededRng::new(name.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte))))
}

struct ClientRng(SeededRng);

impl dfs_client::Rng for ClientRng {
    fn u64(&self) -> u64 {
        self.0.u64()
    }
}
