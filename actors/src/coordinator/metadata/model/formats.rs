//! Which format the values of each kind of record have, and what the older ones were.

use dfs_wire::codec::{self, CodecError};
use dfs_wire::id::{Epoch, InodeId};

use super::older::{
    ClusterMeta1, Inode1, OpOutcome1, Reasons1, Totals1, TrashEntry1, UploadSession1, Version1,
};
use super::records::{
    ChunkRecord, ClusterMeta, CopyRow, Entry, GroupRow, Inode, OpOutcome, OrphanBatch, Outcomes, Reasons,
    ReleaseJob, Segment, Tombstone, TrashEntry, TrashSweep, TrashWalk, UploadSession, Version,
};
use crate::coordinator::metadata::table::format::Record;
use crate::coordinator::metadata::table::totals::Totals;

/// Kinds whose fields never changed.
macro_rules! unchanged {
    ($($kind:ty),+ $(,)?) => { $(impl Record for $kind {})+ };
}

unchanged!(
    (),
    u32,
    u64,
    Vec<u8>,
    Epoch,
    InodeId,
    ChunkRecord,
    CopyRow,
    Entry,
    GroupRow,
    OrphanBatch,
    Outcomes,
    ReleaseJob,
    Segment,
    Tombstone,
    TrashSweep,
    TrashWalk,
);

/// Kinds whose fields changed once: the kind, and what it was before.
macro_rules! changed {
    ($($kind:ty: $before:ty),+ $(,)?) => { $(impl Record for $kind {
        const FORMAT: u8 = 2;

        fn from_older(format: u8, body: &[u8]) -> Option<Result<Self, CodecError>> {
            (format == 1).then(|| codec::decode::<$before>(body).map(Self::from))
        }
    })+ };
}

changed!(
    ClusterMeta: ClusterMeta1,
    Inode: Inode1,
    OpOutcome: OpOutcome1,
    Reasons: Reasons1,
    Totals: Totals1,
    TrashEntry: TrashEntry1,
    UploadSession: UploadSession1,
    Version: Version1,
);
