//! A short, fixed life of a cluster in which every kind of step occurs: what crash points are enumerated over.
//!
//! | from | what |
//! |---|---|
//! | 3 s | a file of two chunks is put where nothing is, and read |
//! | 5 s | the file is put anew over what is there; others are put, renamed, listed, deleted with and without the trash |
//! | 7 s | directories are deleted; an upload is given up, another one's client dies in the middle, and one records its chunk and is not heard of again |
//! | 10 s | no node is heard by a client that puts a file, which allocates the chunks anew |
//! | until 38 s | leases end, the trash is emptied, garbage is collected, the quarantine is purged |
//! | 38 s | a datanode comes back with the disk that it had at 7 s: with chunks that were deleted since, and without newer ones |
//! | until 66 s | what nobody knows goes into quarantine, and is purged |

use std::time::Duration;

use dfs_client::metadata::FileStat;
use dfs_client::{CopyOptions, DeleteOptions, Error, MkdirOptions, PutSource, TrashTarget};
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

use super::client::{Call, Person, Refusal, path_of, value_of};
use super::faults::{Fault, Planned};
use super::host::{Ending, now_us};
use super::id::HostId;
use super::trouble::Needs;
use crate::history::Event;

/// Datanodes of the script's world.
pub(super) const NODES: u16 = 3;
/// Clients.
pub(super) const CLIENTS: u16 = 3;
/// Who does most of it.
pub(super) const ACTOR: HostId = HostId::client(1);
/// Whose process is killed in the middle of an upload.
pub(super) const QUITTER: HostId = HostId::client(2);
/// Who records a chunk, and no more.
pub(super) const RECORDER: HostId = HostId::client(3);
/// Whose disk is an old one at last.
const REVENANT: HostId = HostId::datanode(2);
/// The first value, and those after it, whose contents are two chunks long.
const VALUES: u32 = 40;
/// Bytes after which a source of data stands still: one chunk, and some of the next.
const STALLS_AFTER: usize = 70_000;
/// By then all nodes know each other.
pub(super) const BEGIN_MS: u64 = 3_000;
/// When uploads begin that do not come to their end.
pub(super) const GIVE_UP_MS: u64 = 7_000;
/// From when to when no datanode is heard by [`ACTOR`].
const DEAF_MS: [u64; 2] = [10_000, 10_600];
pub(super) const END_MS: u64 = 66_000;
/// How often what must be done is tried.
const TRIES: usize = 60;

/// What happens in the script's world beside what its clients do.
pub(super) fn happens() -> Vec<Planned> {
    let mut faults = vec![
        Planned { at_ms: 7_600, fault: Fault::Copy(REVENANT) },
        Planned { at_ms: 8_500, fault: Fault::Kill(QUITTER) },
        Planned { at_ms: 38_000, fault: Fault::Swap(REVENANT) },
    ];
    for node in (1..=NODES).map(HostId::datanode) {
        let [from, to] = DEAF_MS;
        faults.push(Planned { at_ms: from, fault: Fault::Mute(node, ACTOR) });
        faults.push(Planned { at_ms: to, fault: Fault::Cut(node, ACTOR) });
        faults.push(Planned { at_ms: to, fault: Fault::Join(node, ACTOR) });
    }
    faults
}

impl Person {
    /// Waits until so many virtual milliseconds after the beginning of the world.
    pub(super) async fn at(&self, ms: u64) {
        sleep(Duration::from_micros((ms * 1000).saturating_sub(now_us()))).await;
    }

    /// The part of most of it.
    pub(super) async fn act(&self) -> Ending {
        self.all_there(NODES.into(), BEGIN_MS * 1_000 + 60_000_000).await?;
        self.make_directory().await?;
        self.at(BEGIN_MS).await;
        self.ledger.go_on_from(VALUES);
        self.put_if(0).await;
        self.get(0).await;
        self.at(5_000).await;
        self.put_if(0).await;
        self.put(1).await;
        self.put(2).await;
        self.put(3).await;
        self.rename(1, 0).await;
        self.list().await;
        self.copy(3, 1).await;
        self.remove_and_undelete(1).await;
        self.remove(2, false).await;
        self.purge_trash().await;
        self.remove(0, false).await;
        self.remove(3, true).await;
        self.get(1).await;
        self.at(GIVE_UP_MS).await;
        self.remove_directories().await;
        timeout(Duration::from_secs(1), self.stall("/h/given up")).await.ok();
        self.at(DEAF_MS[0] + 100).await;
        self.put(3).await;
        self.at(END_MS).await;
        self.get(1).await;
        self.list().await;
        Ok(())
    }

    /// The part of the one who is killed.
    pub(super) async fn quit(&self) -> Ending {
        self.at(GIVE_UP_MS).await;
        self.stall("/h/abandoned").await;
        Ok(())
    }

    pub(super) async fn make_directory(&self) -> Ending {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.client.mkdir(&crate::path("/h"), MkdirOptions::default()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == "AlreadyExists" => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            sleep(Duration::from_secs(1)).await;
        }
        Err(format!("no directory: {last}"))
    }

    /// One within another, both made just before.
    async fn remove_directories(&self) {
        let (outer, inner) = (crate::path("/d"), crate::path("/d/e"));
        let made = self.client.mkdir(&inner, MkdirOptions::new().parents(true)).await;
        let options = DeleteOptions::new().recursive(true).skip_trash(true);
        let removed = self.client.delete(&outer, options).await;
        self.say(format!("directories: {:?}, {:?}", made.map(drop), removed.map(drop)));
    }

    /// A copy within the cluster, which shares the chunks.
    async fn copy(&self, from: usize, to: usize) {
        let Ok(Some(value)) = self.read(from).await else { return };
        let call = self.changes(format!("copy p{from} to p{to}"), Needs::Metadata, Event::Put(to, value));
        let copied = self.client.copy(&path_of(from), &path_of(to), CopyOptions::default()).await;
        self.note_made(&call, (to, value), copied, (&["NotFound"], Event::Get(from, None)));
    }

    async fn remove_and_undelete(&self, at: usize) {
        let Ok(Some(value)) = self.read(at).await else { return };
        self.remove(at, false).await;
        let call = self.changes(format!("undelete p{at}"), Needs::Metadata, Event::Put(at, value));
        let restored = self.client.undelete(TrashTarget::Path(path_of(at)), None, None).await;
        // It was not removed, so it is still there and not in the trash.
        let refused = (&["NotFound", "AlreadyExists"][..], Event::Get(at, Some(value)));
        self.note_made(&call, (at, value), restored, refused);
    }

    /// Writes down what came of something that makes a file as a put would.
    fn note_made(
        &self,
        call: &Call,
        (at, value): (usize, u32),
        made: Result<FileStat, Error>,
        refused: Refusal,
    ) {
        if let Ok(stat) = &made
            && value_of(stat.size) != Some(value)
        {
            self.ledger.accuse(format!("{value} was to be made at p{at}, and {stat:?} was"));
        }
        self.note(call, made.map(drop), Event::Put(at, value), Some(refused));
    }

    async fn purge_trash(&self) {
        let purged = self.client.trash_purge(None, None).await;
        self.say(format!("purge of the trash: {purged:?}"));
    }

    /// An upload that never comes to its end.
    async fn stall(&self, path: &str) {
        let (never, _open) = tokio::io::duplex(1);
        let source = PutSource::reader(std::io::Cursor::new(vec![7; STALLS_AFTER]).chain(never));
        let put = self.client.put(source, &crate::path(path), Self::put_options()).await;
        self.say(format!("put at {path}: {:?}", put.map(|_| ())));
    }
}
