//! Records as older formats had them, and what they are now.

use dfs_wire::id::{InodeId, VersionId};
use dfs_wire::message::metadata::{CommittedFile, Deleted, EntryKind, FileStat};
use dfs_wire::path::DfsPath;
use dfs_wire::status::Status;
use serde::Deserialize;

use super::ops::{AllocatedChunk, OpenedUpload, Outcome, Progress};
use super::records::OpOutcome;

/// Format 1 of [`OpOutcome`].
#[derive(Deserialize)]
pub struct OpOutcome1 {
    digest: [u8; 32],
    _at_ms: u64,
    result: Result<Outcome1, Status>,
}

/// What a change answered then.
#[derive(Deserialize)]
enum Outcome1 {
    Done,
    Deleted(Deleted),
    Restored(FileStat1),
    Purged(u64),
    Opened(OpenedUpload),
    Allocated(Vec<AllocatedChunk>),
    Committed(FileStat1),
    Renewed(u64),
    Progress(Progress),
}

/// The attributes of a path then.
#[derive(Deserialize)]
struct FileStat1 {
    path: DfsPath,
    inode: InodeId,
    kind: EntryKind,
    size: u64,
    mtime_ms: u64,
    created_ms: u64,
    version: VersionId,
    chunk_size: u32,
    chunk_count: u32,
    replication: u8,
}

impl From<OpOutcome1> for OpOutcome {
    fn from(old: OpOutcome1) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = old.digest;
        Self { digest: [a, b, c, d, e, f, g, h], result: old.result.map(Outcome::from) }
    }
}

impl From<Outcome1> for Outcome {
    fn from(old: Outcome1) -> Self {
        match old {
            Outcome1::Done => Self::Done,
            Outcome1::Deleted(deleted) => Self::Deleted(deleted),
            Outcome1::Restored(stat) => Self::Restored(stat.into()),
            Outcome1::Purged(entries) => Self::Purged(entries),
            Outcome1::Opened(opened) => Self::Opened(opened),
            Outcome1::Allocated(chunks) => Self::Allocated(chunks),
            Outcome1::Committed(stat) => Self::Committed(stat.into()),
            Outcome1::Renewed(lease_ms) => Self::Renewed(lease_ms),
            Outcome1::Progress(progress) => Self::Progress(progress),
        }
    }
}

impl From<FileStat1> for FileStat {
    fn from(old: FileStat1) -> Self {
        let FileStat1 { path, inode, kind, size, mtime_ms, created_ms, version, chunk_size, .. } = old;
        let (chunk_count, replication) = (old.chunk_count, old.replication);
        Self { path, inode, kind, size, mtime_ms, created_ms, version, chunk_size, chunk_count, replication }
    }
}

impl From<FileStat1> for CommittedFile {
    fn from(old: FileStat1) -> Self {
        Self {
            inode: old.inode,
            size: old.size,
            mtime_ms: old.mtime_ms,
            created_ms: old.created_ms,
            version: old.version,
            chunk_size: old.chunk_size,
            chunk_count: old.chunk_count,
            replication: old.replication,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::format::decode;

    #[test]
    fn an_outcome_of_format_1_is_read() {
        let digest_and_time = [&[7; 32][..], &[4]].concat();
        // Ok, Committed: path, inode, a file, size, times, version, chunk size (five bytes), chunks, copies.
        let committed = [0, 6, 4, b'/', b'a', b'/', b'b', 7, 0, 5, 1, 2, 9, 252, 0, 0, 1, 0, 1, 3];
        let bytes = [&[1], &digest_and_time[..], &committed].concat();
        let read: OpOutcome = decode(b"o", &bytes).unwrap();
        let Ok(Outcome::Committed(file)) = read.result else { panic!("{read:?}") };
        assert_eq!((read.digest, file.inode, file.version), ([7; 8], InodeId(7), VersionId(9)));
        assert_eq!((file.size, file.mtime_ms, file.created_ms), (5, 1, 2));
        assert_eq!((file.chunk_size, file.chunk_count, file.replication), (65_536, 1, 3));
    }
}
