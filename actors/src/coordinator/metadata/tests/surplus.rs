//! Copies that are ordered away: never so that too few are left, and kept if too few are left meanwhile.

use super::*;
use crate::coordinator::metadata::model::records::{ChunkRecord, UnknownReign};
use crate::coordinator::metadata::ops::inventory::{CopyChange, CopyFinding};
use crate::coordinator::metadata::ops::surplus::{self, CopyDrop};
use crate::coordinator::metadata::table::view::Committed;
use dfs_wire::id::Epoch;

const EVERYBODY: [u128; 4] = [1, 2, 3, 4];

fn nodes(ids: &[u128]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

/// A file of one chunk on the nodes 1, 2 and 3.
fn lab() -> (Lab, ChunkKey) {
    let mut lab = Lab::new();
    let stat = lab.put("/f", 10);
    let version = Some(PinnedVersion { inode: stat.inode, version: stat.version });
    let open = OpenRead { path: stat.path, version, first: 0, count: 0 };
    let chunk = lab.reader().open_read(&open).unwrap().chunks.remove(0);
    (lab, ChunkKey { chunk: chunk.chunk, generation: chunk.generation })
}

fn done(lab: &mut Lab, mutation: &Mutation) -> bool {
    let Outcome::Progress(progress) = lab.apply(mutation).unwrap() else { panic!("another outcome") };
    lab.assert_consistent();
    progress.done == 1
}

fn found(lab: &mut Lab, key: ChunkKey, node: u128, change: CopyChange) -> bool {
    done(lab, &Mutation::ApplyFindings(NodeId(node), vec![CopyFinding { key, change }]))
}

fn drop_it(lab: &mut Lab, key: ChunkKey, node: u128, keep: &[u128]) -> bool {
    done(
        lab,
        &Mutation::DropCopy(CopyDrop {
            key,
            node: NodeId(node),
            keep: nodes(keep),
            cause: CopyCause::Surplus,
        }),
    )
}

fn copies(lab: &Lab, key: ChunkKey) -> Vec<(u128, CopyState)> {
    let load = |rows: &Committed<'_>| rows.load::<ChunkRecord>(&keys::chunk(key.chunk));
    let record = lab.reader().read(load).unwrap().unwrap();
    record.copies.iter().map(|copy| (copy.node.0, copy.state)).collect()
}

/// What a node is told to delete while these are heard of.
fn orders(lab: &Lab, node: u128, heard: &[u128]) -> usize {
    let reach = |node: NodeId| match heard.contains(&node.0) {
        true => Reach::Here,
        false => Reach::Away { announced: false },
    };
    lab.reader().orders(NodeId(node), 10, &reach).unwrap().len()
}

#[test]
fn a_copy_that_was_made_for_a_live_chunk_counts_and_for_a_dead_one_it_is_ordered_away() {
    let (mut lab, key) = lab();
    assert!(found(&mut lab, key, 4, CopyChange::Verified));
    assert_eq!(copies(&lab, key)[3], (4, CopyState::Good));
    assert!(!found(&mut lab, key, 4, CopyChange::Verified), "it is known");
    let later = ChunkKey { generation: Generation(key.generation.0 + 1), ..key };
    found(&mut lab, later, 5, CopyChange::Verified);
    assert_eq!((copies(&lab, key).len(), orders(&lab, 5, &EVERYBODY)), (4, 1), "of another generation");
    found(&mut lab, key, 1, CopyChange::Corrupt);
    assert!(!found(&mut lab, key, 1, CopyChange::Verified), "what was condemned stays so");
}

#[test]
fn of_four_good_copies_one_may_go_and_no_other() {
    let (mut lab, key) = lab();
    found(&mut lab, key, 4, CopyChange::Verified);
    for keep in [&[1, 2][..], &[1, 1, 2], &[1, 2, 4], &[1, 2, 5]] {
        assert!(!drop_it(&mut lab, key, 4, keep), "{keep:?} are too few");
    }
    assert!(drop_it(&mut lab, key, 4, &[1, 2, 3]));
    assert_eq!(copies(&lab, key)[3], (4, CopyState::Dropping));
    for node in [1, 2, 3, 4] {
        assert!(
            !drop_it(&mut lab, key, node, &EVERYBODY),
            "{node}: the first counts for nothing from then on"
        );
    }
    assert!(!found(&mut lab, key, 4, CopyChange::Returned) && !found(&mut lab, key, 4, CopyChange::Corrupt));
    assert_eq!(orders(&lab, 4, &EVERYBODY), 1);
    assert_eq!(orders(&lab, 4, &[1, 2, 4]), 0, "one of those it was dropped for is not heard of");
    lab.apply(&Mutation::ConfirmDeleted(NodeId(4), vec![key])).unwrap();
    lab.assert_consistent();
    assert_eq!(copies(&lab, key), [1, 2, 3].map(|node| (node, CopyState::Good)));
}

#[test]
fn a_bad_copy_goes_while_there_is_a_good_one_and_stays_bad_until_it_is_gone() {
    let (mut lab, key) = lab();
    for node in [1, 2, 3] {
        found(&mut lab, key, node, CopyChange::Corrupt);
    }
    assert!(!drop_it(&mut lab, key, 1, &EVERYBODY), "somebody may make something of them");
    let (mut lab, key) = self::lab();
    found(&mut lab, key, 1, CopyChange::Corrupt);
    assert!(drop_it(&mut lab, key, 1, &[2]));
    assert!(!drop_it(&mut lab, key, 1, &[2]), "it is ordered away already");
    assert_eq!(copies(&lab, key)[0], (1, CopyState::Corrupt));
    assert_eq!((orders(&lab, 1, &[2]), orders(&lab, 1, &[1])), (1, 0));
    lab.apply(&Mutation::ConfirmDeleted(NodeId(1), vec![key])).unwrap();
    assert_eq!(copies(&lab, key), [2, 3].map(|node| (node, CopyState::Good)));
    assert!(found(&mut lab, key, 1, CopyChange::Verified), "there is room for another one");
    lab.assert_consistent();
}

#[test]
fn what_is_missing_is_forgotten_at_once() {
    let (mut lab, key) = lab();
    found(&mut lab, key, 1, CopyChange::Missing { heard_ms: u64::MAX });
    assert!(drop_it(&mut lab, key, 1, &[2]));
    assert_eq!((copies(&lab, key).len(), orders(&lab, 1, &EVERYBODY)), (2, 0));
}

#[test]
fn a_copy_that_is_kept_after_all_is_to_be_verified_and_no_longer_ordered_away() {
    let (mut lab, key) = lab();
    found(&mut lab, key, 4, CopyChange::Verified);
    assert!(!done(&mut lab, &Mutation::KeepCopy(NodeId(4), key)), "nobody drops it");
    drop_it(&mut lab, key, 4, &[1, 2, 3]);
    assert!(done(&mut lab, &Mutation::KeepCopy(NodeId(4), key)));
    assert_eq!((copies(&lab, key)[3], orders(&lab, 4, &EVERYBODY)), ((4, CopyState::Unverified), 0));
    lab.apply(&Mutation::ConfirmDeleted(NodeId(4), vec![key])).unwrap();
    assert_eq!(copies(&lab, key).len(), 4, "its node was faster, and will say that it is missing");
}

#[test]
fn a_copy_that_nobody_noted_is_discarded_unless_it_is_of_use_by_then() {
    let (mut lab, key) = lab();
    assert!(!done(&mut lab, &Mutation::DiscardCopy(NodeId(1), key)), "it is noted");
    assert!(done(&mut lab, &Mutation::DiscardCopy(NodeId(4), key)));
    assert_eq!((orders(&lab, 4, &EVERYBODY), orders(&lab, 4, &[1, 2])), (1, 0));
    found(&mut lab, key, 4, CopyChange::Verified);
    assert_eq!(orders(&lab, 4, &EVERYBODY), 0, "it counts now");
    lab.apply(&Mutation::ConfirmDeleted(NodeId(4), vec![key])).unwrap();
    assert_eq!(copies(&lab, key)[3], (4, CopyState::Missing), "the order was on its way");
    lab.assert_consistent();
}

#[test]
fn metadata_that_is_an_old_copy_drops_nothing() {
    let (mut lab, key) = lab();
    found(&mut lab, key, 4, CopyChange::Verified);
    let seen = UnknownReign {
        epoch: Epoch(9),
        node: NodeId(1),
        name: String::new(),
        found_ms: 0,
        heard: 9,
        known: None,
    };
    lab.apply(&Mutation::NoteUnknownReign(seen)).unwrap();
    assert!(!drop_it(&mut lab, key, 4, &[1, 2, 3]));
    assert_eq!(surplus::left_at_least(CopyState::Good, 0), 1, "not even of what asks for none");
}
