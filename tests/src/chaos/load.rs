//! What clients do while a cluster is broken, and what they see.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use dfs_client::{
    Client, DeleteOptions, DfsPath, Error, ErrorKind, GetOptions, MkdirOptions, PutOptions, PutSource,
    RenameOptions,
};
use futures_util::{StreamExt as _, stream};
use tokio::{sync::watch, task::JoinSet};

use super::judge::{Evidence, Outcome, Sample};
use super::scenario::{Mix, Scenario};
use crate::{
    Content, Rng,
    history::{Event, Recorder},
    path,
};

/// Paths that clients share: few, so that they meet.
const PATHS: usize = 4;
/// Clients that share paths. Their history is judged by itself: the more share one, the longer that takes.
const ROOM_MATES: usize = 2;
/// Errors that are told with their words.
const ERRORS_TOLD: usize = 8;
/// Files that are read at the same time at the end.
const READS: usize = 4;
/// How often a file is read at the end before it counts as lost.
const READS_MAX: usize = 3;

/// Paths that some clients share, and what they saw there.
struct Room {
    number: usize,
    recorder: Recorder,
    puts: AtomicU32,
}

impl Room {
    fn dir(&self) -> DfsPath {
        path(&format!("/chaos/room{}", self.number))
    }

    fn path(&self, at: usize) -> DfsPath {
        path(&format!("/chaos/room{}/p{at}", self.number))
    }
}

/// A file that was acknowledged and is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept(u32);

impl Kept {
    fn path(self) -> DfsPath {
        path(&format!("/chaos/keep/{}", self.0))
    }
}

#[derive(Default)]
struct Seen {
    samples: Vec<Sample>,
    errors: Vec<String>,
    kept: Vec<Kept>,
    lost: Vec<String>,
    wrong: Vec<String>,
}

/// What all clients of a load share.
struct Shared {
    scenario: Scenario,
    began: Instant,
    rooms: Vec<Room>,
    keeps: AtomicU32,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn content(&self, of: &str, put: u32) -> Content {
        Content::new(of, put.into(), self.scenario.size_of(put))
    }

    /// What came of an operation that failed, noted with its words.
    fn failed(&self, what: &str, at: &DfsPath, error: &Error) -> Outcome {
        let mut seen = self.seen();
        if seen.errors.len() < ERRORS_TOLD {
            seen.errors.push(format!("after {:?}: {what} {at}: {error:?}", self.began.elapsed()));
        }
        match error.kind() {
            ErrorKind::OutcomeUnknown => Outcome::Unknown,
            _ => Outcome::Failed(error.code()),
        }
    }

    /// The put that a size tells, if it was made; else that is noted.
    fn put_of(&self, room: &Room, size: u64) -> Option<u32> {
        let made = room.puts.load(Ordering::SeqCst);
        let put = self.scenario.put_of(size).filter(|put| *put < made);
        if put.is_none() {
            self.seen().wrong.push(format!("{}: a file of {size} bytes, which nobody put", room.dir()));
        }
        put
    }
}

/// Clients at work.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    reader: Client,
}

impl Load {
    /// Makes the directories and lets the clients begin.
    pub(super) async fn start(
        scenario: &Scenario,
        clients: Vec<Client>,
        rng: &mut Rng,
    ) -> Result<Self, Error> {
        let rooms = clients.len().div_ceil(ROOM_MATES);
        let room = |number| Room { number, recorder: Recorder::default(), puts: AtomicU32::new(0) };
        let shared = Arc::new(Shared {
            scenario: scenario.clone(),
            began: Instant::now(),
            rooms: (0..rooms).map(room).collect(),
            keeps: AtomicU32::new(0),
            seen: Mutex::default(),
        });
        let Some(reader) = clients.first().cloned() else { unreachable!("a scenario has clients") };
        let mut options = MkdirOptions::default();
        options.parents = true;
        for dir in shared.rooms.iter().map(Room::dir).chain([path("/chaos/keep")]) {
            reader.mkdir(&dir, options.clone()).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            let user = User { client, number, room: number / ROOM_MATES, shared: shared.clone() };
            tasks.spawn(user.live(rng.fork(), stopped.clone()));
        }
        Ok(Self { shared, tasks, stop, reader })
    }

    /// The moment from which on times of evidence are counted.
    pub(super) fn began(&self) -> Instant {
        self.shared.began
    }

    /// Paths of files that were acknowledged and are left alone, the latest first.
    pub(super) fn kept(&self) -> Vec<DfsPath> {
        self.shared.seen().kept.iter().rev().map(|kept| kept.path()).collect()
    }

    /// Lets the clients end what they do, and reads everything once more.
    pub(super) async fn end(mut self) -> Evidence {
        self.stop.send_replace(true);
        let mut evidence = Evidence::default();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                evidence.aborted = Some(format!("a client: {error}"));
            }
        }
        let last =
            User { client: self.reader.clone(), number: usize::MAX, room: 0, shared: self.shared.clone() };
        for room in &self.shared.rooms {
            for at in 0..PATHS {
                last.get(room, at).await;
            }
            last.list(room).await;
        }
        let kept = self.shared.seen().kept.clone();
        stream::iter(&kept).for_each_concurrent(READS, |kept| last.must_be_there(*kept)).await;
        drop(last);
        let mut seen = self.shared.seen();
        evidence.samples = std::mem::take(&mut seen.samples);
        evidence.errors = std::mem::take(&mut seen.errors);
        evidence.kept = kept.len() as u64;
        evidence.lost = std::mem::take(&mut seen.lost);
        evidence.lost.sort();
        evidence.lost.dedup();
        evidence.wrong = std::mem::take(&mut seen.wrong);
        evidence.histories = self.shared.rooms.iter().map(|room| (PATHS, room.recorder.history())).collect();
        evidence
    }
}

/// One client at work.
struct User {
    client: Client,
    number: usize,
    room: usize,
    shared: Arc<Shared>,
}

impl User {
    async fn live(self, mut rng: Rng, mut stopped: watch::Receiver<bool>) {
        let pause = self.shared.scenario.load.pause.0;
        while !*stopped.borrow_and_update() {
            let begun = Instant::now();
            let outcome = self.act(&mut rng).await;
            let at = begun.duration_since(self.shared.began);
            self.shared.seen().samples.push(Sample { at, took: begun.elapsed(), outcome });
            let wait = pause / 2 + rng.up_to(pause.max(Duration::from_micros(1)));
            // Whoever is told to stop need not wait.
            let _ = tokio::time::timeout(wait, stopped.changed()).await;
        }
    }

    /// One operation that chance chooses.
    async fn act(&self, rng: &mut Rng) -> Outcome {
        let Mix { put, get, mv, rm, ls, keep, look } = self.shared.scenario.load.mix;
        let room = &self.shared.rooms[self.room];
        let one = |rng: &mut Rng, of: usize| usize::try_from(rng.below(of as u64)).unwrap_or(0);
        let at = one(rng, PATHS);
        let mut drawn = u32::try_from(rng.below(u64::from(self.shared.scenario.load.mix.sum()))).unwrap_or(0);
        let mut falls = |weight: u32| {
            let here = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            here
        };
        if falls(put) {
            return self.put(room, at).await;
        }
        if falls(get) {
            return self.get(room, at).await;
        }
        if falls(mv) {
            return self.rename(room, at, (at + 1 + one(rng, PATHS - 1)) % PATHS).await;
        }
        if falls(rm) {
            return self.remove(room, at).await;
        }
        if falls(ls) {
            return self.list(room).await;
        }
        let known = self.shared.seen().kept.clone();
        match falls(look) && !known.is_empty() {
            true => self.look(*rng.pick(&known)).await,
            false if keep > 0 || known.is_empty() => self.keep().await,
            false => self.list(room).await,
        }
    }

    /// Notes what came of a change, as `event` has it for success and for "was not there".
    fn note(
        &self,
        room: &Room,
        called: u64,
        result: Result<(), Error>,
        event: impl Fn(bool) -> Option<Event>,
    ) -> Outcome {
        match result {
            Ok(()) => {
                event(true).into_iter().for_each(|event| room.recorder.returned(self.number, called, event));
                Outcome::Done
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                event(true).into_iter().for_each(|event| room.recorder.unknown(self.number, called, event));
                self.shared.failed("a change in", &room.dir(), &error)
            }
            // That nothing was done is promised, and the history would show if it was.
            Err(error) => match event(false).filter(|_| error.code() == "NotFound") {
                Some(event) => {
                    room.recorder.returned(self.number, called, event);
                    Outcome::Done
                }
                None => self.shared.failed("a change in", &room.dir(), &error),
            },
        }
    }

    async fn put(&self, room: &Room, at: usize) -> Outcome {
        let put = room.puts.fetch_add(1, Ordering::SeqCst);
        let source = PutSource::from(self.shared.content(room.dir().as_str(), put).bytes());
        let called = room.recorder.now();
        let result = self.client.put(source, &room.path(at), PutOptions::default()).await;
        self.note(room, called, result.map(drop), |done| done.then_some(Event::Put(at, put)))
    }

    async fn remove(&self, room: &Room, at: usize) -> Outcome {
        let called = room.recorder.now();
        let result = self.client.delete(&room.path(at), DeleteOptions::default()).await;
        self.note(room, called, result.map(drop), |done| Some(Event::Remove(at, done)))
    }

    async fn rename(&self, room: &Room, from: usize, to: usize) -> Outcome {
        let called = room.recorder.now();
        let options = RenameOptions::new().replace(true);
        let result = self.client.rename(&room.path(from), &room.path(to), options).await;
        self.note(room, called, result, |done| Some(Event::Rename(from, to, done)))
    }

    async fn get(&self, room: &Room, at: usize) -> Outcome {
        let called = room.recorder.now();
        let mut bytes = vec![];
        match self.client.get_to_writer(&room.path(at), &mut bytes, GetOptions::default()).await {
            Ok(_) => {
                let Some(put) = self.shared.put_of(room, bytes.len() as u64) else { return Outcome::Done };
                let content = self.shared.content(room.dir().as_str(), put);
                if let Some(place) = content.first_difference(0, &bytes) {
                    self.shared.seen().wrong.push(format!("{}: byte {place} of put {put}", room.path(at)));
                }
                room.recorder.returned(self.number, called, Event::Get(at, Some(put)));
                Outcome::Done
            }
            Err(error) if error.code() == "NotFound" => {
                room.recorder.returned(self.number, called, Event::Get(at, None));
                Outcome::Done
            }
            Err(error) => self.shared.failed("get", &room.path(at), &error),
        }
    }

    async fn list(&self, room: &Room) -> Outcome {
        let called = room.recorder.now();
        match self.client.list_all(&room.dir(), false).await {
            Ok(entries) => {
                let at = |path: &DfsPath| (0..PATHS).find(|at| room.path(*at) == *path);
                let known = |path: &DfsPath, size| Some((at(path)?, self.shared.put_of(room, size)?));
                let held: BTreeMap<_, _> =
                    entries.iter().filter_map(|entry| known(&entry.path, entry.size)).collect();
                if held.len() != entries.len() {
                    self.shared.seen().wrong.push(format!("{}: an entry that nobody made", room.dir()));
                }
                room.recorder.returned(self.number, called, Event::List(held));
                Outcome::Done
            }
            Err(error) => self.shared.failed("ls", &room.dir(), &error),
        }
    }

    async fn keep(&self) -> Outcome {
        let kept = Kept(self.shared.keeps.fetch_add(1, Ordering::SeqCst));
        let source = PutSource::from(self.shared.content("keep", kept.0).bytes());
        match self.client.put(source, &kept.path(), PutOptions::default()).await {
            Ok(_) => {
                self.shared.seen().kept.push(kept);
                Outcome::Done
            }
            Err(error) => self.shared.failed("put", &kept.path(), &error),
        }
    }

    async fn look(&self, kept: Kept) -> Outcome {
        let mut bytes = vec![];
        let path = kept.path();
        match self.client.get_to_writer(&path, &mut bytes, GetOptions::default()).await {
            Ok(_) => {
                let content = self.shared.content("keep", kept.0);
                let short = (bytes.len() as u64 != content.len()).then_some(bytes.len() as u64);
                if let Some(place) = content.first_difference(0, &bytes).or(short) {
                    self.shared.seen().wrong.push(format!("{path}: byte {place}"));
                }
                Outcome::Done
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.shared.seen().lost.push(format!("{path}: {error}"));
                self.shared.failed("get", &path, &error)
            }
            Err(error) => self.shared.failed("get", &path, &error),
        }
    }

    /// Reads a kept file at the end, when nothing is in the way.
    async fn must_be_there(&self, kept: Kept) {
        let mut last = Outcome::Unknown;
        for _ in 0..READS_MAX {
            last = self.look(kept).await;
            if last == Outcome::Done {
                return;
            }
        }
        self.shared.seen().lost.push(format!("{}: {last:?}", kept.path()));
    }
}
