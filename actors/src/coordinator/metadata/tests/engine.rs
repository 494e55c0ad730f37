//! The overlay and its transactions.

use std::collections::BTreeMap;

use dfs_wire::id::Epoch;
use proptest::prelude::*;

use super::*;
use crate::coordinator::Unwrapped;
use crate::coordinator::metadata::model::records::{Known, Reigns};
use crate::coordinator::metadata::table::store::{Batch, Condition};
use crate::coordinator::metadata::table::view::View;

#[test]
fn a_failed_mutation_leaves_the_others_of_its_group_alone() {
    let store = MemoryStore::new();
    let mut overlay = Overlay::new(store.snapshot().unwrap(), None);
    overlay.mutate(|txn| txn.put(b"a".to_vec(), &1u32)).unwrap();
    let failed: Result<(), _> = overlay.mutate(|txn| {
        txn.put(b"a".to_vec(), &2u32)?;
        txn.put(b"b".to_vec(), &2u32)?;
        assert_eq!(txn.load::<u32>(b"a")?, Some(2), "it sees its own writes");
        Err(MetaError::refused(StatusCode::NotFound, "no"))
    });
    assert_eq!(failed.unwrap_err().code(), StatusCode::NotFound);
    overlay
        .mutate(|txn| {
            assert_eq!((txn.load::<u32>(b"a")?, txn.load::<u32>(b"b")?), (Some(1), None));
            txn.put(b"c".to_vec(), &3u32)
        })
        .unwrap();
    assert_eq!(overlay.into_batches().len(), 2);
}

#[test]
fn a_mutation_over_the_bounds_is_rolled_back() {
    let store = MemoryStore::new();
    let mut overlay = Overlay::new(store.snapshot().unwrap(), None);
    let many = overlay.mutate(|txn| (0..127u32).try_for_each(|i| txn.put(i.to_be_bytes().to_vec(), &i)));
    assert!(matches!(many, Err(MetaError::TooLarge { .. })), "{many:?}");
    let long = overlay.mutate(|txn| txn.put(b"a".to_vec(), &vec![7u8; 1024 * 1024]));
    assert!(matches!(long, Err(MetaError::TooLarge { .. })), "{long:?}");
    assert!(overlay.is_empty());
    let fits = overlay.mutate(|txn| {
        txn.count(|t| t.files = 1)?;
        (0..126u32).try_for_each(|i| txn.put(i.to_be_bytes().to_vec(), &i))
    });
    assert!(fits.is_ok() && overlay.into_batches()[0].check_bounds().is_ok());
}

#[test]
fn a_later_reign_stops_the_writes_of_an_earlier_one() {
    let mut lab = Lab::new();
    lab.mkdir("/a");
    let later =
        cluster::open(lab.store.as_ref(), ClusterId(9), &ClusterKey([9; 32]), &Unwrapped, 2_000).unwrap();
    assert!(later.epoch > lab.reign.epoch);
    assert_eq!(
        (later.cluster, &later.key, later.fresh),
        (ClusterId(1), &KEY, false),
        "the first identity stays"
    );
    let mut overlay = Overlay::new(lab.store.snapshot().unwrap(), Some(lab.reign.fence().unwrap()));
    overlay.mutate(|txn| txn.put(b"a".to_vec(), &1u32)).unwrap();
    assert_eq!(lab.store.commit(&overlay.into_batches()).unwrap(), [BatchOutcome::Refused(0)]);
}

#[test]
fn two_reigns_that_begin_with_the_same_metadata_have_different_epochs() {
    let begin = |fresh, now_ms| {
        let lab = Lab::new();
        cluster::open(lab.store.as_ref(), ClusterId(fresh), &KEY, &Unwrapped, now_ms).unwrap().epoch
    };
    assert_ne!(begin(5, 2_000), begin(6, 2_000), "even at the same instant");
    assert_ne!(begin(5, 0), begin(6, 0), "even with a clock that stands");
    assert!(begin(65_535, 2_000) < begin(1, 100_000), "the later one is the higher");
}

#[test]
fn reigns_are_known_for_long_and_remembered_in_little_room() {
    let mut reigns = Reigns::default();
    assert_eq!((reigns.knows(Epoch(0), 0), reigns.knows(Epoch(1), 0)), (Known::Whole, Known::Not));
    for epoch in 1..=5_000 {
        reigns.push(Epoch(epoch * 10), epoch);
    }
    assert_eq!(reigns.later.len(), Reigns::KEPT_MAX);
    assert!((1..=5_000).all(|epoch| reigns.knows(Epoch(epoch * 10), 9_000) != Known::Not));
    assert_eq!(reigns.knows(Epoch(49_980), 9_000), Known::UpTo(4_999), "where the next one began");
    assert_eq!(reigns.knows(Epoch(50_000), 9_000), Known::UpTo(9_000), "up to now");
    assert_eq!(reigns.knows(Epoch(10), 9_000), Known::Whole, "too long ago to know how far it got");
    assert_eq!(
        (reigns.knows(Epoch(49_995), 9_000), reigns.knows(Epoch(50_001), 9_000)),
        (Known::Not, Known::Not)
    );
}

#[test]
fn a_store_that_is_not_ours_is_refused() {
    let store = MemoryStore::new();
    let write = Batch { conditions: Vec::new(), writes: vec![(b"other".to_vec(), Some(b"x".to_vec()))] };
    store.commit(&[write]).unwrap();
    let error = cluster::open(&store, ClusterId(1), &KEY, &Unwrapped, 1).unwrap_err();
    assert!(matches!(error, MetaError::Damaged { .. }), "{error}");

    let lab = Lab::new();
    let snapshot = lab.store.snapshot().unwrap();
    let mut value = snapshot.get(b"mcluster").unwrap().unwrap();
    let old = value.clone();
    value[1] = u8::try_from(crate::coordinator::metadata::table::format::FORMAT_VERSION + 1).unwrap(); // the format number, as the first field
    let batch = Batch {
        conditions: vec![Condition::Equals(b"mcluster".to_vec(), old)],
        writes: vec![(b"mcluster".to_vec(), Some(value))],
    };
    lab.store.commit(&[batch]).unwrap();
    let error = cluster::open(lab.store.as_ref(), ClusterId(1), &KEY, &Unwrapped, 1).unwrap_err();
    assert_eq!(error.code(), StatusCode::VersionMismatch);
}

#[derive(Debug, Clone)]
enum Write {
    Put(u8),
    Delete(u8),
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![(0u8..30).prop_map(Write::Put), (0u8..30).prop_map(Write::Delete)];
    proptest::collection::vec(write, 0..25)
}

proptest! {
    #[test]
    fn three_layers_scan_like_one_map(
        below in writes(), middle in writes(), above in writes(), start in 0u8..30, len in 0u8..30, limit in 0usize..12,
    ) {
        let mut oracle = BTreeMap::new();
        let store = MemoryStore::new();
        let mut base = Overlay::new(store.snapshot().unwrap(), None);
        let run = |writes: &[Write], oracle: &mut BTreeMap<Vec<u8>, u32>, tag: u32, overlay: &mut Overlay| {
            overlay.mutate(|txn| {
                for write in writes {
                    match write {
                        Write::Put(k) => { txn.put(vec![*k], &tag)?; oracle.insert(vec![*k], tag); }
                        Write::Delete(k) => { txn.delete(vec![*k]); oracle.remove(&vec![*k]); }
                    }
                }
                Ok(())
            }).unwrap();
        };
        run(&below, &mut oracle, 1, &mut base);
        store.commit(&base.into_batches()).unwrap();
        let mut overlay = Overlay::new(store.snapshot().unwrap(), None);
        run(&middle, &mut oracle, 2, &mut overlay);
        let range = KeyRange::between(&[start], &[start.saturating_add(len)]);
        overlay.mutate(|txn| {
            for write in &above {
                match write {
                    Write::Put(k) => { txn.put(vec![*k], &3u32)?; oracle.insert(vec![*k], 3); }
                    Write::Delete(k) => { txn.delete(vec![*k]); oracle.remove(&vec![*k]); }
                }
            }
            let found: Vec<_> = txn.scan(&range, limit)?.into_iter().map(|(k, _)| k).collect();
            let wanted: Vec<_> =
                oracle.keys().filter(|k| range.contains(k)).take(limit).cloned().collect();
            assert_eq!(found, wanted);
            for (key, tag) in &oracle {
                assert_eq!(txn.load::<u32>(key)?, Some(*tag));
            }
            Ok(())
        }).unwrap();
    }
}
