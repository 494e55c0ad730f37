//! The layout of the keys: one ordered space, one leading byte per table, big-endian numbers.
//!
//! ```text
//! m cluster|epoch|inode|totals|horizon     cluster, its reign, next inode, counters, "trash emptied up to",
//!   |swept|time|position|migrate           how far that is, the coordinator's time, commit position, a migration's place
//! m reigns|unknown|maintenance|health      all its reigns; one that only a node has seen; which nodes may be away; what
//!                                          needs attention since when
//! m authority|revoked                      who signs its certificates; the keys that are not believed any more
//! d <parent> <name>                     -> Entry          the tree; a listing is a range scan
//! i <inode>                             -> Inode          attributes, parent and name (the way back up)
//! v <version>                           -> Version        contents of a file, live or superseded
//! s <version> <segment>                 -> Segment        32 chunk places; written while uploading
//! k <chunk>                             -> ChunkRecord    length, hash, generation, copies, references
//! e <chunk>                             -> Reasons        why it was placed there, and what became of its copies
//! q <good copies> <chunk>               -> ()             under-replicated, the most endangered first
//! u <session>                           -> UploadSession  (a session and its version share their 128 bits)
//! l <lease end> <session>               -> ()             when to look whether a lease has ended
//! m outcomes                            -> Outcomes       how many outcomes there are, and which were forgotten
//! o <operation>                         -> OpOutcome      first outcome of each mutation, the oldest stamp first
//! O <time> <operation>                  -> ()             of format 1: when to forget an outcome
//! t <inode>                             -> TrashEntry     roots of deleted trees
//! T <expiry> <inode>                    -> ()             when to purge it
//! b <inode>                             -> TrashWalk      a deleted directory that is not counted to its end
//! P <path> 0 <!deleted> <inode>         -> ()             the latest deletion of a path comes first
//! p <inode>                             -> ()             a deleted directory being taken apart
//! r <not before> <version>              -> ReleaseJob     a version whose chunks lose a reference
//! z <time> <chunk> <generation>         -> OrphanBatch    generations that were given up, not yet tombstones
//! x <node> <chunk> <generation>         -> Tombstone      what a node still has to delete
//! f <chunk> <version> <place>           -> ()             another version that holds a chunk, beside the one it was written for
//! c <version> <session>                 -> ()             an open copy of a version: its chunks are not released meanwhile
//! w <path> 0 <session>                  -> ()             an open upload that can be found and gone on with
//! n <node>                              -> NodeRecord     who registered
//! h <digest of a secret>                -> JoinToken      what a newcomer shows
//! C <holder>                            -> IssuedKeys     for which keys somebody has certificates
//! a <node>                              -> ()             a forgotten node, rows of which are still there
//! j <job>                               -> JobRecord      what an operator asked for, and how far it is
//! E <number>                            -> EventRecord    what happened to the cluster, the last some thousand times
//! y <node> <chunk>                      -> CopyRow        what each node should have: the same facts as k, by node
//! g <wanted> (<node> <state>)...        -> GroupRow       how many live chunks have exactly these copies, by node id
//! ```
//!
//! `y` and `g` follow from `k` and are written in the same transaction ([`crate::coordinator::metadata::model::copies`]).
//!
//! Times are milliseconds; an index row may be early (a renewed lease), never late.

use dfs_wire::id::{ChunkId, ChunkKey, Generation, InodeId, NodeId, OpId, SessionId, VersionId};
use dfs_wire::identity::Identity;
use dfs_wire::message::{job::JobId, metadata::CopyState};
use dfs_wire::path::DfsPath;
use dfs_wire::secret::SecretDigest;

/// The cluster's identity.
pub const CLUSTER: &[u8] = b"mcluster";
/// The coordinator's reign; every batch is conditional on it.
pub const EPOCH: &[u8] = b"mepoch";
/// The reigns there have been.
pub const REIGNS: &[u8] = b"mreigns";
/// The reign that a node has seen and this metadata has not. While it is there, nothing is collected.
pub const UNKNOWN_REIGN: &[u8] = b"munknown";
/// What is remembered of operations, and what was forgotten.
pub const OUTCOMES: &[u8] = b"moutcomes";
/// The next free inode.
pub const NEXT_INODE: &[u8] = b"minode";
/// Counters of what there is.
pub const TOTALS: &[u8] = b"mtotals";
/// Trash entries deleted up to this time are gone for users and wait to be purged.
pub const TRASH_HORIZON: &[u8] = b"mhorizon";
/// How far the trash has been searched for what was deleted up to [`TRASH_HORIZON`].
pub const TRASH_SWEPT: &[u8] = b"mswept";
/// The coordinator's time when the last group was committed: the next reign goes on from it.
pub const TIME: &[u8] = b"mtime";
/// The commit position: raised by every group, so that of two copies of the metadata of one reign the older shows.
pub const POSITION: &[u8] = b"mposition";
/// How far a migration from an older format has come; gone when it is done.
pub const MIGRATION: &[u8] = b"mmigrate";
/// Which nodes operators have in maintenance.
pub const MAINTENANCE: &[u8] = b"mmaintenance";
/// Who signs the certificates of the cluster.
pub const AUTHORITY: &[u8] = b"mauthority";
/// The keys that are not believed any more.
pub const REVOKED: &[u8] = b"mrevoked";
/// What needs attention since when, and what operators want to hear nothing of for a while.
pub const HEALTH: &[u8] = b"mhealth";

/// Leading bytes of the tables, for scans of a whole table.
pub mod table {
    /// Directory and name to what it stands for.
    pub const ENTRY: &[u8] = b"d";
    /// Inode to its attributes.
    pub const INODE: &[u8] = b"i";
    /// Version to its record.
    pub const VERSION: &[u8] = b"v";
    /// Version and part of it to the chunks there.
    pub const SEGMENT: &[u8] = b"s";
    /// Chunk to its record.
    pub const CHUNK: &[u8] = b"k";
    /// Chunks with fewer copies than they are to have.
    pub const RISK: &[u8] = b"q";
    /// Uploads that are open.
    pub const SESSION: &[u8] = b"u";
    /// Ends of upload leases.
    pub const LEASE: &[u8] = b"l";
    /// Operation to what it was answered.
    pub const OUTCOME: &[u8] = b"o";
    /// Outcomes by time, of format 1.
    pub const OUTCOME_TIME: &[u8] = b"O";
    /// Deleted roots that can be brought back.
    pub const TRASH: &[u8] = b"t";
    /// Trash entries by expiry.
    pub const TRASH_EXPIRY: &[u8] = b"T";
    /// Deleted directories that are being counted.
    pub const TRASH_WALK: &[u8] = b"b";
    /// Directories being taken apart.
    pub const PURGE: &[u8] = b"p";
    /// Versions to release.
    pub const RELEASE: &[u8] = b"r";
    /// Generations that allocations gave up.
    pub const ORPHANS: &[u8] = b"z";
    /// Node and chunk that it still has to delete.
    pub const TOMBSTONE: &[u8] = b"x";
    /// Further holders of chunks.
    pub const HOLDER: &[u8] = b"f";
    /// Node to its record.
    pub const NODE: &[u8] = b"n";
    /// What newcomers show.
    pub const JOIN_TOKEN: &[u8] = b"h";
    /// For which keys somebody has certificates.
    pub const ISSUED: &[u8] = b"C";
    /// Nodes that are being forgotten.
    pub const FORGETTING: &[u8] = b"a";
    /// Jobs that operators asked for.
    pub const JOB: &[u8] = b"j";
    /// What happened to the cluster, by number.
    pub const EVENT: &[u8] = b"E";
    /// Copies by node.
    pub const COPY: &[u8] = b"y";
    /// Groups of chunks with the same copies.
    pub const GROUP: &[u8] = b"g";
}

fn key(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Prefix of the entries of a directory.
pub fn entries(parent: InodeId) -> Vec<u8> {
    key(&[table::ENTRY, &parent.0.to_be_bytes()])
}

/// One entry of a directory.
pub fn entry(parent: InodeId, name: &str) -> Vec<u8> {
    key(&[table::ENTRY, &parent.0.to_be_bytes(), name.as_bytes()])
}

/// Parent and name of an entry's key.
pub fn parse_entry(key: &[u8]) -> Option<(InodeId, &str)> {
    let (parent, name) = key.strip_prefix(table::ENTRY)?.split_first_chunk::<8>()?;
    Some((InodeId(u64::from_be_bytes(*parent)), std::str::from_utf8(name).ok()?))
}

/// Attributes of an inode.
pub fn inode(inode: InodeId) -> Vec<u8> {
    key(&[table::INODE, &inode.0.to_be_bytes()])
}

/// The contents of a version.
pub fn version(version: VersionId) -> Vec<u8> {
    key(&[table::VERSION, &version.to_bytes()])
}

/// One segment of a version's chunk list.
pub fn segment(version: VersionId, segment: u32) -> Vec<u8> {
    key(&[table::SEGMENT, &version.to_bytes(), &segment.to_be_bytes()])
}

/// Prefix of all segments of a version.
pub fn segments(version: VersionId) -> Vec<u8> {
    key(&[table::SEGMENT, &version.to_bytes()])
}

/// Version and number of a segment's key.
pub fn parse_segment(key: &[u8]) -> Option<(VersionId, u32)> {
    let (version, number) = key.strip_prefix(table::SEGMENT)?.split_first_chunk::<16>()?;
    Some((VersionId::from_bytes(*version), u32::from_be_bytes(number.try_into().ok()?)))
}

/// The record of a chunk.
pub fn chunk(chunk: ChunkId) -> Vec<u8> {
    key(&[table::CHUNK, &chunk.to_bytes()])
}

/// The chunk of a record's key.
pub fn parse_chunk(key: &[u8]) -> Option<ChunkId> {
    Some(ChunkId::from_bytes(key.strip_prefix(table::CHUNK)?.try_into().ok()?))
}

/// Why a chunk is where it is, and what became of its copies.
pub fn reasons(chunk: ChunkId) -> Vec<u8> {
    key(&[b"e", &chunk.to_bytes()])
}

/// A chunk with fewer good copies than wanted.
pub fn risk(good: u8, chunk: ChunkId) -> Vec<u8> {
    key(&[table::RISK, &[good], &chunk.to_bytes()])
}

/// The chunk of the key of an endangered one.
pub fn parse_risk(key: &[u8]) -> Option<ChunkId> {
    let (_, chunk) = key.strip_prefix(table::RISK)?.split_first()?;
    Some(ChunkId::from_bytes(chunk.try_into().ok()?))
}

/// What an operator asked for.
pub fn job(job: JobId) -> Vec<u8> {
    key(&[table::JOB, &job.0.to_be_bytes()])
}

/// The job of a record's key.
pub fn parse_job(key: &[u8]) -> Option<JobId> {
    Some(JobId(u64::from_be_bytes(key.strip_prefix(table::JOB)?.try_into().ok()?)))
}

/// Something that happened.
pub fn event(number: u64) -> Vec<u8> {
    key(&[table::EVENT, &number.to_be_bytes()])
}

/// The number of an event's key.
pub fn parse_event(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(table::EVENT)?.try_into().ok()?))
}

/// An upload session.
pub fn session(session: SessionId) -> Vec<u8> {
    key(&[table::SESSION, &session.to_bytes()])
}

/// When to look at a session's lease.
pub fn lease(until_ms: u64, session: SessionId) -> Vec<u8> {
    key(&[table::LEASE, &until_ms.to_be_bytes(), &session.to_bytes()])
}

/// The session of a lease's key.
pub fn parse_lease(key: &[u8]) -> Option<SessionId> {
    let (_, session) = key.strip_prefix(table::LEASE)?.split_first_chunk::<8>()?;
    Some(SessionId::from_bytes(session.try_into().ok()?))
}

/// The first outcome of an operation.
pub fn outcome(op: OpId) -> Vec<u8> {
    key(&[table::OUTCOME, &op.to_bytes()])
}

/// The operation of an outcome's key.
pub fn parse_outcome(key: &[u8]) -> Option<OpId> {
    Some(OpId::from_bytes(key.strip_prefix(table::OUTCOME)?.try_into().ok()?))
}

/// The root of a deleted tree.
pub fn trash(inode: InodeId) -> Vec<u8> {
    key(&[table::TRASH, &inode.0.to_be_bytes()])
}

/// The inode of a trash key.
pub fn parse_trash(key: &[u8]) -> Option<InodeId> {
    Some(InodeId(u64::from_be_bytes(key.strip_prefix(table::TRASH)?.try_into().ok()?)))
}

/// A deleted directory that is not counted to its end.
pub fn trash_walk(inode: InodeId) -> Vec<u8> {
    key(&[table::TRASH_WALK, &inode.0.to_be_bytes()])
}

/// The inode of such a key.
pub fn parse_trash_walk(key: &[u8]) -> Option<InodeId> {
    Some(InodeId(u64::from_be_bytes(key.strip_prefix(table::TRASH_WALK)?.try_into().ok()?)))
}

/// When to purge a deleted tree.
pub fn trash_expiry(expires_ms: u64, inode: InodeId) -> Vec<u8> {
    key(&[table::TRASH_EXPIRY, &expires_ms.to_be_bytes(), &inode.0.to_be_bytes()])
}

/// The first key after those of what expires up to a time.
pub fn trash_expiry_until(now_ms: u64) -> Vec<u8> {
    trash_expiry(now_ms.saturating_add(1), InodeId(0))
}

/// The time of a trash expiry's key.
pub fn parse_trash_expiry_time(key: &[u8]) -> Option<u64> {
    time_after(key, table::TRASH_EXPIRY)
}

/// The time of a release's key.
pub fn parse_release_time(key: &[u8]) -> Option<u64> {
    time_after(key, table::RELEASE)
}

fn time_after(key: &[u8], table: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.strip_prefix(table)?.first_chunk::<8>()?))
}

/// The inode of a trash expiry's key.
pub fn parse_trash_expiry(key: &[u8]) -> Option<InodeId> {
    let (_, inode) = key.strip_prefix(table::TRASH_EXPIRY)?.split_first_chunk::<8>()?;
    Some(InodeId(u64::from_be_bytes(inode.try_into().ok()?)))
}

/// Prefix of the deletions of one path, the latest first.
pub fn trash_paths(path: &DfsPath) -> Vec<u8> {
    key(&[b"P", path.as_str().as_bytes(), &[0]])
}

/// One deletion of a path. No path holds a zero byte, so one path's deletions never mix with another's.
pub fn trash_path(path: &DfsPath, deleted_ms: u64, inode: InodeId) -> Vec<u8> {
    key(&[&trash_paths(path), &(!deleted_ms).to_be_bytes(), &inode.0.to_be_bytes()])
}

/// The inode of a deleted path's key.
pub fn parse_trash_path(key: &[u8]) -> Option<InodeId> {
    Some(InodeId(u64::from_be_bytes(*key.last_chunk::<8>()?)))
}

/// A deleted directory being taken apart.
pub fn purge(inode: InodeId) -> Vec<u8> {
    key(&[table::PURGE, &inode.0.to_be_bytes()])
}

/// The inode of a purge key.
pub fn parse_purge(key: &[u8]) -> Option<InodeId> {
    Some(InodeId(u64::from_be_bytes(key.strip_prefix(table::PURGE)?.try_into().ok()?)))
}

/// A version whose chunks lose a reference, no sooner than the time.
pub fn release(not_before_ms: u64, version: VersionId) -> Vec<u8> {
    key(&[table::RELEASE, &not_before_ms.to_be_bytes(), &version.to_bytes()])
}

/// The version of a release's key.
pub fn parse_release(key: &[u8]) -> Option<VersionId> {
    let (_, version) = key.strip_prefix(table::RELEASE)?.split_first_chunk::<8>()?;
    Some(VersionId::from_bytes(version.try_into().ok()?))
}

/// Generations that an allocation gave up, under the first of them: each is given up once, so no two batches meet.
pub fn orphans(at_ms: u64, first: ChunkKey) -> Vec<u8> {
    let ChunkKey { chunk, generation } = first;
    key(&[table::ORPHANS, &at_ms.to_be_bytes(), &chunk.to_bytes(), &generation.0.to_be_bytes()])
}

/// Prefix of a node's tombstones.
pub fn tombstones(node: NodeId) -> Vec<u8> {
    key(&[table::TOMBSTONE, &node.to_bytes()])
}

/// What a node still has to delete.
pub fn tombstone(node: NodeId, copy: ChunkKey) -> Vec<u8> {
    let ChunkKey { chunk, generation } = copy;
    key(&[table::TOMBSTONE, &node.to_bytes(), &chunk.to_bytes(), &generation.0.to_be_bytes()])
}

/// Node and copy of a tombstone's key.
pub fn parse_tombstone(key: &[u8]) -> Option<(NodeId, ChunkKey)> {
    let (node, rest) = key.strip_prefix(table::TOMBSTONE)?.split_first_chunk::<16>()?;
    let (chunk, generation) = rest.split_first_chunk::<16>()?;
    let generation = u32::from_be_bytes(generation.try_into().ok()?);
    let copy = ChunkKey { chunk: ChunkId::from_bytes(*chunk), generation: Generation(generation) };
    Some((NodeId::from_bytes(*node), copy))
}

/// Prefix of the versions that hold a chunk beside the one it was written for.
pub fn holders(chunk: ChunkId) -> Vec<u8> {
    key(&[table::HOLDER, &chunk.to_bytes()])
}

/// A version that holds a chunk beside the one it was written for.
pub fn holder(chunk: ChunkId, version: VersionId, index: u32) -> Vec<u8> {
    key(&[table::HOLDER, &chunk.to_bytes(), &version.to_bytes(), &index.to_be_bytes()])
}

/// Chunk, version and place of a holder's key.
pub fn parse_holder(key: &[u8]) -> Option<(ChunkId, VersionId, u32)> {
    let (chunk, rest) = key.strip_prefix(table::HOLDER)?.split_first_chunk::<16>()?;
    let (version, index) = rest.split_first_chunk::<16>()?;
    let index = u32::from_be_bytes(index.try_into().ok()?);
    Some((ChunkId::from_bytes(*chunk), VersionId::from_bytes(*version), index))
}

/// Prefix of the open copies of a version.
pub fn pins(version: VersionId) -> Vec<u8> {
    key(&[b"c", &version.to_bytes()])
}

/// An open copy of a version.
pub fn pin(version: VersionId, session: SessionId) -> Vec<u8> {
    key(&[&pins(version), &session.to_bytes()])
}

/// Prefix of the uploads to a path that can be gone on with.
pub fn uploads_at(path: &DfsPath) -> Vec<u8> {
    key(&[b"w", path.as_str().as_bytes(), &[0]])
}

/// An upload to a path that can be gone on with.
pub fn upload_at(path: &DfsPath, session: SessionId) -> Vec<u8> {
    key(&[&uploads_at(path), &session.to_bytes()])
}

/// The session of such an upload's key.
pub fn parse_upload_at(key: &[u8]) -> Option<SessionId> {
    Some(SessionId::from_bytes(*key.last_chunk::<16>()?))
}

/// The record of a node.
pub fn node(node: NodeId) -> Vec<u8> {
    key(&[table::NODE, &node.to_bytes()])
}

/// A join token.
pub fn join_token(secret: SecretDigest) -> Vec<u8> {
    key(&[table::JOIN_TOKEN, &secret.0])
}

/// The keys that somebody has certificates for.
pub fn issued(who: &Identity) -> Vec<u8> {
    key(&[table::ISSUED, who.to_string().as_bytes()])
}

/// A node that is being forgotten.
pub fn forgetting(node: NodeId) -> Vec<u8> {
    key(&[table::FORGETTING, &node.to_bytes()])
}

/// The node of a forgetting key.
pub fn parse_forgetting(key: &[u8]) -> Option<NodeId> {
    Some(NodeId::from_bytes(key.strip_prefix(table::FORGETTING)?.try_into().ok()?))
}

/// Prefix of what a node should have.
pub fn copies(node: NodeId) -> Vec<u8> {
    key(&[table::COPY, &node.to_bytes()])
}

/// One chunk that a node should have.
pub fn copy(node: NodeId, chunk: ChunkId) -> Vec<u8> {
    key(&[table::COPY, &node.to_bytes(), &chunk.to_bytes()])
}

/// Node and chunk of a copy's key.
pub fn parse_copy(key: &[u8]) -> Option<(NodeId, ChunkId)> {
    let (node, chunk) = key.strip_prefix(table::COPY)?.split_first_chunk::<16>()?;
    Some((NodeId::from_bytes(*node), ChunkId::from_bytes(chunk.try_into().ok()?)))
}

/// The letter of a copy's state in the key of a group: in the order of the states' names in the glossary.
const STATES: [(CopyState, u8); 5] = [
    (CopyState::Good, b'g'),
    (CopyState::Unverified, b'u'),
    (CopyState::Corrupt, b'c'),
    (CopyState::Missing, b'm'),
    (CopyState::Dropping, b'd'),
];

/// The group of chunks that want so many copies and have these. Whatever the order of the copies, it is the same key.
pub fn group(wanted: u8, copies: impl Iterator<Item = (NodeId, CopyState)>) -> Vec<u8> {
    let mut copies: Vec<(NodeId, CopyState)> = copies.collect();
    copies.sort_by_key(|(node, _)| *node);
    let mut key = key(&[table::GROUP, &[wanted]]);
    for (node, state) in copies {
        key.extend(node.to_bytes());
        key.extend(STATES.iter().find(|(known, _)| *known == state).map(|(_, letter)| *letter));
    }
    key
}

/// Copies wanted, and the copies there are, of a group's key.
pub fn parse_group(key: &[u8]) -> Option<(u8, Vec<(NodeId, CopyState)>)> {
    let (wanted, copies) = key.strip_prefix(table::GROUP)?.split_first()?;
    let parts = copies.chunks_exact(17);
    let whole = parts.remainder().is_empty();
    let copy = |part: &[u8]| {
        let (node, letter) = part.split_first_chunk::<16>()?;
        let state = STATES.iter().find(|(_, known)| letter == [*known]).map(|(state, _)| *state)?;
        Some((NodeId::from_bytes(*node), state))
    };
    let copies = parts.map(copy).collect::<Option<_>>()?;
    whole.then_some((*wanted, copies))
}

#[cfg(test)]
mod tests;
