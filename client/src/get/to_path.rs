//! To a file: chunks in parallel, each written to its place, the file made visible when all are verified.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::absorb::FilePosition;
use super::part_file::{Keep, LOCK_PATIENCE, LOCK_POLL, PartFile};
use super::{Absorber, Part, Reader, Sink, WINDOW_SLABS, open, to_writer};
use crate::client::Client;
use crate::digest::Hash;
use crate::env::Workers;
use crate::error::Error;
use crate::memory::MemoryBound;
use crate::options::{GetOptions, GetOutcome};

/// How often what is verified is written down.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);

/// What a destination turned out to be.
enum Destination {
    /// A regular file, or nothing yet; links are followed.
    Regular(PathBuf),
    /// A pipe or device, opened for writing.
    Device(File),
}

pub(super) async fn get(
    client: &Client,
    path: &DfsPath,
    local: &Path,
    options: &GetOptions,
) -> Result<GetOutcome, Error> {
    let (reader, range) = open(client, path, options).await?;
    let workers = client.inner.env.workers;
    let destination = local.to_owned();
    let destination = match workers.blocking(move || look_at(&destination)).await?? {
        Destination::Device(file) => {
            return to_writer::get(reader, range, &mut to_writer::Device(Arc::new(file), workers)).await;
        }
        Destination::Regular(path) => path,
    };
    let len = range.end - range.start;
    if options.resume && options.overwrite && is_there(&reader, &range, &destination).await? {
        return Ok(reader.outcome(len, len));
    }
    let (stat, overwrite) = (reader.pages.stat().clone(), options.overwrite);
    let keep = match (options.resume, options.keep_partial) {
        (true, _) => Keep::AndResume,
        (false, true) => Keep::Progress,
        (false, false) => Keep::Nothing,
    };
    let bounds = (range.start, range.end);
    let env = client.inner.env.clone();
    let open = move |patient| PartFile::open(&destination, &stat, bounds, keep, overwrite, patient, &env);
    let mut part_file = open_patiently(workers, open).await?;
    let resumed = fetch_all(&reader, &range, &mut part_file).await?;
    workers.blocking(move || part_file.finish(overwrite)).await??;
    Ok(reader.outcome(len, resumed))
}

/// Opens a part file once the last write of the get that left it has ended, or was waited for long enough.
async fn open_patiently<F>(workers: Workers, open: F) -> Result<PartFile, Error>
where
    F: Fn(bool) -> Result<Option<PartFile>, Error> + Clone + Send + 'static,
{
    let began = Instant::now();
    loop {
        let (open, patient) = (open.clone(), began.elapsed() < LOCK_PATIENCE);
        if let Some(part_file) = workers.blocking(move || open(patient)).await?? {
            return Ok(part_file);
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Whether the destination holds exactly the bytes wanted. Looks no further than the first chunk that differs.
async fn is_there(
    reader: &Arc<Reader>,
    range: &std::ops::Range<u64>,
    destination: &Path,
) -> Result<bool, Error> {
    let len = range.end - range.start;
    let path = destination.to_owned();
    let open = move || File::open(&path).ok().filter(|f| f.metadata().is_ok_and(|m| m.len() == len));
    let Some(file) = reader.inner.env.workers.blocking(open).await? else { return Ok(false) };
    let path = Arc::new(destination.to_owned());
    let start = FilePosition { file: Arc::new(file), direct: None, path, offset: 0 };
    for part in reader.parts(range) {
        let position = FilePosition { offset: reader.position(part) - range.start, ..start.clone() };
        if !reader.is_whole(part) || !holds(reader, part, position).await? {
            return Ok(false);
        }
    }
    reader.meter.moved(len);
    Ok(true)
}

/// Whether the bytes of a whole chunk lie at a place.
async fn holds(reader: &Reader, part: Part, position: FilePosition) -> Result<bool, Error> {
    let location = reader.pages.location(part.index, false).await?;
    Ok(reader.inner.env.workers.blocking(move || hash_at(&position, part.len)).await?
        == Some(location.sha256))
}

fn look_at(local: &Path) -> Result<Destination, Error> {
    let failed = |e| Error::local_file("opening", local, e);
    let Ok(metadata) = local.metadata() else {
        if local.is_symlink() {
            let text = format!("{} is a link that leads nowhere", local.display());
            return Err(Error::new(StatusCode::InvalidArgument, text)
                .with_hint("remove the link, or name the file to write"));
        }
        return Ok(Destination::Regular(local.to_owned()));
    };
    if metadata.is_dir() {
        let text = format!("{} is a directory", local.display());
        return Err(Error::new(StatusCode::InvalidArgument, text).with_hint("name the file to write"));
    }
    if metadata.is_file() {
        // A link stays a link: what it points to is replaced.
        return local.canonicalize().map(Destination::Regular).map_err(failed);
    }
    OpenOptions::new().write(true).open(local).map(Destination::Device).map_err(failed)
}

/// A part that is verified in its place.
struct Placed {
    part: Part,
    resumed: bool,
}

/// Fetches every part into its place. Returns how many bytes an earlier get had brought.
async fn fetch_all(
    reader: &Arc<Reader>,
    range: &std::ops::Range<u64>,
    file: &mut PartFile,
) -> Result<u64, Error> {
    let parallel = reader.inner.config.parallel_chunks.max(1);
    let mut parts = reader.parts(range);
    let mut tasks: JoinSet<Result<Placed, Error>> = JoinSet::new();
    let mut resumed = 0;
    let mut saved: Option<Instant> = None;
    loop {
        while tasks.len() < parallel
            && let Some(part) = parts.next()
        {
            let position = file.position(reader.position(part) - range.start);
            let claimed = file.claimed().contains(&part.index);
            // Until it is checked again, a claim is not to be written down again.
            file.mark(part.index, false);
            tasks.spawn(fetch(reader.clone(), part, position, claimed));
        }
        let Some(done) = tasks.join_next().await else { return Ok(resumed) };
        let lost = |e| Error::new(StatusCode::Internal, "a transfer task was lost").caused_by(e);
        let placed = done.map_err(lost)??;
        reader.meter.chunk_done();
        if placed.resumed {
            resumed += u64::from(placed.part.len);
        }
        file.mark(placed.part.index, true);
        // The first at once: whatever ends this process, the part beside it can be made use of.
        if saved.is_none_or(|at| at.elapsed() >= SAVE_INTERVAL) {
            saved = Some(Instant::now());
            file.save();
        }
    }
}

async fn fetch(
    reader: Arc<Reader>,
    part: Part,
    position: FilePosition,
    claimed: bool,
) -> Result<Placed, Error> {
    if claimed && reader.is_whole(part) && holds(&reader, part, position.clone()).await? {
        reader.meter.moved(part.len.into());
        return Ok(Placed { part, resumed: true });
    }
    let slabs = MemoryBound::slabs_for(part.len.into()).min(WINDOW_SLABS);
    let patience = reader.inner.config.retry.busy_budget;
    let held = reader.inner.download_memory.acquire(slabs, patience).await?;
    let turn = reader.inner.download_pace.enter(part.len.into(), patience).await?;
    let mut absorber = Absorber::new(Sink::File(position), reader.meter.clone(), reader.inner.env.workers);
    reader.fetch(part, &held, &mut absorber).await?;
    turn.done(part.len.into());
    Ok(Placed { part, resumed: false })
}

/// SHA-256 of what lies at a place; `None` if it cannot be read.
fn hash_at(position: &FilePosition, len: u32) -> Option<[u8; 32]> {
    let mut hash = Hash::default();
    let mut buffer = vec![0; DATA_FRAME_BYTES];
    let mut done = 0;
    while done < u64::from(len) {
        let wanted = usize::try_from(u64::from(len) - done).ok()?.min(DATA_FRAME_BYTES);
        let piece = buffer.get_mut(..wanted)?;
        position.file.read_exact_at(piece, position.offset + done).ok()?;
        hash.update(piece);
        done += wanted as u64;
    }
    Some(hash.finish())
}
