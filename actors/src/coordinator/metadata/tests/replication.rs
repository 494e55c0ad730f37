//! Another number of copies for files that are there.

use super::*;
use crate::coordinator::metadata::model::records::{ChunkRecord, Version};
use crate::coordinator::metadata::ops::replication::{FilePlace, Parts, ReplicationLook, parts, settled};
use dfs_wire::message::job::WantedCopies;

impl Lab {
    /// Says of all files below a path how many copies they are to have, in as many steps as it takes.
    fn set_replication(&mut self, below: &str, copies: u8) -> usize {
        let (mut place, mut steps) = (FilePlace::default(), 0);
        loop {
            let Parts { parts, next } = self.parts(below, &place);
            let parts = parts.into_iter().map(|(_, part)| part).collect();
            self.apply(&Mutation::SetReplication(copies, parts)).unwrap();
            self.assert_consistent();
            steps += 1;
            match next {
                Some(next) => place = next,
                None => return steps,
            }
        }
    }

    fn parts(&self, below: &str, place: &FilePlace) -> Parts {
        self.reader().read(|view| parts(view, &path(below), place)).unwrap()
    }

    fn wanted(&self, p: &str) -> Vec<u8> {
        let chunks = self.chunks_of(p);
        let of = |chunk: &crate::coordinator::metadata::ops::read::LocatedChunk| {
            let key = keys::chunk(chunk.chunk);
            self.reader().read(|view| view.require::<ChunkRecord>(&key)).unwrap().wanted
        };
        chunks.iter().map(of).collect()
    }
}

#[test]
fn all_files_below_a_path_are_wanted_in_another_number_and_nothing_else_is() {
    let mut lab = Lab::new();
    let big = lab.put("/a/big", 100 * 65_536);
    lab.put("/a/b/small", 10);
    lab.put("/a/none", 0);
    let other = lab.put("/other", 10);
    assert!(lab.set_replication("/a", 2) > 1, "it takes steps");
    for file in ["/a/big", "/a/b/small", "/a/none"] {
        assert_eq!(lab.reader().stat(&path(file)).unwrap().replication, 2);
        assert!(lab.wanted(file).iter().all(|wanted| *wanted == 2), "{file}");
    }
    assert_eq!(lab.wanted("/a/big").len(), 100);
    let now = lab.reader().stat(&path("/a/big")).unwrap();
    assert_eq!((now.version, now.mtime_ns), (big.version, big.mtime_ns), "its contents are what they were");
    assert_eq!(lab.reader().stat(&path("/other")).unwrap(), other);
    assert_eq!(lab.wanted("/other"), [3]);
    lab.set_replication("/a/big", 4);
    assert_eq!(lab.wanted("/a/big"), [4; 100]);
    assert_eq!(lab.totals().under_replicated, 100, "repair is to make one more of each");
    lab.set_replication("/a/big", 3);
    assert_eq!(lab.totals().under_replicated, 0);
    let missing = lab.reader().read(|view| parts(view, &path("/gone"), &FilePlace::default()));
    assert_eq!(missing.unwrap_err().code(), StatusCode::NotFound);
}

#[test]
fn a_chunk_is_wanted_as_often_as_by_the_file_that_wants_the_most_of_all_that_share_it() {
    let mut lab = Lab::new();
    lab.put("/a", 130_000);
    lab.copy("/a", "/b");
    lab.copy("/a", "/c");
    lab.set_replication("/a", 2);
    assert_eq!(lab.wanted("/a"), [3, 3], "the others want three");
    lab.set_replication("/b", 5);
    assert_eq!(lab.wanted("/a"), [5, 5]);
    lab.copy("/a", "/d");
    assert_eq!(lab.reader().stat(&path("/d")).unwrap().replication, 2);
    assert_eq!(lab.wanted("/d"), [5, 5]);
    lab.delete("/b", true).unwrap();
    lab.release_now();
    assert_eq!(lab.wanted("/a"), [3, 3], "who wanted five is gone");
    lab.delete("/c", true).unwrap();
    lab.release_now();
    assert_eq!(lab.wanted("/a"), [2, 2]);
    lab.delete("/a", true).unwrap();
    lab.release_now();
    assert_eq!(lab.wanted("/d"), [2, 2], "whoever it was written for is gone");
    lab.set_replication("/d", 1);
    assert_eq!(lab.wanted("/d"), [1, 1]);
    lab.assert_consistent();
}

#[test]
fn what_was_replaced_or_moved_away_meanwhile_is_left_alone() {
    let mut lab = Lab::new();
    lab.put("/a/1", 100 * 65_536);
    lab.put("/a/2", 65_536);
    let Parts { parts, next } = lab.parts("/a", &FilePlace::default());
    let place = next.expect("the first is larger than a step");
    assert!(place.chunk > 0 && place.file == Some(path("/a/1")));
    lab.put("/a/1", 90_000);
    let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
    lab.apply(&Mutation::SetReplication(1, parts)).unwrap();
    assert_eq!(lab.wanted("/a/1"), [3, 3]);
    lab.assert_consistent();
    // It is found again where it stood; the file that was begun is shorter, or another, or not there.
    assert_eq!(lab.parts("/a", &place).parts.last().unwrap().0, path("/a/2"));
    lab.delete("/a/1", true).unwrap();
    assert_eq!(lab.parts("/a", &place).parts.len(), 1);
    lab.mkdir("/a/1");
    assert_eq!(lab.parts("/a", &place).parts.len(), 1);
}

#[test]
fn a_step_of_the_wait_stands_at_the_first_chunk_that_is_not_as_it_is_to_be() {
    let mut lab = Lab::new();
    lab.put("/a", 3 * 65_536);
    let part = lab.parts("/a", &FilePlace::default()).parts[0].1;
    let of = |lab: &Lab| lab.reader().read(|view| settled(view, &part)).unwrap();
    let all = of(&lab);
    assert_eq!((all.next, all.waits, all.amount.chunks, all.amount.bytes), (3, false, 3, 3 * 65_536));
    lab.set_replication("/a", 2);
    let surplus = of(&lab);
    assert_eq!((surplus.next, surplus.waits, surplus.amount.chunks), (0, true, 0), "one is to go");
    lab.set_replication("/a", 4);
    assert!(of(&lab).waits, "one is to come");
    lab.delete("/a", true).unwrap();
    lab.release_now();
    assert_eq!((of(&lab).next, of(&lab).waits), (3, false), "it is gone");
}

#[test]
fn a_look_says_what_it_takes_beforehand() {
    let mut lab = Lab::new();
    lab.put("/a/1", 130_000);
    lab.put("/a/2", 100);
    lab.set_replication("/a/2", 1);
    let look = |copies, step| {
        let mut look = ReplicationLook::new(WantedCopies { path: path("/a"), copies });
        while !lab.reader().read(|view| look.step(view, step)).unwrap() {}
        look.found()
    };
    let found = look(2, 1);
    assert_eq!(found, look(2, 100));
    assert_eq!((found.files, found.changed, found.amount.chunks, found.amount.bytes), (2, 2, 3, 130_100));
    assert_eq!((found.added_bytes, found.freed_bytes), (100, 130_000));
    assert_eq!(look(3, 1).changed, 1);
    let version = lab.reader().stat(&path("/a/1")).unwrap().version;
    let version: Version = lab.reader().read(|view| view.require(&keys::version(version))).unwrap();
    assert_eq!(version.body.replication, 3, "nothing was changed by looking");
}
