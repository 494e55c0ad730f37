//! The quarantine: by the hour, counted without a look at it, purged in steps, and what older versions left in it.

use std::path::PathBuf;

use dfs_actors::datanode::chunk_store::{ChunkStore, DiskState, Purged};
use rustix::io::Errno;

use super::faulty_disk::{FaultyDisk, Op, Survives};
use super::*;
use crate::store::hours::Hour;
use crate::store::layout::chunk_name;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Of a file of ten bytes, with its footer.
const FILE: u64 = 8192;

async fn put_some(store: &FileStore, chunks: std::ops::Range<u128>) {
    for chunk in chunks {
        put(store, identity(chunk, 1), &content(chunk as u64, 10)).await.unwrap();
    }
}

async fn with_quarantined(count: u128) -> (FaultyDisk, FileStore) {
    let disk = FaultyDisk::new();
    let (store, _) = open_inline(&disk);
    put_some(&store, 1..count + 1).await;
    let outcomes = store.quarantine((1..=count).map(|chunk| key(chunk, 1)).collect()).await;
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
    (disk, store)
}

fn counted(store: &FileStore) -> (u64, u64) {
    let stats = store.stats();
    (stats.quarantined, stats.quarantined_bytes)
}

async fn purge(store: &FileStore, older_than: Duration) -> u64 {
    let purged = store.purge_quarantine(older_than, LONG).await.unwrap();
    assert!(!purged.more);
    purged.files
}

/// Directories of hours.
fn hours(disk: &FaultyDisk) -> Vec<String> {
    let names = disk.names_in(&Layout::new(ROOT).quarantine_dir());
    names.into_iter().filter(|name| Hour::parse(name).is_some()).collect()
}

fn old_name(chunk: u128, since_ms: u64) -> String {
    format!("{}.{since_ms}.0", chunk_name(key(chunk, 1)))
}

fn plant_old(disk: &FaultyDisk, name: &str) -> PathBuf {
    let path = Layout::new(ROOT).quarantine_dir().join(name);
    disk.plant(&path, &[7; 100]);
    path
}

#[tokio::test]
async fn quarantine_is_purged_by_age_and_counted_through_a_restart() {
    let (disk, store) = with_quarantined(2).await;
    let unknown = store.quarantine(vec![key(1, 1), key(99, 9)]).await;
    assert!(unknown.iter().all(|(_, outcome)| outcome.is_ok()), "an unknown chunk is done: {unknown:?}");
    assert_eq!((counted(&store), store.stats().chunks), ((2, 2 * FILE), 0));
    disk.advance_clock(Duration::from_secs(59));
    assert_eq!(purge(&store, Duration::from_secs(60)).await, 0);
    drop(store);
    let (store, _) = open_inline(&disk);
    assert_eq!(counted(&store), (2, 2 * FILE), "known again at start");
    disk.set_clock_forward(DAY);
    assert_eq!(purge(&store, Duration::from_secs(60)).await, 0, "only the clock moved");
    disk.advance_clock(Duration::from_secs(1));
    assert_eq!(purge(&store, Duration::from_secs(60)).await, 2);
    assert_eq!((counted(&store), aside(&disk)), ((0, 0), vec![]));
}

#[tokio::test]
async fn an_hour_is_purged_as_a_whole_and_its_directory_goes() {
    let (disk, store) = with_quarantined(3).await;
    let left_of_hour = HOUR - Duration::from_millis(1_000_000);
    disk.advance_clock(DAY + left_of_hour - Duration::from_millis(1));
    assert_eq!(purge(&store, DAY).await, 0, "the youngest of the hour might be a millisecond short of a day");
    disk.advance_clock(Duration::from_millis(1));
    assert_eq!(purge(&store, DAY).await, 3);
    assert_eq!((counted(&store), hours(&disk)), ((0, 0), vec![]));
    put_some(&store, 1..2).await;
    assert!(store.quarantine(vec![key(1, 1)]).await[0].1.is_ok());
    assert_eq!((hours(&disk), counted(&store)), (vec!["1970-01-02T01".to_owned()], (1, FILE)));
}

#[tokio::test]
async fn a_start_neither_lists_nor_opens_what_is_in_quarantine() {
    let looks = async |count| {
        let (disk, store) = with_quarantined(count).await;
        drop(store);
        let before = (disk.count("list"), disk.count("open"));
        let (store, _) = open_inline(&disk);
        assert_eq!(counted(&store).0, count as u64);
        (disk.count("list") - before.0, disk.count("open") - before.1)
    };
    assert_eq!(looks(1).await, looks(200).await);
}

#[tokio::test]
async fn a_round_ends_in_time_and_the_next_goes_on() {
    let (disk, store) = with_quarantined(300).await;
    disk.advance_clock(Duration::from_secs(60));
    let mut files = Vec::new();
    loop {
        let purged = store.purge_quarantine(Duration::from_secs(1), Duration::ZERO).await.unwrap();
        files.push(purged.files);
        if !purged.more {
            break;
        }
    }
    assert_eq!(files, [128, 128, 44, 0], "a step each");
    assert_eq!((aside(&disk), counted(&store)), (vec![], (0, 0)));
}

#[tokio::test]
async fn where_there_is_no_room_for_a_directory_files_lie_loose_until_there_is() {
    for errno in [Errno::NOSPC, Errno::MFILE] {
        let disk = FaultyDisk::new();
        let (store, _) = open_inline(&disk);
        put_some(&store, 1..3).await;
        disk.fail_next(Op::CreateDir, errno);
        assert!(store.quarantine(vec![key(1, 1)]).await[0].1.is_ok());
        assert_eq!(store.stats().state, DiskState::Writable);
        assert_eq!((hours(&disk), aside(&disk).len()), (vec![], 1));
        assert!(store.quarantine(vec![key(2, 1)]).await[0].1.is_ok());
        assert_eq!(purge(&store, DAY).await, 0);
        let dir = Layout::new(ROOT).hour_dir(Hour(0));
        assert_eq!((disk.names_in(&dir).len(), counted(&store)), (2, (2, 2 * FILE)));
    }
}

#[tokio::test]
async fn a_directory_that_somebody_removed_is_made_again() {
    let (disk, store) = with_quarantined(1).await;
    let dir = Layout::new(ROOT).hour_dir(Hour(0));
    disk.names_in(&dir).iter().for_each(|name| disk.vanish(&dir.join(name)));
    disk.vanish(&dir);
    put_some(&store, 2..3).await;
    assert!(store.quarantine(vec![key(2, 1)]).await[0].1.is_ok());
    assert_eq!(disk.names_in(&dir).len(), 1, "moved, not lost");
}

#[tokio::test]
async fn what_older_versions_left_is_purged_if_it_is_due_and_else_moved_to_its_hour() {
    let disk = FaultyDisk::new();
    drop(open_inline(&disk));
    disk.advance_clock(10 * DAY);
    let now = Hour::of(1_000_000 + 10 * 86_400_000);
    plant_old(&disk, &old_name(1, 5_000));
    plant_old(&disk, &old_name(2, now.begins_ms()));
    plant_old(&disk, &(old_name(3, 5_000) + ".damaged"));
    plant_old(&disk, "notes.txt");
    let (store, _) = open_inline(&disk);
    assert_eq!(purge(&store, DAY).await, 1);
    let layout = Layout::new(ROOT);
    assert_eq!(disk.names_in(&layout.hour_dir(now)), [format!("{}.100", old_name(2, now.begins_ms()))]);
    assert_eq!(disk.names_in(&layout.damaged_dir()), [format!("{}.100.damaged", old_name(3, 5_000))]);
    assert_eq!((counted(&store), store.stats().damaged), ((2, 200), 1));
    disk.restart(Survives::Nothing);
    drop(store);
    let (store, _) = open_inline(&disk);
    assert_eq!((counted(&store), store.stats().damaged), ((2, 200), 1), "moved and counted durably");
    disk.advance_clock(2 * DAY);
    assert_eq!((purge(&store, DAY).await, counted(&store)), (1, (1, 100)));
    assert!(disk.names_in(&layout.quarantine_dir()).contains(&"notes.txt".to_owned()), "not ours");
}

/// What is planted is as old as can be, as young as can be, and damaged; some of it loose.
async fn mixed() -> (FaultyDisk, FileStore) {
    let (disk, store) = with_quarantined(3).await;
    drop(store);
    disk.advance_clock(3 * DAY);
    let (store, _) = open_inline(&disk);
    put_some(&store, 10..12).await;
    assert!(store.quarantine(vec![key(10, 1)]).await[0].1.is_ok());
    let now_ms = 1_000_000 + 3 * 86_400_000;
    plant_old(&disk, &old_name(20, 5_000));
    plant_old(&disk, &old_name(21, now_ms));
    plant_old(&disk, &(old_name(22, 5_000) + ".damaged"));
    (disk, store)
}

#[tokio::test]
async fn a_purge_loses_nothing_that_is_not_due_whenever_power_is_lost() {
    let steps = {
        let (disk, store) = mixed().await;
        let before = disk.steps();
        assert_eq!(purge(&store, DAY).await, 4);
        disk.steps() - before
    };
    assert!(steps > 12, "{steps}");
    let modes = [Survives::Nothing, Survives::Names, Survives::Data, Survives::Some(1), Survives::Some(2)];
    for (survives, n) in modes.into_iter().flat_map(|mode| (0..=steps).map(move |n| (mode, n))) {
        let (disk, store) = mixed().await;
        disk.cut_power_at(disk.steps() + n);
        let cut: Result<Purged, StoreError> = store.purge_quarantine(DAY, LONG).await;
        assert!(cut.is_err() || n >= steps, "step {n}: {cut:?}");
        drop(store);
        disk.restart(survives);
        let (store, report) = open_inline(&disk);
        assert_eq!((report.chunks, report.damaged_count), (1, 0), "step {n}");
        purge(&store, DAY).await;
        let mut left: Vec<u128> = aside(&disk)
            .iter()
            .map(|name| {
                crate::store::layout::parse_chunk_name(Aside::parse(name).unwrap().copy).unwrap().chunk.0
            })
            .collect();
        left.sort_unstable();
        assert_eq!(left, [10, 21, 22], "step {n}, {survives:?}: {:?}", aside(&disk));
        assert_eq!(get(&store, key(11, 1)).await.unwrap(), content(11, 10));
        assert_eq!(hours(&disk).len(), 1, "step {n}, {survives:?}: empty hours are gone");
    }
}

#[tokio::test]
async fn a_disk_that_fails_while_it_is_purged_says_so_and_purges_no_more() {
    for op in [Op::Unlink, Op::SyncDir, Op::RemoveDir] {
        let (disk, store) = with_quarantined(3).await;
        disk.advance_clock(3 * DAY);
        disk.fail_next(op, Errno::IO);
        let failed = store.purge_quarantine(DAY, LONG).await;
        assert!(matches!(failed, Err(StoreError::DiskFailed { .. })), "{op:?}: {failed:?}");
        assert!(matches!(store.stats().state, DiskState::Failed(_)));
    }
}
