//! Where the chunks of one version are, a page at a time, under a read lease that is kept.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::limits::CHUNKS_PER_REQUEST_MAX;
use dfs_wire::message::metadata::{
    ChunkLocation, FileStat, MetadataRequest, MetadataResponse, OpenRead, PinnedVersion, ReadOpened,
};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::Inner;
use crate::error::Error;
use crate::rpc::unexpected;

/// Pages kept: the chunks in flight lie in one or two.
const PAGES_KEPT: usize = 4;

struct Page {
    asked: Instant,
    lease: Duration,
    chunks: Vec<ChunkLocation>,
}

impl Page {
    fn new(opened: ReadOpened) -> Self {
        let lease = Duration::from_millis(opened.lease_ms);
        Self { asked: Instant::now(), lease, chunks: opened.chunks }
    }

    fn find(&self, index: u32) -> Option<&ChunkLocation> {
        self.chunks.iter().find(|c| c.index == index)
    }

    /// Asked again at half of its lease: that renews the lease and brings fresh grants.
    fn is_fresh(&self) -> bool {
        self.asked.elapsed() < self.lease / 2
    }
}

/// The chunk places of one version.
pub(crate) struct Pages {
    inner: Arc<Inner>,
    path: DfsPath,
    stat: FileStat,
    pinned: PinnedVersion,
    pages: Mutex<Vec<Page>>,
}

impl Pages {
    /// Opens the current version of `path`, or a pinned one, for reading.
    pub(crate) async fn open(
        inner: Arc<Inner>,
        path: &DfsPath,
        version: Option<PinnedVersion>,
    ) -> Result<Self, Error> {
        let opened = ask(&inner, path, version, 0).await?;
        let stat = opened.stat.clone();
        let pinned = PinnedVersion { inode: stat.inode, version: stat.version };
        let pages = Mutex::new(vec![Page::new(opened)]);
        Ok(Self { inner, path: path.clone(), stat, pinned, pages })
    }

    /// The file, as of the version read.
    pub(crate) fn stat(&self) -> &FileStat {
        &self.stat
    }

    /// Where a chunk is; asked for again first if `afresh`.
    pub(crate) async fn location(&self, index: u32, afresh: bool) -> Result<ChunkLocation, Error> {
        // Held while asking: tasks that want the same page share the answer.
        let asked_before = Instant::now();
        let mut pages = self.pages.lock().await;
        pages.retain(|p| p.is_fresh() && !(afresh && p.asked < asked_before && p.find(index).is_some()));
        if let Some(found) = pages.iter().find_map(|p| p.find(index)) {
            return self.checked(found.clone());
        }
        let opened = ask(&self.inner, &self.path, Some(self.pinned), index).await?;
        let page = Page::new(opened);
        let location = page.find(index).cloned().ok_or_else(|| {
            Error::new(StatusCode::ProtocolViolation, format!("the coordinator left out chunk {index}"))
        })?;
        if pages.len() >= PAGES_KEPT {
            pages.remove(0);
        }
        pages.push(page);
        self.checked(location)
    }

    /// The bytes that chunk `index` must have.
    pub(crate) fn len_of(&self, index: u32) -> u64 {
        let chunk_size = u64::from(self.stat.chunk_size);
        self.stat.size.saturating_sub(u64::from(index) * chunk_size).min(chunk_size)
    }

    /// A chunk of another length than it must have could not be checked against its hash.
    fn checked(&self, location: ChunkLocation) -> Result<ChunkLocation, Error> {
        if u64::from(location.len) == self.len_of(location.index) {
            return Ok(location);
        }
        let text = format!("chunk {} is said to have {} bytes", location.index, location.len);
        Err(Error::new(StatusCode::Corrupt, text).about_chunk(location.grant.chunk))
    }
}

async fn ask(
    inner: &Inner,
    path: &DfsPath,
    version: Option<PinnedVersion>,
    first: u32,
) -> Result<ReadOpened, Error> {
    let count = u32::try_from(CHUNKS_PER_REQUEST_MAX).unwrap_or(0);
    let request = OpenRead { path: path.clone(), version, first, count };
    match inner.rpc.ask(MetadataRequest::OpenRead(request)).await? {
        MetadataResponse::ReadOpened(opened) => Ok(opened),
        other => Err(unexpected(&other)),
    }
}
