//! Records of nodes, of reigns and of jobs, those of an earlier format included.

use super::*;
use crate::coordinator::metadata::model::records::{
    JobRecord, Known, Maintenance, NodeRecord, Reigns, Standing, UnknownReign,
};
use crate::coordinator::metadata::table::format::{decode, encode};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::Batch;
use dfs_wire::id::Epoch;
use dfs_wire::message::job::{JobId, JobState, JobTask, WorkAmount};

#[test]
fn records_of_nodes_of_format_1_are_read() {
    let key = keys::node(NodeId(7));
    // Format, then name, zone, address, first registration, left.
    let old = |left: u8| [&[1, 4][..], b"dn-7", &[1], b"a", &[3], b"h:1", &[200], &[left]].concat();
    let record = NodeRecord {
        name: "dn-7".into(),
        zone: "a".into(),
        address: "h:1".into(),
        registered_ms: 200,
        standing: Standing::Member,
        since_ms: 200,
    };
    assert_eq!(decode::<NodeRecord>(&key, &old(0)).unwrap(), record);
    let left = NodeRecord { standing: Standing::Left, ..record.clone() };
    assert_eq!(decode::<NodeRecord>(&key, &old(1)).unwrap(), left);
    let value = encode(&key, &record).unwrap();
    assert_eq!((value[0], decode(&key, &value).unwrap()), (2, record));
    assert!(decode::<NodeRecord>(&key, &[9, 0]).is_err());
}

#[test]
fn records_of_reigns_of_format_1_are_read() {
    // Format, then the horizon, and the later reigns by their number.
    let reigns: Reigns = decode(b"mreigns", &[1, 3, 2, 5, 9]).unwrap();
    assert_eq!(reigns.knows(Epoch(3), 0), Known::Whole);
    assert_eq!((reigns.knows(Epoch(5), 7), reigns.knows(Epoch(9), 7)), (Known::UpTo(0), Known::UpTo(7)));
    assert_eq!(reigns.knows(Epoch(6), 7), Known::Not);
    let node = [&[1, 5][..], &[7], &[1], b"n", &[200]].concat();
    let seen: UnknownReign = decode(b"munknown", &node).unwrap();
    assert_eq!((seen.epoch, seen.node, seen.name.as_str(), seen.found_ms), (Epoch(5), NodeId(7), "n", 200));
    assert_eq!((seen.heard, seen.known), (0, None));
}

#[test]
fn a_job_that_cannot_be_read_stops_no_other_one_and_its_number_is_not_given_again() {
    let mut lab = Lab::new();
    let record = JobRecord {
        task: JobTask::Balance(5),
        state: JobState::Running,
        asked_by: "somebody".into(),
        asked_ms: 1,
        since_ms: 1,
        cursor: vec![],
        total: WorkAmount::default(),
        done: WorkAmount::default(),
        exceptions: 0,
        last_exception: String::new(),
    };
    lab.apply(&Mutation::PutJobs(vec![(JobId(3), Some(record.clone()))])).unwrap();
    let writes = vec![(keys::job(JobId(7)), Some(vec![9, 9]))];
    lab.store.commit(&[Batch { conditions: vec![], writes }]).unwrap();
    let remembered = lab.reader().jobs().unwrap();
    assert_eq!((remembered.jobs, remembered.last), (vec![(JobId(3), record)], 7));
    assert_eq!(remembered.damaged, [keys::job(JobId(7))]);
}

#[test]
fn what_is_said_of_a_node_outlives_its_registrations_and_ends_when_it_is_gone() {
    let mut lab = Lab::new();
    let member = |id: u128, standing| {
        let record = NodeRecord {
            name: format!("dn-{id}"),
            zone: String::new(),
            address: format!("h:{id}"),
            registered_ms: 1,
            standing,
            since_ms: 1,
        };
        Mutation::PutNodes(vec![(NodeId(id), record)])
    };
    for id in [1, 2] {
        lab.apply(&member(id, Standing::Member)).unwrap();
        lab.apply(&Mutation::Maintain(NodeId(id), Maintenance::Until(9_000))).unwrap();
    }
    let said = |lab: &Lab| lab.reader().maintenance().unwrap().0.into_keys().collect::<Vec<_>>();
    lab.apply(&member(1, Standing::Left)).unwrap();
    assert_eq!(said(&lab), [NodeId(1), NodeId(2)], "whatever else is said of it");
    lab.apply(&member(2, Standing::Lost)).unwrap();
    assert_eq!(said(&lab), [NodeId(1)]);
    let refused =
        |lab: &mut Lab, id| lab.apply(&Mutation::Maintain(NodeId(id), Maintenance::Over(1))).unwrap_err();
    assert_eq!(refused(&mut lab, 2).into_status().code, StatusCode::PreconditionFailed);
    assert_eq!(refused(&mut lab, 3).into_status().code, StatusCode::NotFound);
}
