//! What `nodes forget` may end, and what it may not.

use super::*;
use crate::coordinator::metadata::model::records::{Maintenance, NodeRecord, Standing};
use crate::coordinator::metadata::ops::forget::{ForgetNode, Losses};
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

    fn losses(&self, node: u128) -> Losses {
        let mut losses = self.reader().read(|view| Losses::new(view, NodeId(node))).unwrap();
        while !self.reader().read(|view| losses.step(view, 2)).unwrap() {}
        losses
    }

    fn forget_as_seen(
        &mut self,
        losses: Losses,
        node: u128,
        accept_loss: bool,
    ) -> Result<Outcome, MetaError> {
        let until_ms = self.now_ms;
        self.apply(&Mutation::ForgetNode(ForgetNode { node: NodeId(node), accept_loss, losses, until_ms }))
    }

    fn forget(&mut self, node: u128, accept_loss: bool) -> Result<Outcome, MetaError> {
        let losses = self.losses(node);
        self.forget_as_seen(losses, node, accept_loss)
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
    assert!(lab.forget(1, false).is_ok(), "two others may come back with it");
    assert!(lab.forget(2, false).is_ok());
    lab.drain();
    let refused = lab.forget(3, false).unwrap_err();
    assert_eq!(refused.code(), StatusCode::PreconditionFailed);
    assert!(refused.to_string().contains("last known copy of 1 chunks (10 bytes)"), "{refused}");
    assert_eq!(lab.rows_of(3), (1, 0), "nothing was touched");
    lab.forget(3, true).unwrap();
    lab.drain();
    assert!(lab.fsck().problems.iter().any(|p| p.kind == FsckKind::ChunkLost));
    lab.assert_consistent();
    assert_eq!(lab.forget(9, false).unwrap_err().code(), StatusCode::NotFound);
}

#[test]
fn a_forgotten_node_is_in_no_maintenance() {
    let mut lab = Lab::new();
    lab.know(1..=2);
    for id in 1..=2 {
        lab.apply(&Mutation::Maintain(NodeId(id), Maintenance::Until(1_000_000))).unwrap();
    }
    lab.forget(1, false).unwrap();
    let said = lab.reader().maintenance().unwrap();
    assert_eq!(said.0.into_keys().collect::<Vec<_>>(), [NodeId(2)]);
    let refused = lab.apply(&Mutation::Maintain(NodeId(1), Maintenance::Until(1_000_000))).unwrap_err();
    assert_eq!(refused.code(), StatusCode::PreconditionFailed);
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
    lab.forget(3, false).unwrap();
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
    let key = ChunkKey { chunk: chunk.chunk, generation: chunk.generation };
    let change = CopyChange::Missing { heard_ms: u64::MAX };
    for change in [change, CopyChange::Returned] {
        let finding = CopyFinding { key, change };
        lab.apply(&Mutation::ApplyFindings(NodeId(3), vec![finding])).unwrap();
        assert_eq!(lab.rows_of(3), (0, 0), "{change:?}");
    }
}

#[test]
fn what_was_seen_before_holds_only_while_no_chunk_came_to_depend_on_fewer_copies() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.put("/f", 10);
    let seen = [1, 2, 3].map(|node| lab.losses(node));
    assert!(lab.forget_as_seen(seen[0].clone(), 1, false).is_ok());
    let busy = |lab: &mut Lab, node: usize| {
        let refused = lab.forget_as_seen(seen[node - 1].clone(), node as u128, false).unwrap_err();
        assert_eq!(refused.code(), StatusCode::Busy, "{refused}");
    };
    busy(&mut lab, 2);
    lab.forget(2, false).unwrap();
    // Seen when two others had copies.
    busy(&mut lab, 3);
    assert_eq!(lab.forget(3, false).unwrap_err().code(), StatusCode::PreconditionFailed);
    assert_eq!(lab.rows_of(3), (1, 0));
    lab.assert_consistent();

    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.put("/f", 10);
    lab.put("/g", 10);
    lab.found("/f", 2, CopyChange::Missing { heard_ms: u64::MAX });
    let losses = lab.losses(1);
    lab.put("/h", 10);
    lab.delete("/g", true).unwrap();
    assert!(lab.forget_as_seen(losses, 1, false).is_ok(), "nothing that matters has changed");
    // The copy that came back moves the chunk to a group that the look may have passed.
    lab.found("/h", 2, CopyChange::Missing { heard_ms: u64::MAX });
    lab.found("/h", 3, CopyChange::Missing { heard_ms: u64::MAX });
    let losses = lab.losses(3);
    lab.found("/h", 3, CopyChange::Returned);
    assert_eq!(lab.forget_as_seen(losses, 3, false).unwrap_err().code(), StatusCode::Busy);
    let losses = lab.losses(2);
    lab.found("/f", 3, CopyChange::Corrupt);
    let refused = lab.forget_as_seen(losses, 2, false).unwrap_err();
    assert!(
        refused.code() == StatusCode::Busy && refused.to_string().contains("copies or nodes changed"),
        "{refused}"
    );
}

#[test]
fn a_copy_that_was_never_verified_may_be_the_last_and_makes_no_other_one_safe() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.put("/f", 10);
    let lost = |lab: &Lab| [1, 2, 3].map(|node| lab.losses(node).count().chunks);
    assert_eq!(lost(&lab), [0, 0, 0], "the others may come back");
    for node in [2, 3] {
        lab.found("/f", node, CopyChange::Missing { heard_ms: u64::MAX });
    }
    assert_eq!(lost(&lab), [1, 0, 0], "what a node does not have it cannot take along");
    lab.found("/f", 3, CopyChange::Returned);
    assert_eq!(lost(&lab), [1, 0, 0], "nobody has looked whether the one that came back is good");
    lab.found("/f", 1, CopyChange::Corrupt);
    assert_eq!(lost(&lab), [0, 0, 1]);
    let refused = lab.forget(3, false).unwrap_err();
    assert_eq!(refused.code(), StatusCode::PreconditionFailed, "it may be good");
    lab.found("/f", 2, CopyChange::Returned);
    assert_eq!(lost(&lab), [0, 1, 1], "one of them may be");
}

#[test]
fn the_writer_forgets_nothing_once_the_node_is_not_held_any_more() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    let losses = lab.losses(1);
    let until_ms = lab.now_ms - 1;
    let request = ForgetNode { node: NodeId(1), accept_loss: true, losses, until_ms };
    assert_eq!(lab.code(&Mutation::ForgetNode(request)), StatusCode::DeadlineExceeded);
    assert_eq!(lab.reader().node(NodeId(1)).unwrap().unwrap().standing, Standing::Left);
}

#[test]
fn what_was_decided_of_a_node_before_it_was_forgotten_does_not_undo_it() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.forget(1, false).unwrap();
    let forgotten = lab.reader().node(NodeId(1)).unwrap().unwrap();
    let put = |lab: &mut Lab, standing, since_ms| {
        let record = NodeRecord { standing, since_ms, ..forgotten.clone() };
        lab.apply(&Mutation::PutNodes(vec![(NodeId(1), record)])).unwrap();
        lab.reader().node(NodeId(1)).unwrap().unwrap().standing
    };
    let since_ms = forgotten.since_ms;
    assert_eq!(put(&mut lab, Standing::Left, since_ms - 1), Standing::Forgotten, "its farewell came late");
    assert_eq!(put(&mut lab, Standing::Lost, since_ms + 1), Standing::Forgotten, "another took its place");
    assert_eq!(lab.count(b"a"), 1);
    assert_eq!(put(&mut lab, Standing::Left, since_ms + 1), Standing::Left, "an operator admits it");
}

#[test]
fn a_registration_under_way_does_not_undo_forgetting_and_an_admission_ends_it() {
    let mut lab = Lab::new();
    lab.know(1..=3);
    lab.put("/f", 10);
    lab.forget(1, false).unwrap();
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
