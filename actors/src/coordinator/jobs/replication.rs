//! How another number of copies comes to files: what is wanted is said of all of them first, and then waited for.
//!
//! ```text
//! Saying --all files below the path were gone through--> Waiting --the last one is as it is to be--> done
//!    |                                                      |
//!    +-- some parts of files, one mutation                   +-- stands at the first chunk that is not as it is to be yet
//! ```
//!
//! The cursor of the job is a [`ReplicationCursor`] in the codec of the records. A restart goes on from there; what cannot be read, because
//! another build wrote it, begins anew, which does no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use dfs_wire::bugs::{self, Bug};
use dfs_wire::codec;
use dfs_wire::id::{InodeId, NodeId, OpId, VersionId};
use dfs_wire::message::job::{JobId, JobTask, WantedCopies, WorkAmount};
use dfs_wire::path::DfsPath;
use dfs_wire::status::{Status, StatusCode};
use serde::{Deserialize, Serialize};

use crate::coordinator::metadata::model::outcome::Outcome;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::ops::replication::{FilePart, FilePlace, Parts, parts, settled};
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::view::View;
use crate::coordinator::metadata::writer::WriterMsg;
use crate::supervisor::{Addr, AskError};

/// Patience with one read, and with the writer.
const STEP_WITHIN: Duration = Duration::from_secs(20);

fn unanswered(error: AskError) -> Status {
    Status::new(StatusCode::Unavailable, format!("no word from the writer: {error}"))
        .hint("it is tried again")
}

/// Where a job that is about numbers of copies stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ReplicationCursor {
    /// All files say what is wanted; their chunks are waited for.
    waiting: bool,
    /// The last path that was passed.
    after: Option<DfsPath>,
    /// A file that was begun: its inode and version, and of its chunks the next, and how many there are.
    begun: Option<(InodeId, VersionId, u32, u32)>,
}

impl ReplicationCursor {
    fn at(waiting: bool, place: FilePlace) -> Self {
        let begun = place.begun.map(|part| (part.inode, part.version, part.first, part.of));
        Self { waiting, after: place.after, begun }
    }

    fn place(&self) -> FilePlace {
        let part = |(inode, version, first, of)| FilePart { inode, version, first, end: of, of };
        FilePlace { after: self.after.clone(), begun: self.begun.map(part) }
    }

    /// The cursor as it is stored.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // It has an encoding; without one the job would begin anew.
        if codec::encode_into(self, &mut bytes).is_err() {
            bytes.clear();
        }
        bytes
    }

    /// The cursor that was stored.
    fn decode(bytes: &[u8]) -> Self {
        codec::decode(bytes).unwrap_or_default()
    }
}

/// The cursor as the coordinator finds it after a restart.
pub(super) fn found_again(task: &JobTask, cursor: Vec<u8>) -> Vec<u8> {
    match task {
        JobTask::Replication(_) if bugs::is(Bug::LoseJobCursor) => {
            ReplicationCursor { waiting: true, ..ReplicationCursor::default() }.encode()
        }
        _ => cursor,
    }
}

/// What a job has done, of whatever it is about.
#[derive(Debug, Clone)]
pub(super) struct ReplicationTask {
    /// As which it is remembered: nothing is said for one that has ended.
    pub(super) job: JobId,
    /// Of which files, and how many.
    pub(super) wanted: WantedCopies,
    /// When it was asked for, in the coordinator's time.
    pub(super) asked_ms: u64,
}

/// How far one step went.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    /// Where the job stands now.
    pub(super) cursor: Vec<u8>,
    /// What is as it is to be, of what was passed.
    pub(super) settled: WorkAmount,
    /// Chunks of which no copy is left.
    pub(super) lost: u64,
    /// Nothing more can be done at the moment.
    pub(super) waits: bool,
    /// All is as it is to be.
    pub(super) ended: bool,
}

/// One step of a job that stands at `cursor`; `heard` says of which nodes is heard.
///
/// # Errors
/// `NotFound` if the path is not there any more; why the metadata does not answer.
pub(super) async fn advance(
    (reads, writer): (MetadataReads, Addr<WriterMsg>),
    op: OpId,
    task: ReplicationTask,
    cursor: Vec<u8>,
    heard: BTreeSet<NodeId>,
) -> Result<Advance, Status> {
    let at = ReplicationCursor::decode(&cursor);
    let ReplicationTask { job, wanted: WantedCopies { path, copies }, asked_ms } = task;
    if at.waiting {
        let look = move |reader: &MetadataReader| {
            reader.read(|rows| wait(rows, &path, &at.place(), asked_ms, &|node| heard.contains(&node)))
        };
        return reads.ask(ReadFor::Health, STEP_WITHIN, look).await;
    }
    let place = at.place();
    let look = move |reader: &MetadataReader| reader.read(|rows| parts(rows, &path, &place, asked_ms));
    let Parts { parts, after, begun, all } = reads.ask(ReadFor::Health, STEP_WITHIN, look).await?;
    if !parts.is_empty() {
        let set = WriterMsg::mutate(op, Mutation::SetReplication(job, copies, parts));
        let outcome = writer.ask(set, STEP_WITHIN).await.map_err(unanswered)??;
        if matches!(outcome, Outcome::Progress(progress) if progress.more) {
            // It was paused when this was to be done; though it may go on by now, this is still to be done.
            return Ok(Advance { cursor, waits: true, ..Advance::default() });
        }
    }
    let next = if all { FilePlace::default() } else { FilePlace { after, begun } };
    Ok(Advance { cursor: ReplicationCursor::at(all, next).encode(), ..Advance::default() })
}

/// Passes the chunks that are as they are to be, from `place` on. A page of parts is passed as a whole or up to the first that waits, and then
/// it stands at that one.
fn wait(
    view: &impl View,
    path: &DfsPath,
    place: &FilePlace,
    asked_ms: u64,
    heard: &dyn Fn(NodeId) -> bool,
) -> Result<Advance, MetaError> {
    let Parts { parts, after, begun, all } = parts(view, path, place, asked_ms)?;
    let mut advance = Advance::default();
    for part in &parts {
        let of = settled(view, part, heard)?;
        if of.waits {
            // Whatever of the page is done already is counted once all of it is.
            let cursor = ReplicationCursor::at(true, place.clone());
            return Ok(Advance { cursor: cursor.encode(), waits: true, ..Advance::default() });
        }
        advance.settled.chunks = advance.settled.chunks.saturating_add(of.amount.chunks);
        advance.settled.bytes = advance.settled.bytes.saturating_add(of.amount.bytes);
        advance.lost = advance.lost.saturating_add(of.lost);
    }
    advance.ended = all;
    advance.cursor = ReplicationCursor::at(true, FilePlace { after, begun }).encode();
    Ok(advance)
}

/// Why a job ends that could not go on, if it cannot.
pub(super) fn is_over(status: &Status) -> bool {
    matches!(status.code, StatusCode::NotFound | StatusCode::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_stored_and_what_is_none_begins_anew() {
        let at = |waiting, after: Option<&str>, begun| ReplicationCursor {
            waiting,
            after: after.map(|path| path.parse().unwrap()),
            begun,
        };
        let begun = Some((InodeId(7), VersionId(8), 70_000, 80_000));
        for cursor in [at(false, None, None), at(true, Some("/ä b/c"), None), at(false, Some("/a"), begun)] {
            assert_eq!(ReplicationCursor::decode(&cursor.encode()), cursor);
            assert_eq!(ReplicationCursor::at(cursor.waiting, cursor.place()), cursor);
        }
        for bytes in [&[][..], &[7; 40], &[255]] {
            assert_eq!(ReplicationCursor::decode(bytes), ReplicationCursor::default(), "{bytes:?}");
        }
    }
}
