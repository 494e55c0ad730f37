//! The SHA-256 of whole files: kept with the file, or read from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use dfs_wire::message::metadata::{MetadataRequest, MetadataResponse, OpenRead, PinnedVersion};
use dfs_wire::path::DfsPath;
use tokio::io::AsyncWrite;

use crate::client::Client;
use crate::digest::Hash;
use crate::error::Error;
use crate::options::{Checksum, GetOptions};
use crate::rpc::unexpected;

impl Client {
    /// The SHA-256 of a whole file: the one that was kept when it was put, unless `read` asks for its bytes to be read, else
    /// of its bytes. Reading checks each chunk as every read does.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let sum = client.checksum(&"/backups/a.tar".parse()?, false).await?;
    /// println!("{} ({})", sum.sha256[0], if sum.kept { "kept" } else { "read" });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`; those of a read.
    pub async fn checksum(&self, path: &DfsPath, read: bool) -> Result<Checksum, Error> {
        let request = OpenRead { path: path.clone(), version: None, first: 0, count: 1 };
        let opened = self.inner.rpc.ask(MetadataRequest::OpenRead(request)).await;
        let opened = match opened.map_err(|e| e.context(format_args!("checksum of {path}")))? {
            MetadataResponse::ReadOpened(opened) => opened,
            other => return Err(unexpected(&other)),
        };
        if let (Some(sha256), false) = (opened.sha256, read) {
            return Ok(Checksum { stat: opened.stat, sha256, kept: true });
        }
        let mut sink = HashSink::default();
        let pinned = PinnedVersion { inode: opened.stat.inode, version: opened.stat.version };
        let options = GetOptions::new().version(pinned);
        self.get_to_writer(path, &mut sink, options).await?;
        Ok(Checksum { stat: opened.stat, sha256: sink.0.finish(), kept: false })
    }
}

/// Takes bytes and keeps their hash.
#[derive(Default)]
struct HashSink(Hash);

impl AsyncWrite for HashSink {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.update(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
