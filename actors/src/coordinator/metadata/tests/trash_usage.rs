//! What the trash takes is what a look at all of it says, whatever happened before.

use std::collections::BTreeMap;

use dfs_wire::id::InodeId;
use proptest::prelude::*;

use super::*;
use crate::coordinator::metadata::migrate;
use crate::coordinator::metadata::model::records::{ClusterMeta, Entry, Inode, TrashEntry};
use crate::coordinator::metadata::ops::trash_usage::is_counting;
use crate::coordinator::metadata::table::format::{decode, encode};
use crate::coordinator::metadata::table::store::Batch;
use crate::coordinator::metadata::table::totals::Usage;

impl Lab {
    /// Each entry of the trash, and the sum of the files at or below it.
    fn looked_at(&self) -> Vec<(TrashEntry, Usage)> {
        let (rows, mut below) = (self.dump(), BTreeMap::<InodeId, Vec<InodeId>>::new());
        let mut inodes = BTreeMap::<InodeId, Inode>::new();
        for (key, value) in &rows {
            if let Some((parent, _)) = keys::parse_entry(key) {
                below.entry(parent).or_default().push(decode::<Entry>(key, value).unwrap().inode);
            } else if let Some(id) = key.strip_prefix(b"i") {
                let id = InodeId(u64::from_be_bytes(id.try_into().unwrap()));
                inodes.insert(id, decode(key, value).unwrap());
            }
        }
        let sum = |root: InodeId| {
            let (mut usage, mut queue) = (Usage::default(), vec![root]);
            while let Some(id) = queue.pop() {
                usage.add(inodes[&id].usage());
                queue.extend(below.get(&id).into_iter().flatten());
            }
            usage
        };
        let of_trash = |(key, value): &Pair| {
            keys::parse_trash(key).map(|id| (decode::<TrashEntry>(key, value).unwrap(), sum(id)))
        };
        rows.iter().filter_map(of_trash).collect()
    }

    fn is_counting(&self) -> bool {
        self.reader().read(|view| is_counting(view)).unwrap()
    }

    /// The totals are the sum of what was counted; that is never too much, and all of it once the count is done.
    #[track_caller]
    pub(super) fn assert_trash_counted(&self) {
        let (mut counted, mut all) = (Usage::default(), Usage::default());
        for (entry, usage) in self.looked_at() {
            counted.add(entry.usage);
            all.add(usage);
        }
        assert_eq!(self.totals().trash_usage, counted, "the totals follow the entries");
        match self.is_counting() {
            true => assert!(counted.bytes <= all.bytes && counted.raw_bytes <= all.raw_bytes),
            false => assert_eq!(counted, all),
        }
    }

    fn trash(&self) -> Usage {
        self.totals().trash_usage
    }
}

const fn usage(bytes: u64, raw_bytes: u64) -> Usage {
    Usage { bytes, raw_bytes }
}

#[test]
fn the_trash_takes_what_was_deleted_until_it_is_brought_back_or_dropped() {
    let mut lab = Lab::new();
    let two = OpenUpload { replication: 2, ..upload_of("/d/e/two") };
    lab.put_as(two, 100).unwrap();
    lab.put("/d/three", 10);
    lab.put("/f", 7);
    lab.delete("/f", false).unwrap();
    assert_eq!(lab.trash(), usage(7, 21));
    lab.delete("/d", false).unwrap();
    assert_eq!((lab.trash(), lab.is_counting()), (usage(117, 251), false), "a small one is counted at once");
    let back = |p: &str| Mutation::Undelete(Undelete { path: Some(path(p)), inode: None, to: None });
    lab.apply(&back("/d")).unwrap();
    assert_eq!(lab.trash(), usage(7, 21));
    lab.apply(&Mutation::TrashPurge(TrashPurge { inode: None })).unwrap();
    lab.drain();
    assert_eq!(lab.trash(), Usage::default());
    lab.assert_consistent();
}

#[test]
fn a_large_directory_is_counted_in_steps_and_what_was_counted_leaves_with_it() {
    let mut lab = Lab::new();
    for i in 0..20 {
        lab.put(&format!("/d/{}/{}/{i}", i % 3, i % 2), 10);
    }
    lab.mkdir("/d/empty/er");
    lab.delete("/d", false).unwrap();
    assert!(lab.is_counting() && lab.trash().bytes < 200, "{:?}", lab.trash());
    lab.step(Step::TrashUsage);
    lab.assert_consistent();
    // Brought back, changed, and deleted again, in the middle of the count.
    lab.apply(&Mutation::Undelete(Undelete { path: Some(path("/d")), inode: None, to: None })).unwrap();
    assert_eq!((lab.trash(), lab.is_counting()), (Usage::default(), false));
    lab.put("/d/0/more", 5);
    lab.delete("/d", false).unwrap();
    let mut steps = 1;
    while lab.step(Step::TrashUsage).more {
        steps += 1;
        lab.assert_consistent();
    }
    assert_eq!((lab.trash(), lab.is_counting()), (usage(205, 615), false));
    assert!(steps > 5, "{steps}");
}

#[test]
fn the_trash_of_an_older_store_is_counted_by_its_migration() {
    let mut lab = Lab::new();
    for i in 0..200 {
        lab.put(&format!("/{i}"), 10);
        lab.delete(&format!("/{i}"), false).unwrap();
    }
    for i in 0..20 {
        lab.put(&format!("/d/{}/{i}", i % 3), 10);
    }
    lab.delete("/d", false).unwrap();
    // As the build before left it: the same records in their first format, without what is new at their end.
    let mut writes = Vec::new();
    for (key, value) in lab.dump() {
        if key.starts_with(b"t") {
            let entry = TrashEntry { usage: Usage::default(), ..decode(&key, &value).unwrap() };
            let value = encode(&key, &entry).unwrap();
            let end = value.len() - 2;
            writes.push((key, Some([&[1], &value[1..end]].concat())));
        } else if key.starts_with(b"b") {
            writes.push((key, None));
        }
    }
    let before = lab.totals();
    let old = [
        before.files,
        before.directories,
        before.chunks,
        before.under_replicated,
        before.lost,
        before.trash,
        before.tombstones,
        before.uploads,
    ];
    writes.push((keys::TOTALS.to_vec(), Some([&[1], &dfs_wire::codec::encode(&old).unwrap()[..]].concat())));
    let meta: ClusterMeta = lab.reader().read(|view| view.require(keys::CLUSTER)).unwrap();
    let meta = ClusterMeta { format: 2, ..meta };
    writes.push((keys::CLUSTER.to_vec(), Some(encode(keys::CLUSTER, &meta).unwrap())));
    let batch = |write| Batch { conditions: Vec::new(), writes: vec![write] };
    lab.store.commit(&writes.into_iter().map(batch).collect::<Vec<_>>()).unwrap();
    assert_eq!(lab.totals(), Totals { trash_usage: Usage::default(), worsened: 0, ..before });

    assert!(migrate::run(lab.store.as_ref(), &lab.reign).unwrap() > 200);
    lab.assert_consistent();
    lab.drain();
    assert_eq!((lab.trash(), lab.is_counting()), (usage(2200, 6600), false));
    lab.assert_consistent();
    assert_eq!(migrate::run(lab.store.as_ref(), &lab.reign).unwrap(), 0, "once");
}

#[derive(Debug, Clone)]
enum Change {
    Put(u8, u8, u8),
    Delete(u8, bool),
    DeleteDirectory(u8),
    Rename(u8, u8),
    Undelete(u8),
    Purge(u8),
    Empty,
    Count,
    Later,
}

/// Few places in a small tree, so that they meet.
fn place(n: u8) -> String {
    ["/a", "/a/b", "/a/b/c", "/d", "/d/e"][usize::from(n % 5)].to_owned()
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<u8>(), any::<u8>(), 1u8..4).prop_map(|(at, size, copies)| Change::Put(at, size, copies)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(at, skip)| Change::Delete(at, skip)),
        3 => any::<u8>().prop_map(Change::DeleteDirectory),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Change::Rename(from, to)),
        3 => any::<u8>().prop_map(Change::Undelete),
        2 => any::<u8>().prop_map(Change::Purge),
        1 => Just(Change::Empty),
        3 => Just(Change::Count),
        1 => Just(Change::Later),
    ]
}

fn make(lab: &mut Lab, change: Change) {
    let file = |at: u8| format!("{}/{}", place(at), at / 5 % 4);
    let in_trash = |lab: &Lab, n: u8| {
        let all = lab.reader().trash_list(&TrashList { after: None, limit: 0 }).unwrap().entries;
        (!all.is_empty()).then(|| all[usize::from(n) % all.len()].stat.inode)
    };
    // Whatever is refused changes nothing.
    match change {
        Change::Put(at, size, copies) => {
            drop(lab.put_as(OpenUpload { replication: copies, ..upload_of(&file(at)) }, u64::from(size)));
        }
        Change::Delete(at, skip) => drop(lab.delete(&file(at), skip)),
        Change::DeleteDirectory(at) => drop(lab.delete(&place(at), false)),
        Change::Rename(from, to) => drop(lab.rename(&place(from), &format!("{}/r", place(to)), false)),
        Change::Undelete(n) => {
            let inode = in_trash(lab, n);
            drop(lab.apply(&Mutation::Undelete(Undelete { path: None, inode, to: None })));
        }
        Change::Purge(n) => {
            if let Some(inode) = in_trash(lab, n) {
                lab.apply(&Mutation::TrashPurge(TrashPurge { inode: Some(inode) })).unwrap();
            }
        }
        Change::Empty => drop(lab.apply(&Mutation::TrashPurge(TrashPurge { inode: None })).unwrap()),
        Change::Count => drop(lab.step(Step::TrashUsage)),
        Change::Later => {
            lab.now_ms += lab.policy.trash_ms / 2;
            lab.drain();
        }
    }
}

#[test]
fn an_entry_that_stands_for_nothing_stops_neither_a_deletion_nor_the_count() {
    let mut lab = Lab::new();
    for i in 0..10 {
        lab.put(&format!("/d/{i}"), 10);
    }
    for name in ["2", "8"] {
        let entry =
            lab.dump().into_iter().find(|(key, _)| key.starts_with(b"d") && key.ends_with(name.as_bytes()));
        let (key, value) = entry.unwrap();
        let entry: crate::coordinator::metadata::model::records::Entry = decode(&key, &value).unwrap();
        let writes = vec![(keys::inode(entry.inode), None)];
        lab.store.commit(&[Batch { conditions: Vec::new(), writes }]).unwrap();
    }
    lab.delete("/d", false).unwrap();
    while lab.is_counting() {
        lab.step(Step::TrashUsage);
    }
    assert_eq!(lab.totals().trash_usage.bytes, 8 * 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_happens_the_totals_are_what_a_look_at_the_trash_says(
        changes in prop::collection::vec(change(), 1..60),
    ) {
        let mut lab = Lab::new();
        for change in changes {
            make(&mut lab, change);
            lab.assert_trash_counted();
        }
        lab.drain();
        prop_assert!(!lab.is_counting());
        lab.assert_consistent();
    }
}
