//! One part of one chunk: from the best copy, and from the next one, mid-way, when that fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use dfs_wire::id::NodeId;
use dfs_wire::link::Event;
use dfs_wire::message::Response;
use dfs_wire::message::chunk::ChunkResponse;
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::{ChunkLocation, CopyState, ReplicaLocation};
use dfs_wire::status::StatusCode;

use super::absorb::Absorber;
use super::pages::Pages;
use super::source::{Copies, CopyStream, PartRead};
use crate::backoff::Backoff;
use crate::client::Inner;
use crate::error::Error;
use crate::memory::Held;
use crate::options::BadCopy;
use crate::pool::Pool;
use crate::progress::Meter;
use crate::rpc::unexpected;

/// A part of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The chunk's place in the file.
    pub(crate) index: u32,
    /// First byte, within the chunk.
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// One read of one version of a file.
pub(crate) struct Reader {
    pub(crate) inner: Arc<Inner>,
    pub(crate) pages: Pages,
    pub(crate) meter: Meter,
    pub(crate) bad_copies: Mutex<Vec<BadCopy>>,
}

/// Why a copy did not give its bytes.
pub(crate) enum CopyError {
    /// This machine's fault: no other copy helps.
    Local(Error),
    /// The copy is damaged or not there.
    Bad(Error),
    /// It may be good, but not now.
    Unreachable(Error),
}

/// Whether the bytes of a part are the right ones.
enum Integrity {
    Good,
    BadCopy(Error),
    Mixed(Error),
}

/// What is known about the copies of one chunk while it is fetched.
#[derive(Default)]
struct Attempts {
    bad: BTreeMap<NodeId, Error>,
    /// Copies that gave bytes of what has been taken in.
    sources: Vec<NodeId>,
    /// Bytes of two copies did not fit together: from now on, each copy is read alone.
    alone: bool,
    unreachable: BTreeMap<NodeId, (String, Error)>,
}

impl Reader {
    /// Fetches `part` into `absorber`. The SHA-256 is checked if the part is a whole chunk.
    ///
    /// Cancel safety: streams are reset; bytes already written to a file stay.
    pub(crate) async fn fetch(&self, part: Part, held: &Held, absorber: &mut Absorber) -> Result<(), Error> {
        let mut backoff = Backoff::new(&self.inner.config.retry, &self.inner.env);
        let mut attempts = Attempts::default();
        let mut afresh = false;
        let mut hopeless = false;
        loop {
            let location = self.pages.location(part.index, afresh).await?;
            let before = absorber.taken();
            if self.round(&location, part, held, absorber, &mut attempts).await? {
                return Ok(());
            }
            let left = location.replicas.iter().any(|r| !attempts.bad.contains_key(&r.node));
            if !left {
                // Perhaps a repair has made a new copy, or the version is gone: the coordinator knows.
                if std::mem::replace(&mut hopeless, true) {
                    return Err(self.no_good_copy(&location, &attempts));
                }
                afresh = true;
                continue;
            }
            if absorber.taken() > before {
                backoff.progressed();
            }
            self.meter.retried();
            // Of old places nothing is known: they are asked for again first.
            match away(&location, &attempts).filter(|_| afresh) {
                Some(error) => backoff.pause_for_those_away(error).await?,
                None => backoff.pause(unreachable(&location, &attempts)).await?,
            }
            attempts.unreachable.clear();
            afresh = true;
        }
    }

    /// Tries each copy once. Returns whether the part is complete and verified.
    async fn round(
        &self,
        location: &ChunkLocation,
        part: Part,
        held: &Held,
        absorber: &mut Absorber,
        attempts: &mut Attempts,
    ) -> Result<bool, Error> {
        let mut order: VecDeque<_> = in_order(location, &self.inner.pool).into();
        order.retain(|replica| !replica.address.is_empty());
        while let Some(first) = order.pop_front() {
            let mut copies = Copies::only(first);
            if attempts.bad.contains_key(&first.node) {
                continue;
            }
            if attempts.alone && absorber.taken() > 0 {
                absorber.restart().await;
                attempts.sources.clear();
            }
            if !attempts.alone {
                copies.spare = order.iter().find(|r| !attempts.bad.contains_key(&r.node)).copied();
            }
            let outcome = self.read_copy(&mut copies, PartRead { location, part, held }, absorber).await;
            let Copies { replica, sources, .. } = copies;
            if replica.node != first.node {
                // It took over: the one that hung is the last to be tried again.
                order.retain(|r| r.node != replica.node);
                order.push_back(first);
            }
            let new = sources.into_iter().filter(|node| !attempts.sources.contains(node)).collect::<Vec<_>>();
            attempts.sources.extend(new);
            let error = match outcome {
                Ok(()) => match self.judge(location, replica, part, absorber, attempts).await {
                    Integrity::Good => return Ok(true),
                    Integrity::BadCopy(error) => CopyError::Bad(error),
                    Integrity::Mixed(error) => CopyError::Unreachable(error),
                },
                Err(error) => error,
            };
            self.meter.failed_over();
            match error {
                CopyError::Local(error) => return Err(error),
                CopyError::Bad(error) => self.condemn(location, replica, error, attempts),
                CopyError::Unreachable(error) => {
                    tracing::debug!(index = part.index, node = %replica.node, %error, "trying another copy");
                    if !error.is_busy() {
                        self.inner.pool.failed(&replica.address);
                    }
                    attempts.unreachable.insert(replica.node, (replica.name.clone(), error));
                }
            }
        }
        Ok(false)
    }

    /// Checks what was taken in against the chunk's hash.
    async fn judge(
        &self,
        location: &ChunkLocation,
        replica: &ReplicaLocation,
        part: Part,
        absorber: &mut Absorber,
        attempts: &mut Attempts,
    ) -> Integrity {
        let whole = part.offset == 0 && part.len == location.len;
        if !whole || absorber.sha256() == location.sha256 {
            self.inner.pool.served(&replica.address);
            return Integrity::Good;
        }
        absorber.restart().await;
        let mixed = std::mem::take(&mut attempts.sources).len() > 1;
        if mixed {
            // Which of them is bad shows when each is read alone, from here on.
            attempts.alone = true;
            let text = "the bytes of several copies do not add up to the chunk's SHA-256";
            return Integrity::Mixed(Error::new(StatusCode::ChecksumMismatch, text));
        }
        let text = "the copy was read without an error, but its SHA-256 is not the chunk's";
        Integrity::BadCopy(Error::new(StatusCode::Corrupt, text))
    }

    fn condemn(
        &self,
        location: &ChunkLocation,
        replica: &ReplicaLocation,
        error: Error,
        attempts: &mut Attempts,
    ) {
        let chunk = location.grant.chunk;
        tracing::warn!(index = location.index, %chunk, node = %replica.node, %error, "bad copy, reading another");
        let error = error.at_node(replica.node).about_chunk(chunk);
        attempts.bad.insert(replica.node, error.clone());
        let copy = BadCopy { index: location.index, chunk, node: replica.node, error };
        self.bad_copies.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
    }

    /// Reads from one copy, or the one that takes over from it, what is still missing of a part.
    pub(crate) async fn read_copy(
        &self,
        copies: &mut Copies<'_>,
        wanted: PartRead<'_>,
        absorber: &mut Absorber,
    ) -> Result<(), CopyError> {
        let part = wanted.part;
        let received = self.receive(copies, wanted, absorber).await;
        // What came is checked by its CRC, so it counts even if the rest did not come.
        absorber.flush().await.map_err(CopyError::Local)?;
        let missing = u64::from(part.len) - absorber.taken().min(part.len.into());
        match received {
            Err(CopyError::Unreachable(_)) if missing == 0 => Ok(()),
            Ok(()) if missing > 0 => {
                let text = format!("the copy ended {missing} bytes early");
                Err(CopyError::Bad(Error::new(StatusCode::Corrupt, text)))
            }
            other => other,
        }
    }

    async fn receive(
        &self,
        copies: &mut Copies<'_>,
        wanted: PartRead<'_>,
        absorber: &mut Absorber,
    ) -> Result<(), CopyError> {
        let mut source = CopyStream::open(self, copies.replica, wanted, absorber.taken()).await?;
        loop {
            let event = match source.next(self, copies, wanted, absorber.taken()).await {
                Some(Ok(event)) => event,
                Some(Err(status)) => return Err(classify(status.into())),
                None => {
                    let patience = self.inner.config.timeouts.read_stall;
                    let text = format!("no byte came for {} s", patience.as_secs_f32());
                    return Err(CopyError::Unreachable(Error::new(StatusCode::Unavailable, text)));
                }
            };
            let (bytes, last) = match event {
                Event::Data(frame) => (frame.bytes, None),
                Event::Response(response, tail) => (tail, Some(response)),
                Event::End(_) => continue,
            };
            if absorber.taken() + bytes.len() as u64 > wanted.part.len.into() {
                let error = Error::new(StatusCode::ProtocolViolation, "more bytes came than were asked for");
                return Err(CopyError::Unreachable(error));
            }
            if !bytes.is_empty() {
                copies.gave();
                absorber.push(bytes).await.map_err(CopyError::Local)?;
            }
            match last {
                None => {}
                Some(Response::Chunk(ChunkResponse::Read(_))) => return Ok(()),
                Some(other) => return Err(CopyError::Unreachable(unexpected(&other))),
            }
        }
    }

    fn no_good_copy(&self, location: &ChunkLocation, attempts: &Attempts) -> Error {
        let nodes: Vec<String> = location.replicas.iter().map(|r| r.name.clone()).collect();
        let text = format!("no copy of chunk {} is good (tried {})", location.index, nodes.join(", "));
        let error = Error::new(StatusCode::Corrupt, text)
            .about_chunk(location.grant.chunk)
            .with_hint("`dfsctl verify` shows each copy; if a node that held one is down, bring it back");
        match attempts.bad.values().next() {
            Some(first) => error.caused_by(first.clone()),
            None => error,
        }
    }
}

/// Whether a refusal condemns the copy or only this attempt.
fn classify(error: Error) -> CopyError {
    match error.status_code() {
        Some(StatusCode::Corrupt | StatusCode::NotFound) => CopyError::Bad(error),
        _ => CopyError::Unreachable(error),
    }
}

fn unreachable(location: &ChunkLocation, attempts: &Attempts) -> Error {
    let mut text = format!("no copy of chunk {} can be reached", location.index);
    for replica in &location.replicas {
        let why = match (attempts.unreachable.get(&replica.node), attempts.bad.get(&replica.node)) {
            (_, Some(error)) | (Some((_, error)), None) => error.message().to_owned(),
            (None, None) if replica.address.is_empty() => "its address is not known".to_owned(),
            (None, None) => "not tried".to_owned(),
        };
        text.push_str(&format!("; {} ({}): {why}", replica.name, replica.address));
    }
    // If all that is wrong is a queue, it is waited for as one.
    let queued = !attempts.unreachable.is_empty() && attempts.unreachable.values().all(|(_, e)| e.is_busy());
    let code = if queued { StatusCode::Busy } else { StatusCode::ReplicasUnreachable };
    let error = Error::new(code, text)
        .about_chunk(location.grant.chunk)
        .with_hint("bring one of the named nodes back");
    match attempts.unreachable.values().next() {
        Some((_, cause)) => error.caused_by(cause.clone()),
        None => error,
    }
}

/// The failure that names them, if the coordinator knows that all who could help are away: down or stopped, not merely silent
/// for some seconds.
fn away(location: &ChunkLocation, attempts: &Attempts) -> Option<Error> {
    let others = location.replicas.iter().filter(|r| !attempts.bad.contains_key(&r.node));
    let (away, answering): (Vec<_>, Vec<_>) = others.partition(|r| !r.node_state.answers());
    let alive = attempts.unreachable.values().any(|(_, error)| error.is_busy());
    if away.is_empty() || !answering.is_empty() || alive {
        return None;
    }
    let mut text =
        format!("no copy of chunk {} can be read: all nodes that have one are away", location.index);
    for replica in &location.replicas {
        let why = match (attempts.bad.get(&replica.node), replica.node_state) {
            (Some(error), _) => error.message().to_owned(),
            (None, NodeState::Left) => "it was stopped".to_owned(),
            (None, state) => format!("it is {}", state.name()),
        };
        text.push_str(&format!("; {} ({}): {why}", replica.name, replica.address));
    }
    let expected = away.iter().filter(|r| matches!(r.node_state, NodeState::Down | NodeState::Left));
    let names: Vec<_> = expected.map(|r| r.name.as_str()).collect();
    let hint = match names.is_empty() {
        true => "none of them is expected back: `dfsctl fsck` names all that cannot be read".to_owned(),
        false => format!("start {} again, then repeat; `dfsctl nodes` shows them", names.join(" or ")),
    };
    Some(Error::new(StatusCode::ReplicasUnreachable, text).about_chunk(location.grant.chunk).with_hint(hint))
}

/// The copies in the coordinator's order, which knows nodes and disks; but those that can be of no use, and those whose
/// nodes failed this client lately, after the others.
pub(crate) fn in_order<'a>(location: &'a ChunkLocation, pool: &Pool) -> Vec<&'a ReplicaLocation> {
    let mut order: Vec<_> = location.replicas.iter().collect();
    order.sort_by_key(|replica| {
        let useless = matches!(replica.copy, CopyState::Corrupt | CopyState::Missing | CopyState::Dropping);
        let node = match replica.node_state {
            NodeState::Up | NodeState::Draining => 0,
            NodeState::Suspect => 1,
            NodeState::Down | NodeState::Left => 2,
            NodeState::Lost | NodeState::Forgotten => 3,
        };
        (useless, node, pool.is_cooling(&replica.address))
    });
    order
}
