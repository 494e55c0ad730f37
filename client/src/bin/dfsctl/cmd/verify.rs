//! `dfsctl verify`: reads every copy of files and says which are good.

use dfs_wire::message::metadata::FileStat;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::operands::Operands;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::list::List;
use crate::output::page::{Page, Paint};
use crate::output::progress::TransferBar;
use crate::output::text::{count, hex, plain, present, size};
use crate::paths::walk::add_files;
use crate::transfer::OwnedFailure;
use dfs_client::{ChunkCheck, Client, Error, VerifyReport};

/// Files that are read at the same time.
const AT_ONCE: usize = 8;

/// Reads every copy of files and says which are good
///
/// Exit code 0 if every chunk has all its copies and each was read and matches its SHA-256; 10 if a copy is bad,
/// missing or out of reach but every chunk has a good one; 11 if a chunk has no good copy within reach, which proves
/// nothing; 7 if one is lost: every copy of it was found bad or missing.
#[derive(Debug, clap::Args)]
#[command(mut_arg("paths", |paths| paths.help("Files, directories (with -r) or patterns")))]
pub(crate) struct Args {
    /// Every file below a directory
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    operands: Operands,
}

#[derive(Debug, Serialize)]
pub(crate) struct VerifyView {
    pub path: String,
    /// The version that was read.
    pub version: String,
    pub size: u64,
    /// Copies wanted of each chunk.
    pub replication: u8,
    /// `ok`: all there and good; `degraded`: a good copy of each chunk; `unknown`: of some chunk none that could be
    /// read, but not all were; `lost`: every copy of some chunk is bad or missing.
    pub verdict: Verdict,
    /// Its chunks, in order.
    pub chunks: Vec<VerifiedChunkView>,
}

/// What reading came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// All there and good.
    #[default]
    Ok,
    /// A good copy of each chunk.
    Degraded,
    /// No good copy of some chunk within reach.
    Unknown,
    /// Every copy of some chunk is bad or missing.
    Lost,
}

#[derive(Debug, Serialize)]
pub(crate) struct VerifiedChunkView {
    /// Its place in the file.
    pub index: u32,
    pub chunk: String,
    pub size: u32,
    /// What its SHA-256 must be.
    pub sha256: String,
    /// Copies that were read in full and match.
    pub good: usize,
    pub copies: Vec<CopyView>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CopyView {
    /// The node's name.
    pub node: String,
    /// The node's id.
    pub node_id: String,
    /// Where the node listens; null if that is not known.
    pub address: Option<String>,
    /// Whether it was read in full and matches.
    pub good: bool,
    /// Why not; null if it is good.
    pub error: Option<OwnedFailure>,
}

/// What is wrong with a copy that is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyFault {
    /// Its bytes are not those of the chunk.
    Bad,
    /// Its node says that it has none.
    Missing,
    /// It could not be read, which says nothing of it.
    OutOfReach,
}

impl CopyView {
    fn fault(&self) -> Option<CopyFault> {
        let OwnedFailure(failure) = self.error.as_ref()?;
        Some(match failure.exit {
            Exit::Integrity => CopyFault::Bad,
            Exit::NotFound => CopyFault::Missing,
            _ => CopyFault::OutOfReach,
        })
    }
}

impl VerifyView {
    fn new(report: &VerifyReport) -> Self {
        let wanted = report.stat.replication;
        let chunks: Vec<_> = report.chunks.iter().map(VerifiedChunkView::new).collect();
        let verdict = chunks.iter().map(|chunk| chunk.verdict(wanted)).max().unwrap_or(Verdict::Ok);
        Self {
            path: report.stat.path.to_string(),
            version: report.stat.version.to_string(),
            size: report.stat.size,
            replication: wanted,
            verdict,
            chunks,
        }
    }

    /// One line for a good file, one more for each chunk that is not.
    fn text(&self, paint: Paint, all: bool) -> String {
        let mut page = Page::new(paint);
        let word = match self.verdict {
            Verdict::Ok => paint.green("ok"),
            Verdict::Degraded => paint.yellow("degraded"),
            Verdict::Unknown => paint.red("cannot tell"),
            Verdict::Lost => paint.red("LOST"),
        };
        let chunks = count(self.chunks.len() as u64, "chunk");
        let copies = match self.chunks.iter().map(|chunk| chunk.good).min() {
            Some(fewest) => format!(", at least {} of {} good copies of each", fewest, self.replication),
            None => String::new(),
        };
        page.line(format!("{word}  {}: {} in {chunks}{copies}", plain(&self.path), size(self.size)));
        for chunk in self.chunks.iter().filter(|chunk| all || chunk.verdict(self.replication) != Verdict::Ok)
        {
            chunk.text(&mut page);
        }
        page.finish()
    }
}

impl VerifiedChunkView {
    fn new(check: &ChunkCheck) -> Self {
        let copies = check.copies.iter().map(|copy| CopyView {
            node: copy.name.clone(),
            node_id: copy.node.to_string(),
            address: present(&copy.address).map(str::to_owned),
            good: copy.result.is_ok(),
            error: copy.result.as_ref().err().map(|error| OwnedFailure(Failure::from(error.clone()))),
        });
        Self {
            index: check.index,
            chunk: check.chunk.to_string(),
            size: check.len,
            sha256: hex(&check.sha256),
            good: check.good(),
            copies: copies.collect(),
        }
    }

    fn verdict(&self, wanted: u8) -> Verdict {
        let proved = |copy: &CopyView| copy.fault().is_some_and(|fault| fault != CopyFault::OutOfReach);
        match self.good {
            0 if self.copies.iter().all(proved) => Verdict::Lost,
            0 => Verdict::Unknown,
            good if good < usize::from(wanted) || self.copies.iter().any(|copy| !copy.good) => {
                Verdict::Degraded
            }
            _ => Verdict::Ok,
        }
    }

    fn text(&self, page: &mut Page) {
        let paint = page.paint;
        page.line(format!("  chunk {}  {}  {}", self.index, self.chunk, size(u64::from(self.size))));
        for copy in &self.copies {
            let address = copy.address.as_deref().unwrap_or("address not known");
            let node = format!("{} ({})", plain(&copy.node), plain(address));
            match &copy.error {
                None => page.line(format!("    {}  {node}", paint.green("good"))),
                Some(OwnedFailure(failure)) => {
                    let word = match copy.fault() {
                        Some(CopyFault::Bad) => "BAD",
                        Some(CopyFault::Missing) => "MISSING",
                        _ => "out of reach",
                    };
                    let (code, message) = (failure.code, plain(&failure.message));
                    page.line(format!("    {}  {node}: {code}: {message}", paint.red(word)));
                }
            }
        }
    }
}

/// Runs `dfsctl verify`.
///
/// # Errors
/// If a path is not there or the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let (files, tally) = files(invocation, &client, &args).await;
    let to_read = files.iter().map(|stat| stat.size.saturating_mul(stat.replication.into())).sum();
    let progress = TransferBar::new(&invocation.output, Some(to_read));
    let mut list = List::new(invocation.output, "files");
    let mut sums = Sums { tally, ..Sums::default() };
    let checks = stream::iter(&files).map(|stat| client.verify(&stat.path, progress.of_file()));
    let mut checks = checks.buffered(AT_ONCE);
    while let Some(check) = checks.next().await {
        progress.pause(|| sums.add(invocation, &mut list, check));
    }
    progress.finish(0);
    let files = list.finish_after(&sums.tally)?;
    let words = [count(files, "file"), count(sums.chunks, "chunk"), count(sums.copies, "copy")];
    invocation.output.note(format!("read {}", words.join(", ")));
    match sums.worst {
        Verdict::Lost => Ok(Exit::Integrity),
        Verdict::Unknown => Ok(Exit::HealthError),
        _ if sums.tally.failed > 0 => sums.tally.finish("files").map(|()| Exit::Ok),
        Verdict::Degraded => Ok(Exit::HealthWarn),
        Verdict::Ok => Ok(Exit::Ok),
    }
}

/// What was read so far.
#[derive(Default)]
struct Sums {
    worst: Verdict,
    chunks: u64,
    copies: u64,
    tally: Tally,
}

impl Sums {
    /// Prints and counts one file.
    fn add(&mut self, invocation: &Invocation, list: &mut List, check: Result<VerifyReport, Error>) {
        let outcome = check.map_err(Failure::from).and_then(|report| {
            let view = VerifyView::new(&report);
            self.worst = self.worst.max(view.verdict);
            self.chunks += view.chunks.len() as u64;
            self.copies += view.chunks.iter().map(|chunk| chunk.copies.len() as u64).sum::<u64>();
            list.push(&view, |paint| view.text(paint, invocation.output.verbose > 0))?;
            list.flush()
        });
        self.tally.add(outcome);
    }
}

/// The files to read, and the tally of the paths that have none.
async fn files(invocation: &Invocation, client: &Client, args: &Args) -> (Vec<FileStat>, Tally) {
    let (paths, mut tally) = args.operands.expand(invocation, client).await;
    const HINT: &str = "-r verifies every file below it";
    let mut files = Vec::new();
    for path in &paths {
        if let Err(failure) = add_files(client, path, (args.recursive, HINT), &mut files).await {
            tally.fail(failure);
        }
    }
    tally.tell_each(invocation.output, files.len());
    (files, tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(copies: &[Option<Exit>]) -> VerifyView {
        let copies = copies.iter().zip(1..).map(|(found, number)| CopyView {
            node: format!("dn{number}"),
            node_id: String::new(),
            address: Some("h:1".to_owned()),
            good: found.is_none(),
            error: found.map(|exit| OwnedFailure(Failure::new(exit, "Code", "why"))),
        });
        let copies: Vec<_> = copies.collect();
        let good = copies.iter().filter(|copy| copy.good).count();
        let (chunk, sha256) = ("c1".to_owned(), String::new());
        let chunk = VerifiedChunkView { index: 0, chunk, size: 1536, sha256, good, copies };
        let verdict = chunk.verdict(2);
        let (path, version) = ("/f".to_owned(), String::new());
        VerifyView { path, version, size: 1536, replication: 2, verdict, chunks: vec![chunk] }
    }

    #[test]
    fn a_chunk_is_lost_only_when_that_is_proved() {
        let (bad, missing, away) = (Some(Exit::Integrity), Some(Exit::NotFound), Some(Exit::Unavailable));
        let verdict = |copies: &[Option<Exit>]| view(copies).verdict;
        assert_eq!(verdict(&[None, None]), Verdict::Ok);
        assert_eq!(verdict(&[None, away]), Verdict::Degraded);
        assert_eq!(verdict(&[bad, missing]), Verdict::Lost);
        assert_eq!(verdict(&[]), Verdict::Lost);
        assert_eq!(verdict(&[away, bad]), Verdict::Unknown);
        assert_eq!(verdict(&[away, away]), Verdict::Unknown);
    }

    #[test]
    fn each_copy_has_one_word() {
        let (missing, away) = (Some(Exit::NotFound), Some(Exit::Unavailable));
        let expected = "\
cannot tell  /f: 1.50 KiB in 1 chunk, at least 0 of 2 good copies of each
  chunk 0  c1  1.50 KiB
    out of reach  dn1 (h:1): Code: why
    MISSING  dn2 (h:1): Code: why
";
        assert_eq!(view(&[away, missing]).text(Paint::new(false), false), expected);
    }
}
