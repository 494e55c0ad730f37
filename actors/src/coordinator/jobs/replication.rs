//! How another number of copies comes to files: what is wanted is said of all of them first, and then waited for.
//!
//! ```text
//! Saying --all files below the path were gone through--> Waiting --the last one is as it is to be--> done
//!    |                                                      |
//!    +-- some parts of files, one mutation                   +-- stands at the first chunk that is not as it is to be yet
//! ```
//!
//! The cursor of the job is one byte for which of the two it is, the next chunk of the file in big-endian, and the path of the
//! file: of the one that was begun, or else of the last one that is done. A restart goes on from there.

use std::time::Duration;

use dfs_wire::id::OpId;
use dfs_wire::message::job::{WantedCopies, WorkAmount};
use dfs_wire::path::DfsPath;
use dfs_wire::status::{Status, StatusCode};

use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::ops::replication::{FilePlace, Parts, parts, settled};
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReplicationCursor {
    /// All files say what is wanted; their chunks are waited for.
    waiting: bool,
    place: FilePlace,
}

impl ReplicationCursor {
    /// The cursor as it is stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        let file = self.place.file.as_ref().map_or("", DfsPath::as_str);
        [&[u8::from(self.waiting)], self.place.chunk.to_be_bytes().as_slice(), file.as_bytes()].concat()
    }

    /// The cursor that was stored; `None` if these bytes are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let Some((waiting, rest)) = bytes.split_first() else { return Some(Self::default()) };
        let (chunk, file) = rest.split_first_chunk::<4>()?;
        let file = match std::str::from_utf8(file).ok()? {
            "" => None,
            text => Some(text.parse().ok()?),
        };
        Some(Self { waiting: *waiting > 0, place: FilePlace { file, chunk: u32::from_be_bytes(*chunk) } })
    }
}

/// How far one step went.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    /// Where the job stands now.
    pub(super) cursor: Vec<u8>,
    /// What is as it is to be, of what was passed.
    pub(super) settled: WorkAmount,
    /// Files with chunks of which no copy is left, the last of them.
    pub(super) lost_in: Option<DfsPath>,
    /// Nothing more can be done at the moment.
    pub(super) waits: bool,
    /// All is as it is to be.
    pub(super) ended: bool,
}

/// One step of a job that stands at `cursor`.
///
/// # Errors
/// `NotFound` if the path is not there any more; why the metadata does not answer.
pub(super) async fn advance(
    (reads, writer): (MetadataReads, Addr<WriterMsg>),
    op: OpId,
    wanted: WantedCopies,
    cursor: Vec<u8>,
) -> Result<Advance, Status> {
    let at = ReplicationCursor::decode(&cursor).unwrap_or_default();
    if at.waiting {
        let look = move |reader: &MetadataReader| reader.read(|rows| wait(rows, &wanted, &at.place));
        return reads.ask(ReadFor::Health, STEP_WITHIN, look).await;
    }
    let WantedCopies { path, copies } = wanted;
    let place = at.place;
    let look = move |reader: &MetadataReader| reader.read(|rows| parts(rows, &path, &place));
    let Parts { parts, next } = reads.ask(ReadFor::Health, STEP_WITHIN, look).await?;
    let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
    if !parts.is_empty() {
        let set = WriterMsg::mutate(op, Mutation::SetReplication(copies, parts));
        writer.ask(set, STEP_WITHIN).await.map_err(unanswered)??;
    }
    let cursor = ReplicationCursor { waiting: next.is_none(), place: next.unwrap_or_default() };
    Ok(Advance { cursor: cursor.encode(), ..Advance::default() })
}

/// Passes the chunks that are as they are to be, from `place` on.
fn wait(view: &impl View, wanted: &WantedCopies, place: &FilePlace) -> Result<Advance, MetaError> {
    let Parts { parts, next } = parts(view, &wanted.path, place)?;
    let mut advance = Advance::default();
    let mut last = place.file.clone();
    for (file, part) in parts {
        let of = settled(view, &part)?;
        advance.settled.chunks = advance.settled.chunks.saturating_add(of.amount.chunks);
        advance.settled.bytes = advance.settled.bytes.saturating_add(of.amount.bytes);
        if of.lost > 0 {
            advance.lost_in = Some(file.clone());
        }
        if of.waits {
            let place = match of.next {
                0 => FilePlace { file: last, chunk: 0 },
                chunk => FilePlace { file: Some(file), chunk },
            };
            advance.cursor = ReplicationCursor { waiting: true, place }.encode();
            advance.waits = true;
            return Ok(advance);
        }
        last = Some(file);
    }
    advance.ended = next.is_none();
    advance.cursor = ReplicationCursor { waiting: true, place: next.unwrap_or_default() }.encode();
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
    fn a_cursor_comes_back_as_it_was_stored() {
        let at = |waiting, file: Option<&str>, chunk| ReplicationCursor {
            waiting,
            place: FilePlace { file: file.map(|file| file.parse().unwrap()), chunk },
        };
        for cursor in [at(false, None, 0), at(true, None, 0), at(true, Some("/ä b/c"), 70_000)] {
            assert_eq!(ReplicationCursor::decode(&cursor.encode()), Some(cursor));
        }
        assert_eq!(ReplicationCursor::decode(&[]), Some(ReplicationCursor::default()));
        for bytes in [&[1][..], &[1, 0, 0, 0, 0, b'a'], &[1, 0, 0, 0, 0, 255]] {
            assert_eq!(ReplicationCursor::decode(bytes), None, "{bytes:?}");
        }
    }
}
