//! Garbage collection: read leases hold, every step may be the last one for a while, nothing live is touched.

use super::*;
use crate::coordinator::metadata::ops::batches::STEP_BATCHES;
use crate::coordinator::metadata::table::store::Batch;

fn pinned(stat: &FileStat) -> OpenRead {
    let version = Some(PinnedVersion { inode: stat.inode, version: stat.version });
    OpenRead { path: stat.path.clone(), version, first: 0, count: 0 }
}

#[test]
fn a_reader_keeps_its_version_for_the_length_of_its_lease() {
    let mut lab = Lab::new();
    let old = lab.put("/f", 200_000);
    let before = lab.reader().open_read(&pinned(&old)).unwrap();
    let new = lab.put("/f", 10);
    assert_ne!(old.version, new.version);
    lab.now_ms += lab.policy.read_lease_ms - 1;
    lab.drain_and_delete(3);
    assert_eq!(lab.reader().open_read(&pinned(&old)).unwrap(), before);
    lab.now_ms += 2;
    lab.step(Step::Release);
    assert_eq!(lab.reader().open_read(&pinned(&old)).unwrap_err().code(), StatusCode::VersionGone);
    assert_eq!(lab.reader().open_read(&pinned(&new)).unwrap().stat.size, 10);
    lab.drain_and_delete(3);
    assert_eq!(lab.totals().chunks, 1);
    lab.assert_consistent();
}

#[test]
fn replaced_renamed_over_and_deleted_files_all_release_their_chunks() {
    let mut lab = Lab::new();
    lab.mkdir("/d");
    for p in ["/d/a", "/d/b", "/d/c", "/e/f"] {
        lab.put(p, 200_000);
    }
    lab.put("/d/a", 1);
    lab.rename("/d/a", "/d/b", true).unwrap();
    lab.delete("/d/c", true).unwrap();
    lab.delete("/e", true).unwrap();
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab.drain_and_delete(3);
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab.drain_and_delete(3);
    assert_eq!((lab.totals().chunks, lab.totals().files, lab.totals().directories), (1, 1, 1));
    lab.assert_consistent();
}

/// A store full of work for every step.
fn busy_lab() -> Lab {
    let mut lab = Lab::new();
    lab.put("/keep/me", 300_000);
    for i in 0..30 {
        lab.put(&format!("/tree/{}/{i}", i % 4), 150_000);
    }
    lab.put("/big", 90 * 65_536);
    lab.put("/big", 3);
    lab.delete("/tree", true).unwrap();
    lab.put("/trashed/x", 100_000);
    lab.delete("/trashed", false).unwrap();
    let session = lab.open(upload_of("/never")).unwrap().session;
    lab.allocate(session, 0, 32);
    (0..32).for_each(|index| drop(lab.reallocate(session, index, 1)));
    lab.now_ms += lab.policy.outcome_ms + lab.policy.trash_ms;
    lab
}

/// What is left must not depend on the order or the interruptions, times and ids apart.
fn remains(lab: &mut Lab) -> Vec<Vec<u8>> {
    lab.drain_and_delete(3);
    lab.now_ms += lab.policy.outcome_ms;
    lab.drain_and_delete(3);
    lab.assert_consistent();
    lab.dump().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn steps_may_be_interrupted_anywhere_and_end_the_same() {
    let wanted = remains(&mut busy_lab());
    for seed in 1..=8u64 {
        let mut lab = busy_lab();
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let step = Step::ALL[(state >> 33) as usize % Step::ALL.len()];
            if (state >> 60) % 3 == 0 {
                // Worked out, but the crash came before the commit.
                let ctx = lab.ctx(OpId(1));
                let mut overlay = Overlay::new(lab.store.snapshot().unwrap(), None);
                Mutation::Step(step).apply(&mut overlay, &ctx, &lab.receipts).unwrap();
                drop(overlay);
            } else {
                lab.step(step);
            }
            if (state >> 50) % 16 == 0 {
                lab.assert_consistent();
                assert_eq!(lab.reader().stat(&path("/keep/me")).unwrap().size, 300_000);
            }
        }
        assert_eq!(remains(&mut lab), wanted, "seed {seed}");
        assert!(lab.ops_max <= BATCH_OPS_MAX);
    }
}

#[test]
fn confirmations_count_only_for_what_was_asked() {
    let mut lab = Lab::new();
    let stat = lab.put("/f", 10);
    let chunk = lab.reader().open_read(&pinned(&stat)).unwrap().chunks.remove(0);
    let copy = ChunkKey { chunk: chunk.chunk, generation: chunk.generation };
    let live = lab.dump();
    lab.apply(&Mutation::ConfirmDeleted(NodeId(1), vec![copy])).unwrap();
    assert_eq!(lab.dump(), live, "nobody asked for it");
    lab.delete("/f", true).unwrap();
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab.drain();
    for node in [1, 2, 2] {
        lab.apply(&Mutation::ConfirmDeleted(NodeId(node), vec![copy])).unwrap();
        assert_eq!(lab.totals().chunks, 1, "node 3 has not confirmed");
        lab.assert_consistent();
    }
    lab.apply(&Mutation::ConfirmDeleted(NodeId(3), vec![copy])).unwrap();
    assert_eq!((lab.totals().chunks, lab.totals().tombstones), (0, 0));
}

#[test]
fn an_emptied_trash_goes_even_if_what_was_deleted_later_expires_sooner() {
    let mut lab = Lab::new();
    for i in 0..30 {
        lab.mkdir(&format!("/old-{i}"));
        lab.delete(&format!("/old-{i}"), false).unwrap();
    }
    lab.apply(&Mutation::TrashPurge(TrashPurge { inode: None })).unwrap();
    lab.policy.trash_ms /= 10;
    lab.now_ms += 1;
    for i in 0..300 {
        lab.mkdir(&format!("/new-{i}"));
        lab.delete(&format!("/new-{i}"), false).unwrap();
    }
    lab.drain();
    assert_eq!(lab.totals().trash, 300, "the emptied ones are gone, the others are not");
    lab.assert_consistent();
    assert_eq!(
        lab.step(Step::Trash),
        crate::coordinator::metadata::model::outcome::StepProgress::default(),
        "nothing is looked at twice"
    );
    lab.apply(&Mutation::TrashPurge(TrashPurge { inode: None })).unwrap();
    lab.drain();
    assert_eq!(lab.totals().trash, 0);
}

#[test]
fn a_page_of_the_trash_looks_at_so_many_entries_and_no_more() {
    let mut lab = Lab::new();
    for i in 0..2_100 {
        lab.mkdir(&format!("/{i}"));
        lab.delete(&format!("/{i}"), false).unwrap();
    }
    lab.apply(&Mutation::TrashPurge(TrashPurge { inode: None })).unwrap();
    lab.now_ms += 1;
    lab.mkdir("/last");
    lab.delete("/last", false).unwrap();
    let page = |after| lab.reader().trash_list(&TrashList { after, limit: 0 }).unwrap();
    let first = page(None);
    assert!(first.entries.is_empty() && first.next.is_some(), "{first:?}");
    let second = page(first.next);
    assert_eq!((second.entries.len(), second.next), (1, None));
}

/// A store with `count` deleted files of one chunk, whose time has come.
fn deleted_files(count: usize) -> Lab {
    let mut lab = Lab::new();
    for i in 0..count {
        lab.put(&format!("/f/{i:03}"), 100);
    }
    for i in 0..count {
        lab.delete(&format!("/f/{i:03}"), true).unwrap();
    }
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab
}

#[test]
fn one_step_releases_many_versions_in_few_batches() {
    let mut lab = deleted_files(40);
    let mut overlay = Overlay::new(lab.store.snapshot().unwrap(), None);
    let ctx = lab.ctx(OpId(1));
    let outcome = Mutation::Step(Step::Release).apply(&mut overlay, &ctx, &lab.receipts).unwrap();
    let batches = overlay.batches();
    assert!(batches <= STEP_BATCHES, "{batches}");
    let Outcome::Progress(progress) = outcome else { panic!("{outcome:?}") };
    assert!(progress.more && progress.done >= 5 * batches as u64, "{progress:?} in {batches} batches");
    drop(overlay);
    lab.drain_and_delete(3);
    assert_eq!((lab.totals().chunks, lab.totals().tombstones, lab.count(b"v")), (0, 0, 0));
    lab.assert_consistent();
}

#[test]
fn what_comes_before_a_damaged_version_is_released_and_the_failure_is_told() {
    let mut lab = deleted_files(6);
    let third = lab.dump().into_iter().filter(|(key, _)| key.starts_with(b"r")).nth(2).unwrap();
    let damage = Batch { conditions: vec![], writes: vec![(third.0.clone(), Some(b"?".to_vec()))] };
    lab.store.commit(&[damage]).unwrap();
    for _ in 0..2 {
        let failed = lab.apply(&Mutation::Step(Step::Release));
        assert!(matches!(failed, Err(MetaError::Damaged { .. })), "{failed:?}");
        assert_eq!((lab.count(b"r"), lab.count(b"v")), (4, 4), "two are gone");
    }
    let mended = Batch { conditions: vec![], writes: vec![(third.0, Some(third.1))] };
    lab.store.commit(&[mended]).unwrap();
    lab.drain_and_delete(3);
    assert_eq!(lab.totals().chunks, 0);
    lab.assert_consistent();
}

#[test]
fn a_version_of_many_chunks_is_released_over_batches_and_steps() {
    let mut lab = Lab::new();
    lab.put("/big", 300 * 65_536);
    lab.delete("/big", true).unwrap();
    lab.now_ms += lab.policy.read_lease_ms + 1;
    let mut steps = 0;
    while lab.step(Step::Release).more {
        steps += 1;
        lab.assert_consistent();
    }
    assert!(steps > 5, "{steps}");
    assert_eq!(lab.totals().tombstones, 900);
}
