//! What follows from the chunk records: that it follows always, that a census sees it, and that old stores get it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use dfs_wire::message::metadata::{ChunkHealth, CopyState};
use proptest::prelude::*;

use super::*;
use crate::coordinator::metadata::migrate;
use crate::coordinator::metadata::model::census::{Census, Counting};
use crate::coordinator::metadata::model::copies::{group, placed};
use crate::coordinator::metadata::model::records::{ChunkRecord, ClusterMeta, GroupRow};
use crate::coordinator::metadata::ops::inventory::{CopyChange, CopyFinding};
use crate::coordinator::metadata::table::format::{FORMAT_VERSION, decode, encode};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::{Batch, MetaStoreError, MetadataSnapshot};

impl Lab {
    fn records(&self) -> Vec<(dfs_wire::id::ChunkId, ChunkRecord)> {
        let rows = self.dump();
        let chunks = rows.iter().filter_map(|(key, value)| Some((keys::parse_chunk(key)?, (key, value))));
        chunks.map(|(chunk, (key, value))| (chunk, decode(key, value).unwrap())).collect()
    }

    fn table(&self, table: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.dump().into_iter().filter(|(key, _)| key.starts_with(table)).collect()
    }

    /// Both tables are what the records make of them.
    #[track_caller]
    pub(super) fn assert_indexed(&self) {
        let (mut copies, mut groups) = (BTreeMap::new(), BTreeMap::<Vec<u8>, GroupRow>::new());
        for (chunk, record) in self.records() {
            for (node, row) in placed(&record) {
                let key = keys::copy(node, chunk);
                copies.insert(key.clone(), encode(&key, &row).unwrap());
            }
            if let Some(key) = group(&record) {
                let row = groups.entry(key).or_default();
                (row.chunks, row.bytes) = (row.chunks + 1, row.bytes + u64::from(record.len));
            }
        }
        let groups =
            groups.into_iter().map(|(key, row)| (key.clone(), encode(&key, &row).unwrap())).collect();
        assert_eq!(self.table(b"y"), copies, "copies by node");
        assert_eq!(self.table(b"g"), groups, "chunks by group");
    }

    fn census(&self, reach: &dyn Fn(NodeId) -> Reach) -> Census {
        let mut counting = Counting::default();
        self.reader()
            .read(|view| {
                while !counting.step(view, (reach, &|_| None), 2)? {}
                Ok(())
            })
            .unwrap();
        counting.finish()
    }

    pub(super) fn found(&mut self, p: &str, node: u128, change: CopyChange) {
        let read = OpenRead { path: path(p), version: None, first: 0, count: 0 };
        let chunks = self.reader().open_read(&read).unwrap().chunks;
        let finding = |c: &crate::coordinator::metadata::ops::read::LocatedChunk| CopyFinding {
            key: ChunkKey { chunk: c.chunk, generation: c.generation },
            change,
        };
        let findings = chunks.iter().map(finding).collect();
        self.apply(&Mutation::ApplyFindings(NodeId(node), findings)).unwrap();
    }

    /// As a build of format 1 would have left it.
    fn forget_index(&mut self) {
        let derived =
            self.dump().into_iter().filter(|(key, _)| key.starts_with(b"y") || key.starts_with(b"g"));
        let batches = derived.map(|(key, _)| Batch { conditions: vec![], writes: vec![(key, None)] });
        let mut batches: Vec<_> = batches.collect();
        let meta = self.reader().read(|view| {
            use crate::coordinator::metadata::table::view::View;
            view.require::<ClusterMeta>(keys::CLUSTER)
        });
        let old = ClusterMeta { format: 1, ..meta.unwrap() };
        let write = (keys::CLUSTER.to_vec(), Some(encode(keys::CLUSTER, &old).unwrap()));
        batches.push(Batch { conditions: vec![], writes: vec![write] });
        self.store.commit(&batches).unwrap();
    }
}

/// A store that fails after some commits, as a process that was killed there.
struct FailAfter(Arc<MemoryStore>, AtomicUsize);

impl MetadataStore for FailAfter {
    fn snapshot(&self) -> Result<Box<dyn MetadataSnapshot>, MetaStoreError> {
        self.0.snapshot()
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<BatchOutcome>, MetaStoreError> {
        match self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => self.0.commit(batches),
            Err(_) => Err(MetaStoreError::Io { action: "commit", cause: "killed".to_owned() }),
        }
    }

    fn reopen(&self) -> Result<(), MetaStoreError> {
        self.0.reopen()
    }
}

#[test]
fn a_change_of_a_nodes_state_is_seen_by_the_next_census_and_rewrites_no_row() {
    let mut lab = Lab::new();
    lab.put("/a", 3 * 65_536);
    lab.put("/b", 10);
    lab.found("/b", 1, CopyChange::Missing { heard_ms: u64::MAX });
    let before = lab.dump();
    let all_here = lab.census(&|_| Reach::Here);
    assert_eq!(all_here.of(ChunkHealth::Safe).chunks, 3);
    assert_eq!((all_here.of(ChunkHealth::UnderReplicated).chunks, all_here.expected(NodeId(1))), (1, 3));
    let away = |gone: &'static [u128]| {
        move |node: NodeId| match gone.contains(&node.0) {
            true => Reach::Away { announced: false },
            false => Reach::Here,
        }
    };
    assert_eq!(lab.census(&away(&[3])).of(ChunkHealth::UnderReplicated).chunks, 4);
    let two = lab.census(&away(&[2, 3]));
    assert_eq!((two.of(ChunkHealth::Unreachable).chunks, two.of(ChunkHealth::Unreachable).bytes), (1, 10));
    assert_eq!(two.unreachable_on().collect::<Vec<_>>(), [(NodeId(2), 1), (NodeId(3), 1)]);
    assert_eq!(lab.census(&away(&[1, 2, 3])).of(ChunkHealth::Unreachable).chunks, 4);
    assert_eq!(lab.census(&|_| Reach::Gone).of(ChunkHealth::Lost).chunks, 4);
    assert_eq!(lab.dump(), before);
}

#[test]
fn a_store_of_the_first_format_gets_its_tables_and_an_interrupted_migration_goes_on() {
    let mut lab = Lab::new();
    for file in 0..20 {
        lab.put(&format!("/{file}"), 40 * 65_536);
    }
    lab.delete("/3", true).unwrap();
    lab.now_ms += lab.policy.read_lease_ms + 1;
    lab.drain();
    let session = lab.open(upload_of("/half")).unwrap().session;
    lab.allocate(session, 0, 4);
    let whole = lab.dump();
    lab.forget_index();
    assert_ne!(lab.dump(), whole);
    // The store refuses to go on after some commits, as if the process had been killed there.
    for commits in 1..4 {
        let failing = FailAfter(lab.store.clone(), AtomicUsize::new(commits));
        assert!(migrate::run_in_groups(&failing, &lab.reign, 2).is_err());
    }
    let format = |lab: &Lab| {
        let rows = lab.table(keys::CLUSTER);
        decode::<ClusterMeta>(keys::CLUSTER, &rows[keys::CLUSTER]).unwrap().format
    };
    assert_eq!(format(&lab), FORMAT_VERSION, "an older build must not open what is half done");
    assert!(migrate::run(lab.store.as_ref(), &lab.reign).unwrap() > 0);
    assert_eq!(lab.dump(), whole);
    lab.assert_consistent();
    assert_eq!(migrate::run(lab.store.as_ref(), &lab.reign).unwrap(), 0, "once");
}

#[derive(Debug, Clone)]
enum Change {
    Put(u8, u8),
    Delete(u8),
    Find(u8, u8, u8),
    Collect,
    Confirm,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0u8..6, 0u8..9).prop_map(|(file, chunks)| Change::Put(file, chunks)),
        (0u8..6).prop_map(Change::Delete),
        (0u8..6, 1u8..6, 0u8..3).prop_map(|(file, node, what)| Change::Find(file, node, what)),
        Just(Change::Collect),
        Just(Change::Confirm),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_the_tables_follow_from_the_records(changes in prop::collection::vec(change(), 1..40)) {
        let mut lab = Lab::new();
        for change in changes {
            match change {
                Change::Put(file, chunks) => drop(lab.put(&format!("/{file}"), u64::from(chunks) * 65_536)),
                Change::Delete(file) => drop(lab.delete(&format!("/{file}"), true)),
                Change::Find(file, node, what) => {
                    let change = [CopyChange::Missing { heard_ms: u64::MAX }, CopyChange::Returned, CopyChange::Corrupt][usize::from(what)];
                    let name = format!("/{file}");
                    if lab.reader().stat(&path(&name)).is_ok() {
                        lab.found(&name, u128::from(node), change);
                    }
                }
                Change::Collect => {
                    lab.now_ms += lab.policy.read_lease_ms + 1;
                    lab.drain();
                }
                Change::Confirm => {
                    let copies = lab.reader().tombstones(NodeId(2), 3).unwrap();
                    lab.apply(&Mutation::ConfirmDeleted(NodeId(2), copies)).unwrap();
                }
            }
            lab.assert_indexed();
        }
        lab.assert_consistent();
        let counted: u64 = ChunkHealth::ALL.iter().map(|h| lab.census(&|_| Reach::Here).of(*h).chunks).sum();
        let live = lab.records().iter().filter(|(_, record)| group(record).is_some()).count();
        prop_assert_eq!(counted, live as u64);
        prop_assert_eq!(lab.census(&|_| Reach::Here).copies(NodeId(1), CopyState::Dropping).chunks, 0);
    }
}
