//! The network: connections as pairs of pipes, each piece of bytes on its way for as long as the seed says.
//!
//! ```text
//! writer -- poll_write --> [ pieces, each with the time at which it is there ] -- poll_read, once it is time --> reader
//!               ^ full: CAPACITY bytes on their way                |
//!               '--------------- woken when read ------------------'
//! ```
//! What can go wrong with a connection follows TCP: what is sent into a partition is kept and arrives after it (or the
//! connection is given up by then); a process that ends resets its connections; a machine that loses power says nothing,
//! and resets them once it is up again and hears from them. Bytes of one connection never overtake each other; those of
//! two do.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use dfs_actors::env::{Connection, ListeningSocket, Net};
use dfs_client::{BoxReader, BoxWriter, ConnectFuture, Connector};
use dfs_wire::frame::Header;
use dfs_wire::limits::{HEAD_BYTES_MAX, HEADER_BYTES, PREFACE_BYTES};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::host::{Doom, HostId, now_us};
use super::trace::{Trace, What};
use crate::Rng;

/// Bytes of one direction that are on their way at most, those that wait to be read included.
const CAPACITY: usize = 256 * 1024;
/// The least time that a piece takes. A tick of the world is not longer, so that nothing arrives in anybody's past.
pub(super) const LATENCY_MIN_US: u64 = 1_000;
/// Most pieces take this much longer at most.
const JITTER_US: u64 = 1_500;
/// One piece of so many takes much longer.
const LATE_ONE_OF: u64 = 64;
const LATE_US: u64 = 40_000;
/// How often somebody dials again where nothing answers.
const SYN_AGAIN: Duration = Duration::from_millis(200);
/// Connections that nobody has accepted yet.
const BACKLOG: usize = 128;
/// When something arrives that is held back.
const NEVER: u64 = u64::MAX;

/// What becomes of bytes from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// They wait until it is over.
    Held,
    /// They take their time: so many bytes in a second.
    Slow(u64),
}

struct Piece {
    at: u64,
    bytes: Bytes,
}

/// One direction of a connection.
struct Pipe {
    from: HostId,
    to: HostId,
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// When the latest piece arrives: none overtakes it.
    last: u64,
    /// The writer has closed; when the reader knows.
    fin: Option<u64>,
    /// The reader is gone: writing is an error.
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    tap: Tap,
}

/// A connection: `pipes[0]` leads from the dialler to the listener.
struct Line {
    pipes: [Pipe; 2],
    ends: [End; 2],
    /// Both ends get an error.
    reset: bool,
}

struct End {
    host: HostId,
    doom: Arc<Doom>,
    /// Halves not dropped yet.
    halves: u8,
}

struct Listening {
    doom: Arc<Doom>,
    host: HostId,
    waiting: VecDeque<Connection>,
    waker: Option<Waker>,
}

/// Whether a host takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its machine runs: whoever dials a port that nobody listens on is refused.
    On,
    /// Nothing answers.
    Off,
}

struct State {
    rng: Rng,
    listening: BTreeMap<String, Listening>,
    lines: BTreeMap<u64, Line>,
    dialled: u64,
    weather: BTreeMap<(HostId, HostId), Weather>,
    off: BTreeMap<HostId, Presence>,
    flips: Vec<(HostId, HostId)>,
    moved: u64,
}

/// All connections of a world. Clones are the same network.
#[derive(Clone)]
pub(super) struct SimNet {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

impl SimNet {
    pub(super) fn new(rng: Rng, trace: Trace) -> Self {
        let state = State {
            rng,
            listening: BTreeMap::new(),
            lines: BTreeMap::new(),
            dialled: 0,
            weather: BTreeMap::new(),
            off: BTreeMap::new(),
            flips: Vec::new(),
            moved: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), trace }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network as one life of `host` sees it.
    pub(super) fn port(&self, host: HostId, doom: Arc<Doom>) -> Port {
        Port { net: self.clone(), host, doom }
    }

    /// How much has been going on so far: two equal numbers mean that nothing moved in between.
    pub(super) fn activity(&self) -> u64 {
        self.lock().moved
    }

    /// Whether anything is on its way that will arrive by itself.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.lock();
        state
            .lines
            .values()
            .flat_map(|line| &line.pipes)
            .any(|pipe| pipe.pieces.iter().any(|p| p.at != NEVER))
    }

    /// Lets the weather from one host to another be so; `None` = fair.
    pub(super) fn set_weather(&self, from: HostId, to: HostId, weather: Option<Weather>) {
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

    /// Fair weather everywhere.
    pub(super) fn clear_weather(&self) {
        let all: Vec<_> = self.lock().weather.keys().copied().collect();
        all.into_iter().for_each(|(from, to)| self.set_weather(from, to, None));
    }

    /// Flips a bit in the next piece from one host to another.
    pub(super) fn flip_next(&self, from: HostId, to: HostId) {
        self.lock().flips.push((from, to));
    }

    /// Cuts every connection between two hosts.
    pub(super) fn cut(&self, a: HostId, b: HostId) {
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
    pub(super) fn ended(&self, host: HostId, machine: Presence) {
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
    pub(super) fn started(&self, host: HostId) {
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

    /// Opens a connection from `host` to a node that says nothing and never reads, as the double of a lost one would be.
    pub(super) fn ghost(&self, host: HostId, to: HostId) {
        let doom = Arc::new(Doom::default());
        let mut state = self.lock();
        let Ok((_near, far)) = self.connect(&mut state, host, &doom, &to.address()) else { return };
        doom.seal();
        drop(state);
        drop(far);
    }

    fn connect(
        &self,
        state: &mut State,
        host: HostId,
        doom: &Arc<Doom>,
        address: &str,
    ) -> io::Result<(Half, Half)> {
        let local = address.parse().map_err(|_| io::ErrorKind::AddrNotAvailable)?;
        let there = state.listening.get(address).filter(|there| !there.doom.is_sealed());
        let (peer, their_doom) = match there {
            Some(there) if there.waiting.len() < BACKLOG => (there.host, there.doom.clone()),
            _ => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        state.dialled += 1;
        state.moved += 1;
        let line = state.dialled;
        let pipe = |from, to, preface| Pipe {
            from,
            to,
            pieces: VecDeque::new(),
            bytes: 0,
            last: 0,
            fin: None,
            deaf: false,
            reader: None,
            writer: None,
            tap: Tap { line, bytes: BytesMut::new(), preface },
        };
        let end = |host, doom: &Arc<Doom>| End { host, doom: doom.clone(), halves: 2 };
        state.lines.insert(
            line,
            Line {
                pipes: [pipe(host, peer, PREFACE_BYTES), pipe(peer, host, 0)],
                ends: [end(host, doom), end(peer, &their_doom)],
                reset: false,
            },
        );
        let (reader, writer) = self.halves(line, 1);
        let connection = Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), 30_000 + (line % 30_000) as u16),
            local,
        };
        let listening = state.listening.get_mut(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        listening.waiting.push_back(connection);
        if let Some(waker) = listening.waker.take() {
            waker.wake();
        }
        Ok(self.halves(line, 0))
    }

    fn halves(&self, line: u64, side: usize) -> (Half, Half) {
        let half = |reads| Half { net: self.clone(), line, side, reads, timer: None };
        (half(true), half(false))
    }
}

impl State {
    fn latency(&mut self, from: HostId, to: HostId, bytes: usize) -> Option<u64> {
        let slow = match self.weather.get(&(from, to)) {
            Some(Weather::Held) => return None,
            Some(Weather::Slow(rate)) => bytes as u64 * 1_000_000 / (*rate).max(1),
            None => 0,
        };
        let late = self.rng.below(LATE_ONE_OF) == 0;
        Some(LATENCY_MIN_US + slow + self.rng.below(if late { LATE_US } else { JITTER_US }))
    }

    /// Forgets connections that nobody holds any more.
    fn sweep(&mut self) {
        self.lines.retain(|_, line| line.ends.iter().any(|end| end.halves > 0 && !end.doom.is_sealed()));
    }
}

impl Line {
    fn reset(&mut self) {
        self.reset = true;
        for pipe in &mut self.pipes {
            pipe.pieces.clear();
            pipe.bytes = 0;
            pipe.wake();
        }
    }
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// What was held is on its way from now on.
    fn release(&mut self, rng: &mut Rng) {
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

    fn arrives(&mut self, latency: Option<u64>) -> u64 {
        let Some(latency) = latency else { return NEVER };
        if self.pieces.back().is_some_and(|piece| piece.at == NEVER) {
            return NEVER;
        }
        self.last = self.last.max(now_us() + latency);
        self.last
    }
}

/// The network as one process sees it.
#[derive(Clone)]
pub(super) struct Port {
    net: SimNet,
    host: HostId,
    doom: Arc<Doom>,
}

impl Port {
    async fn dial(&self, address: &str) -> io::Result<(Half, Half)> {
        loop {
            let round_trip = {
                let mut state = self.net.lock();
                if self.doom.is_sealed() {
                    return Err(io::ErrorKind::NetworkUnreachable.into());
                }
                let to = state.owner(address).ok_or(io::ErrorKind::AddrNotAvailable)?;
                let off = state.off.get(&to) == Some(&Presence::Off);
                let there = state.latency(self.host, to, 0).filter(|_| !off);
                there.and_then(|there| Some(there + state.latency(to, self.host, 0)?))
            };
            match round_trip {
                Some(micros) => {
                    tokio::time::sleep(Duration::from_micros(micros)).await;
                    let mut state = self.net.lock();
                    return self.net.connect(&mut state, self.host, &self.doom, address);
                }
                None => tokio::time::sleep(SYN_AGAIN).await,
            }
        }
    }
}

impl State {
    /// The host that an address belongs to, whether or not it listens.
    fn owner(&self, address: &str) -> Option<HostId> {
        self.off.keys().copied().find(|host| host.address() == address)
    }
}

impl Net for Port {
    fn connect<'a>(&'a self, addr: &'a str, timeout: Duration) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let dialled = tokio::time::timeout(timeout, self.dial(addr)).await;
            let (reader, writer) = dialled.map_err(|_| io::ErrorKind::TimedOut)??;
            let peer = addr.parse().map_err(|_| io::ErrorKind::AddrNotAvailable)?;
            Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), peer, local: peer })
        })
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, io::Result<Box<dyn ListeningSocket>>> {
        Box::pin(async move {
            let address = addr.parse().map_err(|_| io::ErrorKind::AddrNotAvailable)?;
            let listening =
                Listening { doom: self.doom.clone(), host: self.host, waiting: VecDeque::new(), waker: None };
            self.net.lock().listening.insert(addr.to_owned(), listening);
            Ok(Box::new(Door { net: self.net.clone(), name: addr.to_owned(), address })
                as Box<dyn ListeningSocket>)
        })
    }
}

impl Connector for Port {
    fn connect<'a>(&'a self, address: &'a str) -> ConnectFuture<'a> {
        Box::pin(async move {
            let (reader, writer) = self.dial(address).await?;
            Ok((Box::new(reader) as BoxReader, Box::new(writer) as BoxWriter))
        })
    }
}

struct Door {
    net: SimNet,
    name: String,
    address: SocketAddr,
}

impl ListeningSocket for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(poll_fn(|cx| {
            let mut state = self.net.lock();
            let Some(listening) = state.listening.get_mut(&self.name) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            match listening.waiting.pop_front() {
                Some(connection) => Poll::Ready(Ok(connection)),
                None => {
                    listening.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// One direction of a connection in the hands of a process.
pub(super) struct Half {
    net: SimNet,
    line: u64,
    /// 0 = the dialler's.
    side: usize,
    reads: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Half {
    /// Waits until world time `at`, besides whatever else wakes this half.
    fn wait_until(&mut self, at: u64, cx: &mut Context<'_>) {
        if at == NEVER {
            return;
        }
        let span = Duration::from_micros(at.saturating_sub(now_us()));
        let deadline = tokio::time::Instant::now() + span;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(deadline),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }
}

fn reset() -> Poll<io::Result<()>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Half {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let net = this.net.clone();
        let mut state = net.lock();
        let Some(line) = state.lines.get_mut(&this.line) else { return reset() };
        if line.reset || line.ends[this.side].doom.is_sealed() {
            return reset();
        }
        let (now, pipe) = (now_us(), &mut line.pipes[1 - this.side]);
        let before = out.remaining();
        while let Some(piece) = pipe.pieces.front_mut().filter(|piece| piece.at <= now && out.remaining() > 0)
        {
            let count = piece.bytes.len().min(out.remaining());
            out.put_slice(&piece.bytes[..count]);
            piece.bytes.advance(count);
            pipe.bytes -= count;
            if piece.bytes.is_empty() {
                pipe.pieces.pop_front();
            }
        }
        if out.remaining() < before || before == 0 {
            pipe.writer.take().into_iter().for_each(Waker::wake);
            state.moved += 1;
            return Poll::Ready(Ok(()));
        }
        if pipe.pieces.is_empty() && pipe.fin.is_some_and(|fin| fin <= now) {
            return Poll::Ready(Ok(()));
        }
        let next = pipe.pieces.front().map(|piece| piece.at).or(pipe.fin).unwrap_or(NEVER);
        pipe.reader = Some(cx.waker().clone());
        drop(state);
        this.wait_until(next, cx);
        Poll::Pending
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut guard = this.net.lock();
        let state = &mut *guard;
        let Some(line) = state.lines.get_mut(&this.line) else { return reset().map_ok(|()| 0) };
        if line.reset || line.ends[this.side].doom.is_sealed() {
            return reset().map_ok(|()| 0);
        }
        let pipe = &mut line.pipes[this.side];
        if pipe.deaf {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(pipe.bytes).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (from, to) = (pipe.from, pipe.to);
        pipe.tap.saw(&this.net.trace, (from, to), &bytes[..room]);
        let mut piece = bytes[..room].to_vec();
        if let Some(at) = state.flips.iter().position(|flip| *flip == (from, to)) {
            state.flips.remove(at);
            let place = state.rng.below(room.max(1) as u64) as usize;
            piece.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << state.rng.below(8));
        }
        let latency = state.latency(from, to, room);
        if let Some(line) = state.lines.get_mut(&this.line) {
            let pipe = &mut line.pipes[this.side];
            let at = pipe.arrives(latency);
            pipe.bytes += room;
            pipe.pieces.push_back(Piece { at, bytes: piece.into() });
            pipe.reader.take().into_iter().for_each(Waker::wake);
        }
        state.moved += 1;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().close();
        Poll::Ready(Ok(()))
    }
}

impl Half {
    /// Nothing more will be written.
    fn close(&self) {
        let mut guard = self.net.lock();
        let state = &mut *guard;
        let Some(line) = state.lines.get(&self.line) else { return };
        if line.ends[self.side].doom.is_sealed() || line.pipes[self.side].fin.is_some() {
            return;
        }
        let latency = state.latency(line.pipes[self.side].from, line.pipes[self.side].to, 0);
        state.moved += 1;
        let Some(line) = state.lines.get_mut(&self.line) else { return };
        let pipe = &mut line.pipes[self.side];
        pipe.fin = Some(pipe.arrives(latency));
        pipe.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if !self.reads {
            self.close();
        }
        let mut state = self.net.lock();
        let Some(line) = state.lines.get_mut(&self.line) else { return };
        if line.ends[self.side].doom.is_sealed() {
            return;
        }
        line.ends[self.side].halves -= 1;
        if self.reads {
            let pipe = &mut line.pipes[1 - self.side];
            pipe.deaf = true;
            pipe.writer.take().into_iter().for_each(Waker::wake);
        }
        state.sweep();
    }
}

/// Cuts the bytes of one direction into frames, and notes each once it is whole.
struct Tap {
    line: u64,
    bytes: BytesMut,
    /// The dialler begins with a few bytes that are no frame.
    preface: usize,
}

impl Tap {
    fn saw(&mut self, trace: &Trace, (from, to): (HostId, HostId), bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let skipped = self.preface.min(self.bytes.len());
        self.preface -= skipped;
        self.bytes.advance(skipped);
        while let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>().copied() {
            let parsed = Header::parse(&header, HEAD_BYTES_MAX).expect("nodes send whole frames");
            let len = HEADER_BYTES + usize::from(parsed.head_len) + parsed.tail_len as usize;
            if self.bytes.len() < len {
                return;
            }
            self.bytes.advance(len);
            trace.note(now_us(), from, What::Sent { to, line: self.line, header });
        }
    }
}
