//! One version of a file of the cluster, read piece by piece.

use std::ops::Range;

use dfs_wire::message::metadata::{EntryKind, FileStat, PinnedVersion};
use dfs_wire::path::DfsPath;

use crate::output::failure::Outcome;
use crate::paths::content::{directory_hint, hinted};
use crate::paths::look::is_a_directory;
use dfs_client::{Client, GetOptions};

/// A version that stays the same however many pieces are read.
#[derive(Debug)]
pub(crate) struct Pinned {
    client: Client,
    stat: FileStat,
}

impl Pinned {
    /// The version that is current now.
    ///
    /// # Errors
    /// If it is not there or a directory.
    pub(crate) async fn open(client: &Client, path: &DfsPath) -> Outcome<Self> {
        let stat = client.stat(path).await?;
        if stat.kind == EntryKind::Directory {
            return Err(directory_hint(is_a_directory(path)));
        }
        Ok(Self { client: client.clone(), stat })
    }

    pub(crate) fn len(&self) -> u64 {
        self.stat.size
    }

    /// A piece of it, verified.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn read(&self, range: Range<u64>) -> Outcome<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(range, &mut bytes).await?;
        Ok(bytes)
    }

    /// Writes a piece of it to standard output.
    ///
    /// # Errors
    /// If it cannot be read, or standard output not be written.
    pub(crate) async fn print(&self, range: Range<u64>) -> Outcome {
        self.write(range, &mut tokio::io::stdout()).await
    }

    async fn write(
        &self,
        range: Range<u64>,
        writer: &mut (impl tokio::io::AsyncWrite + Unpin + Send),
    ) -> Outcome {
        if range.is_empty() {
            return Ok(());
        }
        let version = PinnedVersion { inode: self.stat.inode, version: self.stat.version };
        let options = GetOptions::new().range(range).version(version);
        self.client.get_to_writer(&self.stat.path, writer, options).await.map_err(hinted)?;
        Ok(())
    }
}
