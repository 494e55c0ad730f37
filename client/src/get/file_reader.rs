//! A file read like a local one: from where the reader stands, anywhere.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::message::metadata::FileStat;
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

use super::to_writer::{Fetched, fetch};
use super::{Part, Reader, open};
use crate::client::Client;
use crate::error::Error;
use crate::memory::MemoryBound;
use crate::options::GetOptions;

/// Bytes that are fetched first at a new place; each piece after it is twice as long.
const PIECE_FIRST: u64 = DATA_FRAME_BYTES as u64;
/// Bytes of the longest piece.
const PIECE_MAX: u64 = 8 * 1024 * 1024;

impl Client {
    /// Opens a version of a file to be read in any order. All that is read is of that version, though the file may be
    /// replaced or deleted meanwhile.
    ///
    /// The reader fetches a piece at a time and the next one ahead, longer ones as it is read on. Dropping it gives up
    /// what is under way.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::SeekFrom;
    /// use tokio::io::{AsyncReadExt, AsyncSeekExt};
    ///
    /// let mut file = client.open(&"/big.iso".parse()?, dfs_client::GetOptions::new()).await?;
    /// file.seek(SeekFrom::End(-512)).await?;
    /// let mut last = Vec::new();
    /// file.read_to_end(&mut last).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, `VersionGone`. Errors of reading are [`io::Error`]s whose source is an [`Error`].
    pub async fn open(&self, path: &DfsPath, options: GetOptions) -> Result<FileReader, Error> {
        let (reader, range) = open(self, path, &options).await?;
        Ok(FileReader {
            reader,
            start: range.start,
            end: range.end,
            at: range.start,
            here: None,
            next: None,
            ahead: None,
            piece: PIECE_FIRST,
        })
    }
}

type Fetching = AbortOnDropHandle<Result<Fetched, Error>>;

/// A piece that is here: what of it has not been read. Fields drop in order: the bytes before their place in memory.
struct Piece {
    frames: std::collections::VecDeque<Bytes>,
    _fetched: Fetched,
}

/// A file of the cluster, open for reading; see [`Client::open`].
pub struct FileReader {
    reader: Arc<Reader>,
    start: u64,
    end: u64,
    /// Where it stands in the file.
    at: u64,
    here: Option<Piece>,
    /// The piece that begins where it stands.
    next: Option<(Part, Fetching)>,
    /// The piece after that.
    ahead: Option<(Part, Fetching)>,
    /// Bytes of the next piece at most.
    piece: u64,
}

impl FileReader {
    /// The file, as of the version that is read.
    pub fn stat(&self) -> &FileStat {
        self.reader.pages.stat()
    }

    /// The piece that begins at a place of the file; `None` at the end.
    fn part_at(&self, at: u64) -> Option<Part> {
        self.reader.parts(&(at..self.end.min(at.saturating_add(self.piece)))).next()
    }

    /// Begins to fetch the piece that begins where the reader stands.
    fn begin(&mut self) -> Option<(Part, Fetching)> {
        let wanted = self.ahead.take().filter(|(part, _)| self.reader.position(*part) == self.at);
        if wanted.is_some() {
            return wanted;
        }
        let part = self.part_at(self.at)?;
        let reader = self.reader.clone();
        let task = tokio::spawn(async move {
            let slabs = MemoryBound::slabs_for(part.len.into());
            let patience = reader.inner.config.retry.busy_budget;
            let held = reader.inner.download_memory.acquire(slabs, patience).await?;
            fetch(reader.clone(), part, held).await
        });
        Some((part, AbortOnDropHandle::new(task)))
    }

    /// Begins to fetch what follows `part`, if there is memory for it now.
    fn look_ahead(&mut self, part: Part) {
        self.piece = (self.piece * 2).min(PIECE_MAX);
        let after = self.reader.position(part) + u64::from(part.len);
        let Some(part) = self.part_at(after) else { return };
        let slabs = MemoryBound::slabs_for(part.len.into());
        if let Some(held) = self.reader.inner.download_memory.try_acquire(slabs) {
            let task = tokio::spawn(fetch(self.reader.clone(), part, held));
            self.ahead = Some((part, AbortOnDropHandle::new(task)));
        }
    }

    /// Has the piece where the reader stands; `false` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        // The memory of a piece that was read goes before more is asked for.
        self.here = None;
        if self.next.is_none() {
            self.next = self.begin();
        }
        let Some((part, fetching)) = &mut self.next else { return Poll::Ready(Ok(false)) };
        let part = *part;
        let joined = ready!(Pin::new(fetching).poll(cx));
        self.next = None;
        let lost = |e| Error::new(StatusCode::Internal, "a transfer task was lost").caused_by(e);
        let fetched = joined.map_err(lost)??;
        let frames = fetched.frames.iter().cloned().collect();
        self.here = Some(Piece { frames, _fetched: fetched });
        self.look_ahead(part);
        Poll::Ready(Ok(true))
    }
}

impl AsyncRead for FileReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some(piece) = &mut this.here {
                while let Some(frame) = piece.frames.front_mut() {
                    if frame.is_empty() {
                        piece.frames.pop_front();
                        continue;
                    }
                    let len = frame.len().min(buf.remaining());
                    buf.put_slice(frame.get(..len).unwrap_or_default());
                    frame.advance(len);
                    this.at += len as u64;
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(this.poll_piece(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
    }
}

impl AsyncSeek for FileReader {
    fn start_seek(self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let to = match position {
            SeekFrom::Start(offset) => this.start.checked_add(offset),
            SeekFrom::End(offset) => this.end.checked_add_signed(offset),
            SeekFrom::Current(offset) => this.at.checked_add_signed(offset),
        };
        let to = to.filter(|to| *to >= this.start).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a place before the beginning of the file")
        })?;
        if to != this.at {
            (this.at, this.here, this.next, this.piece) = (to, None, None, PIECE_FIRST);
        }
        Ok(())
    }

    /// The place, counted from the beginning of what is read.
    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.at - self.start))
    }
}

impl std::fmt::Debug for FileReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileReader")
            .field("path", &self.stat().path)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
