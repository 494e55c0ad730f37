//! `dfsctl ls`: lists directories.

use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;

use super::context::Context;
use super::exit::Exit;
use super::failure::Outcome;
use super::output::list::List;
use super::output::text::plain;
use super::output::views::EntryView;
use super::remote::{RemoteArg, expand_all};
use super::walk::Walk;
use crate::Client;

/// Lists directories
///
/// Kind, size, time of the last modification and name; a directory's name ends with a slash.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Directories, files or patterns [default: /]
    #[arg(value_name = "PATH", value_parser = RemoteArg::parse)]
    paths: Vec<RemoteArg>,
    /// Also copies, chunks and version of each file
    #[arg(short, long)]
    long: bool,
    /// Names only, one per line
    #[arg(short = '1', long = "names")]
    names: bool,
    /// All that is below
    #[arg(short = 'R', long, short_alias = 'r')]
    recursive: bool,
    /// Directories themselves, not what they hold
    #[arg(short, long)]
    directory: bool,
    /// Take paths as they are written, without patterns
    #[arg(long)]
    literal: bool,
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
        list.push(&view, |paint| match self.names {
            true => plain(name),
            false => view.line(paint, name, self.long),
        })
    }
}

/// Runs `dfsctl ls`.
///
/// # Errors
/// If a path is not there or the cluster cannot be asked.
pub async fn run(context: &Context, args: Args) -> Outcome<Exit> {
    let client = context.client().await?;
    let root = [RemoteArg { text: "/".to_owned(), directory: false }];
    let paths = if args.paths.is_empty() { &root[..] } else { &args.paths };
    let (targets, mut tally) = expand_all(context, &client, paths, args.literal).await;
    let mut list = List::new(context.output, "entries");
    let (mut plain_files, mut directories) = (Vec::new(), Vec::new());
    for path in targets {
        match client.stat(&path).await {
            Ok(stat) if stat.kind == EntryKind::Directory && !args.directory => directories.push(path),
            Ok(stat) => plain_files.push(stat),
            Err(e) => tally.fail(e.into()),
        }
    }
    for stat in &plain_files {
        tally.count(args.push(&mut list, stat, stat.path.as_str()).map(drop));
    }
    let headed = !plain_files.is_empty() || directories.len() > 1;
    for (index, directory) in directories.iter().enumerate() {
        if headed {
            let gap = if index == 0 && plain_files.is_empty() { "" } else { "\n" };
            list.human_line(&format!("{gap}{}:", plain(directory.as_str())));
        }
        tally.add(list_one(&client, &args, directory, &mut list).await);
        if tally.unread() {
            break;
        }
    }
    list.finish()?;
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

async fn list_one(client: &Client, args: &Args, directory: &DfsPath, list: &mut List) -> Outcome {
    let mut walk = Walk::new(client, directory, args.recursive);
    while let Some(stat) = walk.next().await? {
        if stat.path != *directory {
            args.push(list, &stat, below(directory, &stat.path))?;
        }
    }
    Ok(())
}

/// `path` as seen from `directory`.
pub fn below<'a>(directory: &DfsPath, path: &'a DfsPath) -> &'a str {
    let rest = path.as_str().strip_prefix(directory.as_str()).unwrap_or(path.as_str());
    rest.trim_start_matches('/')
}
