//! `dfsctl trash`: shows what was deleted, or drops it for good.

use std::io::{BufRead, IsTerminal, Write};

use clap::Subcommand;
use dfs_wire::id::InodeId;
use dfs_wire::message::metadata::{EntryKind, TrashItem};
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::list::List;
use crate::output::page::Page;
use crate::output::text::{count, exact_time, plain, size, time};
use dfs_client::Client;

/// Shows what was deleted, or drops it for good
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists the trash, oldest first (the default)
    Ls,
    /// Drops entries for good
    Rm {
        /// Inodes as 'trash ls' shows them, or paths the entries had (all deletions of the path)
        #[arg(required = true, value_name = "INODE|PATH")]
        entries: Vec<String>,
        /// Say what would be done and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Drops everything in the trash for good
    Empty {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Say what would be done and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// One entry of the trash.
#[derive(Debug, Serialize)]
pub(crate) struct TrashView {
    /// Its name in the trash.
    pub inode: u64,
    /// The path it had.
    pub path: String,
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// When it was deleted.
    pub deleted: String,
    /// When the trash forgets it.
    pub expires: String,
}

impl From<&TrashItem> for TrashView {
    fn from(item: &TrashItem) -> Self {
        Self {
            inode: item.stat.inode.0,
            path: item.stat.path.to_string(),
            kind: if item.stat.kind == EntryKind::File { "file" } else { "directory" },
            size: item.stat.size,
            deleted: exact_time(item.deleted_ms),
            expires: exact_time(item.expires_ms),
        }
    }
}

/// What `trash rm` and `trash empty` print.
#[derive(Debug, Serialize)]
pub(crate) struct PurgeView {
    /// Entries that were dropped.
    pub purged: u64,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

impl View for PurgeView {
    fn page(&self, page: &mut Page) {
        let verb = if self.dry_run { "would drop" } else { "dropped" };
        page.line(format!("{verb} {}", count(self.purged, "entry")));
    }
}

/// Runs `dfsctl trash`.
///
/// # Errors
/// If an entry is not there or the cluster cannot be reached.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    match args.verb.unwrap_or(Verb::Ls) {
        Verb::Ls => list(invocation, &client).await,
        Verb::Rm { entries, dry_run } => remove(invocation, &client, &entries, dry_run).await,
        Verb::Empty { yes, dry_run } => empty(invocation, &client, yes, dry_run).await,
    }
}

async fn list(invocation: &Invocation, client: &Client) -> Outcome<Exit> {
    let mut items = client.trash_list().await?;
    items.sort_by_key(|item| (item.deleted_ms, item.stat.inode));
    let mut list = List::new(invocation.output, "entries");
    for item in &items {
        list.push(&TrashView::from(item), |paint| {
            let bytes = if item.stat.kind == EntryKind::File { size(item.stat.size) } else { "-".to_owned() };
            let slash = if item.stat.kind == EntryKind::File { "" } else { "/" };
            let deleted = time(item.deleted_ms);
            let until = paint.dim(&format!("until {}", time(item.expires_ms)));
            format!(
                "{:>8}  {bytes:>9}  deleted {deleted}  {until}  {}{slash}",
                item.stat.inode.0,
                plain(item.stat.path.as_str())
            )
        })?;
    }
    if list.finish()? == 0 {
        invocation.output.note("the trash is empty");
    }
    Ok(Exit::Ok)
}

async fn remove(
    invocation: &Invocation,
    client: &Client,
    entries: &[String],
    dry_run: bool,
) -> Outcome<Exit> {
    let items = client.trash_list().await?;
    let mut inodes = Vec::new();
    for entry in entries {
        let path = entry.strip_prefix("dfs:").unwrap_or(entry).trim_end_matches('/');
        let found = items
            .iter()
            .filter(|item| item.stat.inode.0.to_string() == *entry || item.stat.path.as_str() == path);
        let before = inodes.len();
        inodes.extend(found.map(|item| item.stat.inode));
        if inodes.len() == before {
            let message = format!("the trash has no entry '{}'", plain(entry));
            return Err(
                Failure::new(Exit::NotFound, "NotFound", message).hint("'dfsctl trash ls' shows what it has")
            );
        }
    }
    inodes.sort_unstable();
    inodes.dedup();
    let purged = if dry_run { inodes.len() as u64 } else { purge(client, &inodes).await? };
    invocation.output.print(&PurgeView { purged, dry_run })?;
    Ok(Exit::Ok)
}

async fn purge(client: &Client, inodes: &[InodeId]) -> Outcome<u64> {
    let mut purged = 0;
    for inode in inodes {
        purged += client.trash_purge(Some(*inode), None).await?;
    }
    Ok(purged)
}

async fn empty(invocation: &Invocation, client: &Client, yes: bool, dry_run: bool) -> Outcome<Exit> {
    let entries = client.trash_list().await?.len() as u64;
    if entries > 0 && !yes && !dry_run {
        confirm(&format!("Drop {} for good?", count(entries, "entry")))?;
    }
    let purged = if dry_run || entries == 0 { entries } else { client.trash_purge(None, None).await? };
    invocation.output.print(&PurgeView { purged, dry_run })?;
    Ok(Exit::Ok)
}

/// Asks the user; without a terminal nobody can answer.
fn confirm(question: &str) -> Outcome {
    let refused = |text: &str| Failure::usage(text).hint("--yes says that it is meant");
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refused("this cannot be undone, and there is no terminal to ask on"));
    }
    let mut stderr = std::io::stderr();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let heard = std::io::stdin().lock().read_line(&mut answer);
    match (asked, heard) {
        (Ok(()), Ok(_)) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(refused("nothing was done")),
    }
}
