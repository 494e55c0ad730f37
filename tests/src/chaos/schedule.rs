//! Does to a cluster what a scenario says, when it says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use dfs_client::{
    Client,
    admin::{ActorInfo, Chaos, ChaosAction, ScrubPace},
    job::{DrainNode, JobState, JobStatus, JobTask},
};

use super::CHAOS_TOKEN;
use super::fault::{Deed, Fault, Whom};
use super::ground::{Ground, Member};
use super::load::Load;
use super::scenario::Scenario;
use super::watch::hasty;
use crate::Rng;

/// Kinds of actors that come and go with a connection or a transfer: none takes their place.
const PASSING: [&str; 4] = ["session", "stream", "replica", "transfer"];
/// How long a node that was restarted may take until it is missed no more.
const BACK: Duration = Duration::from_secs(40);

/// Runs what blocks where it keeps nobody from anything. A panic becomes an error.
pub(super) async fn apart<T, F>(work: F) -> Result<T, String>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, String> + Send + 'static,
{
    let said = |error: tokio::task::JoinError| match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic".to_owned())
        }
        Err(error) => error.to_string(),
    };
    tokio::task::spawn_blocking(work).await.map_err(said)?
}

/// What is to be done next.
enum Step {
    Begin(usize),
    End(usize, Member),
}

/// Carries out the faults of a scenario.
pub(super) struct Schedule<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) ground: &'a Arc<dyn Ground>,
    pub(super) load: &'a Load,
    pub(super) rng: Rng,
    /// Actors that have not had their turn yet.
    turns: Vec<(Member, String)>,
    /// What was done.
    pub(super) done: Vec<String>,
    /// Kinds of actors that were struck and do not come and go.
    pub(super) struck: BTreeSet<String>,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(scenario: &'a Scenario, ground: &'a Arc<dyn Ground>, load: &'a Load, rng: Rng) -> Self {
        Self { scenario, ground, load, rng, turns: vec![], done: vec![], struck: BTreeSet::new() }
    }

    /// Does all of it, in order of time, and mends what is not mended yet.
    ///
    /// # Errors
    /// If something cannot be done.
    pub(super) async fn run(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let mut steps: BTreeMap<(Duration, usize), Step> = BTreeMap::new();
        let mut order = 0;
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            for time in 0..fault.times.unwrap_or(1) {
                let at = fault.at.0 + fault.every.unwrap_or_default().0 * time;
                steps.insert((at, order), Step::Begin(number));
                order += 1;
            }
        }
        while let Some(((at, _), step)) = steps.pop_first() {
            tokio::time::sleep_until((began + at).into()).await;
            match step {
                Step::Begin(number) => {
                    let fault = &self.scenario.faults[number];
                    let victim = self.begin(fault).await?;
                    if let Some((victim, lasts)) = victim.zip(fault.lasts) {
                        steps.insert((began.elapsed() + lasts.0, order), Step::End(number, victim));
                        order += 1;
                    }
                }
                Step::End(number, victim) => self.end(&self.scenario.faults[number], victim).await?,
            }
        }
        self.mend().await
    }

    fn note(&mut self, what: String) {
        tracing::info!("{what}");
        self.done.push(what);
    }

    /// All nodes, the coordinator first.
    fn members(&self) -> impl Iterator<Item = Member> + use<> {
        let datanodes = (1..=self.scenario.topology.datanodes).map(Member::Datanode);
        std::iter::once(Member::Coordinator).chain(datanodes)
    }

    fn victim(&mut self, whom: Option<Whom>) -> Member {
        let datanode = |rng: &mut Rng, of: usize| 1 + usize::try_from(rng.below(of as u64)).unwrap_or(0);
        let datanodes = self.scenario.topology.datanodes;
        match whom {
            Some(Whom::Datanode(number)) => Member::Datanode(number),
            Some(Whom::AnyDatanode) => Member::Datanode(datanode(&mut self.rng, datanodes)),
            Some(Whom::Any) if self.rng.below(2) == 0 => Member::Datanode(datanode(&mut self.rng, datanodes)),
            _ => Member::Coordinator,
        }
    }

    /// Lets the ground do something to a node.
    async fn to(
        &self,
        node: Member,
        what: impl FnOnce(&dyn Ground, Member) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let ground = self.ground.clone();
        apart(move || what(ground.as_ref(), node)).await.map_err(|why| format!("{node}: {why}"))
    }

    /// Lets the ground do something to a datanode.
    async fn to_datanode(
        &self,
        node: Member,
        what: impl FnOnce(&dyn Ground, usize) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        self.to(node, |ground, node| match node {
            Member::Datanode(number) => what(ground, number),
            Member::Coordinator => Err("is no datanode".to_owned()),
        })
        .await
    }

    /// Does what a fault says, and tells to whom, if it ends later.
    async fn begin(&mut self, fault: &Fault) -> Result<Option<Member>, String> {
        match fault.deed {
            Deed::KillActor | Deed::PanicActor | Deed::PauseActor => self.strike(fault).await.map(|()| None),
            Deed::Corrupt => self.corrupt(fault).await.map(|()| None),
            Deed::Scrub => self.scrub().await.map(|()| None),
            Deed::Restart if fault.node == Some(Whom::Each) => self.restart_each().await.map(|()| None),
            Deed::RestartAll => {
                for node in self.members() {
                    self.to(node, |ground, node| ground.kill(node)).await?;
                }
                self.note("kill all".to_owned());
                Ok(Some(Member::Coordinator))
            }
            _ => self.hurt(fault).await.map(Some),
        }
    }

    /// What is done to one node as a whole.
    async fn hurt(&mut self, fault: &Fault) -> Result<Member, String> {
        let victim = self.victim(fault.node);
        self.note(format!("{} {victim}", fault.deed));
        let (way, delay) = (fault.way.unwrap_or_default(), fault.delay.unwrap_or_default().0);
        match fault.deed {
            Deed::Kill => self.to(victim, |ground, node| ground.kill(node)).await?,
            Deed::Stop => self.to(victim, |ground, node| ground.stop(node)).await?,
            Deed::Restart => self.restart(victim).await?,
            Deed::Pause => self.to(victim, |ground, node| ground.pause(node)).await?,
            Deed::Wipe => self.to_datanode(victim, |ground, number| ground.wipe(number)).await?,
            Deed::Cut => self.to_datanode(victim, move |ground, number| ground.cut(number, way)).await?,
            Deed::Slow => {
                let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.to_datanode(victim, move |ground, number| ground.slow(number, delay)).await?;
            }
            Deed::Fill => self.to_datanode(victim, |ground, number| ground.fill(number)).await?,
            Deed::DelayActor => self.slow_down(fault, victim, delay).await?,
            Deed::Drain => self.drain(victim).await?,
            Deed::KillActor | Deed::PanicActor | Deed::PauseActor => {}
            Deed::Corrupt | Deed::Scrub | Deed::RestartAll => {}
        }
        Ok(victim)
    }

    /// Undoes what a fault did to a node.
    async fn end(&self, fault: &Fault, victim: Member) -> Result<(), String> {
        match fault.deed {
            Deed::Kill | Deed::Stop | Deed::Wipe => self.to(victim, |ground, node| ground.start(node)).await,
            Deed::Pause => self.to(victim, |ground, node| ground.resume(node)).await,
            Deed::Cut | Deed::Slow => self.to_datanode(victim, |ground, number| ground.join(number)).await,
            Deed::Fill => self.to_datanode(victim, |ground, number| ground.empty(number)).await,
            Deed::DelayActor => self.slow_down(fault, victim, Duration::ZERO).await,
            Deed::Drain => self.undrain(victim).await,
            Deed::RestartAll => {
                for node in self.members() {
                    self.to(node, |ground, node| ground.start(node)).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Undoes all that has no end of its own.
    async fn mend(&self) -> Result<(), String> {
        for fault in self.scenario.faults.iter().filter(|fault| fault.lasts.is_none()) {
            let nodes = self.members().filter(|node| match fault.node {
                Some(Whom::Datanode(number)) => *node == Member::Datanode(number),
                Some(Whom::Coordinator) => *node == Member::Coordinator,
                _ => {
                    *node != Member::Coordinator
                        || matches!(fault.deed, Deed::Kill | Deed::Stop | Deed::Pause)
                }
            });
            for node in nodes {
                self.end(fault, node).await?;
            }
        }
        Ok(())
    }

    /// Has all actors of a kind take so much longer for each message.
    async fn slow_down(&self, fault: &Fault, node: Member, delay: Duration) -> Result<(), String> {
        let client = self.operator().await?;
        let actor = fault.actor.clone().unwrap_or_default();
        let action = ChaosAction::Delay(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX));
        let order = Chaos { actor: actor.clone(), action, token: CHAOS_TOKEN.to_owned() };
        match client.chaos(Some(&self.ground.address(node)), order).await {
            Ok(0) => Err(format!("{node} has no actor of the kind {actor}")),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{node}: {error}")),
        }
    }

    /// The name by which the cluster knows a datanode.
    async fn name(&self, client: &Client, node: Member) -> Result<String, String> {
        let nodes = client.nodes().await.map_err(|error| error.to_string())?;
        let found = nodes.into_iter().map(|known| known.name).find(|name| Member::named(name) == Some(node));
        found.ok_or_else(|| format!("{node} is not known to the cluster"))
    }

    async fn drain(&self, node: Member) -> Result<(), String> {
        let client = self.operator().await?;
        let word = DrainNode { node: self.name(&client, node).await?, successor: None, dry_run: false };
        client.drain_node(word).await.map(drop).map_err(|error| format!("{node}: {error}"))
    }

    /// A datanode that was to be emptied is empty by now, and takes chunks again.
    async fn undrain(&self, node: Member) -> Result<(), String> {
        let client = self.operator().await?;
        let name = self.name(&client, node).await?;
        let jobs = client.jobs().await.map_err(|error| error.to_string())?;
        let about = |job: &JobStatus| matches!(&job.task, JobTask::Drain(of) if of.name == name);
        let latest = jobs.into_iter().find(about).ok_or_else(|| format!("nothing empties {node}"))?;
        if latest.state != JobState::Done {
            return Err(format!("{node} is not empty yet: {latest:?}"));
        }
        client.undrain_node(&name).await.map(drop).map_err(|error| format!("{node}: {error}"))
    }

    async fn restart(&self, node: Member) -> Result<(), String> {
        self.to(node, |ground, node| ground.stop(node)).await?;
        self.to(node, |ground, node| ground.start(node)).await
    }

    /// Restarts all nodes, the next one when the one before is back.
    async fn restart_each(&mut self) -> Result<(), String> {
        for node in self.members() {
            self.note(format!("restart {node}"));
            self.restart(node).await?;
            let deadline = Instant::now() + BACK;
            while !self.all_up().await {
                if Instant::now() > deadline {
                    return Err(format!("{node} was restarted and is not back"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    async fn all_up(&self) -> bool {
        let Ok(client) = self.operator().await else { return false };
        let status = client.status().await;
        let wanted = self.scenario.topology.datanodes;
        status.is_ok_and(|status| status.nodes_up as usize == wanted && status.nodes_silent == 0)
    }

    async fn operator(&self) -> Result<Client, String> {
        Client::connect(hasty(&**self.ground)).await.map_err(|error| error.to_string())
    }

    /// The actors of a node that may be struck; none if it does not answer.
    async fn actors(&self, client: &Client, node: Member) -> Vec<ActorInfo> {
        let actors = client.actors(Some(&self.ground.address(node))).await.unwrap_or_default();
        // The root has no supervisor of ours.
        actors.into_iter().filter(|actor| actor.path.contains('/')).collect()
    }

    /// Strikes an actor. That there is none just now, or that nobody answers, is no error: it was struck before.
    async fn strike(&mut self, fault: &Fault) -> Result<(), String> {
        let Ok(client) = self.operator().await else { return Ok(()) };
        let kind = fault.actor.as_deref().unwrap_or_default();
        let (node, kind) = match kind {
            "each" => match self.turn(&client, fault.node).await {
                Some(turn) => turn,
                None => return Ok(()),
            },
            kind => (self.victim(fault.node), kind.to_owned()),
        };
        let actors = self.actors(&client, node).await;
        let of_kind: Vec<_> = actors.iter().filter(|actor| actor.kind == kind).collect();
        if of_kind.is_empty() {
            return Ok(());
        }
        let action = match fault.deed {
            Deed::KillActor => ChaosAction::Kill,
            Deed::PanicActor => ChaosAction::Panic,
            _ => {
                let time = fault.lasts.unwrap_or_default().0.as_millis();
                ChaosAction::Pause(u32::try_from(time).unwrap_or(u32::MAX))
            }
        };
        let actor = self.rng.pick(&of_kind).path.clone();
        let what = format!("{} {node} {actor}", fault.deed);
        match client
            .chaos(Some(&self.ground.address(node)), Chaos { actor, action, token: CHAOS_TOKEN.to_owned() })
            .await
        {
            Err(error) if matches!(error.code(), "Unsupported" | "PermissionDenied") => {
                return Err(format!("{node}: {error}"));
            }
            // Whoever carries the answer may have been struck.
            Ok(_) | Err(_) => self.note(what),
        }
        let passing = PASSING.iter().any(|word| kind.contains(word));
        if !passing && action_ends(action) {
            self.struck.insert(kind);
        }
        Ok(())
    }

    /// The next actor whose turn it is: every kind of the coordinator, and of a datanode, in an order of chance.
    async fn turn(&mut self, client: &Client, whom: Option<Whom>) -> Option<(Member, String)> {
        if self.turns.is_empty() {
            let datanode = self.victim(Some(Whom::AnyDatanode));
            let nodes = match whom {
                Some(Whom::Any | Whom::Each) => vec![Member::Coordinator, datanode],
                whom => vec![self.victim(whom)],
            };
            for node in nodes {
                let kinds: BTreeSet<_> =
                    self.actors(client, node).await.into_iter().map(|actor| actor.kind).collect();
                self.turns.extend(kinds.into_iter().map(|kind| (node, kind)));
            }
        }
        let left = self.turns.len() as u64;
        let at = usize::try_from(self.rng.below(left.max(1))).unwrap_or(0);
        (left > 0).then(|| self.turns.swap_remove(at))
    }

    /// Has every datanode look through its disk, as it would within days: what rotted is found by then, whoever reads what.
    async fn scrub(&mut self) -> Result<(), String> {
        let client = self.operator().await?;
        for node in self.members().skip(1) {
            let begun = client.scrub_start(&self.ground.address(node), ScrubPace::Budget).await;
            begun.map_err(|error| format!("{node}: {error}"))?;
        }
        self.note("scrub all".to_owned());
        Ok(())
    }

    /// Changes copies of chunks of files that nobody touches.
    async fn corrupt(&mut self, fault: &Fault) -> Result<(), String> {
        let client = self.operator().await?;
        let (wanted, copies) = (fault.chunks.unwrap_or(1), fault.copies.unwrap_or(1));
        let mut spoiled = 0;
        for path in self.load.kept() {
            let explained =
                client.explain(&path).await.map_err(|error| format!("explain {path}: {error}"))?;
            for chunk in explained.chunks {
                // A chunk whose copies are not all there yet would be left with too few good ones.
                if spoiled == wanted || chunk.replicas.len() < 3 {
                    continue;
                }
                for replica in chunk.replicas.iter().take(copies) {
                    let node =
                        Member::named(&replica.name).ok_or_else(|| format!("{} is no node", replica.name))?;
                    let id = chunk.chunk;
                    self.to_datanode(node, move |ground, number| ground.spoil(number, id)).await?;
                    self.note(format!("corrupt {node} chunk {id} of {path}"));
                }
                spoiled += 1;
            }
        }
        match spoiled {
            0 => Err("there is no chunk with all its copies to corrupt".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Whether an actor ends by it.
fn action_ends(action: ChaosAction) -> bool {
    matches!(action, ChaosAction::Kill | ChaosAction::Panic)
}
