//! The life of a chunk as it is told afterwards, and that telling it never stands in anybody's way.

use dfs_wire::codec;
use dfs_wire::id::ChunkId;
use dfs_wire::message::metadata::CopyTurn::{self, *};

use super::*;
use crate::coordinator::metadata::model::records::Reasons;
use crate::coordinator::metadata::ops::inventory::{CHANGES_MAX, CopyChange, CopyFinding};
use crate::coordinator::metadata::ops::surplus::CopyDrop;
use crate::coordinator::metadata::table::store::Batch;

impl Lab {
    fn reasons(&self, p: &str) -> Vec<(ChunkKey, Reasons)> {
        let mut all = Vec::new();
        let mut first = Some(0);
        while let Some(from) = first {
            let page = self.reader().explain(&Explain { path: path(p), first: from }).unwrap();
            let key = |chunk: ChunkId, generation| ChunkKey { chunk, generation };
            all.extend(page.chunks.into_iter().map(|(it, kept)| (key(it.chunk, it.generation), kept)));
            first = page.next;
        }
        all
    }

    /// What became of the one chunk of a file.
    fn life(&self, p: &str) -> Vec<(u128, CopyTurn)> {
        let kept = self.reasons(p).remove(0).1;
        kept.life.iter().map(|turn| (turn.node.0, turn.turn)).collect()
    }

    fn drop_copies(&mut self, p: &str, node: u128, keep: &[u128], cause: CopyCause) {
        for (key, _) in self.reasons(p) {
            let keep = keep.iter().map(|node| NodeId(*node)).collect();
            self.apply(&Mutation::DropCopy(CopyDrop { key, node: NodeId(node), keep, cause })).unwrap();
        }
    }
}

#[test]
fn what_becomes_of_the_copies_is_told_with_when_and_why() {
    let mut lab = Lab::new();
    lab.wall_ahead_ms = 5_000_000;
    lab.put("/f", 10);
    assert_eq!(lab.reasons("/f")[0].1.placed_ms, Some(6_000_000), "by the wall clock");
    assert_eq!(lab.life("/f"), [], "writing it is no turn");
    lab.found("/f", 3, CopyChange::Missing { heard_ms: u64::MAX });
    lab.found("/f", 4, CopyChange::Copied(CopyCause::Repair));
    lab.found("/f", 4, CopyChange::Copied(CopyCause::Repair));
    lab.found("/f", 3, CopyChange::Returned);
    lab.found("/f", 3, CopyChange::Verified);
    lab.drop_copies("/f", 4, &[1, 2, 3], CopyCause::Surplus);
    lab.drop_copies("/f", 4, &[1, 2, 3], CopyCause::Surplus);
    let key = lab.reasons("/f")[0].0;
    lab.apply(&Mutation::KeepCopy(NodeId(4), key)).unwrap();
    lab.found("/f", 4, CopyChange::Corrupt);
    lab.drop_copies("/f", 4, &[1, 2, 3], CopyCause::Corrupt);
    lab.apply(&Mutation::ConfirmDeleted(NodeId(4), vec![key])).unwrap();
    let expected = [
        (3, Missing),
        (4, Copied(CopyCause::Repair)),
        (3, Returned),
        (3, Verified),
        (4, Dropping(CopyCause::Surplus)),
        (4, Kept),
        (4, Corrupt),
        (4, Dropping(CopyCause::Corrupt)),
        (4, Deleted),
    ];
    assert_eq!(lab.life("/f"), expected);
    lab.assert_consistent();
    lab.delete("/f", true).unwrap();
    lab.now_ms += 10_000_000;
    lab.drain_and_delete(4);
    assert_eq!(lab.count(b"e"), 0, "nothing is told of what is not there");
}

#[test]
fn a_damaged_row_of_it_hinders_no_repair_and_one_of_an_older_build_is_read() {
    let mut lab = Lab::new();
    lab.put("/f", 10);
    let key = keys::reasons(lab.reasons("/f")[0].0.chunk);
    let write = |lab: &Lab, value: Vec<u8>| {
        let batch = Batch { conditions: vec![], writes: vec![(key.clone(), Some(value))] };
        lab.store.commit(&[batch]).unwrap();
    };
    let mut older = vec![1];
    codec::encode_into(&placement(&[1, 2, 3]).reasons, &mut older).unwrap();
    write(&lab, older);
    lab.found("/f", 3, CopyChange::Missing { heard_ms: u64::MAX });
    let kept = lab.reasons("/f").remove(0).1;
    assert_eq!((kept.reasons.len(), kept.placed_ms, kept.life.len()), (3, None, 1));
    write(&lab, vec![99, 1, 2, 3]);
    assert_eq!(lab.reasons("/f").remove(0).1, Reasons::default(), "it is no reason to tell nothing at all");
    lab.found("/f", 4, CopyChange::Copied(CopyCause::Repair));
    assert_eq!(lab.life("/f"), [(4, Copied(CopyCause::Repair))]);
    lab.assert_consistent();
}

#[test]
fn as_many_confirmations_as_there_are_fit_whatever_else_the_chunks_have() {
    let mut lab = Lab::new();
    lab.put("/f", 60 * 65_536);
    let chunks: Vec<_> = lab.reasons("/f").into_iter().map(|(key, _)| key).collect();
    // Each chunk is a group of its own.
    for (n, key) in (10..).zip(&chunks) {
        let finding = CopyFinding { key: *key, change: CopyChange::Verified };
        lab.apply(&Mutation::ApplyFindings(NodeId(n), vec![finding])).unwrap();
    }
    let on_nine = chunks.iter().map(|key| CopyFinding { key: *key, change: CopyChange::Verified });
    for page in on_nine.collect::<Vec<_>>().chunks(CHANGES_MAX) {
        lab.apply(&Mutation::ApplyFindings(NodeId(9), page.to_vec())).unwrap();
    }
    lab.drop_copies("/f", 9, &[1, 2, 3], CopyCause::Surplus);
    lab.apply(&Mutation::ConfirmDeleted(NodeId(9), chunks)).unwrap();
    assert_eq!((lab.count(b"x"), lab.reasons("/f")[0].1.life.len()), (0, 4));
    lab.assert_consistent();
}

#[test]
fn a_drop_is_told_though_an_order_for_an_earlier_copy_was_there() {
    let mut lab = Lab::new();
    lab.put("/f", 10);
    let key = lab.reasons("/f")[0].0;
    lab.apply(&Mutation::DiscardCopy(NodeId(4), key)).unwrap();
    lab.found("/f", 4, CopyChange::Copied(CopyCause::Drain));
    lab.drop_copies("/f", 4, &[1, 2, 3], CopyCause::Surplus);
    assert_eq!(lab.life("/f"), [(4, Copied(CopyCause::Drain)), (4, Dropping(CopyCause::Surplus))]);
    lab.assert_consistent();
}
