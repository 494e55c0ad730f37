//! The bytes of an upload: from the link to the disk and to the replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dfs_wire::auth::Receipt;
use dfs_wire::bugs::{self, Bug};
use dfs_wire::link::{DataFrame, Event, Stream};
use dfs_wire::message::EndHead;
use dfs_wire::slab::Reservation;
use dfs_wire::status::{Status, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::order::{Origin, WriteOrder};
use crate::datanode::authority::Authority;
use crate::datanode::chunk_store::{
    ChunkIdentity, ChunkInfo, ChunkSeal, ChunkStore, ChunkWriter, StoreError,
};
use crate::datanode::replication::ForwardItem;

/// What an upload needs to run.
pub(crate) struct Upload {
    /// What is to be written; leave was checked before.
    pub order: WriteOrder,
    /// Where the bytes come from.
    pub stream: Arc<Stream>,
    /// Memory to receive them into.
    pub reservation: Reservation,
    /// Where they go.
    pub store: Arc<dyn ChunkStore>,
    /// Who signs for them.
    pub authority: Arc<dyn Authority>,
    /// Where else they go; a closed channel is a replica that was cut.
    pub replicas: Vec<mpsc::Sender<ForwardItem>>,
    /// Frames received so far.
    pub received: Arc<AtomicU64>,
}

/// As [`StoreError::status`], for an upload whose bytes have begun to move. `Busy` tells a client that nothing was done and that
/// it may use its grant again; that is not so any more, and other bytes under the same generation would make copies
/// differ. So it is told to go elsewhere, which takes a new generation.
fn underway_status(error: &StoreError, authority: &dyn Authority) -> Status {
    let status = error.status(authority.node());
    match status.code {
        StatusCode::Busy => Status { code: StatusCode::Unavailable, ..status },
        _ => status,
    }
}

impl Upload {
    /// Receives everything, hands it on, and makes it durable here. `on_sealed` is called when all was received and
    /// matched.
    ///
    /// A chunk that is here already under the same generation is a success if the bytes are the same and the stored ones
    /// good.
    ///
    /// Cancel safety: dropping the future removes the temporary file, unless the commit has begun: that is finished
    /// or undone on the disk's own threads.
    ///
    /// # Errors
    /// What the peer or the disk did wrong.
    pub(crate) async fn run(self, on_sealed: impl FnOnce()) -> Result<Receipt, Status> {
        let Self { order, stream, reservation, store, authority, replicas, received } = self;
        let WriteOrder { origin, grant, len_hint, .. } = order;
        let identity = ChunkIdentity {
            cluster: authority.cluster()?,
            chunk: grant.chunk,
            generation: grant.generation,
            file: grant.file,
            index: grant.index,
        };
        let failed = |e: StoreError| e.status(authority.node()).about_chunk(grant.chunk);
        let sink = match store.create(identity, len_hint.min(grant.len_max)).await {
            Ok(writer) => Sink::Writer(writer),
            Err(StoreError::AlreadyCommitted(info)) => Sink::Stored(info),
            Err(e) => return Err(failed(e)),
        };
        stream.grant(reservation);
        // From here on bytes may be on other nodes.
        let failed = |e: StoreError| underway_status(&e, authority.as_ref()).about_chunk(grant.chunk);
        let mut intake = Intake {
            stream,
            sink,
            replicas,
            received,
            len_max: grant.len_max,
            len: 0,
            // A primary checks the SHA-256; a replica relies on it and on the CRC of each frame.
            sha256: (origin == Origin::Client).then(Sha256::new),
        };
        let drained = intake.drain().await;
        if drained.is_err() && bugs::is(Bug::LeakCredit) {
            let _kept = std::mem::ManuallyDrop::new(intake.stream.clone());
        }
        let end = drained.map_err(|e| e.into_status(&failed))?;
        let seal = ChunkSeal { len: intake.len, sha256: end.sha256 };
        if let Sink::Stored(info) = &intake.sink {
            // Before anything is made durable elsewhere.
            same_bytes(info, &seal).map_err(failed)?;
        }
        on_sealed();
        for replica in &intake.replicas {
            replica.send(ForwardItem::End(end.clone())).await.ok();
        }
        let stored = match intake.sink {
            Sink::Writer(writer) => match writer.commit(seal, *end.facts).await {
                Ok(()) => None,
                Err(StoreError::AlreadyCommitted(info)) => Some(info),
                Err(e) => return Err(failed(e)),
            },
            Sink::Stored(info) => Some(info),
        };
        if let Some(info) = stored {
            // A receipt says that the bytes were seen to be good: a copy found here is read before it gets one.
            same_bytes(&info, &seal).map_err(failed)?;
            store.verify(identity.key()).await.map_err(failed)?;
        }
        authority.sign(grant.chunk_key(), seal.len, seal.sha256)
    }
}

/// Where the bytes go on this node.
enum Sink {
    /// To a file that is not there yet.
    Writer(Box<dyn ChunkWriter>),
    /// Nowhere: an earlier attempt of the same generation has stored them. They are received to be compared, so that
    /// the same bytes get their receipt again, and no others do.
    Stored(Box<ChunkInfo>),
}

/// Whether what is stored under a generation is what comes under it now.
fn same_bytes(info: &ChunkInfo, seal: &ChunkSeal) -> Result<(), StoreError> {
    match info.seal() == *seal {
        true => Ok(()),
        false => Err(StoreError::AlreadyCommitted(Box::new(*info))),
    }
}

enum IntakeError {
    Peer(Status),
    Disk(StoreError),
}

impl IntakeError {
    fn into_status(self, disk: &impl Fn(StoreError) -> Status) -> Status {
        match self {
            Self::Peer(status) => status,
            Self::Disk(error) => disk(error),
        }
    }
}

struct Intake {
    stream: Arc<Stream>,
    sink: Sink,
    replicas: Vec<mpsc::Sender<ForwardItem>>,
    received: Arc<AtomicU64>,
    len_max: u32,
    len: u32,
    /// Of the bytes so far, where it is checked here.
    sha256: Option<Sha256>,
}

impl Intake {
    async fn drain(&mut self) -> Result<EndHead, IntakeError> {
        loop {
            match self.stream.recv().await.map_err(IntakeError::Peer)? {
                Event::Data(frame) => self.take(frame).await?,
                Event::End(end) => return self.check(end).map_err(IntakeError::Peer),
                Event::Response(..) => {
                    let text = "an answer came where data was due";
                    return Err(IntakeError::Peer(Status::new(StatusCode::ProtocolViolation, text)));
                }
            }
        }
    }

    async fn take(&mut self, frame: DataFrame) -> Result<(), IntakeError> {
        let len = u32::try_from(frame.bytes.len()).ok().and_then(|n| self.len.checked_add(n));
        let Some(len) = len.filter(|len| *len <= self.len_max) else {
            let text = format!("the chunk is longer than the {} bytes granted", self.len_max);
            return Err(IntakeError::Peer(Status::new(StatusCode::InvalidArgument, text)));
        };
        self.len = len;
        // Forward first: the replicas work while this node hashes and writes. The channels have room for every slab
        // of the reservation, so this does not wait for a slow replica; the lack of credit does.
        for replica in &self.replicas {
            replica.send(ForwardItem::Frame(frame.clone())).await.ok();
        }
        self.received.fetch_add(1, Ordering::Relaxed);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&frame.bytes);
        }
        match &mut self.sink {
            Sink::Writer(writer) => {
                writer.write(frame.bytes.clone(), frame.block_crcs()).await.map_err(IntakeError::Disk)
            }
            Sink::Stored(_) => Ok(()),
        }
    }

    fn check(&mut self, end: EndHead) -> Result<EndHead, Status> {
        if end.len != u64::from(self.len) {
            let text = format!("{} bytes received where {} were announced", self.len, end.len);
            return Err(Status::new(StatusCode::ChecksumMismatch, text));
        }
        if !end.facts.suit(self.len) {
            let text = format!(
                "what is said of how the chunk is enciphered does not go with its {} bytes",
                self.len
            );
            return Err(Status::new(StatusCode::InvalidArgument, text));
        }
        let seen = self.sha256.take().map(|sha256| <[u8; 32]>::from(sha256.finalize()));
        if seen.is_some_and(|seen| seen != end.sha256) {
            return Err(Status::new(
                StatusCode::ChecksumMismatch,
                "the bytes received do not match their SHA-256",
            ));
        }
        Ok(end)
    }
}
