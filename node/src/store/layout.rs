//! Where things are in a data directory. Names are derived from ids only; nothing a peer sends becomes a path.
//!
//! ```text
//! <data_dir>/lock                                  flock held by the one process that owns the directory; its pid
//!            identity                              node, cluster, key, format version; see identity.rs
//!            identity.spare                        room for the next identity; see data_dir.rs
//!            tmp/<n>.part                          unfinished writes; emptied at start
//!            chunks/<x>/<y>/<chunk>.<generation>   committed chunks; x and y are two digits of the time in the id
//!            quarantine/<chunk>.<generation>.<unix ms>.<n>   moved aside; purged by age
//!            quarantine/<chunk>.<generation>.<unix ms>.<n>.damaged   found bad at start; kept for an operator
//! ```
//! 16 x 16 directories, all made when the directory is formatted, so that a commit never has to make one. The two
//! digits count 16-second steps of the time that a chunk's id begins with: chunks that are written together share a
//! directory, so that a group of commits costs one directory fsync and not one for each chunk (measured: the commits of
//! 64 writers of small chunks spent most of their time there), and the directories fill evenly every 70 minutes.

use std::path::{Path, PathBuf};

use dfs_wire::id::ChunkKey;
use dfs_wire::id::Generation;

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

    /// The directory and what is directly in it: if these are private, all of it is.
    pub fn outermost(&self) -> [PathBuf; 7] {
        let dirs = [self.root.clone(), self.tmp_dir(), self.quarantine_dir(), self.chunks_dir()];
        let ([root, tmp, quarantine, chunks], [lock, identity, spare]) =
            (dirs, [self.lock(), self.identity(), self.identity_spare()]);
        [root, tmp, quarantine, chunks, lock, identity, spare]
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

    /// A file in quarantine since `unix_ms`; `n` tells two of the same moment apart.
    pub fn quarantine_file(&self, name: &str, unix_ms: u64, n: u64) -> PathBuf {
        self.quarantine_dir().join(format!("{name}.{unix_ms}.{n}"))
    }

    /// A file that was found damaged: kept, for it may be the last copy. Nothing deletes a file of this name.
    pub fn damaged_file(&self, name: &str, unix_ms: u64, n: u64) -> PathBuf {
        self.quarantine_dir().join(format!("{name}.{unix_ms}.{n}{DAMAGED_SUFFIX}"))
    }

    /// Whether a file of this name is kept because it is damaged.
    pub fn is_damaged_name(name: &str) -> bool {
        name.ends_with(DAMAGED_SUFFIX)
    }

    /// Since when a file of this name has been in quarantine, in Unix milliseconds. `None` if it is not there to be purged.
    pub fn quarantined_since(name: &str) -> Option<u64> {
        let mut parts = name.rsplitn(3, '.');
        let n = parts.next()?;
        let at = parts.next()?;
        parts.next()?;
        (is_decimal(n) && is_decimal(at)).then(|| at.parse().ok())?
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
        let aside = layout.quarantine_file(&chunk_name(key(1, 2)), 1234, 0);
        let name = aside.file_name().unwrap().to_str().unwrap();
        assert_eq!(Layout::quarantined_since(name), Some(1234));
        assert_eq!(Layout::quarantined_since("x"), None);
        let damaged = layout.damaged_file(&chunk_name(key(1, 2)), 1234, 0);
        let name = damaged.file_name().unwrap().to_str().unwrap();
        assert!(Layout::is_damaged_name(name));
        assert_eq!(Layout::quarantined_since(name), None, "never purged");
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
