//! What chunk files say of themselves, read where they lie: of a node that runs or not, of a disk that came out of a machine.
//! For the day on which there is no coordinator to ask. Nothing is changed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::store::format::{self, FOOTER_BYTES_MAX, Footer, FormatError};
use crate::store::layout::parse_chunk_name;

/// Why a file said nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// The system did not let it be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none, or a damaged one.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Hands every chunk file at `path` to `found`: a file itself, of a directory all below it that have the name of a chunk. Links
/// are not followed. In the order of their names, so that the chunks of a file come one after another as they were made.
pub(crate) fn each(path: &Path, found: &mut dyn FnMut(&Path, Result<Value, Unread>)) {
    let entries = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => match names(path) {
            Ok(entries) => entries,
            Err(error) => return found(path, Err(error.into())),
        },
        Ok(_) => return found(path, read(path).map(|footer| shown(path, &footer))),
        Err(error) => return found(path, Err(error.into())),
    };
    for entry in entries {
        let is_chunk =
            || entry.file_name().and_then(OsStr::to_str).is_some_and(|n| parse_chunk_name(n).is_some());
        match fs::symlink_metadata(&entry).map(|meta| meta.file_type()) {
            Ok(kind) if kind.is_dir() || kind.is_file() && is_chunk() => each(&entry, found),
            Ok(_) => {}
            Err(error) => found(&entry, Err(error.into())),
        }
    }
}

fn names(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}

fn read(path: &Path) -> Result<Footer, Unread> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file").into());
    }
    let len = meta.len();
    let start = len.saturating_sub(FOOTER_BYTES_MAX as u64);
    let mut tail = vec![0; usize::try_from(len - start).unwrap_or(FOOTER_BYTES_MAX)];
    File::open(path)?.read_exact_at(&mut tail, start)?;
    Ok(format::decode(&tail, len)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(path: &Path, footer: &Footer) -> Value {
    let Footer { identity, seal, facts, .. } = footer;
    let sealing = facts.sealing.map(|sealing| {
        json!({
            "cipher": format!("{:?}", sealing.cipher),
            "key": sealing.key.to_string(),
            "salt": hex(&sealing.salt),
            "plain_len": sealing.plain_len,
            "plain_sha256": hex(&sealing.plain_sha256),
        })
    });
    json!({
        "file": path.display().to_string(),
        "cluster": identity.cluster.to_string(),
        "chunk": identity.chunk.to_string(),
        "generation": identity.generation.0,
        "inode": identity.file.0,
        "index": identity.index,
        "len": seal.len,
        "sha256": hex(&seal.sha256),
        "path": facts.path.as_ref().map(ToString::to_string),
        "offset": facts.offset,
        "last": facts.last,
        "file_size": facts.file_size,
        "mtime_ns": facts.mtime_ns,
        "sealing": sealing,
    })
}

#[cfg(test)]
mod tests {
    use dfs_actors::datanode::chunk_store::{ChunkIdentity, ChunkSeal};
    use dfs_wire::id::{ChunkId, ClusterId, Generation, InodeId};
    use dfs_wire::message::facts::ChunkFacts;
    use dfs_wire::path::DfsPath;

    use super::*;

    #[test]
    fn chunks_below_a_directory_are_told_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let footer = Footer {
            identity: ChunkIdentity {
                cluster: ClusterId(1),
                chunk: ChunkId(2),
                generation: Generation(3),
                file: InodeId(4),
                index: 5,
            },
            seal: ChunkSeal { len: 0, sha256: [0xab; 32] },
            block_crcs: [].into(),
            facts: ChunkFacts {
                path: Some(DfsPath::parse("/a b").unwrap()),
                last: true,
                ..ChunkFacts::default()
            },
        };
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let name = |chunk: u128| below.join(format!("{chunk:032x}.3"));
        fs::write(name(2), format::encode(&footer)).unwrap();
        fs::write(name(9), [0; 4096]).unwrap();
        fs::write(below.join("something else"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path(), below.join("around")).unwrap();
        let mut told = Vec::new();
        each(dir.path(), &mut |path, said| told.push((path.to_owned(), said)));
        let [(_, Ok(good)), (bad, Err(Unread::Format(FormatError::Magic)))] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(*bad, name(9));
        assert_eq!((&good["path"], &good["inode"], &good["last"]), (&json!("/a b"), &json!(4), &json!(true)));
        assert_eq!(good["offset"], Value::Null);
        let mut missing = 0;
        each(&dir.path().join("none"), &mut |_, said| missing += usize::from(said.is_err()));
        assert_eq!(missing, 1);
    }
}
