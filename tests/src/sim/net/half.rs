//! One end of a connection in the hands of a process, and how a connection comes to be.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use dfs_actors::env::Connection;
use dfs_wire::identity::{Bearer, Identity, KeyDigest};
use dfs_wire::limits::PREFACE_BYTES;
use dfs_wire::tls::{Proof, ProofCell};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::lines::{BACKLOG, CAPACITY, End, Line, NEVER, Piece, Pipe, SimNet, State};
use super::tap::Tap;
use crate::sim::host::{Doom, now_us};
use crate::sim::id::HostId;

impl SimNet {
    /// Opens a connection to who listens at `address`. The halves must not be dropped while the state is locked.
    pub(super) fn connect(
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
            proof: ProofCell::known(Proof::Secured(Some(bearer(state, host)))),
        };
        state.said.insert((host, peer), Vec::new());
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

/// Whoever a host proves to be.
pub(super) fn bearer(state: &State, host: HostId) -> Bearer {
    let user = || Identity::User("client".to_owned());
    let identity = state.proved.get(&host).cloned().unwrap_or_else(user);
    Bearer { identity, key: KeyDigest([0; 32]) }
}

/// Bytes of a connection that are kept, to be said again.
const SAID_MAX: usize = 64 * 1024;

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
        let mut room = CAPACITY.saturating_sub(pipe.bytes).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (from, to) = (pipe.from, pipe.to);
        let doom = line.ends[this.side].doom.clone();
        let crash = pipe.tap.saw(&this.net.trace, (from, to), &bytes[..room], &doom.fate);
        if let Some((leaves, crash)) = crash {
            doom.strike(crash);
            room = leaves;
        }
        let mut piece = bytes[..room].to_vec();
        if let Some(at) = state.flips.iter().position(|flip| *flip == (from, to)) {
            state.flips.remove(at);
            let place = state.rng.below(room.max(1) as u64) as usize;
            piece.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << state.rng.below(8));
        }
        if let Some(said) =
            state.said.get_mut(&(from, to)).filter(|said| this.side == 0 && said.len() < SAID_MAX)
        {
            said.extend_from_slice(&bytes[..room]);
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
