//! Another number of copies for files that are there: what it takes, and the job that does it.

use std::sync::Arc;

use dfs_wire::limits::REPLICATION_MAX;
use dfs_wire::message::admin::AdminResponse;
use dfs_wire::message::job::{JobTask, ReplicationPlan, SetReplication, WantedCopies};
use dfs_wire::message::metadata::EntryKind;
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::units::size;

use super::dispatch::{Asked, CoordinatorService};
use crate::coordinator::jobs::takers;
use crate::coordinator::metadata::ops::replication::{FilesFound, ReplicationLook};
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::coordinator::space::Space;

/// Files that are looked at in one go: some milliseconds.
const LOOK_FILES: usize = 2048;

impl CoordinatorService {
    /// Has another number of copies made of the files below a path, if that can be done.
    pub(super) async fn set_replication(
        self: &Arc<Self>,
        asked: &Asked,
        word: SetReplication,
    ) -> Result<AdminResponse, Status> {
        let SetReplication { wanted, recursive, dry_run } = word;
        if !(1..=REPLICATION_MAX).contains(&wanted.copies) {
            let text = format!("{} copies are not between 1 and {REPLICATION_MAX}", wanted.copies);
            return Err(Status::new(StatusCode::InvalidArgument, text));
        }
        let path = wanted.path.clone();
        let kind = self
            .apart(ReadFor::Requests, asked, move |_: &Self, reader: &MetadataReader| reader.stat(&path))
            .await?
            .kind;
        if kind == EntryKind::Directory && !recursive {
            let text = format!("{} is a directory", wanted.path);
            return Err(Status::new(StatusCode::IsADirectory, text)
                .hint("ask for all files below it, with -r, or for one of them"));
        }
        let found = self.look_below(asked, wanted.clone(), dry_run).await?;
        let mut plan = ReplicationPlan {
            files: found.files,
            changed: found.changed,
            amount: found.amount,
            added_bytes: found.added_bytes,
            freed_bytes: found.freed_bytes,
            obstacles: self.obstacles_to(&wanted, &found),
            job: None,
        };
        if !dry_run && !plan.obstacles.is_empty() {
            let text = format!("{} copies cannot be made: {}", wanted.copies, plan.obstacles.join("; "));
            return Err(Status::new(StatusCode::PreconditionFailed, text)
                .hint("add datanodes or room; --dry-run says whether it is enough"));
        }
        if !dry_run {
            plan.job = Some(self.begin_job(asked, JobTask::Replication(wanted), plan.amount).await?);
        }
        Ok(AdminResponse::Replicates(Box::new(plan)))
    }

    fn obstacles_to(&self, wanted: &WantedCopies, found: &FilesFound) -> Vec<String> {
        let view = self.view();
        let takers = takers(&view, None);
        let mut obstacles: Vec<String> = self.no_copies().into_iter().collect();
        // Fewer copies need nobody who takes any.
        if found.added_bytes > 0 && takers.len() < usize::from(wanted.copies) {
            let (wanted, there) = (wanted.copies, takers.len());
            obstacles
                .push(format!("{wanted} copies need {wanted} datanodes that take chunks, there are {there}"));
        }
        let room = Space::of(takers.iter().map(|known| &known.load)).available;
        if found.added_bytes > room {
            let (added, room) = (size(found.added_bytes), size(room));
            obstacles.push(format!("{added} are to be copied, and there is room for {room}"));
        }
        obstacles
    }

    /// What is below a path. Where it is only to be said, all of it; else what can be looked at in half the time that there is: the job
    /// goes through all of it anyway.
    async fn look_below(
        self: &Arc<Self>,
        asked: &Asked,
        wanted: WantedCopies,
        whole: bool,
    ) -> Result<FilesFound, Status> {
        let mut look = ReplicationLook::new(wanted);
        let enough = self.left(asked) / 2;
        loop {
            if !whole && self.left(asked) < enough {
                return Ok(look.found());
            }
            let page = move |_: &Self, reader: &MetadataReader| {
                let all = reader.read(|rows| look.step(rows, LOOK_FILES));
                all.map(|all| (look, all))
            };
            let (looked, all) = self.apart(ReadFor::Health, asked, page).await?;
            if all {
                return Ok(looked.found());
            }
            look = looked;
        }
    }
}
