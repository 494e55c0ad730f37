//! Watches a cluster while it is broken: since when all is well, when trouble showed first, which actors were restarted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dfs_client::{
    Client, ClientConfig,
    admin::{ActorInfo, ClusterStatus, HealthLevel},
};
use tokio::task::JoinHandle;

use super::ground::{Ground, Member};

/// Time between two questions.
const STEP: Duration = Duration::from_millis(200);
/// How long an answer may take: silence is an answer, too.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two counts of restarts.
const COUNT: Duration = Duration::from_millis(500);

/// A client for operators that gives up soon.
pub(super) fn hasty(ground: &dyn Ground) -> ClientConfig {
    let mut config = ground.config();
    "dfs-chaos".clone_into(&mut config.agent);
    config.operator = true;
    config.give_up_after(PATIENCE);
    config
}

/// What is not well, by its codes; empty if all is.
pub(super) fn complaints(status: &ClusterStatus, datanodes: usize) -> Vec<String> {
    // That it can be broken is what it is for, and said; any other weaker mode is a complaint.
    let only_chaos = status.unsafe_modes.iter().all(|mode| mode.starts_with("chaos."));
    let findings = status.findings.iter().filter(|finding| finding.level != HealthLevel::Ok);
    let findings = findings.filter(|finding| !(only_chaos && finding.code == "UNSAFE"));
    let mut found: Vec<_> =
        findings.map(|finding| format!("{}: {}", finding.code, finding.message)).collect();
    let up = status.nodes_up.saturating_sub(status.nodes_silent) as usize;
    if up != datanodes {
        found.push(format!("{up} of {datanodes} datanodes are up"));
    }
    if status.counting {
        found.push("chunks are being counted".to_owned());
    }
    found
}

#[derive(Default)]
struct Seen {
    /// Since when all is well.
    well: Option<Instant>,
    /// When something was not, the first time since the trouble began, and what.
    ill: Option<(Instant, Vec<String>)>,
    /// What was said last.
    last: Vec<String>,
    trouble: Option<Instant>,
    restarts: Restarts,
}

impl Seen {
    /// Takes in an answer to a question of `asked`.
    fn hear(&mut self, asked: Instant, now: Instant, complaints: Vec<String>) {
        if complaints.is_empty() {
            self.well.get_or_insert(now);
        } else {
            self.well = None;
            if self.trouble.is_some_and(|trouble| asked >= trouble) {
                self.ill.get_or_insert_with(|| (now, complaints.clone()));
            }
        }
        self.last = complaints;
    }
}

/// Restarts of actors over all lives of their processes.
#[derive(Default)]
struct Restarts {
    /// Kind and restarts of each actor, as its process counts them.
    now: BTreeMap<(Member, String), (String, u64)>,
    /// Restarts in earlier lives, by kind.
    before: BTreeMap<String, u64>,
}

impl Restarts {
    fn hear(&mut self, node: Member, actors: Vec<ActorInfo>) {
        for actor in actors {
            let last = self.now.insert((node, actor.path), (actor.kind, actor.restarts));
            if let Some((kind, restarts)) = last.filter(|(_, restarts)| *restarts > actor.restarts) {
                *self.before.entry(kind).or_default() += restarts;
            }
        }
    }

    fn sums(&self) -> BTreeMap<String, u64> {
        let mut sums = self.before.clone();
        for (kind, restarts) in self.now.values() {
            *sums.entry(kind.clone()).or_default() += restarts;
        }
        sums.retain(|_, restarts| *restarts > 0);
        sums
    }
}

/// Somebody who asks again and again. Stops when dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    tasks: [JoinHandle<()>; 2],
}

impl Watch {
    pub(super) fn start(ground: &Arc<dyn Ground>, datanodes: usize) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let asking = tokio::spawn(ask(ground.clone(), datanodes, seen.clone()));
        let counting = tokio::spawn(count(ground.clone(), datanodes, seen.clone()));
        Self { seen, tasks: [asking, counting] }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// From now on what is not well is a sign of trouble.
    pub(super) fn trouble(&self) {
        self.seen().trouble = Some(Instant::now());
    }

    /// From the beginning of the trouble to its first sign, and that sign.
    pub(super) fn detected(&self) -> Option<(Duration, Vec<String>)> {
        let seen = self.seen();
        let (ill, sign) = seen.ill.clone()?;
        Some((ill.duration_since(seen.trouble?), sign))
    }

    /// Since when all is well.
    pub(super) fn well(&self) -> Option<Instant> {
        self.seen().well
    }

    /// What was not well when it was last asked.
    pub(super) fn last(&self) -> Vec<String> {
        self.seen().last.clone()
    }

    /// Restarts of actors, by kind.
    pub(super) fn restarts(&self) -> BTreeMap<String, u64> {
        self.seen().restarts.sums()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client that a ground's coordinator last answered, or a new one.
async fn connected(client: &mut Option<Client>, ground: &Arc<dyn Ground>) -> Option<Client> {
    if client.is_none() {
        *client = Client::connect(hasty(&**ground)).await.ok();
    }
    client.clone()
}

async fn ask(ground: Arc<dyn Ground>, datanodes: usize, seen: Arc<Mutex<Seen>>) {
    let mut client = None;
    loop {
        let asked = Instant::now();
        let complaints = match connected(&mut client, &ground).await {
            Some(client) => match client.status().await {
                Ok(status) => complaints(&status, datanodes),
                Err(error) => vec![format!("the coordinator: {}", error.code())],
            },
            None => vec!["the coordinator does not answer".to_owned()],
        };
        lock(&seen).hear(asked, Instant::now(), complaints);
        tokio::time::sleep(STEP).await;
    }
}

async fn count(ground: Arc<dyn Ground>, datanodes: usize, seen: Arc<Mutex<Seen>>) {
    let mut client = None;
    loop {
        for number in 0..=datanodes {
            let node = if number == 0 { Member::Coordinator } else { Member::Datanode(number) };
            let Some(client) = connected(&mut client, &ground).await else { break };
            if let Ok(actors) = client.actors(Some(&ground.address(node))).await {
                lock(&seen).restarts.hear(node, actors);
            }
        }
        tokio::time::sleep(COUNT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(path: &str, restarts: u64) -> ActorInfo {
        ActorInfo {
            path: path.to_owned(),
            kind: path.to_owned(),
            state: "running".to_owned(),
            restarts,
            last_exit: String::new(),
            mailbox: 0,
            mailbox_max: 0,
            handled: 0,
            slow: 0,
            credit_bytes: 0,
            uptime_ms: 0,
        }
    }

    #[test]
    fn restarts_of_earlier_lives_of_a_process_count() {
        let mut restarts = Restarts::default();
        for (node, count) in [(1, 2), (2, 1), (1, 3), (1, 0), (1, 1)] {
            restarts.hear(Member::Datanode(node), vec![actor("gc", count), actor("inventory", 0)]);
        }
        assert_eq!(restarts.sums(), BTreeMap::from([("gc".to_owned(), 5)]));
    }

    #[test]
    fn a_sign_of_trouble_is_an_answer_to_a_later_question() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        seen.hear(at(0), at(1), vec!["ill".to_owned()]);
        seen.trouble = Some(at(10));
        seen.hear(at(9), at(11), vec!["ill".to_owned()]);
        let ill = |seen: &Seen| seen.ill.as_ref().map(|(when, _)| *when);
        assert_eq!((ill(&seen), seen.well), (None, None));
        seen.hear(at(12), at(13), vec!["ill".to_owned()]);
        seen.hear(at(14), at(15), vec![]);
        seen.hear(at(16), at(17), vec![]);
        assert_eq!((ill(&seen), seen.well), (Some(at(13)), Some(at(15))));
        seen.hear(at(18), at(19), vec!["ill".to_owned()]);
        assert_eq!((ill(&seen), seen.well), (Some(at(13)), None), "it is ill again");
    }
}
