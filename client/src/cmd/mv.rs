//! `dfsctl mv`: moves or renames files and directories.

use dfs_wire::path::DfsPath;
use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::failure::{Failure, Outcome, Tally};
use super::output::View;
use super::output::page::Page;
use super::output::text::plain;
use super::place::{Wish, decide};
use super::remote::{RemoteArg, expand_all};
use crate::{Client, RenameOptions, StatusCode};

/// Moves or renames files and directories
///
/// Each move is one atomic step, however much a directory holds. A destination that is a directory takes the sources
/// in, as with the Unix mv.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sources (paths or patterns), then the destination
    #[arg(required = true, num_args = 2.., value_name = "PATH", value_parser = RemoteArg::parse)]
    paths: Vec<RemoteArg>,
    /// Do not replace a file that is there
    #[arg(short, long)]
    no_clobber: bool,
    /// Replace a file that is there; that is what mv does anyway
    #[arg(short, long, conflicts_with = "no_clobber")]
    force: bool,
    /// Take the destination exactly, even if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Take paths as they are written, without patterns
    #[arg(long)]
    literal: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `mv` prints.
#[derive(Debug, Serialize)]
pub struct MvView {
    /// What was moved.
    pub moved: Vec<MovedView>,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

/// One thing that was moved.
#[derive(Debug, Serialize)]
pub struct MovedView {
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
}

impl View for MvView {
    fn page(&self, page: &mut Page) {
        for entry in self.moved.iter().filter(|_| self.dry_run) {
            page.line(format!("would move {} to {}", plain(&entry.from), plain(&entry.to)));
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.moved.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl mv`.
///
/// # Errors
/// If a source is not there, the destination does not fit, or the cluster cannot be reached.
pub async fn run(context: &Context, args: Args) -> Outcome<Exit> {
    let Some((target, sources)) = args.paths.split_last() else {
        return Err(Failure::usage("mv needs a source and a destination"));
    };
    let client = context.client().await?;
    let sources = expand_all(&client, sources, args.literal).await?;
    let wish = Wish { several: sources.len() > 1, exact: args.no_target_directory, make: false };
    let place = decide(&client, target, wish).await?;
    let mut view = MvView { moved: Vec::new(), dry_run: args.dry_run };
    let mut tally = Tally::default();
    for from in &sources {
        let outcome = match place.of(from.name().unwrap_or_default()) {
            Ok(to) => one(&client, &args, from, to).await,
            Err(failure) => Err(failure),
        };
        if let (Err(failure), true) = (&outcome, sources.len() > 1) {
            context.output.failure(failure);
        }
        view.moved.extend(tally.count(outcome));
    }
    context.output.print(&view)?;
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

async fn one(client: &Client, args: &Args, from: &DfsPath, to: DfsPath) -> Outcome<MovedView> {
    if from.is_root() {
        return Err(Failure::usage("the root directory cannot be moved"));
    }
    if to.starts_with(from) {
        let (from, to) = (plain(from.as_str()), plain(to.as_str()));
        return Err(Failure::usage(format!(
            "'{from}' cannot be moved to '{to}': that is itself or lies inside it"
        )));
    }
    if args.dry_run {
        client.stat(from).await?;
        match client.stat(&to).await {
            Ok(_) if args.no_clobber => return Err(taken(&to)),
            Err(e) if e.status_code() != Some(StatusCode::NotFound) => return Err(e.into()),
            _ => {}
        }
    } else {
        let options = RenameOptions { replace: !args.no_clobber, op: None };
        client.rename(from, &to, options).await.map_err(|e| hinted(e.into()))?;
    }
    Ok(MovedView { from: from.to_string(), to: to.to_string() })
}

fn taken(path: &DfsPath) -> Failure {
    Failure::new(Exit::Precondition, "AlreadyExists", format!("'{}' exists", plain(path.as_str())))
}

fn hinted(failure: Failure) -> Failure {
    match failure.code {
        "AlreadyExists" => failure.hint("without -n a file that is there is replaced"),
        "DirectoryNotEmpty" => {
            failure.hint("a directory is replaced only if it is empty; move or remove it first")
        }
        _ => failure,
    }
}
