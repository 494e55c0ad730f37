//! Checking the metadata against itself and against the states of the nodes, read-only, in bounded steps.
//!
//! The tables are walked one after another; the cursor is the phase, a place within a segment, and a key. Each row
//! is judged within one snapshot, so a change between two steps is never mistaken for damage.

use dfs_wire::id::{ChunkId, ChunkKey, InodeId, VersionId};
use dfs_wire::message::metadata::{ChunkHealth, CopyState, EntryKind, Fsck, FsckKind, FsckProblem, FsckStep};
use dfs_wire::path::DfsPath;

use crate::coordinator::metadata::model::copies::placed;
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, CopyRow, Entry, Inode, SEGMENT_CHUNKS, Segment, Slot, Version, VersionState,
    session_of,
};
use crate::coordinator::metadata::model::tree;
use crate::coordinator::metadata::model::worth::{Reaches, Worth};
use crate::coordinator::metadata::table::error::{MetaError, invalid};
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View;

/// Rows that one step looks at.
const STEP_ROWS: usize = 1000;
/// Chunk places that one step looks at.
const STEP_SLOTS: usize = 1024;
/// Holders of one chunk that are counted; with more, nothing is said of their number.
const HOLDERS_COUNTED: usize = 4096;
/// Bytes of problems that end a step.
const STEP_BYTES: usize = 16 * 1024;

const PHASES: [&[u8]; 6] =
    [table::INODE, table::ENTRY, table::SEGMENT, table::CHUNK, table::COPY, table::HOLDER];

/// Where a check goes on.
struct Cursor {
    phase: u8,
    slot: u8,
    after: Vec<u8>,
}

impl Cursor {
    fn parse(bytes: Option<&[u8]>) -> Result<Self, MetaError> {
        match bytes {
            None => Ok(Self { phase: 0, slot: 0, after: Vec::new() }),
            Some([phase, slot, after @ ..]) if usize::from(*phase) < PHASES.len() => {
                Ok(Self { phase: *phase, slot: *slot, after: after.to_vec() })
            }
            Some(_) => Err(invalid("not a cursor of fsck")),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [&[self.phase, self.slot], self.after.as_slice()].concat()
    }
}

struct Check<'a, V> {
    view: &'a V,
    reach: Reaches<'a>,
    step: FsckStep,
    bytes: usize,
    slots: usize,
}

/// A bounded step of checking.
///
/// # Errors
/// Of the store; `InvalidArgument` for a cursor that no step gave.
pub fn check(view: &impl View, request: &Fsck, reach: Reaches<'_>) -> Result<FsckStep, MetaError> {
    let mut cursor = Cursor::parse(request.cursor.as_deref())?;
    let mut check = Check { view, reach, step: FsckStep::default(), bytes: 0, slots: 0 };
    let mut rows = 0;
    while let Some(prefix) = PHASES.get(usize::from(cursor.phase)) {
        let mut range = KeyRange::prefix(prefix);
        // A segment may be half done: then it is the first of the next step.
        range = if cursor.slot > 0 { range.from(&cursor.after) } else { range.after(&cursor.after) };
        let page = view.scan(&range, 128)?;
        for (key, value) in &page {
            let slot = if *key == cursor.after { cursor.slot } else { 0 };
            cursor.slot = check.row(cursor.phase, key, value, slot)?;
            cursor.after.clone_from(key);
            rows += 1;
            if cursor.slot > 0 || check.is_full(rows) {
                check.step.next = Some(cursor.bytes());
                return Ok(check.step);
            }
        }
        if page.is_empty() {
            cursor = Cursor { phase: cursor.phase + 1, slot: 0, after: Vec::new() };
        }
    }
    Ok(check.step)
}

impl<V: View> Check<'_, V> {
    fn is_full(&self, rows: usize) -> bool {
        rows >= STEP_ROWS || self.slots >= STEP_SLOTS || self.bytes >= STEP_BYTES
    }

    /// Checks one row; returns the place at which a segment must be gone on with, or 0.
    fn row(&mut self, phase: u8, key: &[u8], value: &[u8], slot: u8) -> Result<u8, MetaError> {
        let done = match phase {
            0 => self.inode(key, value).map(|()| 0),
            1 => self.entry(key, value).map(|()| 0),
            2 => self.segment(key, value, slot),
            3 => self.chunk(key, value).map(|()| 0),
            4 => self.copy(key, value).map(|()| 0),
            _ => self.holder(key).map(|()| 0),
        };
        match done {
            // A damaged record is what is being looked for; a failing store is not.
            Err(damaged @ MetaError::Damaged { .. }) => {
                self.problem(FsckKind::Metadata, None, None, damaged.to_string());
                Ok(0)
            }
            other => other,
        }
    }

    fn problem(&mut self, kind: FsckKind, path: Option<&DfsPath>, chunk: Option<ChunkId>, detail: String) {
        self.bytes += detail.len() + path.map_or(0, |p| p.as_str().len()) + 64;
        let problem = FsckProblem { kind, path: path.cloned(), chunk, node: None, detail };
        self.step.problems.push(problem);
    }

    fn broken(&mut self, detail: String) {
        self.problem(FsckKind::Metadata, None, None, detail);
    }

    fn inode(&mut self, key: &[u8], value: &[u8]) -> Result<(), MetaError> {
        let id = key.strip_prefix(table::INODE).and_then(|id| <[u8; 8]>::try_from(id).ok());
        let id = InodeId(u64::from_be_bytes(id.ok_or_else(|| MetaError::damaged(key, "not an inode"))?));
        let inode: Inode = decode(key, value)?;
        match inode.kind() {
            EntryKind::File => self.step.files += 1,
            EntryKind::Directory => self.step.directories += 1,
        }
        if inode.trashed {
            let known = self.view.get(&keys::trash(id))?.or(self.view.get(&keys::purge(id))?);
            if known.is_none() {
                self.broken(format!("inode {id} ({:?}) is neither in the tree nor in the trash", inode.name));
            }
        } else if id != InodeId::ROOT {
            let entry: Option<Entry> = self.view.load(&keys::entry(inode.parent, &inode.name))?;
            if entry.is_none_or(|entry| entry.inode != id || entry.kind != inode.kind()) {
                self.broken(format!("inode {id} is not what its directory calls {:?}", inode.name));
            }
        }
        let Some(body) = inode.file else { return Ok(()) };
        let version: Option<Version> = self.view.load(&keys::version(body.version))?;
        if version.is_none_or(|v| v.inode != id || v.state != VersionState::Live || v.body != body) {
            self.broken(format!("version {} of inode {id} is missing or another file's", body.version));
        }
        if let Some(last) = body.chunk_count.checked_sub(1)
            && self.view.get(&keys::segment(body.version, last / SEGMENT_CHUNKS))?.is_none()
        {
            self.broken(format!("the chunk list of inode {id} ({:?}) is cut short", inode.name));
        }
        Ok(())
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), MetaError> {
        let (parent, name) = keys::parse_entry(key).ok_or_else(|| MetaError::damaged(key, "not an entry"))?;
        let entry: Entry = decode(key, value)?;
        let inode: Option<Inode> = self.view.load(&keys::inode(entry.inode))?;
        match inode {
            None => self.broken(format!(
                "{name:?} in directory {parent} names inode {}, which does not exist",
                entry.inode
            )),
            Some(inode) if inode.trashed || inode.parent != parent || inode.name != name => {
                self.broken(format!(
                    "{name:?} in directory {parent} names inode {}, which lies elsewhere",
                    entry.inode
                ));
            }
            Some(_) => {}
        }
        if self.view.get(&keys::inode(parent))?.is_none() {
            self.broken(format!("{name:?} lies in directory {parent}, which does not exist"));
        }
        Ok(())
    }

    fn segment(&mut self, key: &[u8], value: &[u8], from: u8) -> Result<u8, MetaError> {
        let (id, number) =
            keys::parse_segment(key).ok_or_else(|| MetaError::damaged(key, "not a segment"))?;
        let segment: Segment = decode(key, value)?;
        let version = match self.view.load::<Version>(&keys::version(id))? {
            Some(version) => version,
            None => {
                if self.view.get(&keys::session(session_of(id)))?.is_none() {
                    self.broken(format!("chunk list {id} belongs to no version and no upload"));
                }
                return Ok(0);
            }
        };
        if version.state == VersionState::Releasing {
            return Ok(0);
        }
        let path = tree::path_of(self.view, version.inode)?;
        for slot in u32::from(from)..SEGMENT_CHUNKS {
            let index = number * SEGMENT_CHUNKS + slot;
            if index >= version.body.chunk_count {
                break;
            }
            if self.is_full(0) && slot > u32::from(from) {
                return Ok(u8::try_from(slot).unwrap_or(0));
            }
            self.slots += 1;
            self.slot(&version, index, segment.slot(index), path.as_ref())?;
        }
        Ok(0)
    }

    fn slot(
        &mut self,
        version: &Version,
        index: u32,
        slot: Slot,
        path: Option<&DfsPath>,
    ) -> Result<(), MetaError> {
        let Slot::Stored(chunk) = slot else {
            let detail = format!("version {} lacks chunk {index}", version.body.version);
            self.problem(FsckKind::Metadata, path, None, detail);
            return Ok(());
        };
        let record: Option<ChunkRecord> = self.view.load(&keys::chunk(chunk))?;
        let Some(record) = record.filter(|r| r.state == ChunkState::Live && r.references > 0) else {
            let detail = format!("chunk {index} has no live record");
            self.problem(FsckKind::Metadata, path, Some(chunk), detail);
            return Ok(());
        };
        let own = (record.version, record.index) == (version.body.version, index);
        if !own && self.view.get(&keys::holder(chunk, version.body.version, index))?.is_none() {
            let detail = format!("chunk {index} is shared, but its record does not count this version");
            self.problem(FsckKind::Metadata, path, Some(chunk), detail);
        }
        if version.state == VersionState::Live {
            if record.wanted < version.body.replication {
                let (wanted, said) = (record.wanted, version.body.replication);
                let detail = format!("chunk {index} is wanted in {wanted} copies, and its file says {said}");
                self.problem(FsckKind::Metadata, path, Some(chunk), detail);
            }
            self.copies(chunk, index, &record, path);
        }
        Ok(())
    }

    fn copies(&mut self, chunk: ChunkId, index: u32, record: &ChunkRecord, path: Option<&DfsPath>) {
        let copies = record.copies.iter().map(|copy| (copy.node, copy.state));
        let worth = Worth::of(record.wanted, copies, self.reach);
        let (good, wanted) = (worth.good, record.wanted);
        let told = match worth.health() {
            ChunkHealth::Safe => None,
            ChunkHealth::Lost => Some((FsckKind::ChunkLost, format!("chunk {index} has no copy left"))),
            ChunkHealth::Unreachable => Some((
                FsckKind::ChunkUnreachable,
                format!("chunk {index} cannot be read now: {} copies are on nodes that are away", worth.away),
            )),
            ChunkHealth::Maintenance | ChunkHealth::UnderReplicated => {
                let away = if worth.away > 0 {
                    format!(", {} on nodes that are away", worth.away)
                } else {
                    String::new()
                };
                let text = format!("chunk {index} has {good} good copies of {wanted}{away}");
                Some((FsckKind::UnderReplicated, text))
            }
        };
        if let Some((kind, detail)) = told {
            self.problem(kind, path, Some(chunk), detail);
        }
        for copy in &record.copies {
            let (kind, what) = match copy.state {
                CopyState::Missing => (FsckKind::CopyMissing, "is missing"),
                CopyState::Corrupt => (FsckKind::CopyCorrupt, "is corrupt"),
                CopyState::Good | CopyState::Unverified | CopyState::Dropping => continue,
            };
            self.problem(kind, path, Some(chunk), format!("a copy of chunk {index} {what}"));
            if let Some(last) = self.step.problems.last_mut() {
                last.node = Some(copy.node);
            }
        }
    }

    fn chunk(&mut self, key: &[u8], value: &[u8]) -> Result<(), MetaError> {
        let id = keys::parse_chunk(key).ok_or_else(|| MetaError::damaged(key, "not a chunk"))?;
        let record: ChunkRecord = decode(key, value)?;
        for (node, row) in placed(&record) {
            if self.view.load::<CopyRow>(&keys::copy(node, id))? != Some(row) {
                let detail = format!("the table by nodes says something else of its copy on node {node}");
                self.problem(FsckKind::Metadata, None, Some(id), detail);
            }
        }
        if record.state == ChunkState::Dying {
            for copy in &record.copies {
                let key = ChunkKey { chunk: id, generation: record.generation };
                if self.view.get(&keys::tombstone(copy.node, key))?.is_none() {
                    let detail = format!("node {} was never told to delete its copy", copy.node);
                    self.problem(FsckKind::Metadata, None, Some(id), detail);
                }
            }
            return Ok(());
        }
        if record.state == ChunkState::Live {
            // Here, and not where they are listed: files may share them.
            self.step.chunks += 1;
            self.step.copies += record.copies.len() as u64;
        }
        self.holders(id, &record)?;
        if let Some(good) = record.risk()
            && self.view.get(&keys::risk(good, id))?.is_none()
        {
            let detail = "it needs repair, but is not queued for it".to_owned();
            self.problem(FsckKind::Metadata, None, Some(id), detail);
        }
        Ok(())
    }

    /// A row by node whose chunk record does not ask for it.
    fn copy(&mut self, key: &[u8], value: &[u8]) -> Result<(), MetaError> {
        let (node, chunk) = keys::parse_copy(key).ok_or_else(|| MetaError::damaged(key, "not a copy"))?;
        let row: CopyRow = decode(key, value)?;
        let record: Option<ChunkRecord> = self.view.load(&keys::chunk(chunk))?;
        let known = record.is_some_and(|record| placed(&record).any(|placed| placed == (node, row)));
        if !known {
            let detail = format!("the table by nodes has a copy on node {node} that no record names");
            self.problem(FsckKind::Metadata, None, Some(chunk), detail);
        }
        Ok(())
    }

    /// Whether a place of a version, or of an open upload, names this chunk.
    fn holds(&self, chunk: ChunkId, version: VersionId, index: u32) -> Result<bool, MetaError> {
        let segment: Option<Segment> = self.view.load(&keys::segment(version, index / SEGMENT_CHUNKS))?;
        Ok(segment.is_some_and(|segment| segment.slot(index).chunk() == Some(chunk)))
    }

    /// Who holds a chunk must be as many as its record says.
    fn holders(&mut self, id: ChunkId, record: &ChunkRecord) -> Result<(), MetaError> {
        let others = self.view.scan(&KeyRange::prefix(&keys::holders(id)), HOLDERS_COUNTED)?.len();
        let own = self.holds(id, record.version, record.index)?;
        if !own && others == 0 || record.references == 0 {
            let detail = format!("chunk {} of version {} is in no chunk list", record.index, record.version);
            self.problem(FsckKind::Orphan, None, Some(id), detail);
        } else if others < HOLDERS_COUNTED && others + usize::from(own) != record.references as usize {
            let holders = others + usize::from(own);
            let detail =
                format!("it has {} references, but {holders} chunk lists hold it", record.references);
            self.problem(FsckKind::Metadata, None, Some(id), detail);
        }
        Ok(())
    }

    /// A row of a further holder whose chunk list does not name the chunk.
    fn holder(&mut self, key: &[u8]) -> Result<(), MetaError> {
        let parsed = keys::parse_holder(key);
        let (chunk, version, index) = parsed.ok_or_else(|| MetaError::damaged(key, "not a holder"))?;
        if !self.holds(chunk, version, index)? {
            let detail = format!("version {version} is said to hold it at {index}, but does not");
            self.problem(FsckKind::Metadata, None, Some(chunk), detail);
        }
        Ok(())
    }
}
