//! What inventories may change, and what they may not (C13 of the contract).

use dfs_wire::id::{ChunkId, Generation, Incarnation};
use dfs_wire::message::inventory::{InventoryEntry, InventoryReport};

use super::*;
use crate::coordinator::metadata::ops::inventory::{CopyChange, CopyFinding, Judged, Sight};
use crate::coordinator::metadata::ops::read::LocatedChunk;

fn report(node: u128, entries: &[(&LocatedChunk, u32)]) -> InventoryReport {
    let mut copies: Vec<_> = entries
        .iter()
        .map(|(c, len)| InventoryEntry {
            chunk: c.chunk,
            generation: c.generation,
            len: *len,
            corrupt: false,
        })
        .collect();
    copies.sort_by_key(|e| (e.chunk, e.generation));
    InventoryReport {
        node: NodeId(node),
        incarnation: Incarnation(1),
        after: None,
        upto: None,
        heard_ms: u64::MAX,
        copies,
    }
}

fn chunks(lab: &Lab, p: &str) -> Vec<LocatedChunk> {
    let read = OpenRead { path: path(p), version: None, first: 0, count: 0 };
    lab.reader().open_read(&read).unwrap().chunks
}

fn state(lab: &Lab, p: &str, node: u128) -> Option<CopyState> {
    chunks(lab, p)[0].copies.iter().find(|c| c.node == NodeId(node)).map(|c| c.state)
}

impl Lab {
    fn judge(&mut self, report: &InventoryReport) -> Judged {
        let ctx = self.ctx(OpId(0));
        let mut verdict = self
            .reader()
            .judge(&ctx, report, Sight { reach: &|_| Reach::Here, heard: &|_| Reach::Here })
            .unwrap();
        let mut from = None;
        loop {
            let (found, next) = self.reader().missing(report, from).unwrap();
            verdict.findings.extend(found);
            match next {
                Some(next) => from = Some(next),
                None => return verdict,
            }
        }
    }

    fn take_in(&mut self, report: &InventoryReport) -> Judged {
        let verdict = self.judge(report);
        self.apply(&Mutation::ApplyFindings(report.node, verdict.findings.clone())).unwrap();
        verdict
    }
}

#[test]
fn a_copy_that_is_gone_is_missed_and_one_that_comes_back_is_unverified() {
    let mut lab = Lab::new();
    lab.put("/f", 10);
    let c = chunks(&lab, "/f").remove(0);
    assert_eq!(lab.take_in(&report(1, &[(&c, 10)])), Judged::default(), "all is well");
    let before = InventoryReport { heard_ms: lab.now_ms, ..report(1, &[]) };
    assert_eq!(lab.take_in(&before), Judged::default(), "it may have been stored after the page was cut");
    for node in 1..=3 {
        lab.take_in(&report(node, &[]));
    }
    assert_eq!(state(&lab, "/f", 1), Some(CopyState::Missing));
    assert_eq!(
        (lab.totals().under_replicated, lab.totals().tombstones),
        (1, 0),
        "nothing is ever deleted for it"
    );
    assert!(lab.fsck().problems.iter().any(|p| p.kind == FsckKind::ChunkLost));
    assert_eq!(lab.take_in(&report(1, &[(&c, 10)])).quarantine, []);
    assert_eq!(state(&lab, "/f", 1), Some(CopyState::Unverified));
    assert_eq!(lab.totals().under_replicated, 1, "an unverified copy is not a good one");
    assert!(!lab.fsck().problems.iter().any(|p| p.kind == FsckKind::ChunkLost));
    lab.assert_consistent();
}

#[test]
fn orphans_are_quarantined_once_they_are_old_and_never_from_a_live_upload() {
    let mut lab = Lab::new();
    let session = lab.open(upload_of("/up")).unwrap().session;
    let live = lab.allocate(session, 0, 1).remove(0);
    let unknown = ChunkId::time_ordered(lab.now_ms, 42);
    let entry = |chunk, generation| InventoryEntry { chunk, generation, len: 5, corrupt: false };
    let mut inventory = report(1, &[]);
    inventory.copies = vec![
        entry(live.chunk, Generation(1)),
        entry(unknown, Generation(1)),
        // From a future generation: our records are behind, so hands off.
        entry(live.chunk, Generation(5)),
    ];
    assert_eq!(lab.take_in(&inventory).quarantine, [], "young");
    lab.now_ms += lab.policy.orphan_grace_ms + 1;
    let orphan = ChunkKey { chunk: unknown, generation: Generation(1) };
    assert_eq!(lab.take_in(&inventory).quarantine, std::slice::from_ref(&orphan));
    lab.reallocate(session, 0, 1);
    let old = ChunkKey { chunk: live.chunk, generation: Generation(1) };
    assert_eq!(lab.take_in(&inventory).quarantine, [old, orphan], "the generation that was given up");
}

#[test]
fn a_copy_nobody_asked_for_is_superfluous_only_beside_enough_good_ones() {
    let mut lab = Lab::new();
    lab.put("/f", 10);
    let c = chunks(&lab, "/f").remove(0);
    lab.now_ms += lab.policy.orphan_grace_ms + 1;
    assert_eq!(lab.take_in(&report(9, &[(&c, 10)])).quarantine.len(), 1, "three good ones are known");
    lab.take_in(&report(2, &[]));
    assert_eq!(lab.take_in(&report(9, &[(&c, 10)])).quarantine, [], "one is missing: this one may be needed");
    assert_eq!(state(&lab, "/f", 9), Some(CopyState::Unverified));
    assert_eq!(lab.take_in(&report(8, &[(&c, 11)])), Judged::default(), "of another length: no use, no harm");
}

#[test]
fn good_copies_on_nodes_that_are_down_make_no_other_one_superfluous() {
    let mut lab = Lab::new();
    lab.put("/f", 10);
    let c = chunks(&lab, "/f").remove(0);
    lab.now_ms += lab.policy.orphan_grace_ms + 1;
    let (ctx, found) = (lab.ctx(OpId(0)), report(9, &[(&c, 10)]));
    type Seen<'a> = &'a dyn Fn(NodeId) -> Reach;
    let judged =
        |reach: Seen<'_>, heard: Seen<'_>| lab.reader().judge(&ctx, &found, Sight { reach, heard }).unwrap();
    let here = |_| Reach::Here;
    assert_eq!(judged(&here, &here).quarantine.len(), 1);
    let away = Reach::Away { announced: true };
    let second_away = |node| if node == NodeId(2) { away } else { Reach::Here };
    assert_eq!(judged(&here, &second_away), Judged::default(), "it is silent: nobody knows");
    let verdict = judged(&second_away, &second_away);
    assert_eq!(verdict.quarantine, []);
    assert_eq!(verdict.findings.first().map(|found| found.change), Some(CopyChange::Returned));
}

#[test]
fn bad_copies_are_marked_and_stay_marked() {
    let mut lab = Lab::new();
    lab.put("/f", 10);
    let c = chunks(&lab, "/f").remove(0);
    let key = ChunkKey { chunk: c.chunk, generation: c.generation };
    let finding = CopyFinding { key, change: CopyChange::Corrupt };
    lab.apply(&Mutation::ApplyFindings(NodeId(1), vec![finding])).unwrap();
    lab.take_in(&report(2, &[(&c, 11)]));
    assert_eq!(state(&lab, "/f", 1), Some(CopyState::Corrupt));
    assert_eq!(state(&lab, "/f", 2), Some(CopyState::Corrupt), "a wrong length is damage");
    lab.take_in(&report(1, &[(&c, 10)]));
    assert_eq!(state(&lab, "/f", 1), Some(CopyState::Corrupt), "its word alone does not make it good");
    assert_eq!(chunks(&lab, "/f")[0].copies[0].node, NodeId(3), "readers are sent to the good one first");
    let stale = CopyFinding { key: ChunkKey { generation: Generation(9), ..finding.key }, ..finding };
    lab.apply(&Mutation::ApplyFindings(NodeId(3), vec![stale])).unwrap();
    assert_eq!(state(&lab, "/f", 3), Some(CopyState::Good), "judged by an older state");
    assert_eq!(lab.totals().lost, 0, "one copy is good");
    lab.apply(&Mutation::ApplyFindings(NodeId(3), vec![finding])).unwrap();
    assert_eq!((lab.totals().lost, lab.totals().under_replicated), (1, 1));
    lab.assert_consistent();
    lab.delete("/f", true).unwrap();
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab.drain_and_delete(3);
    assert_eq!(lab.totals().lost, 0, "nothing refers to it any more");
}

#[test]
fn only_the_reported_range_is_compared() {
    let mut lab = Lab::new();
    lab.put("/f", 10 * 65_536);
    let all = chunks(&lab, "/f");
    let copy = |i: usize| ChunkKey { chunk: all[i].chunk, generation: all[i].generation };
    let page = |after: Option<usize>, upto: Option<usize>, have: &[usize]| {
        let entries: Vec<_> = have.iter().map(|&i| (&all[i], 65_536)).collect();
        InventoryReport { after: after.map(copy), upto: upto.map(copy), ..report(1, &entries) }
    };
    let lost = |lab: &mut Lab, r: InventoryReport| {
        lab.judge(&r)
            .findings
            .iter()
            .map(|f| all.iter().position(|c| c.chunk == f.key.chunk).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(lost(&mut lab, page(None, Some(3), &[0, 1, 3])), [2]);
    assert_eq!(lost(&mut lab, page(Some(3), Some(7), &[5, 6])), [4, 7]);
    assert_eq!(lost(&mut lab, page(Some(7), None, &[8])), [9]);
    assert!(lost(&mut lab, page(None, None, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])).is_empty());
}
