//! Publishes finished files in groups: the only thread that gives and takes the names of committed chunks.
//!
//! ```text
//! I/O threads, in parallel:   fdatasync(file a)   fdatasync(file b)   fdatasync(file c)
//!                                      \                 |                 /
//! this thread, per group:      rename a, b, c -> fsync each directory touched, once -> index -> answers
//! ```
//! A group is what arrived while the last one was being published. If more files are being synced at that moment, it
//! waits for them, for at most `group_commit_delay`; a file that nobody follows waits for nothing.
//!
//! Because one thread does it, a name is checked and given in one step: two writers of one key cannot both win, and
//! a quarantine cannot take a file that is being replaced.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dfs_actors::datanode::chunk_store::{ChunkInfo, ReplicaState, StoreError};
use dfs_wire::id::ChunkKey;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::core::Core;
use super::disk::lock;
use super::format::file_bytes;
use super::jobs::Jobs;
use super::layout::{Aside, chunk_name};
use super::pool::Slot;
use super::writer::CommitReply;

/// Files of one group at most, so that the first one's answer does not wait for ever more.
const GROUP_MAX: usize = 64;

/// A complete, synced temporary file that wants its name.
pub(crate) struct Publish {
    pub(crate) info: ChunkInfo,
    pub(crate) tmp: PathBuf,
    pub(crate) reply: CommitReply,
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// Answers to a quarantine request.
pub(crate) type QuarantineReply = oneshot::Sender<Vec<(ChunkKey, Result<(), StoreError>)>>;

/// Chunks that are to be moved aside.
pub(crate) struct QuarantineRequest {
    pub(crate) keys: Vec<ChunkKey>,
    pub(crate) reply: QuarantineReply,
    pub(crate) _slot: Slot,
}

enum CommitterCommand {
    Publish(Publish),
    Quarantine(QuarantineRequest),
}

#[derive(Default)]
struct CommandQueue {
    commands: VecDeque<CommitterCommand>,
    /// Files that are being synced and will be here soon.
    expected: usize,
    closed: bool,
    /// The thread has ended: nothing may be queued any more.
    ended: bool,
}

/// The queue in front of the committing thread. Bounded by the open writers and the slots of quarantine requests.
pub(crate) struct Committer {
    queue: Mutex<CommandQueue>,
    wake: Condvar,
    delay: Duration,
    /// Of a store without threads.
    jobs: Option<Arc<Jobs>>,
}

/// Announces a file that is being synced.
pub(crate) struct Expected<'a>(&'a Committer);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        lock(&self.0.queue).expected -= 1;
        self.0.wake.notify_all();
    }
}

impl Committer {
    pub(crate) fn new(delay: Duration, jobs: Option<Arc<Jobs>>) -> Self {
        Self { queue: Mutex::default(), wake: Condvar::new(), delay, jobs }
    }

    /// Says that a file will be here soon, or not if the guard is just dropped.
    pub(crate) fn expect_one(&self) -> Expected<'_> {
        lock(&self.queue).expected += 1;
        Expected(self)
    }

    /// Queues a file for publication.
    pub(crate) fn publish(&self, core: &Arc<Core>, publish: Publish, expected: Expected<'_>) {
        self.submit(core, CommitterCommand::Publish(publish));
        drop(expected);
    }

    /// Queues a quarantine request.
    pub(crate) fn quarantine(&self, core: &Arc<Core>, quarantine: QuarantineRequest) {
        self.submit(core, CommitterCommand::Quarantine(quarantine));
    }

    fn submit(&self, core: &Arc<Core>, command: CommitterCommand) {
        let mut queue = lock(&self.queue);
        if queue.ended {
            return; // dropping the command drops its reply, which its caller sees as a closed store
        }
        queue.commands.push_back(command);
        drop(queue);
        let Some(jobs) = &self.jobs else { return self.wake.notify_all() };
        // What has come by the time the disk gets to it is one group.
        let core = Arc::clone(core);
        jobs.run(move || {
            if let Some(group) = core.committer.take_group() {
                core.committer.process(&core, group);
            }
        });
    }

    /// Ends the thread once everything queued is done. Call it after the writing threads have ended.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.ended = self.jobs.is_some();
        drop(queue);
        self.wake.notify_all();
    }

    /// The thread's loop.
    pub(crate) fn work(&self, core: &Core) {
        while let Some(group) = self.wait_for_group() {
            if catch_unwind(AssertUnwindSafe(|| self.process(core, group))).is_err() {
                tracing::error!(disk = %core.disk.label, "publication of chunks panicked");
            }
        }
    }

    fn wait_for_group(&self) -> Option<Vec<CommitterCommand>> {
        let mut queue = lock(&self.queue);
        while queue.commands.is_empty() {
            if queue.closed {
                queue.ended = true;
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = Instant::now() + self.delay;
        while queue.expected > 0 && queue.commands.len() < GROUP_MAX {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        self.take_group()
    }

    fn take_group(&self) -> Option<Vec<CommitterCommand>> {
        let mut queue = lock(&self.queue);
        let n = queue.commands.len().min(GROUP_MAX);
        let group: Vec<_> = queue.commands.drain(..n).collect();
        (!group.is_empty()).then_some(group)
    }

    fn process(&self, core: &Core, commands: Vec<CommitterCommand>) {
        let _at_work = core.disk.watch.begin();
        let mut group = Group::default();
        for command in commands {
            if group.conflicts_with(&command) {
                // The same key twice: the second is decided by what the first has made durable.
                std::mem::take(&mut group).finish(core);
            }
            match command {
                CommitterCommand::Publish(publish) => group.publish(core, publish),
                CommitterCommand::Quarantine(quarantine) => group.quarantine(core, quarantine),
            }
        }
        group.finish(core);
    }
}

/// Renames done, directories not yet synced.
#[derive(Default)]
struct Group {
    touched: BTreeSet<PathBuf>,
    published: Vec<Publish>,
    keys: BTreeSet<ChunkKey>,
    quarantined: Vec<(QuarantineRequest, Vec<Result<(), StoreError>>)>,
}

impl Group {
    fn conflicts_with(&self, command: &CommitterCommand) -> bool {
        match command {
            CommitterCommand::Publish(publish) => self.keys.contains(&publish.info.key()),
            CommitterCommand::Quarantine(quarantine) => {
                quarantine.keys.iter().any(|key| self.keys.contains(key))
            }
        }
    }

    /// Gives a file its name.
    fn publish(&mut self, core: &Core, publish: Publish) {
        match self.try_publish(core, &publish) {
            Ok(()) => {
                self.keys.insert(publish.info.key());
                self.published.push(publish);
            }
            Err(error) => {
                core.discard(&publish.tmp);
                let _ = publish.reply.send(Err(error)); // nobody waits any more
            }
        }
    }

    fn try_publish(&mut self, core: &Core, publish: &Publish) -> Result<(), StoreError> {
        let key = publish.info.key();
        let disk = &core.disk;
        disk.check_writable()?;
        if let Some(entry) = core.index.get(key) {
            if entry.info.state != ReplicaState::Corrupt {
                return Err(StoreError::AlreadyCommitted(Box::new(entry.info)));
            }
            self.move_aside(core, key)?;
        }
        let renamed = disk.io.rename(&publish.tmp, &disk.layout.chunk_file(key));
        renamed.map_err(|e| disk.write_failed(&format!("publishing chunk {key}"), 0, e))?;
        self.touched.insert(disk.layout.leaf_of(key));
        Ok(())
    }

    fn quarantine(&mut self, core: &Core, quarantine: QuarantineRequest) {
        let moved = quarantine.keys.iter().map(|key| self.move_aside(core, *key)).collect();
        self.quarantined.push((quarantine, moved));
    }

    /// Moves a committed file to quarantine and forgets it. What is not here is moved already.
    fn move_aside(&mut self, core: &Core, key: ChunkKey) -> Result<(), StoreError> {
        let disk = &core.disk;
        // Before the look into the index: what an earlier, failed call moved may come back at the next start.
        disk.check_writable()?;
        let Some(entry) = core.index.get(key) else { return Ok(()) };
        let (copy, since_ms, bytes) = (chunk_name(key), disk.unix_ms().1, file_bytes(entry.info.len));
        let aside = Aside { copy: &copy, since_ms, n: core.next_name(), bytes: Some(bytes), damaged: false };
        let word = (&*aside.to_string(), since_ms, bytes);
        match core.quarantine.take_in(disk, &disk.layout.chunk_file(key), word)? {
            Some(dir) => drop(self.touched.insert(dir)),
            None => tracing::warn!(disk = %disk.label, %key, "a committed chunk's file is gone"),
        }
        self.touched.insert(disk.layout.leaf_of(key));
        core.index.remove(key);
        core.open_files.remove(key);
        Ok(())
    }

    /// Makes the names durable, then lets everybody know.
    fn finish(self, core: &Core) {
        // Where files went before where they came from: a power cut in between leaves two names, not none.
        let aside = core.disk.layout.quarantine_dir();
        let (first, rest): (Vec<_>, Vec<_>) = self.touched.iter().partition(|dir| dir.starts_with(&aside));
        if !first.is_empty() {
            core.quarantine.write_down(&core.disk);
        }
        let synced = first.into_iter().chain(rest).try_for_each(|dir| core.disk.sync_dir(dir));
        for publish in self.published {
            if synced.is_ok() {
                core.index.insert(publish.info);
            }
            let _ = publish.reply.send(synced.clone()); // nobody waits any more; the chunk stays, as an orphan
        }
        for (quarantine, moved) in self.quarantined {
            let outcomes = moved.into_iter().map(|moved| moved.and_then(|()| synced.clone()));
            let _ = quarantine.reply.send(quarantine.keys.into_iter().zip(outcomes).collect());
        }
    }
}
