//! Uploads: nothing shows before the commit, and a commit holds only what nodes have signed for.

use dfs_wire::id::{Generation, VersionId};

use super::*;

#[test]
fn nothing_shows_before_the_commit_not_even_a_parent() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/new/dir/file")).unwrap().session;
    let chunks = lab.allocate(session, 0, 2);
    lab.record(session, chunks.iter().map(|c| stored(c, 65_536, &[1, 2, 3])).collect()).unwrap();
    assert_eq!(lab.reader().stat(&path("/new")).unwrap_err().code(), StatusCode::NotFound);
    let stat = lab.commit(session, 131_072, 2).unwrap();
    assert_eq!((stat.size, stat.chunk_count, stat.version), (131_072, 2, VersionId(session.0)));
    assert_eq!(lab.reader().stat(&path("/new/dir/file")).unwrap(), stat);
    assert_eq!(lab.commit(session, 131_072, 2).unwrap_err().code(), StatusCode::SessionClosed);
    lab.assert_consistent();
}

#[test]
fn receipts_must_be_true_enough_and_for_the_generation_that_counts() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/f")).unwrap().session;
    let chunk = lab.allocate(session, 0, 1).remove(0);
    let refused = |lab: &mut Lab, s: StoredChunk| lab.record(session, vec![s]).unwrap_err().code();
    let good = stored(&chunk, 65_536, &[1, 2]);

    assert_eq!(refused(&mut lab, stored(&chunk, 65_536, &[1])), StatusCode::NoWriteQuorum);
    assert_eq!(
        refused(&mut lab, stored(&chunk, 65_536, &[1, 1])),
        StatusCode::NoWriteQuorum,
        "one node twice"
    );
    assert_eq!(
        refused(&mut lab, stored(&chunk, 65_536, &[1, 9])),
        StatusCode::PermissionDenied,
        "not a target"
    );
    assert_eq!(refused(&mut lab, stored(&chunk, 65_537, &[1, 2])), StatusCode::InvalidArgument, "too long");
    assert_eq!(refused(&mut lab, stored(&chunk, 0, &[1, 2])), StatusCode::InvalidArgument);
    assert_eq!(
        refused(&mut lab, StoredChunk { index: 0, receipts: Vec::new() }),
        StatusCode::InvalidArgument
    );
    assert_eq!(refused(&mut lab, StoredChunk { index: 7, ..good.clone() }), StatusCode::InvalidArgument);
    let mut forged = good.clone();
    forged.receipts[1].mac.0[0] ^= 1;
    assert_eq!(refused(&mut lab, forged), StatusCode::PermissionDenied);
    let mut mixed = good.clone();
    mixed.receipts[1] = stored(&chunk, 65_535, &[2]).receipts.remove(0);
    assert_eq!(refused(&mut lab, mixed), StatusCode::PermissionDenied, "two nodes, two lengths");
    let later = AllocatedChunk { generation: Generation(2), ..chunk.clone() };
    assert_eq!(refused(&mut lab, stored(&later, 65_536, &[1, 2])), StatusCode::PermissionDenied);
    assert_eq!(lab.totals().under_replicated, 0, "refusals leave nothing");

    lab.record(session, vec![good]).unwrap();
    assert_eq!(lab.totals().under_replicated, 1, "the third copy is queued with the record itself");
    assert_eq!(
        refused(&mut lab, stored(&chunk, 65_535, &[1, 2])),
        StatusCode::PermissionDenied,
        "other bytes"
    );
    lab.record(session, vec![stored(&chunk, 65_536, &[1, 2, 3])]).unwrap();
    assert_eq!(lab.totals().under_replicated, 0, "the straggler came after all");
    lab.commit(session, 65_536, 1).unwrap();
    lab.assert_consistent();
}

#[test]
fn a_new_generation_gives_the_old_one_up() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/f")).unwrap().session;
    let first = lab.allocate(session, 0, 3);
    lab.record(session, first.iter().map(|c| stored(c, 65_536, &[1, 2, 3])).collect()).unwrap();
    let again = lab.reallocate(session, 1, 1);
    assert_eq!((again.chunk, again.generation), (first[1].chunk, Generation(2)));
    assert_eq!(
        lab.commit(session, 196_608, 3).unwrap_err().code(),
        StatusCode::InvalidArgument,
        "chunk 1 is open"
    );
    let stale = stored(&first[1], 65_536, &[1, 2, 3]);
    assert_eq!(lab.record(session, vec![stale]).unwrap_err().code(), StatusCode::PermissionDenied);
    lab.record(session, vec![stored(&again, 65_536, &[1, 2, 3])]).unwrap();
    lab.commit(session, 196_608, 3).unwrap();
    lab.drain();
    let told = lab.reader().tombstones(NodeId(2), 10).unwrap();
    assert_eq!(told, [ChunkKey { chunk: again.chunk, generation: Generation(1) }]);
    lab.drain_and_delete(3);
    assert_eq!((lab.totals().chunks, lab.totals().tombstones), (3, 0), "the live generation stays");
    lab.assert_consistent();
}

#[test]
fn repeating_an_allocation_gives_the_same_chunks() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/f")).unwrap().session;
    let request =
        |above| AllocateChunks { session, first: 0, count: 2, above: Generation(above), exclude: Vec::new() };
    let allocate = |above, nodes: &[u128]| Mutation::Allocate(request(above), vec![placement(nodes); 2]);
    let first = lab.apply_as(OpId(9), &allocate(0, &[1, 2, 3])).unwrap();
    assert_eq!(lab.apply_as(OpId(9), &allocate(0, &[4, 5, 6])).unwrap(), first);
    let second = lab.apply_as(OpId(10), &allocate(1, &[4, 5, 6])).unwrap();
    assert_ne!(second, first);
    assert_eq!(lab.apply_as(OpId(9), &allocate(0, &[1, 2, 3])).unwrap(), second, "the first one comes late");
    assert_eq!(lab.code(&allocate(3, &[1, 2, 3])), StatusCode::InvalidArgument, "nobody was ever given it");
    assert_eq!(lab.code(&allocate(2, &[1])), StatusCode::NoWriteQuorum);
    assert_eq!(lab.code(&allocate(2, &[1, 1])), StatusCode::InvalidArgument);
    let open = Mutation::OpenUpload(upload_of("/g"), vec![placement(&[1, 2, 3]); 4]);
    let opened = lab.apply_as(OpId(11), &open).unwrap();
    assert_eq!(
        lab.apply_as(OpId(11), &open).unwrap(),
        opened,
        "allocations ride along, and are repeated too"
    );
    let Outcome::Opened(opened) = opened else { panic!() };
    assert_eq!(opened.allocations.len(), 4);
    lab.apply(&Mutation::Abort(SessionOnly { session: opened.session })).unwrap();
    assert_eq!(lab.apply_as(OpId(11), &open).unwrap_err().code(), StatusCode::SessionClosed);
}

#[test]
fn an_allocation_that_comes_again_after_its_chunk_was_recorded_takes_nothing_back() {
    let mut lab = Lab::new();
    let open = Mutation::OpenUpload(upload_of("/f"), vec![placement(&[1, 2, 3]); 2]);
    let (opening, asking) = (OpId(9), OpId(10));
    let Outcome::Opened(opened) = lab.apply_as(opening, &open).unwrap() else { panic!() };
    let session = opened.session;
    let request = AllocateChunks { session, first: 2, count: 1, above: Generation(0), exclude: Vec::new() };
    let allocate = Mutation::Allocate(request, vec![placement(&[1, 2, 3])]);
    let Outcome::Allocated(third) = lab.apply_as(asking, &allocate).unwrap() else { panic!() };
    let chunks: Vec<_> = opened.allocations.iter().chain(&third).cloned().collect();
    lab.record(session, chunks.iter().map(|c| stored(c, 65_536, &[1, 2, 3])).collect()).unwrap();

    assert_eq!(lab.apply_as(asking, &allocate).unwrap(), Outcome::Allocated(third));
    let Outcome::Opened(again) = lab.apply_as(opening, &open).unwrap() else { panic!() };
    assert_eq!(again.allocations, opened.allocations);
    assert_eq!(lab.count(b"z"), 0, "nothing was given up");
    lab.commit(session, 3 * 65_536, 3).unwrap();
    lab.assert_consistent();
}

#[test]
fn every_generation_that_is_given_up_is_deleted_even_if_two_are_at_the_same_moment() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/f")).unwrap().session;
    let chunk = lab.allocate(session, 0, 1).remove(0);
    let [.., last] = [1, 2, 3].map(|above| lab.reallocate(session, 0, above));
    lab.record(session, vec![stored(&last, 65_536, &[1, 2, 3])]).unwrap();
    lab.commit(session, 65_536, 1).unwrap();
    lab.drain();
    let given_up = |generation| ChunkKey { chunk: chunk.chunk, generation: Generation(generation) };
    assert_eq!(lab.reader().tombstones(NodeId(2), 10).unwrap(), [1, 2, 3].map(given_up));
    lab.drain_and_delete(3);
    lab.assert_consistent();
}

#[test]
fn lengths_must_add_up_and_only_the_last_chunk_may_be_short() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/f")).unwrap().session;
    let chunks = lab.allocate(session, 0, 3);
    let mut parts: Vec<_> = chunks.iter().map(|c| stored(c, 65_536, &[1, 2])).collect();
    parts[0] = stored(&chunks[0], 100, &[1, 2]);
    parts[2] = stored(&chunks[2], 100, &[1, 2]);
    assert_eq!(
        lab.record(session, parts.clone()).unwrap_err().code(),
        StatusCode::InvalidArgument,
        "two short"
    );
    lab.record(session, parts[..2].to_vec()).unwrap();
    assert_eq!(
        lab.commit(session, 65_636, 2).unwrap_err().code(),
        StatusCode::InvalidArgument,
        "the first is short"
    );
    let again = lab.reallocate(session, 0, 1);
    lab.record(session, vec![stored(&again, 65_536, &[1, 2]), parts[2].clone()]).unwrap();
    for (size, count) in [(131_171, 3), (131_172, 2), (131_172, 4), (0, 0)] {
        assert_eq!(lab.commit(session, size, count).unwrap_err().code(), StatusCode::InvalidArgument);
    }
    lab.commit(session, 131_172, 3).unwrap();
}

#[test]
fn the_last_commit_wins_and_preconditions_are_judged_at_the_commit() {
    let mut lab = Lab::new();
    let with = |p: Precondition| OpenUpload { precondition: p, ..upload_of("/f") };
    let a = lab.open(with(Precondition::Absent)).unwrap().session;
    let b = lab.open(with(Precondition::Any)).unwrap().session;
    let one = lab.commit(b, 0, 0).unwrap();
    assert_eq!(lab.commit(a, 0, 0).unwrap_err().code(), StatusCode::PreconditionFailed);
    assert_eq!(lab.open(with(Precondition::Absent)).unwrap_err().code(), StatusCode::PreconditionFailed);
    let c = lab.open(with(Precondition::Match(one.version))).unwrap().session;
    let d = lab.open(with(Precondition::Match(one.version))).unwrap().session;
    let two = lab.commit(d, 0, 0).unwrap();
    assert_eq!(lab.commit(c, 0, 0).unwrap_err().code(), StatusCode::PreconditionFailed, "compare-and-set");
    assert_eq!(two.created_ms, one.created_ms);
    lab.mkdir("/g");
    assert_eq!(lab.open(upload_of("/g")).unwrap_err().code(), StatusCode::IsADirectory);
    let lost = lab.open(OpenUpload { parents: false, ..upload_of("/g/f") }).unwrap().session;
    lab.delete("/g", false).unwrap();
    assert_eq!(lab.commit(lost, 0, 0).unwrap_err().code(), StatusCode::NotFound, "the directory is gone");
    lab.assert_consistent();
}

#[test]
fn bad_parameters_are_refused_at_the_opening() {
    let mut lab = Lab::new();
    let base = upload_of("/f");
    for bad in [
        OpenUpload { chunk_size: 65_535, ..base.clone() },
        OpenUpload { chunk_size: 64 * 1024 * 1024 + 1, ..base.clone() },
        OpenUpload { replication: 8, ..base.clone() },
        OpenUpload { size_hint: Some(u64::MAX), ..base.clone() },
    ] {
        assert_eq!(lab.open(bad).unwrap_err().code(), StatusCode::InvalidArgument);
    }
    let plain = OpenUpload { chunk_size: 0, replication: 0, ..base.clone() };
    let opened = lab.open(plain).unwrap();
    assert_eq!((opened.chunk_size, opened.replication, opened.min_ack), (8 * 1024 * 1024, 3, 2));
    assert_eq!(lab.open(OpenUpload { replication: 1, ..base }).unwrap().min_ack, 1);
}

#[test]
fn an_upload_that_is_given_up_or_forgotten_leaves_nothing() {
    let mut lab = Lab::new();
    let before = (lab.count(b"k"), lab.count(b"s"), lab.count(b"v"), lab.count(b"e"));
    for ends_by_abort in [true, false] {
        let session = lab.open(upload_of("/f")).unwrap().session;
        for first in [0, 32, 64] {
            let chunks = lab.allocate(session, first, 32);
            lab.record(session, chunks.iter().take(20).map(|c| stored(c, 65_536, &[1, 2])).collect())
                .unwrap();
        }
        if ends_by_abort {
            lab.apply(&Mutation::Abort(SessionOnly { session })).unwrap();
        } else {
            lab.now_ms += lab.policy.upload_lease_ms - 1;
            lab.apply(&Mutation::Renew(SessionOnly { session })).unwrap();
            lab.now_ms += lab.policy.upload_lease_ms - 1;
            lab.drain();
            assert_eq!(lab.totals().uploads, 1, "it was renewed");
            lab.now_ms += 2;
            lab.drain();
        }
        assert_eq!(lab.commit(session, 0, 0).unwrap_err().code(), StatusCode::SessionClosed);
        lab.drain();
        assert!(lab.totals().tombstones > 0, "all that may be on a disk is deleted, receipts or not");
        lab.assert_consistent();
        lab.drain_and_delete(3);
        assert_eq!((lab.count(b"k"), lab.count(b"s"), lab.count(b"v"), lab.count(b"e")), before);
        assert_eq!((lab.totals().uploads, lab.totals().chunks, lab.totals().tombstones), (0, 0, 0));
    }
}

#[test]
fn what_was_allocated_beyond_the_end_goes_and_the_file_stays() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/f")).unwrap().session;
    let chunks = lab.allocate(session, 0, 32);
    lab.allocate(session, 32, 32);
    lab.record(session, chunks.iter().take(5).map(|c| stored(c, 65_536, &[1, 2, 3])).collect()).unwrap();
    let stat = lab.commit(session, 5 * 65_536, 5).unwrap();
    lab.drain_and_delete(3);
    assert_eq!((lab.totals().chunks, lab.count(b"s")), (5, 1));
    let read = OpenRead { path: path("/f"), version: None, first: 0, count: 0 };
    assert_eq!(lab.reader().open_read(&read).unwrap().chunks.len(), 5);
    assert_eq!(lab.reader().stat(&path("/f")).unwrap(), stat);
    lab.assert_consistent();
}

#[test]
fn a_big_file_is_committed_in_one_small_batch_and_read_in_pages() {
    let mut lab = Lab::new();
    let count = 4_000;
    let stat = lab.put("/big", u64::from(count) * 65_536 - 1);
    assert_eq!(stat.chunk_count, count);
    assert!(lab.ops_max < 110, "no batch grows with the file: {}", lab.ops_max);
    let mut index = 0;
    while index < count {
        let read = OpenRead { path: path("/big"), version: None, first: index, count: 0 };
        for chunk in lab.reader().open_read(&read).unwrap().chunks {
            assert_eq!((chunk.index, chunk.copies.len()), (index, 3));
            assert_eq!(chunk.len, if index + 1 == count { 65_535 } else { 65_536 });
            index += 1;
        }
    }
    let explained = lab.reader().explain(&Explain { path: path("/big"), first: 0 }).unwrap();
    assert_eq!((explained.chunks.len(), explained.next), (8, Some(8)));
    assert_eq!(explained.chunks[0].1.reasons[0].rule, "chosen");
    lab.assert_consistent();
    lab.delete("/big", true).unwrap();
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab.drain_and_delete(3);
    assert_eq!((lab.totals().chunks, lab.count(b"s"), lab.count(b"e")), (0, 0, 0));
}
