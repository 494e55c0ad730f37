//! Records as older formats had them, and what they are now.

use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ClusterId, InodeId, VersionId};
use dfs_wire::message::metadata::{CommittedFile, Deleted, EntryKind, FileStat, Precondition};
use dfs_wire::path::DfsPath;
use dfs_wire::status::Status;
use serde::Deserialize;

use super::records::{
    ClusterMeta, FileBody, Inode, OpOutcome, Reasons, StoredKey, StoredReason, TrashEntry, UploadSession,
    Version, VersionState,
};
use super::time::ns;
use crate::coordinator::metadata::model::outcome::{AllocatedChunk, OpenedUpload, Outcome, StepProgress};
use crate::coordinator::metadata::table::totals::{Totals, Usage};

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
    Progress(StepProgress),
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

/// Format 1 of [`Totals`].
#[derive(Deserialize)]
pub struct Totals1 {
    files: u64,
    directories: u64,
    chunks: u64,
    under_replicated: u64,
    lost: u64,
    trash: u64,
    tombstones: u64,
    uploads: u64,
}

/// Format 1 of [`Reasons`].
#[derive(Deserialize)]
pub struct Reasons1 {
    reasons: Vec<StoredReason>,
}

impl From<Reasons1> for Reasons {
    fn from(old: Reasons1) -> Self {
        Self { reasons: old.reasons, ..Self::default() }
    }
}

/// Format 1 of [`TrashEntry`].
#[derive(Deserialize)]
pub struct TrashEntry1 {
    path: DfsPath,
    deleted_ms: u64,
    expires_ms: u64,
}

/// Format 1 of [`Inode`].
#[derive(Deserialize)]
pub struct Inode1 {
    parent: InodeId,
    name: String,
    created_ms: u64,
    mtime_ms: u64,
    trashed: bool,
    file: Option<FileBody>,
}

/// Format 1 of [`Version`].
#[derive(Deserialize)]
pub struct Version1 {
    inode: InodeId,
    body: FileBody,
    created_ms: u64,
    mtime_ms: u64,
    state: VersionState,
}

/// Format 1 of [`UploadSession`].
#[derive(Deserialize)]
pub struct UploadSession1 {
    path: DfsPath,
    inode: InodeId,
    chunk_size: u32,
    replication: u8,
    min_ack: u8,
    precondition: Precondition,
    parents: bool,
    mtime_ms: Option<u64>,
    opened_ms: u64,
    lease_until_ms: u64,
    stored: u32,
    bytes: u64,
    high: u32,
    allocated: u32,
    short: Option<u32>,
}

impl From<Totals1> for Totals {
    fn from(old: Totals1) -> Self {
        let Totals1 { files, directories, chunks, under_replicated, lost, trash, tombstones, uploads } = old;
        let (trash_usage, worsened) = (Usage::default(), 0);
        Self {
            files,
            directories,
            chunks,
            under_replicated,
            lost,
            trash,
            trash_usage,
            tombstones,
            uploads,
            worsened,
        }
    }
}

impl From<TrashEntry1> for TrashEntry {
    fn from(old: TrashEntry1) -> Self {
        let TrashEntry1 { path, deleted_ms, expires_ms } = old;
        Self { path, deleted_ms, expires_ms, usage: Usage::default() }
    }
}

impl From<Inode1> for Inode {
    fn from(old: Inode1) -> Self {
        let Inode1 { parent, name, created_ms, mtime_ms, trashed, file } = old;
        Self { parent, name, created_ms, mtime_ns: ns(mtime_ms), trashed, file }
    }
}

impl From<Version1> for Version {
    fn from(old: Version1) -> Self {
        let Version1 { inode, body, created_ms, mtime_ms, state } = old;
        Self { inode, body, created_ms, mtime_ns: ns(mtime_ms), state, sha256: None }
    }
}

impl From<UploadSession1> for UploadSession {
    fn from(old: UploadSession1) -> Self {
        Self {
            path: old.path,
            inode: old.inode,
            chunk_size: old.chunk_size,
            replication: old.replication,
            min_ack: old.min_ack,
            precondition: old.precondition,
            parents: old.parents,
            mtime_ns: old.mtime_ms.map(ns),
            opened_ms: old.opened_ms,
            lease_until_ms: old.lease_until_ms,
            stored: old.stored,
            bytes: old.bytes,
            high: old.high,
            allocated: old.allocated,
            short: old.short,
            source: None,
            resume: None,
        }
    }
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
        let FileStat1 { path, inode, kind, size, created_ms, version, chunk_size, .. } = old;
        let (mtime_ns, chunk_count, replication) = (ns(old.mtime_ms), old.chunk_count, old.replication);
        Self { path, inode, kind, size, mtime_ns, created_ms, version, chunk_size, chunk_count, replication }
    }
}

impl From<FileStat1> for CommittedFile {
    fn from(old: FileStat1) -> Self {
        Self {
            inode: old.inode,
            size: old.size,
            mtime_ns: ns(old.mtime_ms),
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
    use crate::coordinator::metadata::table::format::decode;

    #[test]
    fn an_outcome_of_format_1_is_read() {
        let digest_and_time = [&[7; 32][..], &[4]].concat();
        // Ok, Committed: path, inode, a file, size, times, version, chunk size (five bytes), chunks, copies.
        let committed = [0, 6, 4, b'/', b'a', b'/', b'b', 7, 0, 5, 1, 2, 9, 252, 0, 0, 1, 0, 1, 3];
        let bytes = [&[1], &digest_and_time[..], &committed].concat();
        let read: OpOutcome = decode(b"o", &bytes).unwrap();
        let Ok(Outcome::Committed(file)) = read.result else { panic!("{read:?}") };
        assert_eq!((read.digest, file.inode, file.version), ([7; 8], InodeId(7), VersionId(9)));
        assert_eq!((file.size, file.mtime_ns, file.created_ms), (5, 1_000_000, 2));
        assert_eq!((file.chunk_size, file.chunk_count, file.replication), (65_536, 1, 3));
    }

    #[test]
    fn files_versions_and_uploads_of_format_1_are_read() {
        // Version, size, chunk size (five bytes), chunks, copies.
        let body = [9, 5, 252, 0, 0, 1, 0, 1, 3];
        let inode = [&[1, 1, 1, b'f', 4, 6, 0, 1][..], &body].concat();
        let inode: Inode = decode(b"i", &inode).unwrap();
        assert_eq!((inode.name.as_str(), inode.created_ms, inode.mtime_ns), ("f", 4, 6_000_000));
        let version = [&[1, 7][..], &body, &[4, 6, 1]].concat();
        let version: Version = decode(b"v", &version).unwrap();
        assert_eq!((version.body.size, version.mtime_ns, version.sha256), (5, 6_000_000, None));
        assert_eq!(version.state, VersionState::Superseded);
        // Path, inode, chunk size, copies, min_ack, any, no parents, a time, opened, lease, stored, bytes, high, allocated, short.
        let session = [1, 2, b'/', b'f', 7, 252, 0, 0, 1, 0, 3, 2, 0, 0, 1, 6, 4, 5, 1, 9, 1, 2, 1, 0];
        let session: UploadSession = decode(b"u", &session).unwrap();
        assert_eq!((session.mtime_ns, session.opened_ms, session.lease_until_ms), (Some(6_000_000), 4, 5));
        assert_eq!((session.stored, session.bytes, session.short), (1, 9, Some(0)));
        assert!(session.source.is_none() && session.resume.is_none());
    }
}

/// A [`ClusterMeta`] whose key nothing wrapped.
#[derive(Deserialize)]
pub struct ClusterMeta1 {
    format: u32,
    cluster: ClusterId,
    key: ClusterKey,
    created_ms: u64,
}

impl From<ClusterMeta1> for ClusterMeta {
    fn from(old: ClusterMeta1) -> Self {
        let ClusterMeta1 { format, cluster, key, created_ms } = old;
        Self { format, cluster, key: StoredKey::Bare(key), created_ms }
    }
}
