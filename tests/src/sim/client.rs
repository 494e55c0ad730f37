//! What runs on the hosts of clients: the real SDK, told to do what a seed says, and every call and answer written down.

mod calls;
mod copies;
mod emptied;
mod ledger;
mod odd;
mod rogue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_actors::env::{Rng as _, SeededRng};
use dfs_client::metadata::{FileStat, Precondition};
use dfs_client::{
    Client, ClientConfig, DeleteOptions, DfsPath, Error, GetOptions, MkdirOptions, PutOptions, PutOutcome,
    PutSource, RenameOptions,
};
use tokio::time::{Instant, sleep, timeout};

pub(super) use calls::{Call, Refusal, history};
pub(super) use ledger::Ledger;
use ledger::micros;

use super::host::{Birth, Ending, now_us};
use super::id::HostId;
use super::net::Port;
use super::trace::{Trace, What};
use super::trouble::Needs;
use crate::history::Event;
use crate::{Content, Rng};

/// Paths that clients write to.
pub(super) const PATHS: usize = 4;
/// Smallest chunks that there are, so that files have several.
const CHUNK: u32 = 64 * 1024;
/// How long a client tries before it says that something cannot be done.
const PATIENCE: Duration = Duration::from_secs(8);
/// Within so much time of its call, what a put stored cannot have been collected.
const PROVABLE: Duration = Duration::from_secs(5);
/// Pauses between operations.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// Within so much time everything works again once nothing is broken any more.
const SETTLED_IN: Duration = Duration::from_secs(60);
/// Within so much time health tells of a node that has been silent for as long as one may be.
const TOLD_IN: Duration = Duration::from_secs(10);
/// What health has to say while everything works is over in so much time.
const CLEARED_IN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);

/// What a client's host runs.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// Waits until so many datanodes are there, and makes the directory.
    Prepare(usize),
    /// Random operations.
    Load(Load),
    /// Looks whether so many nodes that do nothing are said to be up, of so many.
    Silent(usize, usize),
    /// Waits until the cluster's health names these nodes, and sees that it says nothing of those.
    Told(Vec<HostId>, Vec<HostId>),
    /// So many attempts to do what may not be done.
    Rogue(u32),
    /// Sees that everything works again in time once all faults are over, with so many datanodes.
    Settle(usize),
    /// Looks at everything, once nothing is broken any more and so many datanodes are there.
    Audit(usize),
    /// Most of the script.
    Act,
    /// Most of the second script.
    Mend,
    /// What its operator does.
    Operate,
    /// Sees that what its operator did for a while is over.
    TakeBack,
    /// The part of the script that does not end.
    Quit,
    /// The part of the script that records a chunk, at this time of the world, and no more.
    Record(u64),
}

/// The work of a client that does what comes to its mind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) operations: u32,
    /// It is spread over so much time.
    pub(super) span_ms: u64,
}

/// A client's process.
pub(super) struct Desk {
    pub(super) birth: Birth,
    pub(super) port: Port,
    pub(super) seed: u64,
    pub(super) ledger: Arc<Ledger>,
    pub(super) trace: Trace,
}

struct ClientRng(SeededRng);

impl dfs_client::Rng for ClientRng {
    fn u64(&self) -> u64 {
        self.0.u64()
    }
}

pub(super) fn path_of(at: usize) -> DfsPath {
    crate::path(&format!("/h/p{at}"))
}

/// The contents of a value: the length says which value it is, the bytes prove it.
fn content(value: u32) -> Content {
    Content::new("sim", value.into(), 777 + u64::from(value) * 2_311)
}

pub(super) fn value_of(size: u64) -> Option<u32> {
    let value = u32::try_from(size.checked_sub(777)? / 2_311).ok()?;
    (content(value).len() == size).then_some(value)
}

/// Runs a program to its end.
pub(super) async fn run(desk: Desk, program: Program) -> Ending {
    if let Program::Rogue(acts) = program {
        return rogue::run(desk, acts).await;
    }
    if let Program::Record(at_ms) = program {
        return rogue::record(desk, at_ms).await;
    }
    let began = now_us();
    let person = match program {
        Program::Settle(_) => {
            let end = desk.ledger.settled_by().unwrap_or_default();
            by(end, "to connect", Person::connect(desk)).await?
        }
        _ => Person::connect(desk).await?,
    };
    match program {
        Program::Rogue(_) | Program::Record(_) => Ok(()),
        Program::Prepare(nodes) => person.prepare(nodes, began).await,
        Program::Load(load) => {
            person.live(load).await;
            Ok(())
        }
        Program::Silent(gone, nodes) => person.silence_is_told(gone, nodes).await,
        Program::Told(down, well) => person.told_of(&down, &well).await,
        Program::Settle(nodes) => person.settle(nodes).await,
        Program::Audit(nodes) => person.audit(nodes, began).await,
        Program::Act => person.act().await,
        Program::Quit => person.quit().await,
        Program::Mend => person.mend().await,
        Program::Operate => person.operate().await,
        Program::TakeBack => {
            person.take_back().await;
            person.jobs_end().await;
            Ok(())
        }
    }
}

pub(super) struct Person {
    pub(super) client: Client,
    host: HostId,
    pub(super) ledger: Arc<Ledger>,
    trace: Trace,
    rng: Mutex<Rng>,
}

impl Person {
    async fn connect(desk: Desk) -> Result<Self, String> {
        let mut config = ClientConfig {
            agent: desk.birth.host.to_string(),
            ..ClientConfig::new([HostId::COORDINATOR.address()])
        };
        config.give_up_after(PATIENCE);
        let port = Arc::new(desk.port);
        let begun = Instant::now();
        desk.ledger.begins(usize::from(desk.birth.host.0));
        desk.ledger.opens(desk.birth.host, "to connect".to_owned(), now_us());
        // Another life of a client is another client to everybody else.
        let seed = desk.seed ^ u64::from(desk.birth.life) << 32;
        loop {
            let rng = Arc::new(ClientRng(SeededRng::new(seed)));
            let env = dfs_client::Env::in_one_thread(port.clone(), rng);
            match Client::connect_in(config.clone(), env).await {
                Ok(client) => {
                    desk.ledger.closes(desk.birth.host);
                    let rng = Mutex::new(Rng::from_seed(seed));
                    let (host, ledger, trace) = (desk.birth.host, desk.ledger, desk.trace);
                    return Ok(Self { client, host, ledger, trace, rng });
                }
                Err(error) if begun.elapsed() > 10 * SETTLED_IN => return Err(error.to_string()),
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).below(bound)
    }

    pub(super) fn say(&self, text: String) {
        self.trace.note(now_us(), self.host, What::Client(text));
    }

    fn number(&self) -> usize {
        usize::from(self.host.0)
    }

    pub(super) fn put_options() -> PutOptions {
        PutOptions::new().chunk_size(CHUNK)
    }

    /// What was acknowledged is durable on enough disks. If it took long and somebody else changed the path meanwhile, it may
    /// have been replaced and collected since.
    fn prove(&self, call: &Call, (at, value): (usize, u32), result: &Result<PutOutcome, Error>) {
        if let Ok(outcome) = result
            && (now_us() - call.begun_us < micros(PROVABLE) || !self.may_be_replaced(call, at))
        {
            let Ledger { disks, .. } = &*self.ledger;
            let inode = outcome.stat.inode.0;
            let wrong = disks.what_is_wrong(inode, &content(value), CHUNK, call.begun_us);
            wrong.into_iter().for_each(|wrong| {
                self.ledger.accuse(format!("{}: put {value} was acknowledged: {wrong}", self.host));
            });
        }
    }

    pub(super) async fn put(&self, at: usize) {
        let value = self.ledger.fresh();
        let call = self.changes(format!("put {value} at p{at}"), Needs::Places, Event::Put(at, value));
        let source = PutSource::from(content(value).bytes());
        let result = self.client.put(source, &path_of(at), Self::put_options()).await;
        self.prove(&call, (at, value), &result);
        self.note(&call, result.map(drop), Event::Put(at, value), None);
    }

    /// Puts over what is there now, or where nothing is, if that is still so.
    pub(super) async fn put_if(&self, at: usize) {
        let look = self.asks(format!("stat p{at}"), Needs::Metadata);
        let found = match self.client.stat(&path_of(at)).await {
            Ok(stat) => Some(stat),
            Err(error) if error.code() == "NotFound" => None,
            Err(error) => return self.note_unseen(&look, &error),
        };
        let (expected, precondition) = match &found {
            Some(stat) => (value_of(stat.size), Precondition::Match(stat.version)),
            None => (None, Precondition::Absent),
        };
        self.note_seen(&look, Event::Get(at, expected));
        let value = self.ledger.fresh();
        let event = |done| Event::PutIf(at, expected, value, done);
        let what = format!("put {value} at p{at} over {expected:?}");
        let call = self.changes(what, Needs::Places, event(true));
        let options = Self::put_options().precondition(precondition);
        let result = self.client.put(PutSource::from(content(value).bytes()), &path_of(at), options).await;
        self.prove(&call, (at, value), &result);
        let refused = (&["PreconditionFailed", "AlreadyExists"][..], event(false));
        self.note(&call, result.map(drop), event(true), Some(refused));
    }

    pub(super) async fn remove(&self, at: usize, skip: bool) {
        let event = |done| Event::Remove(at, done);
        let call = self.changes(format!("remove p{at}"), Needs::Metadata, event(true));
        let result = self.client.delete(&path_of(at), DeleteOptions::new().skip_trash(skip)).await;
        self.note(&call, result.map(drop), event(true), Some((&["NotFound"], event(false))));
    }

    pub(super) async fn rename(&self, from: usize, to: usize) {
        let event = |done| Event::Rename(from, to, done);
        let call = self.changes(format!("rename p{from} to p{to}"), Needs::Metadata, event(true));
        let options = RenameOptions::new().replace(true);
        let result = self.client.rename(&path_of(from), &path_of(to), options).await;
        self.note(&call, result, event(true), Some((&["NotFound"], event(false))));
    }

    /// The value at a path, as its bytes prove it.
    pub(super) async fn read(&self, at: usize) -> Result<Option<u32>, Error> {
        let mut bytes = vec![];
        match self.client.get_to_writer(&path_of(at), &mut bytes, GetOptions::default()).await {
            Ok(got) => {
                let value = value_of(got.stat.size);
                let right = value.is_some_and(|value| {
                    content(value).len() == bytes.len() as u64
                        && content(value).first_difference(0, &bytes).is_none()
                });
                if !right {
                    self.ledger.accuse(format!("{}: p{at}: WRONG BYTES in {value:?}", self.host));
                }
                Ok(value)
            }
            Err(error) if error.code() == "NotFound" => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn get(&self, at: usize) {
        let call = self.asks(format!("get p{at}"), Needs::Copy);
        match self.read(at).await {
            Ok(held) => self.note_seen(&call, Event::Get(at, held)),
            Err(error) => self.note_unseen(&call, &error),
        }
    }

    pub(super) async fn list(&self) {
        let call = self.asks("list".to_owned(), Needs::Metadata);
        match self.client.list_all(&crate::path("/h"), false).await {
            Ok(entries) => {
                let seen: BTreeMap<_, _> = entries.iter().filter_map(entry).collect();
                if seen.len() != entries.len() {
                    self.ledger.accuse(format!("{}: a listing with what nobody put: {entries:?}", self.host));
                }
                self.note_seen(&call, Event::List(seen));
            }
            Err(error) => self.note_unseen(&call, &error),
        }
    }

    /// Does what a former life of the same client has left to do.
    async fn live(&self, load: Load) {
        while self.ledger.takes_up_one(self.number()) {
            self.one_operation().await;
            // Several in a row, and then a longer pause: such as come together meet each other, and all of them the faults.
            let longest = match self.below(2) {
                0 => Duration::ZERO,
                _ => Duration::from_millis(load.span_ms) * 4 / load.operations.max(1),
            };
            sleep(Duration::from_micros(self.below(longest.max(PAUSE_MAX).as_micros() as u64))).await;
        }
    }

    async fn one_operation(&self) {
        let at = self.below(PATHS as u64) as usize;
        match self.below(18) {
            0..3 => self.put(at).await,
            3..5 => self.put_if(at).await,
            5..7 => self.remove(at, self.below(2) == 0).await,
            7 => self.rename(at, (at + 1) % PATHS).await,
            8..11 => self.get(at).await,
            11 => self.list().await,
            12..15 => self.get_part(at).await,
            15..17 => self.abandon(at).await,
            _ if self.below(3) == 0 => self.put_slowly(at).await,
            _ => self.get_part(at).await,
        }
    }

    /// Waits until so many datanodes are up and health has nothing to say, until a time of the world at most.
    pub(super) async fn all_there(&self, nodes: usize, end_us: u64) -> Result<(), String> {
        loop {
            let found = match self.client.status().await {
                Ok(status) => {
                    let told = &status.findings;
                    if status.nodes_up as usize == nodes && told.is_empty() {
                        return Ok(());
                    }
                    format!("{} of {nodes} datanodes up, {told:?}", status.nodes_up)
                }
                Err(error) => error.to_string(),
            };
            if now_us() > end_us {
                return Err(format!("{} s after all faults: {found}", self.ledger.healed_for(now_us())));
            }
            sleep(LOOK).await;
        }
    }

    async fn prepare(&self, nodes: usize, began_us: u64) -> Ending {
        self.all_there(nodes, began_us + micros(SETTLED_IN)).await?;
        self.client.mkdir(&crate::path("/h"), MkdirOptions::default()).await.map_err(|e| e.to_string())
    }

    /// What works again in time once all faults are over.
    async fn settle(&self, nodes: usize) -> Ending {
        let end = self.ledger.settled_by().unwrap_or_default();
        self.all_there(nodes, end).await?;
        by(end, "each kind of operation", self.try_everything()).await?;
        by(end, "to read every path", self.read_all()).await
    }

    async fn read_all(&self) -> Ending {
        for at in 0..PATHS {
            self.read_at_the_end(at).await?;
        }
        Ok(())
    }

    async fn read_at_the_end(&self, at: usize) -> Result<Option<u32>, String> {
        let called = self.ledger.recorder.now();
        let held = self.read(at).await.map_err(|error| format!("p{at} cannot be read: {error:?}"))?;
        self.say(format!("at the end p{at} holds {held:?}"));
        self.ledger.recorder.returned(self.number(), called, Event::Get(at, held));
        Ok(held)
    }

    /// What must hold at the end; whatever does not is said.
    async fn audit(&self, nodes: usize, began_us: u64) -> Ending {
        let end = self.ledger.settled_by().unwrap_or_default().max(began_us + micros(CLEARED_IN));
        self.all_there(nodes, end).await?;
        self.try_everything().await?;
        self.what_is_called_good_is_there().await?;
        self.ledger.good().clear();
        self.ledger.live().clear();
        for at in 0..PATHS {
            if self.read_at_the_end(at).await?.is_some() {
                self.every_copy(at).await?;
            }
        }
        self.all_there(nodes, now_us() + micros(SETTLED_IN)).await?;
        self.whole_again().await?;
        self.empty_one(nodes).await
    }

    /// Each kind of operation succeeds.
    async fn try_everything(&self) -> Ending {
        let (a, b) = (crate::path("/settled"), crate::path("/settled.2"));
        let failed = |what: &'static str| move |error: Error| format!("after all faults, {what}: {error:?}");
        let bytes = content(1).bytes();
        let put = self.client.put(PutSource::from(bytes.clone()), &a, Self::put_options()).await;
        put.map_err(failed("put"))?;
        self.client.rename(&a, &b, RenameOptions::default()).await.map_err(failed("rename"))?;
        let mut found = vec![];
        let got = self.client.get_to_writer(&b, &mut found, GetOptions::default()).await;
        got.map_err(failed("get"))?;
        if found != bytes {
            return Err("after all faults, WRONG BYTES".to_owned());
        }
        self.client.delete(&b, DeleteOptions::default()).await.map_err(failed("delete"))?;
        Ok(())
    }
}

/// Does a part of what must be done by a time of the world, or says which part was too late.
async fn by<T>(end_us: u64, what: &str, part: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let left = Duration::from_micros(end_us.saturating_sub(now_us()));
    let late = || format!("{} s after all faults this is not done: {what}", SETTLED_IN.as_secs());
    timeout(left, part).await.unwrap_or_else(|_| Err(late()))
}

fn entry(stat: &FileStat) -> Option<(usize, u32)> {
    let at = (0..PATHS).find(|at| path_of(*at) == stat.path)?;
    Some((at, value_of(stat.size)?))
}
