//! One run of one scenario: a cluster is started, loaded, broken, left to become whole, looked at, and judged.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dfs_client::Client;
use tokio::runtime;

use super::audit::{audit, forget_lost};
use super::compose::Compose;
use super::ground::Ground;
use super::judge::{Evidence, judge};
use super::load::Load;
use super::local::Local;
use super::report::Report;
use super::scenario::Scenario;
use super::schedule::{Schedule, apart};
use super::watch::Watch;
use crate::Rng;

/// All must be well for so long before it counts.
const WELL: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(100);
/// Time between two looks for processes that ended by themselves.
const REVIVAL: Duration = Duration::from_millis(250);

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Processes of this machine.
    Local,
    /// Containers.
    Compose,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Compose => f.write_str("compose"),
        }
    }
}

impl Place {
    fn start(self, scenario: &Scenario) -> Arc<dyn Ground> {
        match self {
            Self::Local => Arc::new(Local::start(scenario)),
            Self::Compose => Arc::new(Compose::start(scenario)),
        }
    }
}

/// Runs a scenario once. What chance decides follows from the seed; what the machine does meanwhile does not.
///
/// # Panics
/// If this machine gives no threads.
pub fn run(scenario: &Scenario, place: Place, seed: u64) -> Report {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let evidence = runtime.block_on(whole(scenario, place, seed));
    let mut report = judge(scenario, evidence);
    report.ground = place.to_string();
    (report.seed, report.seconds) = (seed, began.elapsed().as_secs());
    report
}

/// From the start of the cluster to its end.
async fn whole(scenario: &Scenario, place: Place, seed: u64) -> Evidence {
    let aborted = |why: String| Evidence { aborted: Some(why), ..Evidence::default() };
    let own = scenario.clone();
    let ground = match apart(move || Ok(place.start(&own))).await {
        Ok(ground) => ground,
        Err(why) => return aborted(format!("no cluster: {why}")),
    };
    let longest = scenario.longest.0;
    let evidence = match tokio::time::timeout(longest, live(scenario, &ground, seed)).await {
        Ok(Ok(evidence)) => evidence,
        Ok(Err(why)) => aborted(why),
        Err(_) => aborted(format!("longer than {}", humantime::format_duration(longest))),
    };
    if evidence.aborted.is_some() || !evidence.lost.is_empty() || !evidence.wrong.is_empty() {
        eprintln!("{}", ground.logs());
    }
    // Whoever is still asked something ends with it; the cluster goes with the last who knows it.
    let _ = apart(move || {
        drop(ground);
        Ok(())
    })
    .await;
    evidence
}

/// The cluster under load, from its first operation to the last look at it.
async fn live(scenario: &Scenario, ground: &Arc<dyn Ground>, seed: u64) -> Result<Evidence, String> {
    let mut rng = Rng::from_seed(seed);
    let datanodes = scenario.topology.datanodes;
    let watch = Watch::start(ground, datanodes);
    let mut clients = vec![];
    for _ in 0..scenario.load.clients {
        let mut config = ground.config();
        "dfs-chaos".clone_into(&mut config.agent);
        clients.push(Client::connect(config).await.map_err(|error| format!("no client: {error}"))?);
    }
    let load = Load::start(scenario, clients, &mut rng).await.map_err(|error| format!("no load: {error}"))?;
    tokio::time::sleep(scenario.load.quiet.0).await;
    let keeper = Keeper::start(ground);
    let trouble = Instant::now();
    watch.trouble();
    let mut schedule = Schedule::new(scenario, ground, &load, rng.fork());
    schedule.run().await?;
    let (mut done, struck) = (std::mem::take(&mut schedule.done), std::mem::take(&mut schedule.struck));
    let over = Instant::now();
    let healing = Healing { ground, watch: &watch, done: &mut done };
    let well = healing.wait(over, scenario.recovery.within.0).await;
    if well.is_none() {
        eprintln!("{}: not well: {}", scenario.name, watch.last().join("; "));
    }
    tokio::time::sleep(scenario.load.after.0).await;
    let began = load.began();
    let ending = Instant::now();
    let mut evidence = load.end().await;
    tracing::info!(took = ?ending.elapsed(), "the load has ended");
    (evidence.done, evidence.struck) = (done, struck);
    evidence.trouble = trouble.duration_since(began);
    (evidence.detected, evidence.sign) = watch.detected().unzip();
    evidence.healed = well.map(|well| well.duration_since(began));
    evidence.healthy = well.map(|well| well.saturating_duration_since(over));
    audit(ground, datanodes, scenario.recovery.within.0, &mut evidence).await;
    tracing::info!(chunks = evidence.chunks, took = ?ending.elapsed(), "every copy was read");
    evidence.restarts = watch.restarts();
    evidence.ended = keeper.ended();
    let own = ground.clone();
    evidence.panics = apart(move || Ok(own.panics())).await?;
    Ok(evidence)
}

/// A cluster that becomes whole.
struct Healing<'a> {
    ground: &'a Arc<dyn Ground>,
    watch: &'a Watch,
    done: &'a mut Vec<String>,
}

impl Healing<'_> {
    /// Waits until all has been well for a while; tells since when.
    async fn wait(self, over: Instant, within: Duration) -> Option<Instant> {
        let deadline = over + within + WELL;
        loop {
            let now = Instant::now();
            let since = self.watch.well().map(|since| since.max(over));
            if let Some(since) = since.filter(|since| now.duration_since(*since) >= WELL) {
                return Some(since);
            }
            if now > deadline {
                return None;
            }
            if self.watch.last().iter().any(|said| said.starts_with("NODE_LOST")) {
                // Whoever does not answer now is asked again.
                self.done.extend(forget_lost(self.ground).await.unwrap_or_default());
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

/// Starts again what ends by itself, as an init system would. Stops when dropped.
struct Keeper {
    ended: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Keeper {
    fn start(ground: &Arc<dyn Ground>) -> Self {
        let (ground, ended) = (ground.clone(), Arc::new(Mutex::new(vec![])));
        let told = ended.clone();
        let task = tokio::spawn(async move {
            loop {
                let ground = ground.clone();
                let revived = apart(move || Ok(ground.revive())).await;
                let revived = revived.unwrap_or_else(|why| vec![format!("not started again: {why}")]);
                told.lock().unwrap_or_else(PoisonError::into_inner).extend(revived);
                tokio::time::sleep(REVIVAL).await;
            }
        });
        Self { ended, task }
    }

    fn ended(&self) -> Vec<String> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}
