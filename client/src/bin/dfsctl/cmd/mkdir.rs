//! `dfsctl mkdir`: makes directories.

use serde::Serialize;

use crate::complete::remote_paths;
use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::page::Page;
use crate::output::text::plain;
use crate::paths::remote::RemoteArg;
use crate::rehearse;
use dfs_client::MkdirOptions;

/// Makes directories
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directories to make
    #[arg(required = true, value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths())]
    paths: Vec<RemoteArg>,
    /// Make missing parents too; a directory that exists is no error
    #[arg(short, long)]
    parents: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `mkdir` prints.
#[derive(Debug, Serialize)]
pub(crate) struct MkdirView {
    /// The directories that are there now.
    pub directories: Vec<String>,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

impl View for MkdirView {
    fn page(&self, page: &mut Page) {
        for path in self.directories.iter().filter(|_| self.dry_run) {
            page.line(format!("would make {}", plain(path)));
        }
    }
}

/// Runs `dfsctl mkdir`.
///
/// # Errors
/// If a path exists, a parent is missing, or the cluster cannot be reached.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let mut view = MkdirView { directories: Vec::new(), dry_run: args.dry_run };
    let mut tally = Tally::of(invocation.output, args.paths.len());
    for arg in &args.paths {
        let make = async {
            let path = arg.path()?;
            let made = match args.dry_run {
                true => rehearse::mkdir(&client, &path, args.parents).await,
                false => {
                    let options = MkdirOptions::new().parents(args.parents);
                    client.mkdir(&path, options).await.map_err(Failure::from)
                }
            };
            made.map_err(|failure| hinted(failure, args.parents))?;
            Ok(path.to_string())
        };
        view.directories.extend(tally.count(make.await));
    }
    if !tally.nothing() {
        invocation.output.print(&view)?;
    }
    tally.finish("directories")?;
    Ok(Exit::Ok)
}

fn hinted(failure: Failure, parents: bool) -> Failure {
    match failure.code {
        "NotFound" if !parents => failure.hint("-p makes missing parents too"),
        "AlreadyExists" if !parents => failure.hint("-p accepts a directory that exists"),
        _ => failure,
    }
}
