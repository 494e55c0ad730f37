//! Operations on names: list, stat, mkdir, rename, delete, the trash, usage.

use dfs_wire::id::{InodeId, OpId};
use dfs_wire::limits::{CREATED_LEVELS_MAX, LIST_PAGE_MAX};
use dfs_wire::message::metadata::{
    Delete, Deleted, DiskUsage, FileStat, List, MetadataRequest, MetadataResponse, Mkdir, PathOnly, Rename,
    TrashItem, TrashList, TrashPurge, Undelete,
};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use futures_util::stream::{self, BoxStream};

use crate::client::Client;
use crate::error::Error;
use crate::options::{DeleteOptions, MkdirOptions, RenameOptions, TrashTarget, Usage};
use crate::rpc::unexpected;

/// The pages of a listing. Each page is asked for when it is wanted; memory is that of one page.
#[derive(Debug)]
pub struct ListPages {
    client: Client,
    path: DfsPath,
    recursive: bool,
    after: Option<DfsPath>,
    done: bool,
}

impl ListPages {
    /// Begins behind `path`, which lies in (or, in a recursive listing, anywhere below) the directory and need not be
    /// there. Entries come in the order of the bytes of their names.
    #[must_use]
    pub fn after(mut self, path: DfsPath) -> Self {
        self.after = Some(path);
        self
    }

    /// The next page, in order; `None` after the last. A page may be empty without being the last.
    ///
    /// Cancel safety: a cancelled call can be repeated.
    ///
    /// # Errors
    /// `NotFound` if the path is not there.
    pub async fn next_page(&mut self) -> Result<Option<Vec<FileStat>>, Error> {
        if self.done {
            return Ok(None);
        }
        let request = List {
            path: self.path.clone(),
            recursive: self.recursive,
            after: self.after.clone(),
            limit: LIST_PAGE_MAX,
        };
        match self.client.inner.rpc.ask(MetadataRequest::List(request)).await? {
            MetadataResponse::Listed(page) => {
                self.done = page.next.is_none();
                self.after = page.next;
                Ok(Some(page.entries))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The entries one by one. A page is asked for when its first entry is wanted.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use futures_util::TryStreamExt;
    ///
    /// let mut entries = client.list(&"/".parse()?, true).into_stream();
    /// while let Some(entry) = entries.try_next().await? {
    ///     println!("{}", entry.path);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stream(self) -> BoxStream<'static, Result<FileStat, Error>> {
        let nothing = Vec::new().into_iter();
        let entries = stream::try_unfold((self, nothing), |(mut pages, mut entries)| async move {
            loop {
                if let Some(entry) = entries.next() {
                    return Ok(Some((entry, (pages, entries))));
                }
                match pages.next_page().await? {
                    Some(page) => entries = page.into_iter(),
                    None => return Ok(None),
                }
            }
        });
        Box::pin(entries)
    }
}

impl Client {
    /// Attributes of a file or directory.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let stat = client.stat(&"/reports/2026.csv".parse()?).await?;
    /// println!("{} bytes in {} chunks", stat.size, stat.chunk_count);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn stat(&self, path: &DfsPath) -> Result<FileStat, Error> {
        let request = MetadataRequest::Stat(PathOnly { path: path.clone() });
        match self.inner.rpc.ask(request).await.map_err(|e| e.context(format_args!("stat {path}")))? {
            MetadataResponse::Stat(stat) => Ok(stat),
            other => Err(unexpected(&other)),
        }
    }

    /// Lists a directory (or one file) page by page; recursive listings are depth first, a directory before what it
    /// holds.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let mut pages = client.list(&"/".parse()?, true);
    /// while let Some(page) = pages.next_page().await? {
    ///     for entry in page {
    ///         println!("{}", entry.path);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, path: &DfsPath, recursive: bool) -> ListPages {
        ListPages { client: self.clone(), path: path.clone(), recursive, after: None, done: false }
    }

    /// The whole listing at once: for directories that are known to be small.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_all(&self, path: &DfsPath, recursive: bool) -> Result<Vec<FileStat>, Error> {
        let mut pages = self.list(path, recursive);
        let mut entries = Vec::new();
        while let Some(page) = pages.next_page().await.map_err(|e| e.context(format_args!("list {path}")))? {
            entries.extend(page);
        }
        Ok(entries)
    }

    /// Makes a directory; one atomic, durable commit. With more missing parents than one commit makes (48), those far
    /// above come first, in commits of their own.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::MkdirOptions;
    /// client.mkdir(&"/a/b/c".parse()?, MkdirOptions::new().parents(true)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` if a parent is missing, `NotADirectory`, `OutcomeUnknown`.
    pub async fn mkdir(&self, path: &DfsPath, options: MkdirOptions) -> Result<(), Error> {
        if options.parents {
            self.make_far_parents(path).await?;
        }
        let request = Mkdir { path: path.clone(), parents: options.parents };
        let doing = format_args!("mkdir {path}").to_string();
        self.mutate(options.op, MetadataRequest::Mkdir(request), &doing).await.map(drop)
    }

    /// Makes the directories above `path` that are too many for the one request that needs them all.
    pub(crate) async fn make_far_parents(&self, path: &DfsPath) -> Result<(), Error> {
        for path in far_parents(path) {
            let doing = format!("mkdir {path}");
            self.mutate(None, MetadataRequest::Mkdir(Mkdir { path, parents: true }), &doing).await?;
        }
        Ok(())
    }

    /// Moves a file or directory to exactly `to`; one atomic, durable commit.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::RenameOptions;
    /// client.rename(&"/new.bin".parse()?, &"/old.bin".parse()?, RenameOptions::new().replace(true)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` (without `replace`), `DirectoryNotEmpty`, `IsADirectory`, `InvalidArgument` (into
    /// itself), `OutcomeUnknown`.
    pub async fn rename(&self, from: &DfsPath, to: &DfsPath, options: RenameOptions) -> Result<(), Error> {
        let request = Rename { from: from.clone(), to: to.clone(), replace: options.replace };
        let doing = format!("rename {from} to {to}");
        self.mutate(options.op, MetadataRequest::Rename(request), &doing).await.map(drop)
    }

    /// Deletes a file or directory: moves it to the trash in one atomic commit, whatever it holds.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::DeleteOptions;
    /// let deleted = client.delete(&"/old".parse()?, DeleteOptions::new().recursive(true)).await?;
    /// println!("in the trash as {} until {:?}", deleted.inode, deleted.expires_ms);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `DirectoryNotEmpty` (without `recursive`), `PreconditionFailed`, `OutcomeUnknown`.
    pub async fn delete(&self, path: &DfsPath, options: DeleteOptions) -> Result<Deleted, Error> {
        let request = Delete {
            path: path.clone(),
            recursive: options.recursive,
            skip_trash: options.skip_trash,
            if_match: options.if_match,
        };
        let doing = format!("delete {path}");
        match self.mutate(options.op, MetadataRequest::Delete(request), &doing).await? {
            MetadataResponse::Deleted(deleted) => Ok(deleted),
            other => Err(unexpected(&other)),
        }
    }

    /// What is in the trash, oldest first.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// for item in client.trash_list().await? {
    ///     println!("{} ({})", item.stat.path, item.stat.inode);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn trash_list(&self) -> Result<Vec<TrashItem>, Error> {
        let (mut items, mut after) = (Vec::<TrashItem>::new(), None);
        loop {
            let request = MetadataRequest::TrashList(TrashList { after, limit: LIST_PAGE_MAX });
            let MetadataResponse::Trash(page) = self.inner.rpc.ask(request).await? else {
                return Err(Error::new(
                    StatusCode::ProtocolViolation,
                    "unexpected answer to a trash listing",
                ));
            };
            items.extend(page.entries);
            after = page.next;
            if after.is_none() {
                items.sort_by_key(|item| (item.deleted_ms, item.stat.inode));
                return Ok(items);
            }
        }
    }

    /// Brings something back from the trash, to where it was or to `to`. Returns what is there now.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::TrashTarget;
    /// let stat = client.undelete(TrashTarget::Path("/old".parse()?), None, None).await?;
    /// println!("{} is back", stat.path);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound` if it is not in the trash, `AlreadyExists` if its place is taken, `OutcomeUnknown`.
    pub async fn undelete(
        &self,
        target: TrashTarget,
        to: Option<DfsPath>,
        op: Option<OpId>,
    ) -> Result<FileStat, Error> {
        let doing = match &target {
            TrashTarget::Path(path) => format!("undelete {path}"),
            TrashTarget::Inode(inode) => format!("undelete inode {inode}"),
        };
        let (path, inode) = match target {
            TrashTarget::Path(path) => (Some(path), None),
            TrashTarget::Inode(inode) => (None, Some(inode)),
        };
        let place = to.clone().or_else(|| path.clone());
        let request = MetadataRequest::Undelete(Undelete { path, inode, to });
        match (self.mutate(op, request, &doing).await?, place) {
            (MetadataResponse::Stat(stat), _) => Ok(stat),
            (MetadataResponse::Done, Some(place)) => self.stat(&place).await,
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Drops one entry of the trash, or all of it, for good. Returns how many entries will be released.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// println!("{} entries gone", client.trash_purge(None, None).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `OutcomeUnknown`.
    pub async fn trash_purge(&self, inode: Option<InodeId>, op: Option<OpId>) -> Result<u64, Error> {
        let request = MetadataRequest::TrashPurge(TrashPurge { inode });
        match self.mutate(op, request, "purge the trash").await? {
            MetadataResponse::Purged(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// What a tree holds, counted in bounded steps.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// let usage = client.du(&"/".parse()?).await?;
    /// println!("{} files, {} bytes, {} with copies", usage.files, usage.bytes, usage.raw_bytes);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn du(&self, path: &DfsPath) -> Result<Usage, Error> {
        let (mut usage, mut after) = (Usage::default(), None);
        loop {
            let request = MetadataRequest::DiskUsage(DiskUsage { path: path.clone(), after });
            let answer =
                self.inner.rpc.ask(request).await.map_err(|e| e.context(format_args!("du {path}")))?;
            let MetadataResponse::DiskUsage(step) = answer else { return Err(unexpected(&answer)) };
            usage.files += step.files;
            usage.directories += step.directories;
            usage.bytes += step.bytes;
            usage.raw_bytes += step.raw_bytes;
            after = step.next;
            if after.is_none() {
                return Ok(usage);
            }
        }
    }

    async fn mutate(
        &self,
        op: Option<OpId>,
        request: MetadataRequest,
        doing: &str,
    ) -> Result<MetadataResponse, Error> {
        self.inner.rpc.mutate(op, request).await.map_err(|e| e.context(doing))
    }
}

/// Those above `path` that lie as many levels apart as one request makes, the topmost first.
fn far_parents(path: &DfsPath) -> Vec<DfsPath> {
    let above = std::iter::successors(path.parent(), DfsPath::parent);
    let mut far: Vec<_> = above.filter(|path| is_far(path.segments().count())).collect();
    far.reverse();
    far
}

fn is_far(depth: usize) -> bool {
    depth > 0 && depth.is_multiple_of(CREATED_LEVELS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_makes_more_directories_than_it_may() {
        let depths = |depth: usize| -> Vec<usize> {
            let path = DfsPath::parse(&"/n".repeat(depth)).unwrap();
            far_parents(&path).iter().map(|path| path.segments().count()).collect()
        };
        assert_eq!(depths(CREATED_LEVELS_MAX), [0; 0]);
        assert_eq!(depths(CREATED_LEVELS_MAX + 1), [48]);
        assert_eq!(depths(200), [48, 96, 144, 192]);
    }
}
