//! The single steps of a sync.

use std::fs;
use std::path::PathBuf;

use dfs_wire::path::DfsPath;

use super::plan::FileCopy;
use crate::output::failure::{Failure, Outcome};
use crate::paths::compare::are_same;
use crate::paths::local::{LocalRoot, keep_time};
use crate::paths::sides::{Found, Side};
use crate::rehearse;
use crate::transfer::Moved;
use dfs_client::{
    Client, DeleteOptions, GetOptions, MkdirOptions, ProgressFn, PutOptions, PutSource, StatusCode,
};

/// From where to where.
#[derive(Debug, Clone)]
pub(super) enum Direction {
    /// From this machine into the cluster.
    Up { from: PathBuf, to: DfsPath },
    /// From the cluster to this machine.
    Down { from: DfsPath, to: PathBuf },
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Done {
    /// It was copied.
    Copied(Moved),
    /// It was the same already.
    Same,
}

/// Takes the steps.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) direction: Direction,
    pub(super) dry_run: bool,
}

impl Worker {
    fn source(&self, name: &str) -> Outcome<Side> {
        match &self.direction {
            Direction::Up { from, .. } => Side::Local(from.clone()).join(name),
            Direction::Down { from, .. } => Side::Remote(from.clone()).join(name),
        }
    }

    fn target(&self, name: &str) -> Outcome<Side> {
        let top = match &self.direction {
            Direction::Up { to, .. } => Side::Remote(to.clone()),
            Direction::Down { to, .. } => Side::Local(to.clone()),
        };
        if name.is_empty() { Ok(top) } else { top.join(name) }
    }

    /// Makes a directory of the target; an empty name is the target itself.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) async fn make(&self, name: &str) -> Outcome {
        match (self.target(name)?, &self.direction) {
            (Side::Remote(path), _) if self.dry_run => rehearse::mkdir(&self.client, &path, true).await,
            (Side::Remote(path), _) => {
                let options = MkdirOptions::new().parents(true);
                Ok(self.client.mkdir(&path, options).await?)
            }
            _ if self.dry_run => Ok(()),
            (Side::Local(_), Direction::Down { from, to }) if !name.is_empty() => {
                let Side::Remote(path) = self.source(name)? else { return Ok(()) };
                LocalRoot::new(to.clone()).make_directory(from, &path)
            }
            (Side::Local(path), _) => LocalRoot::new(path).make(),
        }
    }

    /// Copies a file, unless it is the same.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub(super) async fn copy(&self, copy: FileCopy, progress: Option<ProgressFn>) -> Outcome<Done> {
        let (source, target) = (self.source(&copy.name)?, self.target(&copy.name)?);
        if copy.compare && are_same(&self.client, &source, &target).await? {
            return Ok(Done::Same);
        }
        let moved = Moved {
            source: source.to_string(),
            target: target.to_string(),
            size: copy.size,
            ..Moved::default()
        };
        if self.dry_run {
            return Ok(Done::Copied(moved));
        }
        match (&self.direction, source, target) {
            (Direction::Up { .. }, Side::Local(local), Side::Remote(path)) => {
                let mut options = PutOptions::new().parents(true).mtime_ns(copy.modified_ns);
                options.progress = progress;
                let put = self.client.put(PutSource::Path(local), &path, options).await?;
                Ok(Done::Copied(moved.stored(&put)))
            }
            (Direction::Down { from, to }, Side::Remote(path), _) => {
                let place = LocalRoot::new(to.clone()).place(from, &path)?;
                let mut options = GetOptions::new().resume(true).keep_partial(true);
                options.progress = progress;
                let got = self.client.get_to_path(&path, &place, options).await?;
                keep_time(&place, got.stat.mtime_ns)?;
                Ok(Done::Copied(moved.fetched(&got)))
            }
            _ => Ok(Done::Copied(moved)),
        }
    }

    /// Deletes something of the target; a directory only if it is empty.
    ///
    /// # Errors
    /// If it cannot be deleted.
    pub(super) async fn delete(&self, name: &str, found: Found) -> Outcome {
        match self.target(name)? {
            _ if self.dry_run => Ok(()),
            Side::Remote(path) => match self.client.delete(&path, DeleteOptions::default()).await {
                Err(e) if e.status_code() == Some(StatusCode::NotFound) => Ok(()),
                deleted => Ok(deleted.map(drop)?),
            },
            Side::Local(path) => {
                let gone = match found {
                    Found::Directory => fs::remove_dir(&path),
                    _ => fs::remove_file(&path),
                };
                match gone {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        Err(Failure::local("delete", &path, &e))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}
