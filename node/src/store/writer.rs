//! Writes one chunk file.
//!
//! ```text
//!   write(frame) --> pending --+                        +--> pwritev of what is pending, up to 2 MiB
//!   commit(seal) --> finish  --+--> drain, on one I/O --+--> tail + footer, cut to length, fdatasync --> committer
//!   drop         --> abandon --+    thread at a time    +--> close, unlink
//! ```
//! Only `drain` touches the file, and at most one `drain` of a writer is queued or running. The async side only
//! changes [`State`] and queues a `drain`, so no future owns a half-done step. Frames that arrive while one
//! write is under way are written together by the next: no timer, no frame is held back, and yet a busy disk sees
//! writes of up to 2 MiB (with O_DIRECT; the page cache prefers single frames).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dfs_actors::datanode::chunk_store::{
    ChunkIdentity, ChunkInfo, ChunkSeal, ChunkWriter, ReplicaState, StoreError,
};
use dfs_wire::bugs::{self, Bug};
use dfs_wire::limits::{CHUNK_BYTES_MAX, DATA_FRAME_BYTES, SLAB_ALIGN};
use dfs_wire::message::facts::ChunkFacts;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::aligned::{AlignedBuf, is_aligned};
use super::commit::Publish;
use super::core::Core;
use super::disk::{Promise, count, lock};
use super::disk_io::{DiskFile, WriteMode};
use super::format::{self, Footer, block_count, file_bytes};
use super::pool::{NoAnswer, Slot};

/// The most that one pwritev takes past the page cache: beyond 1 to 2 MiB nothing is gained, and others wait longer.
const DIRECT_WRITE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The same through the page cache: a frame. Larger writes make the kernel look for larger folios, which it pays for
/// in compaction: measured on Linux 6.18, 4 writers of 2 MiB got 200 MB/s at six times the CPU, of 256 KiB 1,200 MB/s.
const BUFFERED_WRITE_BYTES_MAX: usize = DATA_FRAME_BYTES;

/// Reply to a commit.
pub(crate) type CommitReply = oneshot::Sender<Result<(), StoreError>>;

struct Queued {
    /// A multiple of 4 KiB.
    data: Bytes,
    /// Freed with the memory, once written.
    _slot: Slot,
}

struct Finish {
    seal: ChunkSeal,
    facts: ChunkFacts,
    reply: CommitReply,
}

struct State {
    /// `None` once published or discarded.
    file: Option<Arc<dyn DiskFile>>,
    pending: VecDeque<Queued>,
    /// Where the next pending frame goes.
    offset: u64,
    /// The end of the last frame, shorter than 4 KiB: written with the footer.
    tail: Vec<u8>,
    block_crcs: Vec<u32>,
    promise: Promise,
    /// Bytes that `allocate` gave the file.
    allocated: u64,
    /// A `drain` is queued or running.
    draining: bool,
    finish: Option<Finish>,
    abandoned: bool,
    error: Option<StoreError>,
}

struct Shared {
    core: Arc<Core>,
    identity: ChunkIdentity,
    tmp: PathBuf,
    state: Mutex<State>,
    /// One of the writers that may be open; moves on with the file to the committer.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What `drain` does next.
enum DrainStep {
    Write {
        file: Arc<dyn DiskFile>,
        frames: Vec<Queued>,
        offset: u64,
    },
    Finish {
        file: Arc<dyn DiskFile>,
        finish: Finish,
    },
    /// With the file, which is not closed under the lock.
    Discard {
        file: Arc<dyn DiskFile>,
    },
    Idle,
}

/// See the module's documentation.
pub(crate) struct FileWriter {
    shared: Arc<Shared>,
    /// Bytes accepted, written or not.
    len: u32,
    committed: bool,
}

/// Creates the temporary file. Runs on an I/O thread.
pub(crate) fn create(
    core: &Arc<Core>,
    identity: ChunkIdentity,
    len_hint: u32,
    permit: OwnedSemaphorePermit,
) -> Result<FileWriter, StoreError> {
    let disk = &core.disk;
    let operation = || format!("creating a temporary file for chunk {}", identity.key());
    disk.check_writable()?;
    disk.measure().map_err(|e| disk.read_failed("measuring free space", e))?;
    let wanted = file_bytes(len_hint);
    let mut promise = disk.promise(wanted)?;
    let tmp = disk.layout.tmp_file(core.next_name());
    let created = core.opening(|| disk.io.create(&tmp, core.write_mode));
    let file = created.map_err(|e| disk.write_failed(&operation(), wanted, e))?;
    let mut allocated = 0;
    match file.allocate(wanted) {
        Ok(true) => {
            allocated = wanted;
            promise.fulfil(wanted);
        }
        Ok(false) => {}
        Err(e) => {
            drop(file);
            core.discard(&tmp);
            return Err(disk.write_failed(
                &format!("allocating space for chunk {}", identity.key()),
                wanted,
                e,
            ));
        }
    }
    let state = State {
        file: Some(file.into()),
        pending: VecDeque::new(),
        offset: 0,
        tail: Vec::new(),
        block_crcs: Vec::with_capacity(block_count(len_hint)),
        promise,
        allocated,
        draining: false,
        finish: None,
        abandoned: false,
        error: None,
    };
    let (core, permit) = (core.clone(), Mutex::new(Some(permit)));
    let shared = Arc::new(Shared { core, identity, tmp, state: Mutex::new(state), permit });
    Ok(FileWriter { shared, len: 0, committed: false })
}

impl FileWriter {
    /// Checks a frame's shape; returns the length with it.
    fn check(&self, frame: &Bytes, block_crcs: &[u32]) -> Result<u32, StoreError> {
        let invalid = |reason: String| Err(self.shared.core.disk.invalid(self.shared.identity.key(), reason));
        if !(self.len as usize).is_multiple_of(DATA_FRAME_BYTES) {
            return invalid(format!("a frame after a short one, at {}", self.len));
        }
        if frame.is_empty() || frame.len() > DATA_FRAME_BYTES {
            return invalid(format!("a frame of {} bytes", frame.len()));
        }
        let frame_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if block_crcs.len() != block_count(frame_len) {
            return invalid(format!("{} block checksums for {frame_len} bytes", block_crcs.len()));
        }
        match self.len.checked_add(frame_len).filter(|len| *len <= CHUNK_BYTES_MAX) {
            Some(len) => Ok(len),
            None => invalid(format!("longer than {CHUNK_BYTES_MAX} bytes")),
        }
    }

    async fn write_frame(&mut self, frame: Bytes, block_crcs: Vec<u32>) -> Result<(), StoreError> {
        let len = self.check(&frame, &block_crcs)?;
        let core = &self.shared.core;
        {
            let mut state = lock(&self.shared.state);
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            state.promise.raise_to(file_bytes(len))?;
        }
        let slot = core.writes.slot().await.map_err(|NoAnswer| core.disk.closed())?;
        // From here on there is no await: the frame is taken.
        let whole = frame.len() / SLAB_ALIGN * SLAB_ALIGN;
        let start = {
            let mut state = lock(&self.shared.state);
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            state.tail.extend_from_slice(frame.get(whole..).unwrap_or_default());
            state.block_crcs.extend_from_slice(&block_crcs);
            if whole > 0 {
                state.pending.push_back(Queued { data: frame.slice(..whole), _slot: slot });
            }
            whole > 0 && !std::mem::replace(&mut state.draining, true)
        };
        drop(frame);
        self.len = len;
        if start {
            self.shared.schedule();
        }
        Ok(())
    }
}

impl ChunkWriter for FileWriter {
    fn write(&mut self, frame: Bytes, block_crcs: &[u32]) -> BoxFuture<'_, Result<(), StoreError>> {
        let block_crcs = block_crcs.to_vec();
        Box::pin(self.write_frame(frame, block_crcs))
    }

    fn commit(
        mut self: Box<Self>,
        seal: ChunkSeal,
        facts: ChunkFacts,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let shared = self.shared.clone();
        if seal.len != self.len || !facts.suit(seal.len) {
            let reason = format!("sealed as {} bytes, {facts:?}, after {} were written", seal.len, self.len);
            let error = shared.core.disk.invalid(shared.identity.key(), reason);
            return Box::pin(std::future::ready(Err(error))); // dropping self discards the file
        }
        let (reply, answer) = oneshot::channel();
        self.committed = true;
        shared.request(|state| state.finish = Some(Finish { seal, facts, reply }));
        let core = shared.core.clone();
        drop(shared);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(core.no_answer(NoAnswer))) })
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.committed {
            self.shared.request(|state| {
                state.abandoned = true;
                state.pending.clear();
            });
        }
    }
}

impl Shared {
    /// Changes the state and sees to it that a `drain` notices.
    fn request(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let start = {
            let mut state = lock(&self.state);
            change(&mut state);
            !std::mem::replace(&mut state.draining, true)
        };
        if start {
            self.schedule();
        }
    }

    /// Queues a `drain`; `draining` is set already.
    fn schedule(self: &Arc<Self>) {
        let shared = self.clone();
        let queued = self.core.writes.submit(move || {
            if catch_unwind(AssertUnwindSafe(|| shared.drain())).is_err() {
                let error = io::Error::other("the job panicked");
                shared.give_up(shared.core.disk.io_error("writing a chunk", error));
            }
        });
        if !queued {
            // Closed, threads gone: the temporary file is left for the sweep at the next start.
            self.give_up(self.core.disk.closed());
        }
    }

    /// Ends in an error from which there is no return; answers a commit that waits.
    fn give_up(&self, error: StoreError) {
        let mut state = lock(&self.state);
        state.error.get_or_insert_with(|| error.clone());
        let pending = std::mem::take(&mut state.pending);
        let finish = state.finish.take();
        state.draining = false;
        drop(state);
        drop(pending);
        if let Some(finish) = finish {
            let _ = finish.reply.send(Err(error)); // nobody waits any more
        }
    }

    fn drain(self: &Arc<Self>) {
        loop {
            self.core.disk.watch.step();
            match self.next_step() {
                DrainStep::Write { file, frames, offset } => {
                    if let Err(error) = self.write_frames(&*file, &frames, offset) {
                        let mut state = lock(&self.state);
                        state.error = Some(error);
                        state.pending.clear();
                    }
                    drop((file, frames));
                    if self.core.writes.is_contended() {
                        return self.schedule(); // others first, then the rest of this one
                    }
                }
                DrainStep::Finish { file, finish } => return self.finish(file, finish),
                DrainStep::Discard { file } => {
                    drop(file);
                    return self.core.discard(&self.tmp);
                }
                DrainStep::Idle => return,
            }
        }
    }

    fn next_step(&self) -> DrainStep {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if let Some(finish) = state.finish.take_if(|_| state.error.is_some()) {
            if let Some(error) = &state.error {
                let _ = finish.reply.send(Err(error.clone())); // nobody waits any more
            }
            state.abandoned = true;
        }
        if state.abandoned {
            state.pending.clear();
            return state.file.take().map_or(DrainStep::Idle, |file| DrainStep::Discard { file });
        }
        if let (Some(file), false) = (&state.file, state.pending.is_empty()) {
            let file = file.clone();
            let most = match self.core.write_mode {
                WriteMode::Direct => DIRECT_WRITE_BYTES_MAX,
                WriteMode::Buffered => BUFFERED_WRITE_BYTES_MAX,
            };
            let (mut frames, mut bytes) = (Vec::new(), 0);
            while let Some(next) = state.pending.pop_front_if(|q| bytes + q.data.len() <= most) {
                bytes += next.data.len();
                frames.push(next);
            }
            let offset = state.offset;
            state.offset += bytes as u64;
            return DrainStep::Write { file, frames, offset };
        }
        if let Some(finish) = state.finish.take()
            && let Some(file) = state.file.take()
        {
            return DrainStep::Finish { file, finish };
        }
        state.draining = false;
        DrainStep::Idle
    }

    fn write_frames(&self, file: &dyn DiskFile, frames: &[Queued], offset: u64) -> Result<(), StoreError> {
        let disk = &self.core.disk;
        disk.check_writable()?;
        let direct = self.core.write_mode == WriteMode::Direct;
        // Only memory that is not from the slab pool is copied: small uploads that came with their request.
        let copies: Vec<Option<AlignedBuf>> = frames
            .iter()
            .map(|f| (direct && !is_aligned(&f.data)).then(|| AlignedBuf::copy_of(&f.data)))
            .collect();
        let parts = frames.iter().zip(&copies);
        let mut parts: Vec<_> =
            parts.map(|(f, copy)| IoSlice::new(copy.as_deref().unwrap_or(&f.data))).collect();
        let bytes: u64 = parts.iter().map(|p| p.len() as u64).sum();
        file.write_at(&mut parts, offset)
            .or_else(|e| if bugs::is(Bug::SwallowWriteError) { Ok(()) } else { Err(e) })
            .map_err(|e| disk.write_failed(&format!("writing chunk {}", self.identity.key()), bytes, e))?;
        count(&disk.counters.written_bytes, bytes);
        let mut state = lock(&self.state);
        let beyond = (offset + bytes).saturating_sub(state.allocated.max(offset));
        state.promise.fulfil(beyond);
        Ok(())
    }

    /// Completes and syncs the file, then hands it to the committer, which answers.
    fn finish(&self, file: Arc<dyn DiskFile>, finish: Finish) {
        let Finish { seal, facts, reply } = finish;
        let syncing = self.core.committer.expect_one();
        let outcome = self.complete(&*file, seal, facts);
        drop(file); // no descriptor that can write outlives the publication
        match outcome {
            Ok(()) => {
                let info = ChunkInfo {
                    identity: self.identity,
                    len: seal.len,
                    sha256: seal.sha256,
                    state: ReplicaState::Verified,
                };
                let permit = lock(&self.permit).take();
                let publish = Publish { info, tmp: self.tmp.clone(), reply, _permit: permit };
                self.core.committer.publish(&self.core, publish, syncing);
            }
            Err(error) => {
                self.core.discard(&self.tmp);
                drop(syncing);
                let _ = reply.send(Err(error)); // nobody waits any more
            }
        }
    }

    fn complete(&self, file: &dyn DiskFile, seal: ChunkSeal, facts: ChunkFacts) -> Result<(), StoreError> {
        let disk = &self.core.disk;
        let key = self.identity.key();
        disk.check_writable()?;
        let (at, end, allocated) = {
            let mut state = lock(&self.state);
            let block_crcs = std::mem::take(&mut state.block_crcs).into_boxed_slice();
            let footer = format::encode(&Footer { identity: self.identity, seal, block_crcs, facts });
            let tail_len = state.tail.len().next_multiple_of(SLAB_ALIGN);
            let mut end = AlignedBuf::zeroed(tail_len + footer.len());
            let (data, rest) = end.split_at_mut(tail_len);
            if let Some(data) = data.get_mut(..state.tail.len()) {
                data.copy_from_slice(&state.tail);
            }
            rest.copy_from_slice(&footer);
            (state.offset, end, state.allocated)
        };
        let failed =
            |e| disk.write_failed(&format!("writing the footer of chunk {key}"), end.len() as u64, e);
        file.write_at(&mut [IoSlice::new(&end)], at).map_err(failed)?;
        if allocated > file_bytes(seal.len) {
            let cut = file.set_len(file_bytes(seal.len));
            cut.map_err(|e| disk.write_failed(&format!("cutting chunk {key} to its length"), 0, e))?;
        }
        disk.sync_file(file, key, file_bytes(seal.len))
    }
}
