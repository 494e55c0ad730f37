//! `dfsctl undelete`: brings something back from the trash.

use dfs_wire::id::InodeId;

use super::context::Context;
use super::exit::Exit;
use super::failure::{Failure, Outcome, Tally};
use super::output::list::List;
use super::output::views::EntryView;
use super::place::{Wish, decide};
use super::remote::RemoteArg;
use crate::{Client, TrashTarget};

/// Brings something back from the trash
///
/// Of several deletions of one path the latest is brought back; --inode names another. Prints what is there now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Paths that were deleted
    #[arg(value_name = "PATH", value_parser = RemoteArg::parse, required_unless_present = "inode")]
    paths: Vec<RemoteArg>,
    /// The entry as 'dfsctl trash ls' shows it, instead of a path
    #[arg(long, value_name = "INODE", conflicts_with = "paths")]
    inode: Option<u64>,
    /// Where to put it instead of where it was; into it, if it is a directory
    #[arg(long, value_name = "PATH", value_parser = RemoteArg::parse)]
    to: Option<RemoteArg>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `dfsctl undelete`.
///
/// # Errors
/// If it is not in the trash, or its place is taken.
pub async fn run(context: &Context, args: Args) -> Outcome<Exit> {
    let client = context.client().await?;
    let mut targets =
        args.paths.iter().map(|arg| Ok(TrashTarget::Path(arg.path()?))).collect::<Outcome<Vec<_>>>()?;
    targets.extend(args.inode.map(|inode| TrashTarget::Inode(InodeId(inode))));
    let several = targets.len() > 1;
    let mut list = List::new(context.output, "entries");
    let mut tally = Tally::default();
    for target in targets {
        let outcome = one(&client, &args, target, several, &mut list).await;
        if let (Err(failure), true) = (&outcome, several) {
            context.output.failure(failure);
        }
        tally.count(outcome);
    }
    list.finish()?;
    tally.finish("entries")?;
    Ok(Exit::Ok)
}

async fn one(client: &Client, args: &Args, target: TrashTarget, several: bool, list: &mut List) -> Outcome {
    // The latest deletion of a path is the last of the list.
    let items = client.trash_list().await?;
    let found = items.iter().rev().find(|item| match &target {
        TrashTarget::Path(path) => item.stat.path == *path,
        TrashTarget::Inode(inode) => item.stat.inode == *inode,
    });
    let to = match (&args.to, found) {
        (None, _) => None,
        (Some(to), found) => {
            let wish = Wish { several, exact: false, make: false };
            let name = found.and_then(|item| item.stat.path.name()).unwrap_or_default();
            Some(decide(client, to, wish).await?.of(name)?)
        }
    };
    if args.dry_run {
        let item = found.ok_or_else(|| {
            Failure::new(Exit::NotFound, "NotFound", "it is not in the trash")
                .hint("'dfsctl trash ls' shows what is")
        })?;
        let stat = dfs_wire::message::metadata::FileStat {
            path: to.unwrap_or_else(|| item.stat.path.clone()),
            ..item.stat.clone()
        };
        return push(list, &EntryView::from(&stat));
    }
    let stat = client.undelete(target, to, None).await.map_err(|e| hinted(e.into()))?;
    push(list, &EntryView::from(&stat))
}

fn push(list: &mut List, view: &EntryView) -> Outcome {
    list.push(view, |paint| view.line(paint, &view.path, false))
}

fn hinted(failure: Failure) -> Failure {
    match failure.code {
        "NotFound" => failure.hint("'dfsctl trash ls' shows what the trash has"),
        "AlreadyExists" => failure.hint("--to puts it somewhere else"),
        _ => failure,
    }
}
