//! Listing entry by entry.

use std::collections::VecDeque;

use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;

use crate::output::failure::Outcome;
use crate::paths::look::is_a_directory;
use dfs_client::{Client, ListPages};

/// The entries of a directory, or of the tree below it, in order; holds one page at a time.
#[derive(Debug)]
pub(crate) struct Walk {
    pages: ListPages,
    page: VecDeque<FileStat>,
}

impl Walk {
    /// Lists `directory`; `recursive` = all that is below it, a directory before what it holds.
    pub(crate) fn new(client: &Client, directory: &DfsPath, recursive: bool) -> Self {
        Self { pages: client.list(directory, recursive), page: VecDeque::new() }
    }

    /// Lists `directory` from the first entry behind `after`, a path in it, which need not be there.
    pub(crate) fn after(client: &Client, directory: &DfsPath, after: Option<DfsPath>) -> Self {
        let pages = client.list(directory, false);
        Self { pages: after.into_iter().fold(pages, ListPages::after), page: VecDeque::new() }
    }

    /// The next entry; `None` at the end. A file lists itself.
    ///
    /// # Errors
    /// If the cluster cannot be asked or the directory is not there.
    pub(crate) async fn next(&mut self) -> Outcome<Option<FileStat>> {
        while self.page.is_empty() {
            match self.pages.next_page().await? {
                Some(page) => self.page = page.into(),
                None => return Ok(None),
            }
        }
        Ok(self.page.pop_front())
    }
}

/// Adds the file at a path, or all below it if that is a directory and `recursive`; else `hint` says what takes them.
///
/// # Errors
/// If the path is not there, is a directory, or cannot be listed.
pub(crate) async fn add_files(
    client: &Client,
    path: &DfsPath,
    (recursive, hint): (bool, &str),
    files: &mut Vec<FileStat>,
) -> Outcome {
    let stat = client.stat(path).await?;
    match stat.kind {
        EntryKind::File => files.push(stat),
        EntryKind::Directory if recursive => {
            let mut walk = Walk::new(client, path, true);
            while let Some(stat) = walk.next().await? {
                if stat.kind == EntryKind::File {
                    files.push(stat);
                }
            }
        }
        EntryKind::Directory => return Err(is_a_directory(path).hint(hint)),
    }
    Ok(())
}
