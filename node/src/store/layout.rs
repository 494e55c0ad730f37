//! Where things are in a data directory. Names are derived from ids only; nothing a peer sends becomes a path.
//!
//! ```text
//! <data_dir>/lock                                  flock held by the one process that owns the directory; its pid
//!            identity                              node, cluster, key, format version; see identity.rs
//!            identity.spare                        room for the next identity; see data_dir.rs
//!            scrub                                 how far the scrub has come; see scrub_cursor.rs
//!            tmp/<n>.part                          unfinished writes; emptied at start
//!            chunks/<x>/<y>/<chunk>.<generation>   committed chunks; x and y are two digits of the time in the id
//!            quarantine/<date>T<hour>/<chunk>.<generation>.<unix ms>.<n>.<bytes>     moved aside in that hour; purged by age
//!            quarantine/damaged/<chunk>.<generation>.<unix ms>.<n>.<bytes>.damaged   found bad at start; kept for an operator
//!            quarantine/totals                            what is in each hour; see hours.rs
//! ```
//! Directly in `quarantine`, and without its bytes in the name, lies what older versions moved aside, and what was moved
//! aside while the disk had no room for a directory; it is moved on when there is.
//!
//! 16 x 16 directories, all made when the directory is formatted, so that a commit never has to make one. The two
//! digits count 16-second steps of the time that a chunk's id begins with: chunks that are written together share a
//! directory, so that a group of commits costs one directory fsync and not one for each chunk (measured: the commits of
//! 64 writers of small chunks spent most of their time there), and the directories fill evenly every 70 minutes.

use std::fmt;
use std::path::{Path, PathBuf};

use dfs_wire::id::ChunkKey;
use dfs_wire::id::Generation;

use super::hours::Hour;

/// A time-ordered id begins with 48 bits of milliseconds; a step is 2^14 of them.
const STEP_SHIFT: u32 = 80 + 14;
const TMP_SUFFIX: &str = ".part";
const DAMAGED_SUFFIX: &str = ".damaged";

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The lock file.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The identity file.
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    /// What the identity file is called until it is complete; then the former one is, so that there is always room.
    pub fn identity_spare(&self) -> PathBuf {
        self.root.join("identity.spare")
    }

    /// How far the scrub has come.
    pub fn scrub(&self) -> PathBuf {
        self.root.join("scrub")
    }

    /// The directory and what is directly in it: if these are private, all of it is.
    pub fn outermost(&self) -> [PathBuf; 8] {
        let dirs = [self.root.clone(), self.tmp_dir(), self.quarantine_dir(), self.chunks_dir()];
        let ([root, tmp, quarantine, chunks], [lock, identity, spare, scrub]) =
            (dirs, [self.lock(), self.identity(), self.identity_spare(), self.scrub()]);
        [root, tmp, quarantine, chunks, lock, identity, spare, scrub]
    }

    /// Where files are until they are committed; emptied at the start.
    pub fn tmp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The `n`th temporary file of this run.
    pub fn tmp_file(&self, n: u64) -> PathBuf {
        self.tmp_dir().join(format!("{n}{TMP_SUFFIX}"))
    }

    /// Whether a name in [`Self::tmp_dir`] is one of ours, and so may be deleted at start.
    pub fn is_tmp_name(name: &str) -> bool {
        name.ends_with(TMP_SUFFIX)
    }

    /// Files moved aside.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The directory of what was moved aside in an hour.
    pub fn hour_dir(&self, hour: Hour) -> PathBuf {
        self.quarantine_dir().join(hour.to_string())
    }

    /// The directory of what was found damaged.
    pub fn damaged_dir(&self) -> PathBuf {
        self.quarantine_dir().join("damaged")
    }

    /// The ledger of the quarantine.
    pub fn quarantine_totals(&self) -> PathBuf {
        self.quarantine_dir().join("totals")
    }

    /// The directory above the fan-out.
    pub fn chunks_dir(&self) -> PathBuf {
        self.root.join("chunks")
    }

    /// The directories of the fan-out, parents first.
    pub fn fan_out(&self) -> Vec<PathBuf> {
        let chunks = self.chunks_dir();
        let mut dirs: Vec<_> = (0..16).map(|x| chunks.join(format!("{x:x}"))).collect();
        dirs.extend(self.leaves());
        dirs
    }

    /// The directories that hold chunk files.
    pub fn leaves(&self) -> Vec<PathBuf> {
        let chunks = self.chunks_dir();
        (0..256).map(|xy| chunks.join(format!("{:x}", xy / 16)).join(format!("{:x}", xy % 16))).collect()
    }

    /// The directory a chunk's file is in.
    pub fn leaf_of(&self, key: ChunkKey) -> PathBuf {
        let step = (key.chunk.0 >> STEP_SHIFT) & 0xff;
        self.chunks_dir().join(format!("{:x}", step >> 4)).join(format!("{:x}", step & 15))
    }

    /// A committed chunk's file.
    pub fn chunk_file(&self, key: ChunkKey) -> PathBuf {
        self.leaf_of(key).join(chunk_name(key))
    }
}

/// The file name of a chunk.
pub fn chunk_name(key: ChunkKey) -> String {
    key.to_string()
}

/// The inverse of [`chunk_name`]: accepts exactly what it makes.
pub fn parse_chunk_name(name: &str) -> Option<ChunkKey> {
    let (chunk, generation) = name.split_once('.')?;
    if !is_decimal(generation) {
        return None;
    }
    let key = ChunkKey { chunk: chunk.parse().ok()?, generation: Generation(generation.parse().ok()?) };
    (chunk_name(key) == name).then_some(key)
}

/// What the name of a file in quarantine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aside<'a> {
    /// The name it had as a chunk.
    pub copy: &'a str,
    /// Since when it has been there, in Unix milliseconds.
    pub since_ms: u64,
    /// Tells two of the same copy and moment apart.
    pub n: u64,
    /// Bytes of the file, if the name says them.
    pub bytes: Option<u64>,
    /// It is kept for an operator: it may be the last copy. Nothing deletes it.
    pub damaged: bool,
}

impl<'a> Aside<'a> {
    /// The inverse of its [`Display`](fmt::Display), which also takes the names of older versions.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (rest, damaged) = match name.strip_suffix(DAMAGED_SUFFIX) {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let number = |text: &str| is_decimal(text).then(|| text.parse().ok())?;
        let mut parts = rest.split('.');
        let (chunk, generation) = (parts.next()?, parts.next()?);
        let (since_ms, n) = (number(parts.next()?)?, number(parts.next()?)?);
        let bytes = match parts.next() {
            Some(bytes) => Some(number(bytes)?),
            None => None,
        };
        let copy = rest.get(..chunk.len() + 1 + generation.len())?;
        let ours = parts.next().is_none() && !chunk.is_empty() && is_decimal(generation);
        ours.then_some(Self { copy, since_ms, n, bytes, damaged })
    }
}

impl fmt::Display for Aside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copy, since_ms, n, bytes, damaged } = self;
        write!(f, "{copy}.{since_ms}.{n}")?;
        bytes.map_or(Ok(()), |bytes| write!(f, ".{bytes}"))?;
        if *damaged { f.write_str(DAMAGED_SUFFIX) } else { Ok(()) }
    }
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::ChunkId;
    use proptest::prelude::*;

    use super::*;

    fn key(chunk: u128, generation: u32) -> ChunkKey {
        ChunkKey { chunk: ChunkId(chunk), generation: Generation(generation) }
    }

    #[test]
    fn paths_are_as_documented() {
        let layout = Layout::new("d");
        let id = ChunkId::time_ordered(0x12_3456, 0xabcd).0; // 0x123456 >> 14 is 0x48
        let path = layout.chunk_file(key(id, 7));
        assert_eq!(path, Path::new("d/chunks/4/8/0000001234560000000000000000abcd.7"));
        assert!(layout.leaves().contains(&layout.leaf_of(key(id, 7))));
        let next = ChunkId::time_ordered(0x12_3456 + (1 << 14), 0).0;
        assert_eq!(layout.leaf_of(key(next, 0)), Path::new("d/chunks/4/9"));
        assert_eq!((layout.fan_out().len(), layout.leaves().len()), (272, 256));
        let hour = layout.hour_dir(Hour::of(1_795_838_400_000));
        assert_eq!(hour, Path::new("d/quarantine/2026-11-28T04"));
    }

    #[test]
    fn what_is_in_quarantine_says_since_when_in_the_names_of_all_versions() {
        let name = chunk_name(key(1, 2));
        let aside = Aside { copy: &name, since_ms: 1234, n: 5, bytes: Some(4096), damaged: false };
        for aside in [
            aside,
            Aside { damaged: true, ..aside },
            Aside { bytes: None, ..aside },
            Aside { bytes: None, damaged: true, ..aside },
        ] {
            assert_eq!(Aside::parse(&aside.to_string()), Some(aside));
        }
        for other in ["x", "totals", "damaged", "2026-11-28T04", "a.1.2", "a.1.x.3", "a.1.2.3.4.5", ".1.2.3"]
        {
            assert_eq!(Aside::parse(other), None, "{other}");
        }
    }

    #[test]
    fn names_that_are_not_ours_are_not_parsed() {
        for name in ["", ".", "abc.1", "0.0", &format!("{:032x}.01", 5), &format!("{:032X}.1", 0xa), "../x.1"]
        {
            assert_eq!(parse_chunk_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn names_parse_back(chunk: u128, generation: u32) {
            prop_assert_eq!(parse_chunk_name(&chunk_name(key(chunk, generation))), Some(key(chunk, generation)));
        }

        #[test]
        fn any_name_parses_only_to_itself(name in "[0-9a-fA-F]{30,33}\\.[0-9+]{0,11}") {
            if let Some(key) = parse_chunk_name(&name) {
                prop_assert_eq!(chunk_name(key), name);
            }
        }
    }
}
