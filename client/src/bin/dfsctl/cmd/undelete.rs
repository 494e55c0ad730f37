//! `dfsctl undelete`: brings something back from the trash.

use dfs_wire::id::InodeId;
use dfs_wire::message::metadata::{FileStat, TrashItem};

use crate::complete::remote_paths;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::list::List;
use crate::output::text::plain;
use crate::output::views::{EntryView, Shape};
use crate::paths::destination::{Wish, decide};
use crate::paths::remote::RemoteArg;
use crate::rehearse;
use dfs_client::{Client, TrashTarget};

/// Brings something back from the trash
///
/// Of several deletions of one path the latest is brought back; --inode names another. Prints what is there now.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Paths that were deleted
    #[arg(value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths(), required_unless_present = "inode")]
    paths: Vec<RemoteArg>,
    /// The entry as 'dfsctl trash ls' shows it, instead of a path
    #[arg(long, value_name = "INODE", conflicts_with = "paths")]
    inode: Option<u64>,
    /// Where to put it instead of where it was; into it, if it is a directory
    #[arg(long, value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths())]
    to: Option<RemoteArg>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `dfsctl undelete`.
///
/// # Errors
/// If it is not in the trash, or its place is taken.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let mut wanted =
        args.paths.iter().map(|arg| Ok(TrashTarget::Path(arg.path()?))).collect::<Outcome<Vec<_>>>()?;
    wanted.extend(args.inode.map(|inode| TrashTarget::Inode(InodeId(inode))));
    let items = client.trash_list().await?;
    let mut list = List::new(invocation.output, "entries");
    let mut tally = Tally::of(invocation.output, wanted.len());
    for target in &wanted {
        let outcome = match latest(&items, target) {
            Some(item) => one(&client, &args, item, wanted.len() > 1, &mut list).await,
            None => Err(not_in_trash(target)),
        };
        tally.add(outcome);
    }
    list.finish_after(&tally)?;
    tally.finish("entries")?;
    Ok(Exit::Ok)
}

/// The entry that is meant; of several deletions of one path the latest. A rehearsal and the real thing choose alike.
fn latest<'a>(items: &'a [TrashItem], target: &TrashTarget) -> Option<&'a TrashItem> {
    let meant = items.iter().filter(|item| match target {
        TrashTarget::Path(path) => item.stat.path == *path,
        TrashTarget::Inode(inode) => item.stat.inode == *inode,
    });
    meant.max_by_key(|item| (item.deleted_ms, item.stat.inode))
}

fn not_in_trash(target: &TrashTarget) -> Failure {
    let what = match target {
        TrashTarget::Path(path) => format!("'{}'", plain(path.as_str())),
        TrashTarget::Inode(inode) => format!("inode {}", inode.0),
    };
    Failure::new(Exit::NotFound, "NotFound", format!("{what} is not in the trash"))
        .hint("'dfsctl trash ls' shows what is")
}

async fn one(client: &Client, args: &Args, item: &TrashItem, several: bool, list: &mut List) -> Outcome {
    let to = match &args.to {
        Some(to) => {
            let wish = Wish { several, exact: false, make: false };
            Some(decide(client, to, wish).await?.of(item.stat.path.name().unwrap_or_default())?)
        }
        None => None,
    };
    let stat = match args.dry_run {
        true => {
            let path = to.unwrap_or_else(|| item.stat.path.clone());
            rehearse::undelete(client, &path).await.map_err(hinted)?;
            FileStat { path, ..item.stat.clone() }
        }
        false => {
            let undeleted = client.undelete(TrashTarget::Inode(item.stat.inode), to, None).await;
            undeleted.map_err(|e| hinted(e.into()))?
        }
    };
    let view = EntryView::from(&stat);
    let shape = Shape::new(list.output(), false);
    list.push(&view, |paint| view.line(paint, &view.path, shape))
}

fn hinted(failure: Failure) -> Failure {
    match failure.code {
        "NotFound" => {
            failure.hint("'dfsctl mkdir -p' makes its directory again, --to puts it somewhere else")
        }
        "AlreadyExists" => failure.hint("--to puts it somewhere else"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use dfs_wire::path::DfsPath;

    use super::*;
    use crate::output::views::tests::file;

    #[test]
    fn of_several_deletions_of_a_path_the_latest_is_meant_in_whatever_order_they_are_listed() {
        let item = |path: &str, inode: u64, deleted_ms: u64| {
            let stat = FileStat { inode: InodeId(inode), ..file(path, 1) };
            TrashItem { stat, deleted_ms, expires_ms: deleted_ms + 1 }
        };
        let items = [item("/a", 3, 30), item("/a", 7, 20), item("/b", 9, 40), item("/a", 2, 30)];
        let meant = |target: TrashTarget| latest(&items, &target).map(|item| item.stat.inode.0);
        let path = |text: &str| TrashTarget::Path(DfsPath::parse(text).unwrap());
        assert_eq!(meant(path("/a")), Some(3));
        assert_eq!(meant(path("/c")), None);
        assert_eq!(meant(TrashTarget::Inode(InodeId(7))), Some(7));
    }
}
