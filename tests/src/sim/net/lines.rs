//! The state of the network: connections, weather, and who listens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use dfs_actors::env::Connection;

use super::tap::Tap;
use crate::Rng;
use dfs_wire::identity::Identity;

use crate::sim::host::{Doom, now_us};
use crate::sim::id::HostId;
use crate::sim::trace::Trace;

/// Bytes of one direction that are on their way at most, those that wait to be read included.
pub(super) const CAPACITY: usize = 256 * 1024;
/// The least time that a piece takes. A tick of the world is not longer, so that nothing arrives in anybody's past.
pub(in crate::sim) const LATENCY_MIN_US: u64 = 1_000;
/// Most pieces take this much longer at most.
pub(super) const JITTER_US: u64 = 1_500;
/// One piece of so many takes much longer.
pub(super) const LATE_ONE_OF: u64 = 64;
pub(super) const LATE_US: u64 = 40_000;
/// How often somebody dials again where nothing answers.
pub(super) const SYN_AGAIN: Duration = Duration::from_millis(200);
/// Connections that nobody has accepted yet.
pub(super) const BACKLOG: usize = 128;
/// When something arrives that is held back.
pub(super) const NEVER: u64 = u64::MAX;

/// What becomes of bytes from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Weather {
    /// They wait until it is over.
    Held,
    /// They take their time: so many bytes in a second.
    Slow(u64),
}

pub(super) struct Piece {
    pub(super) at: u64,
    pub(super) bytes: Bytes,
}

/// One direction of a connection.
pub(super) struct Pipe {
    pub(super) from: HostId,
    pub(super) to: HostId,
    pub(super) pieces: VecDeque<Piece>,
    pub(super) bytes: usize,
    /// When the latest piece arrives: none overtakes it.
    pub(super) last: u64,
    /// The writer has closed; when the reader knows.
    pub(super) fin: Option<u64>,
    /// The reader is gone: writing is an error.
    pub(super) deaf: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    pub(super) tap: Tap,
}

/// A connection: `pipes[0]` leads from the dialler to the listener.
pub(super) struct Line {
    pub(super) pipes: [Pipe; 2],
    pub(super) ends: [End; 2],
    /// Both ends get an error.
    pub(super) reset: bool,
}

pub(super) struct End {
    pub(super) host: HostId,
    pub(super) doom: Arc<Doom>,
    /// Halves not dropped yet.
    pub(super) halves: u8,
}

pub(super) struct Listening {
    pub(super) doom: Arc<Doom>,
    pub(super) host: HostId,
    /// Tells it from the one that listened here before.
    pub(super) number: u64,
    pub(super) waiting: VecDeque<Connection>,
    pub(super) waker: Option<Waker>,
}

/// Whether a host takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Presence {
    /// Its machine runs: whoever dials a port that nobody listens on is refused.
    On,
    /// Nothing answers.
    Off,
}

pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) listening: BTreeMap<String, Listening>,
    pub(super) lines: BTreeMap<u64, Line>,
    pub(super) dialled: u64,
    pub(super) weather: BTreeMap<(HostId, HostId), Weather>,
    pub(super) off: BTreeMap<HostId, Presence>,
    pub(super) flips: Vec<(HostId, HostId)>,
    /// What one host has said to another on the connection that it opened last.
    pub(super) said: BTreeMap<(HostId, HostId), Vec<u8>>,
    pub(super) moved: u64,
    /// Who each host proves to be, as TLS has it; whoever is not in it is a user.
    pub(super) proved: BTreeMap<HostId, Identity>,
}

/// All connections of a world. Clones are the same network.
#[derive(Clone)]
pub(in crate::sim) struct SimNet {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) trace: Trace,
}

impl SimNet {
    pub(in crate::sim) fn new(rng: Rng, trace: Trace) -> Self {
        let state = State {
            rng,
            listening: BTreeMap::new(),
            lines: BTreeMap::new(),
            dialled: 0,
            weather: BTreeMap::new(),
            off: BTreeMap::new(),
            flips: Vec::new(),
            said: BTreeMap::new(),
            moved: 0,
            proved: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), trace }
    }

    /// From now on `host` proves to be this.
    pub(in crate::sim) fn prove(&self, host: HostId, identity: Identity) {
        self.lock().proved.insert(host, identity);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much has been going on so far: two equal numbers mean that nothing moved in between.
    pub(in crate::sim) fn activity(&self) -> u64 {
        self.lock().moved
    }

    /// Whether anything is on its way that will arrive by itself.
    pub(in crate::sim) fn is_busy(&self) -> bool {
        let state = self.lock();
        state
            .lines
            .values()
            .flat_map(|line| &line.pipes)
            .any(|pipe| pipe.pieces.iter().any(|p| p.at != NEVER))
    }

    /// Lets the weather from one host to another be so; `None` = fair.
    pub(in crate::sim) fn set_weather(&self, from: HostId, to: HostId, weather: Option<Weather>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        match weather {
            Some(weather) => state.weather.insert((from, to), weather),
            None => state.weather.remove(&(from, to)),
        };
        let held = weather == Some(Weather::Held);
        for pipe in state.lines.values_mut().flat_map(|line| &mut line.pipes) {
            if (pipe.from, pipe.to) == (from, to) && !held {
                pipe.release(&mut state.rng);
            }
        }
    }

    /// Names each pair of hosts between which something is wrong, or is about to be.
    pub(in crate::sim) fn troubled(&self, mut look: impl FnMut(HostId, HostId)) {
        let state = self.lock();
        state.weather.keys().chain(&state.flips).for_each(|(from, to)| look(*from, *to));
    }

    /// Fair weather everywhere, and no bit flips any more.
    pub(in crate::sim) fn clear_weather(&self) {
        self.lock().flips.clear();
        let all: Vec<_> = self.lock().weather.keys().copied().collect();
        all.into_iter().for_each(|(from, to)| self.set_weather(from, to, None));
    }

    /// Flips a bit in the next piece from one host to another.
    pub(in crate::sim) fn flip_next(&self, from: HostId, to: HostId) {
        let mut state = self.lock();
        if !state.flips.contains(&(from, to)) {
            state.flips.push((from, to));
        }
    }

    /// Cuts every connection between two hosts.
    pub(in crate::sim) fn cut(&self, a: HostId, b: HostId) {
        let mut state = self.lock();
        state.moved += 1;
        for line in state.lines.values_mut() {
            let ends = (line.ends[0].host, line.ends[1].host);
            if ends == (a, b) || ends == (b, a) {
                line.reset();
            }
        }
    }

    /// The process of `host` has ended; with [`Presence::On`] its machine goes on, and says so to all peers.
    pub(in crate::sim) fn ended(&self, host: HostId, machine: Presence) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.moved += 1;
        state.off.insert(host, machine);
        let (gone, stay): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut state.listening)
            .into_iter()
            .partition(|(_, listening)| listening.host == host);
        state.listening = stay;
        for line in state.lines.values_mut() {
            let heard = |a: HostId, b: HostId| state.weather.get(&(a, b)) != Some(&Weather::Held);
            if line.ends.iter().any(|end| end.host == host) {
                let peer = line.ends[usize::from(line.ends[0].host == host)].host;
                if machine == Presence::On && heard(host, peer) {
                    line.reset();
                }
            }
        }
        state.sweep();
        drop(guard);
        // Connections that nobody had accepted: to drop one takes the lock.
        drop(gone);
    }

    /// `host` starts: what is left of connections of its former lives is unknown to it.
    pub(in crate::sim) fn started(&self, host: HostId) {
        let mut state = self.lock();
        state.moved += 1;
        state.off.insert(host, Presence::On);
        for line in state.lines.values_mut() {
            if line.ends.iter().any(|end| end.host == host && end.doom.is_sealed()) {
                line.reset();
            }
        }
        state.sweep();
    }
}

impl State {
    pub(super) fn latency(&mut self, from: HostId, to: HostId, bytes: usize) -> Option<u64> {
        let slow = match self.weather.get(&(from, to)) {
            Some(Weather::Held) => return None,
            Some(Weather::Slow(rate)) => bytes as u64 * 1_000_000 / (*rate).max(1),
            None => 0,
        };
        let late = self.rng.below(LATE_ONE_OF) == 0;
        Some(LATENCY_MIN_US + slow + self.rng.below(if late { LATE_US } else { JITTER_US }))
    }

    /// Forgets connections that nobody holds any more.
    pub(super) fn sweep(&mut self) {
        self.lines.retain(|_, line| line.ends.iter().any(|end| end.halves > 0 && !end.doom.is_sealed()));
    }
}

impl Line {
    pub(super) fn reset(&mut self) {
        self.reset = true;
        for pipe in &mut self.pipes {
            pipe.pieces.clear();
            pipe.bytes = 0;
            pipe.wake();
        }
    }
}

impl Pipe {
    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// What was held is on its way from now on.
    pub(super) fn release(&mut self, rng: &mut Rng) {
        let mut at = now_us();
        for piece in self.pieces.iter_mut().filter(|piece| piece.at == NEVER) {
            at += LATENCY_MIN_US + rng.below(JITTER_US);
            piece.at = at;
        }
        self.last = self.last.max(at);
        if self.fin == Some(NEVER) {
            self.fin = Some(at + LATENCY_MIN_US);
        }
        self.wake();
    }

    pub(super) fn arrives(&mut self, latency: Option<u64>) -> u64 {
        let Some(latency) = latency else { return NEVER };
        if self.pieces.back().is_some_and(|piece| piece.at == NEVER) {
            return NEVER;
        }
        self.last = self.last.max(now_us() + latency);
        self.last
    }
}

impl State {
    /// The host that an address belongs to, whether or not it listens.
    pub(super) fn owner(&self, address: &str) -> Option<HostId> {
        self.off.keys().copied().find(|host| host.address() == address)
    }
}
