//! Two files, compared byte by byte, wherever they are.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::output::failure::{Failure, Outcome};
use crate::paths::pinned::Pinned;
use crate::paths::sides::Side;
use dfs_client::Client;

/// Bytes of each side that are compared at once.
const WINDOW: u64 = 4 * 1024 * 1024;

/// Whether two files hold the same bytes.
///
/// # Errors
/// If one cannot be read.
pub(crate) async fn are_same(client: &Client, left: &Side, right: &Side) -> Outcome<bool> {
    let (mut left, mut right) = (Reader::open(client, left).await?, Reader::open(client, right).await?);
    Ok(first_difference(&mut left, &mut right).await?.is_none())
}

/// The offset and the line of the first byte that differs; the end of the shorter one counts as different.
///
/// # Errors
/// If one cannot be read.
pub(crate) async fn first_difference(left: &mut Reader, right: &mut Reader) -> Outcome<Option<(u64, u64)>> {
    let (mut offset, mut line) = (0, 1);
    loop {
        let (a, b) = (left.read(offset).await?, right.read(offset).await?);
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        line += a.iter().take(same).filter(|byte| **byte == b'\n').count() as u64;
        offset += same as u64;
        if same < a.len().max(b.len()) {
            return Ok(Some((offset, line)));
        }
        if a.is_empty() {
            return Ok(None);
        }
    }
}

/// One side, read piece by piece.
pub(crate) enum Reader {
    /// A file of this machine.
    Local(fs::File, PathBuf),
    /// A file of the cluster.
    Remote(Pinned),
}

impl Reader {
    /// Opens a side; of a file of the cluster, the version that is current now.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub(crate) async fn open(client: &Client, side: &Side) -> Outcome<Self> {
        match side {
            Side::Local(path) => {
                let file = fs::File::open(path).map_err(|e| Failure::local("read", path, &e))?;
                Ok(Self::Local(file, path.clone()))
            }
            Side::Remote(path) => Ok(Self::Remote(Pinned::open(client, path).await?)),
        }
    }

    /// The piece from `offset` on; less than a window only at the end.
    async fn read(&mut self, offset: u64) -> Outcome<Vec<u8>> {
        match self {
            Self::Remote(pinned) => {
                pinned.read(offset.min(pinned.len())..pinned.len().min(offset + WINDOW)).await
            }
            Self::Local(file, path) => {
                let mut bytes = vec![0; usize::try_from(WINDOW).unwrap_or_default()];
                let mut filled = 0;
                while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
                    match file.read_at(room, offset + filled as u64) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(Failure::local("read", path, &e)),
                    }
                }
                bytes.truncate(filled);
                Ok(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(dir: &std::path::Path, name: &str, text: &str) -> Reader {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        Reader::Local(fs::File::open(&path).unwrap(), path)
    }

    #[tokio::test]
    async fn the_first_difference_is_named_by_byte_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let table = [
            ("", "", None),
            ("a\nb\n", "a\nb\n", None),
            ("a\nb\n", "a\nx\n", Some((2, 2))),
            ("a\nb\n", "a\n", Some((2, 2))),
            ("", "x", Some((0, 1))),
        ];
        for (left, right, expected) in table {
            let (mut left, mut right) = (local(dir.path(), "l", left), local(dir.path(), "r", right));
            assert_eq!(first_difference(&mut left, &mut right).await.unwrap(), expected);
        }
    }
}
