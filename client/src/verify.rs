//! Reading every copy of every chunk of a file in full.

use std::sync::{Arc, Mutex};

use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::{ChunkLocation, EntryKind, ReplicaLocation};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use futures_util::stream::{self, StreamExt};

use crate::client::Client;
use crate::error::Error;
use crate::get::{Absorber, Copies, CopyError, Pages, Part, PartRead, Reader, Sink, WINDOW_SLABS};
use crate::memory::MemoryBound;
use crate::options::{ChunkCheck, CopyCheck, VerifyReport};
use crate::progress::{Meter, ProgressFn};

/// A copy that cannot be reached is tried so often before it is reported so.
const TRIES: u32 = 3;

impl Client {
    /// Reads every copy of every chunk of a file in full and compares it with the chunk's SHA-256. The report names each
    /// copy that is bad, missing or out of reach; such a copy is not an error of the call.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let report = client.verify(&"/big.iso".parse()?, None).await?;
    /// for chunk in &report.chunks {
    ///     println!("chunk {}: {} of {} copies good", chunk.index, chunk.good(), chunk.copies.len());
    /// }
    /// assert!(report.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, `VersionGone`, or if the coordinator cannot be asked.
    pub async fn verify(&self, path: &DfsPath, progress: Option<ProgressFn>) -> Result<VerifyReport, Error> {
        let doing = || format!("verify {path}");
        let pages = Pages::open(self.inner.clone(), path, None).await.map_err(|e| e.context(doing()))?;
        let stat = pages.stat().clone();
        if stat.kind == EntryKind::Directory {
            return Err(Error::new(StatusCode::IsADirectory, format!("{path} is a directory")));
        }
        let meter = Meter::new(Some(stat.size.saturating_mul(stat.replication.into())), progress);
        let reader = Reader { inner: self.inner.clone(), pages, meter, bad_copies: Mutex::default() };
        let reader = Arc::new(reader);
        let parallel = self.inner.config.parallel_chunks.max(1);
        let checks = stream::iter(0..stat.chunk_count).map(|index| check_chunk(reader.clone(), index));
        let mut checks = checks.buffered(parallel);
        let mut chunks = Vec::new();
        while let Some(check) = checks.next().await {
            chunks.push(check.map_err(|e| e.context(doing()))?);
        }
        Ok(VerifyReport { stat, chunks })
    }
}

async fn check_chunk(reader: Arc<Reader>, index: u32) -> Result<ChunkCheck, Error> {
    let location = reader.pages.location(index, false).await?;
    let mut copies = Vec::with_capacity(location.replicas.len());
    for replica in &location.replicas {
        let result = check_copy(&reader, &location, replica).await;
        copies.push(CopyCheck {
            node: replica.node,
            name: replica.name.clone(),
            address: replica.address.clone(),
            result: result.map_err(|e| e.at_node(replica.node).about_chunk(location.grant.chunk)),
        });
    }
    reader.meter.chunk_done();
    let chunk = location.grant.chunk;
    Ok(ChunkCheck { index, chunk, len: location.len, sha256: location.sha256, copies })
}

async fn check_copy(
    reader: &Reader,
    location: &ChunkLocation,
    replica: &ReplicaLocation,
) -> Result<(), Error> {
    if replica.address.is_empty() {
        return Err(Error::new(StatusCode::Unavailable, "the node's address is not known"));
    }
    let part = Part { index: location.index, offset: 0, len: location.len };
    let slabs = MemoryBound::slabs_for(location.len.into()).min(WINDOW_SLABS);
    let held = reader.inner.download_memory.acquire(slabs, reader.inner.config.retry.busy_budget).await?;
    // A node that is known to be away is not waited for again and again.
    let tries_max = if matches!(replica.node_state, NodeState::Up | NodeState::Draining) { TRIES } else { 1 };
    let mut tries = 0;
    loop {
        let mut absorber = Absorber::new(Sink::Nowhere, reader.meter.clone(), reader.inner.env.workers);
        tries += 1;
        let wanted = PartRead { location, part, held: &held };
        match reader.read_copy(&mut Copies::only(replica), wanted, &mut absorber).await {
            Ok(()) if absorber.sha256() == location.sha256 => return Ok(()),
            Ok(()) => return Err(Error::new(StatusCode::Corrupt, "its SHA-256 is not the chunk's")),
            Err(CopyError::Unreachable(error)) if tries < tries_max => {
                tracing::debug!(node = %replica.node, %error, "reading the copy again");
                absorber.restart().await;
                tokio::time::sleep(reader.inner.config.retry.pause_min * tries).await;
            }
            Err(CopyError::Unreachable(error) | CopyError::Bad(error) | CopyError::Local(error)) => {
                return Err(error);
            }
        }
    }
}
