//! `dfsctl mv`: moves or renames files and directories.

use dfs_wire::path::DfsPath;
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::operands::Route;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::Page;
use crate::output::text::plain;
use crate::paths::destination::{Destination, Wish, decide};
use crate::paths::remote::expand_all;
use crate::rehearse;
use dfs_client::{Client, RenameOptions};

/// Moves or renames files and directories
///
/// Each move is one atomic step, however much a directory holds. A destination that is a directory takes the sources
/// in, as with the Unix mv.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not replace a file that is there
    #[arg(short, long)]
    no_clobber: bool,
    /// Replace a file that is there; that is what mv does anyway
    #[arg(short, long, conflicts_with = "no_clobber")]
    force: bool,
    #[command(flatten)]
    route: Route,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `mv` prints.
#[derive(Debug, Serialize)]
pub(crate) struct MvView {
    /// What was moved.
    pub moved: Vec<MovedView>,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

/// One thing that was moved.
#[derive(Debug, Serialize)]
pub(crate) struct MovedView {
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
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let Some((target, sources)) = args.route.paths.split_last() else {
        return Err(Failure::usage("mv needs a source and a destination"));
    };
    let client = invocation.client().await?;
    let several = sources.len() > 1;
    let (sources, mut tally) = expand_all(invocation, &client, sources, args.route.literal).await;
    if sources.is_empty() {
        tally.finish("paths")?;
        return Ok(Exit::Ok);
    }
    let wish =
        Wish { several: several || sources.len() > 1, exact: args.route.no_target_directory, make: false };
    let destination = decide(&client, target, wish).await?;
    let mut view = MvView { moved: Vec::new(), dry_run: args.dry_run };
    for from in &sources {
        view.moved.extend(tally.count(one(&client, &args, from, &destination).await));
    }
    if !tally.nothing() {
        invocation.output.print(&view)?;
    }
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

async fn one(client: &Client, args: &Args, from: &DfsPath, destination: &Destination) -> Outcome<MovedView> {
    let name = from.name().ok_or_else(|| Failure::usage("the root directory cannot be moved"))?;
    let to = destination.of(name)?;
    if to.starts_with(from) {
        let (from, to) = (plain(from.as_str()), plain(to.as_str()));
        return Err(Failure::usage(format!(
            "'{from}' cannot be moved to '{to}': that is itself or lies inside it"
        )));
    }
    let replace = !args.no_clobber;
    let renamed = match args.dry_run {
        true => rehearse::rename(client, from, &to, replace).await,
        false => {
            let options = RenameOptions::new().replace(replace);
            client.rename(from, &to, options).await.map_err(Failure::from)
        }
    };
    renamed.map_err(hinted)?;
    Ok(MovedView { from: from.to_string(), to: to.to_string() })
}

fn hinted(failure: Failure) -> Failure {
    match failure.code {
        "AlreadyExists" => failure.hint("without -n a file that is there is replaced"),
        // The coordinator's own advice is about deleting.
        "DirectoryNotEmpty" => Failure {
            hint: "a directory is replaced only if it is empty; move or remove it first".to_owned(),
            ..failure
        },
        _ => failure,
    }
}
