//! Where the cursor of the scrub is kept: the file `scrub` of the data directory.
//!
//! It is written like a chunk: into a temporary file that is synced, named, and its name synced. A disk that takes no writes keeps the
//! old one, and is scrubbed all the same. Like all that is done with a disk, it is done on an I/O thread.

use std::io::{self, IoSlice};
use std::sync::Arc;

use dfs_actors::datanode::chunk_store::StoreError;
use dfs_actors::datanode::scrub::{CursorStore, ScrubCursor};
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

use super::core::Core;
use super::disk::is_want_of_space;
use super::disk_io::{WriteMode, sync_dir};
use super::file_store::FileStore;
use super::scrub_cursor::{self, CURSOR_BYTES_MAX};

/// The cursor of a datanode's scrub, kept in its data directory.
pub struct StoredCursor(Arc<FileStore>);

impl StoredCursor {
    /// The cursor that stands beside the chunks of `store`.
    pub fn new(store: Arc<FileStore>) -> Self {
        Self(store)
    }
}

impl CursorStore for StoredCursor {
    fn load(&self) -> BoxFuture<'static, Result<Option<ScrubCursor>, Status>> {
        let core = self.0.core.clone();
        Box::pin(async move {
            let inner = core.clone();
            let loaded = core.reads.run(move || load(&inner)).await.map_err(|none| core.no_answer(none));
            loaded.and_then(|loaded| loaded).map_err(failed)
        })
    }

    fn save(&self, cursor: ScrubCursor) -> BoxFuture<'static, Result<(), Status>> {
        let core = self.0.core.clone();
        Box::pin(async move {
            let inner = core.clone();
            let job = move || save(&inner, &cursor);
            let saved = core.writes.run(job).await.map_err(|none| core.no_answer(none));
            saved.and_then(|saved| saved).map_err(failed)
        })
    }
}

fn failed(error: StoreError) -> Status {
    Status::new(StatusCode::DiskFailed, error.to_string())
}

fn load(core: &Core) -> Result<Option<ScrubCursor>, StoreError> {
    let path = core.disk.layout.scrub();
    let text = match read(core) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(core.disk.read_failed("reading the cursor of the scrub", e)),
    };
    let cursor = scrub_cursor::decode(&text);
    if cursor.is_none() {
        tracing::warn!(
            path = %path.display(),
            "the cursor of the scrub is damaged, or of another version: a new round begins"
        );
    }
    Ok(cursor)
}

/// The text of the file, or as much as there is of one that is too long.
fn read(core: &Core) -> io::Result<Vec<u8>> {
    let file = core.disk.io.open(&core.disk.layout.scrub())?;
    let len = usize::try_from(file.file_len()?).unwrap_or(usize::MAX);
    let mut text = vec![0; len.min(CURSOR_BYTES_MAX + 1)];
    file.read_at(&mut text, 0)?;
    Ok(text)
}

fn save(core: &Core, cursor: &ScrubCursor) -> Result<(), StoreError> {
    let disk = &core.disk;
    disk.check_writable()?;
    let (text, tmp) = (scrub_cursor::encode(cursor), disk.layout.tmp_file(core.next_name()));
    let needed = text.len() as u64;
    let written = || {
        let file = disk.io.create(&tmp, WriteMode::Buffered)?;
        file.write_at(&mut [IoSlice::new(text.as_bytes())], 0)?;
        Ok(file)
    };
    let operation = "writing the cursor of the scrub";
    let file = written().map_err(|e| {
        core.discard(&tmp);
        disk.write_failed(operation, needed, e)
    })?;
    disk.watch.step();
    file.sync_data().map_err(|e| match is_want_of_space(&e) {
        true => {
            core.discard(&tmp);
            disk.write_failed(operation, needed, e)
        }
        false => disk.sync_failed("fdatasync of the cursor of the scrub", &e),
    })?;
    drop(file);
    disk.io.rename(&tmp, &disk.layout.scrub()).map_err(|e| disk.write_failed(operation, needed, e))?;
    disk.watch.step();
    sync_dir(&*disk.io, disk.layout.root()).map_err(|e| disk.sync_failed("fsync of the data directory", &e))
}
