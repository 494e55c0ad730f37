//! `dfsctl ls`: lists directories.

use std::cmp::Reverse;

use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;

use crate::connect::invocation::Invocation;
use crate::operands::{Operands, or_root};
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::list::List;
use crate::output::text::plain;
use crate::output::views::{EntryView, Shape};
use crate::paths::remote::below;
use crate::paths::walk::Walk;
use dfs_client::Client;

/// Lists directories
///
/// Kind, size, time of the last modification and name; a directory's name ends with a
/// slash. Names that begin with a dot are like any other. By name the entries come as the
/// cluster has them; to sort them otherwise, all of a directory's are held in memory first.
///
///   ls -l /logs       with copies and chunks of each file
///   ls -tr /logs      what changed last at the end
///   ls -1S /logs      names only, the largest file first
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, verbatim_doc_comment)]
#[command(mut_arg("paths", or_root("Directories, files or patterns [default: /]")))]
pub(crate) struct Args {
    /// Also copies and chunks of each file; 'stat' shows its version
    #[arg(short, long)]
    long: bool,
    /// Names only, one per line
    #[arg(short = '1', long = "names")]
    names: bool,
    /// All that is below
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Directories themselves, not what they hold
    #[arg(short, long)]
    directory: bool,
    /// Names that begin with a dot, too; they always are
    #[arg(short, long)]
    all: bool,
    /// The latest first
    #[arg(short = 't', long = "sort-time")]
    time: bool,
    /// The largest first
    #[arg(short = 'S', long = "sort-size", conflicts_with = "time")]
    size: bool,
    /// In the opposite order
    #[arg(short, long)]
    reverse: bool,
    #[command(flatten)]
    operands: Operands,
    /// Sizes for people; they always are, -o json has exact ones
    #[arg(short, long)]
    human_readable: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

impl Args {
    fn push(&self, list: &mut List, stat: &FileStat, name: &str) -> Outcome {
        let view = EntryView::from(stat);
        if self.names {
            let line = list.output().name_line(name);
            return list.raw(&view, &line);
        }
        let shape = Shape::new(list.output(), self.long);
        list.push(&view, |paint| view.line(paint, name, shape))
    }

    /// Whether the order is another than that in which the cluster lists.
    fn sorts(&self) -> bool {
        self.time || self.size || self.reverse
    }

    fn sort(&self, entries: &mut [FileStat]) {
        match () {
            () if self.time => entries.sort_by_key(|stat| Reverse(stat.mtime_ns)),
            () if self.size => entries.sort_by_key(|stat| Reverse(stat.size)),
            () => {}
        }
        if self.reverse {
            entries.reverse();
        }
    }
}

/// Runs `dfsctl ls`.
///
/// # Errors
/// If a path is not there or the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let (targets, mut tally) = args.operands.expand(invocation, &client).await;
    let mut list = List::new(invocation.output, "entries");
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for path in targets {
        match client.stat(&path).await {
            Ok(stat) if stat.kind == EntryKind::Directory && !args.directory => directories.push(path),
            Ok(stat) => files.push(stat),
            Err(e) => tally.fail(e.into()),
        }
    }
    if args.long && !args.names && !(files.is_empty() && directories.is_empty()) {
        list.human_line(&invocation.output.paint.bold(Shape::new(invocation.output, true).header()));
    }
    args.sort(&mut files);
    for stat in &files {
        tally.add(args.push(&mut list, stat, stat.path.as_str()));
    }
    let headed = !files.is_empty() || directories.len() > 1;
    for (index, directory) in directories.iter().enumerate() {
        if headed {
            let gap = if index == 0 && files.is_empty() { "" } else { "\n" };
            list.human_line(&format!("{gap}{}:", plain(directory.as_str())));
        }
        tally.add(list_one(&client, &args, directory, &mut list).await);
        if tally.unread() {
            break;
        }
    }
    list.finish_after(&tally)?;
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

async fn list_one(client: &Client, args: &Args, directory: &DfsPath, list: &mut List) -> Outcome {
    let mut walk = Walk::new(client, directory, args.recursive);
    let mut held = Vec::new();
    while let Some(stat) = walk.next().await? {
        match stat.path != *directory {
            true if args.sorts() => held.push(stat),
            true => args.push(list, &stat, below(directory, &stat.path))?,
            false => {}
        }
    }
    args.sort(&mut held);
    held.iter().try_for_each(|stat| args.push(list, stat, below(directory, &stat.path)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::output::views::tests::file;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn entries_are_sorted_by_what_is_asked_for() {
        let stat = |path: &str, size: u64, mtime_ns: i64| FileStat { mtime_ns, ..file(path, size) };
        let sorted = |flags: &str| {
            let words = std::iter::once("ls").chain(flags.split(' ').filter(|word| !word.is_empty()));
            let mut entries = vec![stat("/a", 1, 3), stat("/b", 3, 1), stat("/c", 2, 2)];
            Line::try_parse_from(words).unwrap().args.sort(&mut entries);
            entries.iter().map(|stat| stat.path.name().unwrap_or_default()).collect::<String>()
        };
        assert_eq!(
            ["", "-a", "-r", "-t", "-tr", "-S", "-rS"].map(sorted),
            ["abc", "abc", "cba", "acb", "bca", "bca", "acb"]
        );
    }
}
