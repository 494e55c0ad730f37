//! Going on with a put that was interrupted.
//!
//! The coordinator keeps a tag with an upload: a digest of where the bytes come from and of how they are stored. A later put with
//! the same tag finds it by its path. What it has stored is proved chunk by chunk, by the SHA-256 of the local bytes: a tag only
//! says where to look.

use dfs_wire::limits::CHUNK_BYTES_DEFAULT;
use dfs_wire::message::metadata::{MetadataRequest, MetadataResponse, PathOnly, StoredBytes, UploadFound};
use dfs_wire::path::DfsPath;

use super::feed::{ChunkSource, read_through};
use super::input::Identity;
use crate::client::{Client, Inner};
use crate::digest::Hash;
use crate::env::Workers;
use crate::error::Error;
use crate::options::PutOptions;
use crate::rpc::unexpected;

impl Client {
    /// The uploads to a path that a put with [`PutOptions::resume`] may go on with, the latest first: those that were
    /// interrupted, and those under way.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn find_uploads(&self, path: &DfsPath) -> Result<Vec<UploadFound>, Error> {
        self.inner.find_uploads(path).await
    }
}

impl Inner {
    pub(super) async fn find_uploads(&self, path: &DfsPath) -> Result<Vec<UploadFound>, Error> {
        let request = MetadataRequest::FindUploads(PathOnly { path: path.clone() });
        match self.rpc.ask(request).await? {
            MetadataResponse::Uploads(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }
}

/// The tag of a put; `None` for what cannot be gone on with, or is too small to be worth it.
pub(super) async fn tag(
    path: &DfsPath,
    options: &PutOptions,
    file: Option<Identity>,
    len: Option<u64>,
    workers: Workers,
) -> Result<Option<u128>, Error> {
    let Some((source, seen)) = file else { return Ok(None) };
    let few = len.is_none_or(|len| len <= u64::from(options.chunk_size.unwrap_or(CHUNK_BYTES_DEFAULT)));
    if few && !options.resume {
        return Ok(None);
    }
    let how = format!(
        "{path} {seen:?} {:?} {:?} {:?} {} {:?}",
        options.chunk_size, options.replication, options.precondition, options.parents, options.mtime_ns
    );
    workers
        .blocking(move || {
            let whole = source.canonicalize().unwrap_or_else(|_| source.to_path_buf());
            let mut hash = Hash::default();
            hash.update(whole.as_os_str().as_encoded_bytes());
            hash.update(&[0]);
            hash.update(how.as_bytes());
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = hash.finish();
            Some(u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]))
        })
        .await
}

/// Whether a chunk of the source is what was stored.
pub(super) async fn is_stored(
    source: &ChunkSource,
    stored: StoredBytes,
    workers: Workers,
) -> Result<bool, Error> {
    if source.len() != u64::from(stored.len) {
        return Ok(false);
    }
    let source = source.clone();
    workers
        .blocking(move || {
            let mut hash = Hash::default();
            read_through(&source, |bytes| hash.update(bytes))?;
            Ok(hash.finish() == stored.sha256)
        })
        .await?
}
