//! The cursor of the scrub on a disk: kept whole or not at all, and never in the way of a start.

use dfs_actors::datanode::scrub::{CursorStore, ScrubCursor};
use rustix::io::Errno;

use super::faulty_disk::{Op, Survives};
use super::*;
use crate::store::StoredCursor;
use crate::store::layout::Layout;

fn cursor(spent_ms: u64) -> ScrubCursor {
    ScrubCursor { spent_ms, doubted: vec![key(1, 1)], ..ScrubCursor::default() }
}

fn opened(disk: &FaultyDisk) -> (Arc<FileStore>, StoredCursor) {
    let store = Arc::new(open_inline(disk).0);
    (store.clone(), StoredCursor::new(store))
}

#[tokio::test]
async fn it_survives_a_power_cut_and_a_crash_leaves_the_old_one_or_the_new_one() {
    let disk = FaultyDisk::new();
    let (_, kept) = opened(&disk);
    assert_eq!(kept.load().await.unwrap(), None);
    kept.save(cursor(1)).await.unwrap();
    let before = disk.steps();
    kept.save(cursor(2)).await.unwrap();
    let steps = disk.steps() - before;
    for survives in [Survives::Nothing, Survives::Names, Survives::Data, Survives::Some(7)] {
        for step in 0..=steps {
            let disk = FaultyDisk::new();
            let (store, kept) = opened(&disk);
            kept.save(cursor(1)).await.unwrap();
            disk.cut_power_at(disk.steps() + step);
            let saved = kept.save(cursor(2)).await.is_ok();
            drop((store, kept));
            disk.restart(survives);
            let found = opened(&disk).1.load().await.unwrap().map(|found| found.spent_ms);
            assert!(found == Some(2) || (!saved && found == Some(1)), "step {step}, {survives:?}: {found:?}");
        }
    }
}

#[tokio::test]
async fn a_damaged_one_is_none_and_a_disk_that_refuses_it_is_read_all_the_same() {
    let disk = FaultyDisk::new();
    let (store, kept) = opened(&disk);
    put(&store, identity(1, 1), &content(1, 5_000)).await.unwrap();
    kept.save(cursor(1)).await.unwrap();
    let path = Layout::new(ROOT).scrub();
    disk.flip(&path, 30);
    assert_eq!(kept.load().await.unwrap(), None);
    disk.plant(&path, &vec![b'x'; 1 << 20]);
    drop((store, kept));
    let (store, kept) = opened(&disk);
    assert_eq!(kept.load().await.unwrap(), None, "the directory opens, and it is none");
    disk.fail_next(Op::Create, Errno::ROFS);
    assert!(kept.save(cursor(3)).await.is_err());
    assert!(store.verify(key(1, 1)).await.is_ok());
    disk.fail_next(Op::Read, Errno::IO);
    assert!(kept.load().await.is_err(), "that says nothing about the cursor");
}
