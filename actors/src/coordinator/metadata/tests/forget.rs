//! What `nodes forget` may end, and what it may not.

use std::collections::BTreeMap;

use super::*;
use crate::coordinator::metadata::model::records::{NodeRecord, Standing};
use crate::coordinator::metadata::ops::forget::ForgetNode;
use crate::coordinator::metadata::ops::inventory::{CopyChange, CopyFinding};

impl Lab {
    fn know(&mut self, nodes: std::ops::RangeInclusive<u128>) {
        for id in nodes {
            let record = NodeRecord {
                name: format!("dn-{id}"),
                zone: String::new(),
                address: format!("10.0.0.{id}:8081"),
                registered_ms: 1,
                standing: Standing::Left,
                since_ms: 1,
            };
            self.apply(&Mutation::PutNodes(vec![(NodeId(id), record)])).unwrap();
        }
    }

    fn forget(&mut self, node: u128, accept_loss: bool, gone: &[u128]) -> Result<Outcome, MetaError> {
        let reaches: BTreeMap<_, _> = gone.iter().map(|&id| (NodeId(id), Reach::Gone)).collect();
        self.apply(&Mutation::ForgetNode(ForgetNode { node: NodeId(node), accept_loss, reaches }))
    }

    fn rows_of(&self, node: u128) -> (usize, usize) {
        let of = |table: &[u8]| self.count(&[table, &NodeId(node).to_bytes()].concat());
        (of(b"y"), of(b"x"))
    }
}

#[test]
fn a_node_with_the_last_known_copy_of_anything_is_forgotten_only_if_the_loss_is_accepted() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.put("/f", 10);
    assert!(lab.forget(1, false, &[]).is_ok(), "two others may come back with it");
    assert!(lab.forget(2, false, &[1]).is_ok());
    lab.drain();
    let refused = lab.forget(3, false, &[1, 2]).unwrap_err();
    assert_eq!(refused.code(), StatusCode::PreconditionFailed);
    assert!(refused.to_string().contains("last known copy of 1 chunks (10 bytes)"), "{refused}");
    assert_eq!(lab.rows_of(3), (1, 0), "nothing was touched");
    lab.forget(3, true, &[1, 2]).unwrap();
    lab.drain();
    assert!(lab.fsck().problems.iter().any(|p| p.kind == FsckKind::ChunkLost));
    lab.assert_consistent();
    assert_eq!(lab.forget(9, false, &[]).unwrap_err().code(), StatusCode::NotFound);
}

#[test]
fn what_is_said_of_a_forgotten_node_ends_and_nothing_new_is_asked_of_it() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    for file in 0..30 {
        lab.put(&format!("/{file}"), 3 * 65_536);
    }
    for file in 0..10 {
        lab.delete(&format!("/{file}"), true).unwrap();
    }
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab.drain_and_delete(2);
    assert_eq!(lab.rows_of(3), (90, 30), "deletions wait for the third node for ever");
    let session = lab.open(upload_of("/half")).unwrap().session;
    lab.allocate(session, 0, 2);
    lab.forget(3, false, &[]).unwrap();
    // Deleted while the steps are under way.
    lab.delete("/11", true).unwrap();
    lab.now_ms += lab.policy.upload_lease_ms + lab.policy.read_lease_ms + 1;
    lab.drain();
    assert_eq!((lab.rows_of(3), lab.count(b"a")), ((0, 0), 0));
    lab.drain_and_delete(2);
    assert_eq!((lab.totals().tombstones, lab.totals().chunks), (0, 19 * 3));
    assert_eq!(lab.totals().under_replicated, 19 * 3);
    lab.assert_consistent();
    // It is fenced, and a copy that its disk may still bring is nobody's.
    let nodes = lab.reader().nodes().unwrap();
    assert_eq!(nodes[2].1.standing, Standing::Forgotten);
    let read = OpenRead { path: path("/20"), version: None, first: 0, count: 1 };
    let chunk = lab.reader().open_read(&read).unwrap().chunks.remove(0);
    let (generation, change) = (chunk.generation, CopyChange::Missing { heard_ms: u64::MAX });
    let finding = CopyFinding { chunk: chunk.chunk, generation, change };
    lab.apply(&Mutation::ApplyFindings(NodeId(3), vec![finding])).unwrap();
    assert_eq!(lab.rows_of(3), (0, 0));
}

#[test]
fn two_nodes_forgotten_at_once_do_not_take_the_last_two_copies_along() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.put("/f", 10);
    assert!(lab.forget(1, false, &[]).is_ok() && lab.forget(2, false, &[]).is_ok());
    let refused = lab.forget(3, false, &[]).unwrap_err();
    assert_eq!(refused.code(), StatusCode::PreconditionFailed, "whoever asks looked before the others were");
    lab.drain();
    assert_eq!(lab.rows_of(3), (1, 0));
    lab.assert_consistent();
}

#[test]
fn a_registration_under_way_does_not_undo_forgetting_and_an_admission_ends_it() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.put("/f", 10);
    lab.forget(1, false, &[]).unwrap();
    let forgotten = lab.reader().node(NodeId(1)).unwrap().unwrap();
    let put = |lab: &mut Lab, standing| {
        let record = NodeRecord { standing, ..forgotten.clone() };
        lab.apply(&Mutation::PutNodes(vec![(NodeId(1), record)]))
    };
    assert_eq!(put(&mut lab, Standing::Member).unwrap_err().code(), StatusCode::NotAdmitted);
    assert_eq!(lab.reader().node(NodeId(1)).unwrap().unwrap().standing, Standing::Forgotten);
    put(&mut lab, Standing::Left).unwrap();
    put(&mut lab, Standing::Member).unwrap();
    lab.drain();
    assert_eq!((lab.rows_of(1), lab.count(b"a")), ((1, 0), 0), "its copies count again");
    lab.assert_consistent();
}
