//! `dfsctl tree`: draws the tree of a directory.

use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;

use crate::connect::invocation::Invocation;
use crate::operands::{Operands, or_root};
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::list::List;
use crate::output::text::{count, plain, size};
use crate::output::views::EntryView;
use crate::paths::walk::Walk;
use dfs_client::Client;

/// Draws the tree of a directory
#[derive(Debug, clap::Args)]
#[command(mut_arg("paths", or_root("Directories or patterns [default: /]")))]
pub(crate) struct Args {
    /// Go only so deep
    #[arg(short = 'L', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    level: Option<u16>,
    /// Directories only
    #[arg(short, long)]
    directories: bool,
    /// With the size of each file
    #[arg(short, long)]
    size: bool,
    #[command(flatten)]
    operands: Operands,
}

/// What was drawn so far.
#[derive(Debug, Default)]
struct Counts {
    files: u64,
    directories: u64,
}

/// A directory being drawn: what of it is left, and what to draw before its entries.
struct Level {
    left: std::vec::IntoIter<FileStat>,
    indent: String,
}

/// Runs `dfsctl tree`.
///
/// # Errors
/// If a path is not there.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let (paths, mut tally) = args.operands.expand(invocation, &client).await;
    let mut list = List::new(invocation.output, "entries");
    let mut counts = Counts::default();
    for path in &paths {
        tally.add(draw(&client, &args, path, &mut list, &mut counts).await);
        if tally.unread() {
            break;
        }
    }
    if tally.done > 0 {
        list.human_line(&format!(
            "\n{}, {}",
            count(counts.directories, "directory"),
            count(counts.files, "file")
        ));
    }
    list.finish_after(&tally)?;
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

async fn draw(client: &Client, args: &Args, top: &DfsPath, list: &mut List, counts: &mut Counts) -> Outcome {
    let first = children(client, args, top).await?;
    list.human_line(&plain(top.as_str()));
    let mut levels = vec![Level { left: first.into_iter(), indent: String::new() }];
    while let Some(level) = levels.last_mut() {
        let Some(stat) = level.left.next() else {
            levels.pop();
            continue;
        };
        let last = level.left.as_slice().is_empty();
        let (branch, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let (line, indent) = (format!("{}{branch}", level.indent), format!("{}{below}", level.indent));
        let view = EntryView::from(&stat);
        list.push(&view, |paint| {
            let name = plain(&view.name);
            match (view.is_directory(), args.size) {
                (true, _) => format!("{line}{}", paint.blue(&name)),
                (false, true) => format!("{line}{name}  ({})", size(view.size)),
                (false, false) => format!("{line}{name}"),
            }
        })?;
        match stat.kind {
            EntryKind::File => counts.files += 1,
            EntryKind::Directory => {
                counts.directories += 1;
                if args.level.is_none_or(|most| levels.len() < usize::from(most)) {
                    let left = children(client, args, &stat.path).await?.into_iter();
                    levels.push(Level { left, indent });
                }
            }
        }
    }
    Ok(())
}

async fn children(client: &Client, args: &Args, directory: &DfsPath) -> Outcome<Vec<FileStat>> {
    let mut walk = Walk::new(client, directory, false);
    let mut children = Vec::new();
    while let Some(stat) = walk.next().await? {
        if stat.path == *directory {
            let message = format!("'{}' is a file", plain(directory.as_str()));
            return Err(Failure::new(Exit::Precondition, "NotADirectory", message));
        }
        if !args.directories || stat.kind == EntryKind::Directory {
            children.push(stat);
        }
    }
    Ok(children)
}
