//! The contract of a metadata engine: one suite, run against every engine.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use dfs_actors::coordinator::metadata::table::store::{
    BATCH_OPS_MAX, Batch, BatchOutcome, Condition, KeyRange, MetaStoreError, MetadataStore,
};
use proptest::prelude::*;

use crate::metadata::redb::{RedbOptions, RedbStore};
use dfs_actors::coordinator::metadata::table::memory::MemoryStore;

fn put(key: &[u8], value: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.to_vec(), Some(value.to_vec()))
}

fn batch(writes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Batch {
    Batch { conditions: Vec::new(), writes }
}

fn get(store: &dyn MetadataStore, key: &[u8]) -> Option<Vec<u8>> {
    store.snapshot().unwrap().get(key).unwrap()
}

fn open(path: &Path) -> RedbStore {
    let options = RedbOptions { cache_bytes: 4 * 1024 * 1024, ..RedbOptions::default() };
    RedbStore::open(path, &options).unwrap()
}

/// Runs `test` on a fresh store of each kind.
fn each_engine(test: impl Fn(&dyn MetadataStore)) {
    test(&MemoryStore::new());
    let directory = tempfile::tempdir().unwrap();
    test(&open(&directory.path().join("metadata.redb")));
}

#[test]
fn what_was_committed_is_read_and_what_was_deleted_is_not() {
    each_engine(|store| {
        assert_eq!(get(store, b"a"), None);
        let outcome = store.commit(&[batch(vec![put(b"a", b"1"), put(b"b", b"")])]).unwrap();
        assert_eq!(outcome, [BatchOutcome::Applied]);
        assert_eq!((get(store, b"a"), get(store, b"b")), (Some(b"1".to_vec()), Some(Vec::new())));
        store.commit(&[batch(vec![(b"a".to_vec(), None), (b"never".to_vec(), None)])]).unwrap();
        assert_eq!((get(store, b"a"), get(store, b"b")), (None, Some(Vec::new())));
        assert_eq!(store.commit(&[]).unwrap(), []);
    });
}

#[test]
fn a_batch_with_a_false_condition_does_nothing_and_the_others_happen() {
    each_engine(|store| {
        let outcomes = store
            .commit(&[
                Batch { conditions: vec![Condition::Absent(b"a".to_vec())], writes: vec![put(b"a", b"1")] },
                Batch {
                    conditions: vec![
                        Condition::Equals(b"a".to_vec(), b"1".to_vec()),
                        Condition::Absent(b"a".to_vec()),
                    ],
                    writes: vec![put(b"a", b"2"), put(b"x", b"2")],
                },
                Batch {
                    conditions: vec![Condition::Equals(b"a".to_vec(), b"1".to_vec())],
                    writes: vec![put(b"b", b"3")],
                },
                Batch {
                    conditions: vec![Condition::Equals(b"none".to_vec(), b"".to_vec())],
                    writes: vec![put(b"c", b"4")],
                },
            ])
            .unwrap();
        use BatchOutcome::{Applied, Refused};
        assert_eq!(outcomes, [Applied, Refused(1), Applied, Refused(0)], "each batch sees those before it");
        assert_eq!(get(store, b"a"), Some(b"1".to_vec()));
        assert_eq!((get(store, b"x"), get(store, b"c")), (None, None));
        assert_eq!(get(store, b"b"), Some(b"3".to_vec()));
    });
}

#[test]
fn an_oversized_batch_is_refused_and_does_not_poison() {
    each_engine(|store| {
        let many = (0..=BATCH_OPS_MAX as u32).map(|i| put(&i.to_be_bytes(), b"v")).collect();
        let commit = store.commit(&[batch(vec![put(b"first", b"1")]), batch(many)]);
        assert!(matches!(commit, Err(MetaStoreError::BatchTooLarge { ops: 129, .. })));
        assert_eq!(get(store, b"first"), None, "nothing of the commit happened");
        store.commit(&[batch(vec![put(b"first", b"1")])]).unwrap();
    });
}

#[test]
fn a_snapshot_does_not_see_later_commits() {
    each_engine(|store| {
        store.commit(&[batch(vec![put(b"a", b"1")])]).unwrap();
        let snapshot = store.snapshot().unwrap();
        store.commit(&[batch(vec![put(b"a", b"2"), put(b"b", b"2")])]).unwrap();
        assert_eq!(snapshot.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(snapshot.scan(&KeyRange::prefix(b""), 10).unwrap().len(), 1);
        assert_eq!(get(store, b"a"), Some(b"2".to_vec()));
    });
}

#[test]
fn a_scan_walks_a_range_page_by_page_in_order() {
    each_engine(|store| {
        let writes = (0..100u8).map(|i| put(&[b'k', i], &[i])).collect();
        store.commit(&[batch(writes), batch(vec![put(b"j", b""), put(b"l", b"")])]).unwrap();
        let snapshot = store.snapshot().unwrap();
        let mut seen = Vec::new();
        let mut range = KeyRange::prefix(b"k");
        loop {
            let page = snapshot.scan(&range, 7).unwrap();
            let Some((last, _)) = page.last() else { break };
            range = range.after(last);
            seen.extend(page.iter().map(|(_, value)| value[0]));
        }
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
        assert!(snapshot.scan(&KeyRange::between(b"z", b"a"), 10).unwrap().is_empty());
        assert!(snapshot.scan(&KeyRange::prefix(b"k"), 0).unwrap().is_empty());
    });
}

#[test]
fn a_reopened_file_holds_every_commit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    for round in 0..5u8 {
        let store = open(&path);
        for earlier in 0..round {
            assert_eq!(get(&store, &[earlier]), Some(vec![earlier; 3]));
        }
        store.commit(&[batch(vec![put(&[round], &[round; 3])])]).unwrap();
        store.reopen().unwrap();
        assert_eq!(get(&store, &[round]), Some(vec![round; 3]));
    }
}

#[test]
fn a_second_opener_is_told_who_is_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    let _first = open(&path);
    let error = RedbStore::open(&path, &RedbOptions::default()).err().unwrap();
    assert!(matches!(error, MetaStoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("metadata.redb"), "{error}");
}

#[test]
fn a_flipped_or_cut_file_is_an_honest_error_and_never_a_wrong_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    let store = open(&path);
    for i in 0..200u32 {
        store.commit(&[batch(vec![put(&i.to_be_bytes(), &i.to_be_bytes().repeat(50))])]).unwrap();
    }
    drop(store);
    let good = std::fs::read(&path).unwrap();
    let (mut refused, mut intact) = (0, 0);
    for place in (0..good.len()).step_by(good.len() / 150) {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        match RedbStore::open(&path, &RedbOptions::default()) {
            Err(error) => {
                assert!(matches!(error, MetaStoreError::Corrupt { .. }), "byte {place}: {error}");
                refused += 1;
            }
            Ok(store) => {
                assert_reads_right(&store, place);
                intact += 1;
            }
        }
    }
    assert!(refused > 10 && intact > 10, "the test flips live and dead bytes: {refused} {intact}");
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(matches!(RedbStore::open(&path, &RedbOptions::default()), Err(MetaStoreError::Corrupt { .. })));
    std::fs::write(&path, b"not a database at all, but longer than a header".repeat(200)).unwrap();
    assert!(matches!(RedbStore::open(&path, &RedbOptions::default()), Err(MetaStoreError::Corrupt { .. })));
}

fn assert_reads_right(store: &RedbStore, place: usize) {
    let snapshot = store.snapshot().unwrap();
    for i in 0..200u32 {
        let found = snapshot.get(&i.to_be_bytes()).unwrap();
        assert_eq!(found, Some(i.to_be_bytes().repeat(50)), "byte {place} was flipped: key {i}");
    }
}

#[test]
fn a_value_altered_while_the_file_is_open_is_not_returned() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.redb");
    let unchecked = RedbOptions { check_on_open_bytes_max: 0, ..RedbOptions::default() };
    open(&path).commit(&[batch(vec![put(b"key", &[0x5a; 100])])]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<_> = (0..bytes.len() - 100).filter(|&i| bytes[i..i + 100] == [0x5a; 100]).collect();
    places.iter().for_each(|&place| bytes[place] ^= 1);
    std::fs::write(&path, bytes).unwrap();
    let store = RedbStore::open(&path, &unchecked).unwrap();
    let found = store.snapshot().unwrap().get(b"key");
    assert!(matches!(found, Err(MetaStoreError::Corrupt { .. })), "{found:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Batch>),
    Scan(Vec<u8>, Vec<u8>, usize),
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 0..4)
}

fn a_batch() -> impl Strategy<Value = Batch> {
    let value = proptest::collection::vec(any::<u8>(), 0..3);
    let condition = prop_oneof![
        key().prop_map(Condition::Absent),
        (key(), value.clone()).prop_map(|(k, v)| Condition::Equals(k, v)),
    ];
    let write = (key(), proptest::option::of(value));
    (proptest::collection::vec(condition, 0..2), proptest::collection::btree_map(key(), write, 0..5))
        .prop_map(|(conditions, writes)| Batch {
            conditions,
            writes: writes.into_iter().map(|(key, (_, value))| (key, value)).collect(),
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(a_batch(), 0..4).prop_map(Step::Commit),
        3 => (key(), key(), 0usize..6).prop_map(|(a, b, n)| Step::Scan(a, b, n)),
        1 => Just(Step::Reopen),
    ]
}

fn oracle_apply(oracle: &mut BTreeMap<Vec<u8>, Vec<u8>>, batch: &Batch) -> BatchOutcome {
    for (place, condition) in batch.conditions.iter().enumerate() {
        let holds = match condition {
            Condition::Absent(key) => !oracle.contains_key(key),
            Condition::Equals(key, value) => oracle.get(key) == Some(value),
        };
        if !holds {
            return BatchOutcome::Refused(place);
        }
    }
    for (key, value) in &batch.writes {
        match value {
            Some(value) => oracle.insert(key.clone(), value.clone()),
            None => oracle.remove(key),
        };
    }
    BatchOutcome::Applied
}

fn agrees(store: &dyn MetadataStore, steps: &[Step], keeps_data: bool) {
    let mut oracle = BTreeMap::new();
    for step in steps {
        match step {
            Step::Commit(batches) => {
                let wanted: Vec<_> = batches.iter().map(|b| oracle_apply(&mut oracle, b)).collect();
                assert_eq!(store.commit(batches).unwrap(), wanted);
            }
            Step::Scan(from, to, limit) if from < to => {
                let range = KeyRange::between(from, to);
                let bounds = (Bound::Included(from.clone()), Bound::Excluded(to.clone()));
                let wanted: Vec<_> =
                    oracle.range(bounds).take(*limit).map(|(k, v)| (k.clone(), v.clone())).collect();
                assert_eq!(store.snapshot().unwrap().scan(&range, *limit).unwrap(), wanted);
            }
            Step::Scan(..) => {}
            Step::Reopen if keeps_data => store.reopen().unwrap(),
            Step::Reopen => {}
        }
    }
    let all = store.snapshot().unwrap().scan(&KeyRange::prefix(b""), 1000).unwrap();
    assert_eq!(all, oracle.into_iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn engines_agree_with_a_sorted_map(steps in proptest::collection::vec(step(), 1..20)) {
        agrees(&MemoryStore::new(), &steps, false);
        let directory = tempfile::tempdir().unwrap();
        agrees(&open(&directory.path().join("metadata.redb")), &steps, true);
    }
}
