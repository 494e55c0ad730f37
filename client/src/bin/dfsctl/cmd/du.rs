//! `dfsctl du`: sums up what directories hold.

use dfs_wire::message::metadata::EntryKind;
use dfs_wire::path::DfsPath;
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::operands::{Operands, or_root};
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::list::List;
use crate::output::text::{plain, size};
use crate::paths::walk::Walk;
use dfs_client::{Client, Usage};

/// Sums up what directories hold
///
/// Bytes, bytes with all copies, files, and the path: one line for each directory in PATH, then PATH itself.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[command(mut_arg("paths", or_root("Directories, files or patterns [default: /]")))]
pub(crate) struct Args {
    /// Only the sum of each PATH
    #[arg(short, long)]
    summarize: bool,
    /// Exact numbers of bytes
    #[arg(short, long)]
    bytes: bool,
    /// Sizes for people; they are unless -b is given
    #[arg(short, long)]
    human_readable: bool,
    #[command(flatten)]
    operands: Operands,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// What one tree holds.
#[derive(Debug, Serialize)]
pub(crate) struct UsageView {
    pub path: String,
    /// Bytes, counted once.
    pub bytes: u64,
    /// The same times the copies that are wanted.
    pub raw_bytes: u64,
    pub files: u64,
    pub directories: u64,
}

impl UsageView {
    fn new(path: &DfsPath, usage: Usage) -> Self {
        let Usage { files, directories, bytes, raw_bytes } = usage;
        Self { path: path.to_string(), bytes, raw_bytes, files, directories }
    }

    fn line(&self, exact: bool) -> String {
        let show = |bytes: u64| if exact { bytes.to_string() } else { size(bytes) };
        format!(
            "{:>10}  {:>10} raw  {:>7} files  {}",
            show(self.bytes),
            show(self.raw_bytes),
            self.files,
            plain(&self.path)
        )
    }
}

/// Runs `dfsctl du`.
///
/// # Errors
/// If a path is not there.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let (paths, mut tally) = args.operands.expand(invocation, &client).await;
    let mut list = List::new(invocation.output, "usage");
    for path in &paths {
        let outcome = one(&client, &args, path, &mut list).await;
        tally.count(outcome);
    }
    list.finish_after(&tally)?;
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

async fn one(client: &Client, args: &Args, path: &DfsPath, list: &mut List) -> Outcome {
    let total = client.du(path).await?;
    if !args.summarize {
        let mut walk = Walk::new(client, path, false);
        while let Some(stat) = walk.next().await? {
            if stat.kind == EntryKind::Directory && stat.path != *path {
                let view = UsageView::new(&stat.path, client.du(&stat.path).await?);
                list.push(&view, |_| view.line(args.bytes))?;
            }
        }
    }
    let view = UsageView::new(path, total);
    list.push(&view, |_| view.line(args.bytes))
}
