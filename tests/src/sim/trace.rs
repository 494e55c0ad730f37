//! What happened in a world, in order, and the one number that stands for all of it.
//!
//! Every event is hashed as it happens; two runs are the same run exactly if their hashes are. What is only said in logs is
//! kept for people and left out of the hash: words may name what differs from process to process (the id of a thread).

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dfs_wire::frame::{FrameKind, Header};
use dfs_wire::limits::{HEAD_BYTES_MAX, HEADER_BYTES};

use super::fate::Place;
use super::id::HostId;
use super::steps::{Namer, Step};
use crate::rng::mix;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Virtual microseconds since the world began.
    pub at: u64,
    /// Where.
    pub host: HostId,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A frame left for another host. Its checksums stand for its bytes.
    Sent {
        /// The host it goes to.
        to: HostId,
        /// Number of the connection in this world.
        line: u64,
        /// The frame's header.
        header: [u8; HEADER_BYTES],
        /// What it is about, in words for people, if every event is kept.
        about: String,
    },
    /// The disk was changed or synced.
    Disk(&'static str, String),
    /// A process began, ended, or was made to suffer.
    Life(String),
    /// A client called something, or was answered.
    Client(String),
    /// Something was logged as a warning or an error.
    Log(tracing::Level, String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { to, line, header, about } => {
                let Ok(header) = Header::parse(header, HEAD_BYTES_MAX) else {
                    return write!(f, "to {to}: bytes that are no frame (line {line})");
                };
                let Header { kind, stream, sequence, head_len, tail_len, .. } = header;
                let kind =
                    FrameKind::from_number(kind).map_or_else(|| kind.to_string(), |kind| format!("{kind:?}"));
                write!(
                    f,
                    "to {to}: {kind} {stream}.{sequence} of {head_len}+{tail_len} bytes (line {line}) {about}"
                )
            }
            Self::Disk(operation, path) => write!(f, "disk: {operation} {path}"),
            Self::Life(text) | Self::Client(text) => f.write_str(text),
            Self::Log(level, text) => write!(f, "{level}: {text}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6} {:<5} {}", self.at as f64 / 1e6, self.host.to_string(), self.what)
    }
}

#[derive(Default)]
struct Noted {
    hash: u64,
    count: u64,
    kept: Vec<Event>,
    steps: Vec<Step>,
    namer: Namer,
}

/// All events of a world. Clones are the same one.
#[derive(Clone, Default)]
pub struct Trace {
    noted: Arc<Mutex<Noted>>,
    /// Frames and changes of disks are kept too, not only hashed.
    keeps_all: bool,
}

impl Trace {
    /// An empty one. With `keeps_all` every event can be looked at afterwards; else frames and changes of disks are only
    /// hashed.
    pub fn new(keeps_all: bool) -> Self {
        Self { noted: Arc::default(), keeps_all }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every event can be looked at afterwards.
    pub(super) fn keeps_all(&self) -> bool {
        self.keeps_all
    }

    /// Adds an event.
    pub(super) fn note(&self, at: u64, host: HostId, what: What) {
        let mut noted = self.lock();
        if !matches!(what, What::Log(..)) {
            let hash = what.words().fold(mix(noted.hash ^ at), |hash, word| mix(hash ^ word));
            noted.hash = mix(hash ^ host.0 as u64);
            noted.count += 1;
        }
        if self.keeps_all || !matches!(what, What::Sent { .. } | What::Disk(..)) {
            noted.kept.push(Event { at, host, what });
        }
    }

    /// Remembers a step of a host, if everything is kept.
    pub(super) fn step(
        &self,
        at: u64,
        host: HostId,
        step: (Place, u64),
        name: impl FnOnce(&mut Namer) -> Vec<String>,
    ) {
        if self.keeps_all {
            let mut noted = self.lock();
            let (names, (place, number)) = (name(&mut noted.namer), step);
            noted.steps.push(Step { at, host, place, number, names });
        }
    }

    /// Lets the one that names steps know of something.
    pub(super) fn tell_namer(&self, tell: impl FnOnce(&mut Namer)) {
        if self.keeps_all {
            tell(&mut self.lock().namer);
        }
    }

    /// The steps that hosts made, in order, if everything is kept.
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    /// The number that stands for everything that happened so far.
    pub fn hash(&self) -> u64 {
        self.lock().hash
    }

    /// How many events went into it.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// The events that were kept.
    pub fn events(&self) -> Vec<Event> {
        self.lock().kept.clone()
    }
}

impl What {
    /// Its contents, as numbers to hash.
    fn words(&self) -> impl Iterator<Item = u64> {
        let (first, number, bytes): (u64, u64, &[u8]) = match self {
            Self::Sent { to, line, header, .. } => (1 + ((to.0 as u64) << 8), *line, header),
            Self::Disk(operation, path) => (2 + ((operation.len() as u64) << 8), 0, path.as_bytes()),
            Self::Life(text) => (3, 0, text.as_bytes()),
            Self::Client(text) => (4, 0, text.as_bytes()),
            Self::Log(..) => (5, 0, &[]),
        };
        let words = bytes.chunks(8).map(|part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(word)
        });
        [first, number].into_iter().chain(words)
    }
}

/// The end of a chunk's long name, which tells it from others.
pub(super) fn short(key: &str) -> String {
    let (id, generation) = key.split_once('.').unwrap_or((key, ""));
    let end = id.len().saturating_sub(4);
    format!("{}.{generation}", id.get(end..).unwrap_or(id))
}

thread_local! {
    /// Where what is logged on this thread belongs: the world's trace, the host that runs, and its clock.
    static SCRIBE: RefCell<Option<Scribe>> = const { RefCell::new(None) };
}

/// Takes down what a host logs while it runs.
#[derive(Clone)]
pub(super) struct Scribe {
    pub(super) trace: Trace,
    pub(super) host: HostId,
    pub(super) now: fn() -> u64,
    /// Set once the host is dead: what it still says nobody hears.
    pub(super) dead: Arc<AtomicBool>,
}

/// Puts what is logged on this thread under `scribe`, until the next call.
pub(super) fn listen(scribe: Option<Scribe>) {
    SCRIBE.with(|here| *here.borrow_mut() = scribe);
}

/// A panic on this thread: in a host, the scribe takes it down, and it is no news to whoever runs the world. Else `elsewhere`
/// has it.
pub(super) fn panicked(info: &std::panic::PanicHookInfo<'_>, elsewhere: impl FnOnce()) {
    match SCRIBE.with(|here| here.borrow().clone()) {
        Some(Scribe { trace, host, now, .. }) => {
            trace.note(now(), host, What::Log(tracing::Level::WARN, info.to_string()));
        }
        None => elsewhere(),
    }
}

/// The subscriber that hands warnings and errors to the scribe of the thread.
pub(super) struct Logs;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Logs {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let scribe = SCRIBE.with(|here| here.borrow().clone());
        let Some(Scribe { trace, host, now, dead }) = scribe else { return };
        if dead.load(Ordering::Relaxed) {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        if *event.metadata().level() == tracing::Level::TRACE {
            trace.tell_namer(|namer| namer.committer_said(&words.0));
            return;
        }
        trace.note(now(), host, What::Log(*event.metadata().level(), words.0));
    }
}

#[derive(Default)]
struct Words(String);

impl tracing::field::Visit for Words {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        let name = field.name();
        let written = match name {
            "message" => write!(self.0, "{value:?} "),
            _ => write!(self.0, "{name}={value:?} "),
        };
        written.expect("a string takes all");
    }
}
