//! Getting a file: chunks in parallel, each verified before it counts, from whichever copy is good.
//!
//! ```text
//! pages of chunk places --parts--> [ fetch | fetch | fetch | fetch ] --> file: any order, at their place
//!   (a read lease, renewed)           tasks, each fails over          --> writer: in order, verified first
//! ```

mod absorb;
mod fetch;
mod file_reader;
mod pages;
mod part_file;
mod source;
mod to_path;
mod to_writer;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use dfs_wire::message::metadata::EntryKind;
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use tokio::io::AsyncWrite;

use crate::client::Client;
use crate::error::Error;
use crate::options::{GetOptions, GetOutcome};
use crate::progress::Meter;

pub(crate) use absorb::{Absorber, Sink};
pub(crate) use fetch::{CopyError, Part, Reader};
pub(crate) use pages::Pages;
pub(crate) use source::{Copies, PartRead};

pub use file_reader::FileReader;
pub use part_file::is_resumable;

/// Slabs that a part which is not kept in memory may fill: one batch being worked on, one waiting, one on its way.
pub(crate) const WINDOW_SLABS: usize = 3 * crate::digest::BATCH_FRAMES;
/// Most bytes that [`Client::read_range`] returns.
const READ_RANGE_MAX: u64 = 1 << 30;

impl Client {
    /// Fetches a file to `local`: written to a temporary file beside it, verified, synced, then renamed. On any error
    /// `local` is as it was. If `local` is a pipe or a device, the bytes are written to it in order.
    ///
    /// Cancel safety: dropping the future leaves `local` as it was; with `resume` or
    /// `keep_partial`, what was verified is kept beside it.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::GetOptions;
    ///
    /// let options = GetOptions::new().resume(true);
    /// let got = client.get_to_path(&"/big.iso".parse()?, "big.iso".as_ref(), options).await?;
    /// println!("{} bytes, {} of them from an earlier try", got.bytes, got.resumed_bytes);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, `VersionGone`, `Corrupt` (no good copy of a chunk), `ReplicasUnreachable` (names the
    /// nodes), `AlreadyExists` (without `overwrite`), or a failure of the local file.
    pub async fn get_to_path(
        &self,
        path: &DfsPath,
        local: &Path,
        options: GetOptions,
    ) -> Result<GetOutcome, Error> {
        let outcome = to_path::get(self, path, local, &options).await;
        outcome.map_err(|e| e.context(format_args!("get {path}")))
    }

    /// Fetches a file to a writer, in order. Each chunk is written only after its SHA-256 was verified, so no wrong byte
    /// is ever written; on an error the writer has got a correct beginning.
    ///
    /// Cancel safety: dropping the future stops the transfer; how much was written is not told.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::GetOptions;
    ///
    /// let mut out = tokio::io::stdout();
    /// client.get_to_writer(&"/log.txt".parse()?, &mut out, GetOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::get_to_path`], or a failure of the writer.
    pub async fn get_to_writer<W>(
        &self,
        path: &DfsPath,
        writer: &mut W,
        options: GetOptions,
    ) -> Result<GetOutcome, Error>
    where
        W: AsyncWrite + Unpin + Send,
    {
        let (reader, range) = open(self, path, &options).await?;
        let outcome = to_writer::get(reader, range, &mut to_writer::Stream(writer)).await;
        outcome.map_err(|e| e.context(format_args!("get {path}")))
    }

    /// Reads a range of a file into memory; the end is cut at the end of the file.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let header = client.read_range(&"/big.iso".parse()?, 0..4096).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::get_to_path`]; `InvalidArgument` if more than 1 GiB would be read.
    pub async fn read_range(&self, path: &DfsPath, range: Range<u64>) -> Result<Bytes, Error> {
        let options = GetOptions::new().range(range);
        let (reader, range) = open(self, path, &options).await?;
        if range.end - range.start > READ_RANGE_MAX {
            let text =
                format!("a range of {} bytes is too long to be held in memory", range.end - range.start);
            return Err(
                Error::new(StatusCode::InvalidArgument, text).with_hint("get it to a file or a writer")
            );
        }
        let mut memory = to_writer::Memory(BytesMut::new());
        let outcome = to_writer::get(reader, range, &mut memory).await;
        outcome.map_err(|e| e.context(format_args!("read {path}")))?;
        Ok(memory.0.freeze())
    }
}

/// Opens a version for reading and settles which bytes are wanted.
async fn open(
    client: &Client,
    path: &DfsPath,
    options: &GetOptions,
) -> Result<(Arc<Reader>, Range<u64>), Error> {
    let pages = Pages::open(client.inner.clone(), path, options.version)
        .await
        .map_err(|e| e.context(format_args!("get {path}")))?;
    let stat = pages.stat();
    if stat.kind == EntryKind::Directory {
        return Err(Error::new(StatusCode::IsADirectory, format!("{path} is a directory"))
            .with_hint("get its files one by one, or use `dfsctl get -r`"));
    }
    if stat.size > 0 && stat.chunk_size == 0 {
        return Err(Error::new(StatusCode::ProtocolViolation, "a file with bytes has no chunk size"));
    }
    let range = match &options.range {
        None => 0..stat.size,
        Some(range) if range.start > range.end || range.start > stat.size => {
            let text = format!(
                "range {}..{} is not within the {} bytes of {path}",
                range.start, range.end, stat.size
            );
            return Err(Error::new(StatusCode::InvalidArgument, text));
        }
        Some(range) => range.start..range.end.min(stat.size),
    };
    let meter = Meter::new(Some(range.end - range.start), options.progress.clone());
    let reader = Reader { inner: client.inner.clone(), pages, meter, bad_copies: Mutex::default() };
    Ok((Arc::new(reader), range))
}

impl Reader {
    /// The parts of chunks that make up a range, in order.
    pub(crate) fn parts(&self, range: &Range<u64>) -> impl Iterator<Item = Part> + Send + use<> {
        let chunk_size = u64::from(self.pages.stat().chunk_size).max(1);
        let (start, end) = (range.start, range.end);
        let chunks = if start < end { start / chunk_size..end.div_ceil(chunk_size) } else { 0..0 };
        chunks.map(move |chunk| {
            let first = chunk * chunk_size;
            let from = start.max(first) - first;
            let to = end.min(first + chunk_size) - first;
            let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            Part { index: narrow(chunk), offset: narrow(from), len: narrow(to - from) }
        })
    }

    /// Whether a part is all of its chunk, so that the chunk's hash is about it.
    pub(crate) fn is_whole(&self, part: Part) -> bool {
        part.offset == 0 && u64::from(part.len) == self.pages.len_of(part.index)
    }

    /// Where a part begins within the file.
    pub(crate) fn position(&self, part: Part) -> u64 {
        u64::from(part.index) * u64::from(self.pages.stat().chunk_size) + u64::from(part.offset)
    }

    /// What to tell the caller at the end.
    pub(crate) fn outcome(&self, bytes: u64, resumed_bytes: u64) -> GetOutcome {
        let progress = self.meter.now();
        let mut bad = self.bad_copies.lock().unwrap_or_else(PoisonError::into_inner);
        GetOutcome {
            stat: self.pages.stat().clone(),
            bytes,
            resumed_bytes,
            bad_copies: std::mem::take(&mut *bad),
            retries: progress.retries,
            failovers: progress.failovers,
        }
    }
}
