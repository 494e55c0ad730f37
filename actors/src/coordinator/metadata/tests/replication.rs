//! Another number of copies for files that are there.

use super::*;
use crate::coordinator::metadata::model::records::{ChunkRecord, JobRecord, Version};
use crate::coordinator::metadata::ops::replication::{
    FilePart, FilePlace, Parts, ReplicationLook, parts, settled,
};
use dfs_wire::message::job::{JobId, JobState, JobTask, WantedCopies, WorkAmount};

const JOB: JobId = JobId(1);

impl Lab {
    /// A job that asks for it now is in this state.
    fn job_is(&mut self, state: JobState) {
        let record = JobRecord {
            task: JobTask::Balance(5),
            state,
            asked_by: String::new(),
            asked_ms: 0,
            since_ms: 0,
            cursor: Vec::new(),
            total: WorkAmount::default(),
            done: WorkAmount::default(),
            exceptions: 0,
            last_exception: String::new(),
        };
        self.apply(&Mutation::PutJobs(vec![(JOB, Some(record))])).unwrap();
    }

    /// Says of all files below a path how many copies they are to have, in as many steps as it takes.
    fn set_replication(&mut self, below: &str, copies: u8) -> usize {
        self.job_is(JobState::Running);
        let (mut place, mut steps, asked_ms) = (FilePlace::default(), 0, u64::MAX);
        loop {
            let Parts { parts, after, begun, all } = self.parts(below, &place, asked_ms);
            self.set(copies, parts);
            steps += 1;
            if all {
                return steps;
            }
            place = FilePlace { after, begun };
        }
    }

    /// Says whether there is more to be done, which there is of a job that does not go on.
    fn set(&mut self, copies: u8, parts: Vec<FilePart>) -> bool {
        let outcome = self.apply(&Mutation::SetReplication(JOB, copies, parts)).unwrap();
        self.assert_consistent();
        matches!(outcome, Outcome::Progress(progress) if progress.more)
    }

    fn parts(&self, below: &str, place: &FilePlace, asked_ms: u64) -> Parts {
        self.reader().read(|view| parts(view, &path(below), place, asked_ms)).unwrap()
    }

    fn says(&self, p: &str) -> u8 {
        self.reader().stat(&path(p)).unwrap().replication
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
    let missing = lab.reader().read(|view| parts(view, &path("/gone"), &FilePlace::default(), u64::MAX));
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
fn a_file_that_was_begun_says_more_only_once_all_its_chunks_are_wanted_more_often_wherever_it_went() {
    let mut lab = Lab::new();
    lab.job_is(JobState::Running);
    lab.put("/a/1", 100 * 65_536);
    lab.put("/a/2", 65_536);
    let Parts { parts, after, begun, all } = lab.parts("/a", &FilePlace::default(), u64::MAX);
    assert!(begun.is_some() && !all, "the first is larger than a step");
    lab.set(5, parts);
    assert_eq!((lab.says("/a/1"), lab.wanted("/a/1")[0], lab.wanted("/a/1")[99]), (3, 5, 3));
    // It is moved out of the way, and another one takes its place.
    lab.rename("/a/1", "/moved", false).unwrap();
    lab.put("/a/1", 90_000);
    let mut place = FilePlace { after, begun };
    loop {
        let Parts { parts, after, begun, all } = lab.parts("/a", &place, u64::MAX);
        lab.set(5, parts);
        if all {
            break;
        }
        place = FilePlace { after, begun };
    }
    assert_eq!((lab.says("/moved"), lab.wanted("/moved")), (5, vec![5; 100]));
    assert_eq!((lab.says("/a/1"), lab.wanted("/a/1")), (3, vec![3, 3]), "its place had been passed");
    // Fewer: it says so first.
    let Parts { parts, .. } = lab.parts("/moved", &FilePlace::default(), u64::MAX);
    lab.set(2, parts);
    assert_eq!((lab.says("/moved"), lab.wanted("/moved")[0], lab.wanted("/moved")[99]), (2, 2, 5));
}

#[test]
fn what_is_gone_or_was_replaced_or_put_later_or_asked_by_a_job_that_has_ended_is_left_alone() {
    let mut lab = Lab::new();
    lab.job_is(JobState::Running);
    lab.put("/a/1", 100 * 65_536);
    let Parts { parts, after, begun, .. } = lab.parts("/a", &FilePlace::default(), u64::MAX);
    let place = FilePlace { after, begun };
    lab.put("/a/1", 90_000);
    lab.set(1, parts);
    assert_eq!((lab.says("/a/1"), lab.wanted("/a/1")), (3, vec![3, 3]));
    assert_eq!(lab.parts("/a", &place, u64::MAX).parts, [], "its contents are others");
    lab.delete("/a/1", true).unwrap();
    lab.release_now();
    assert_eq!(lab.parts("/a", &place, u64::MAX).parts, []);

    let asked_ms = lab.now_ms;
    lab.now_ms += 10_000;
    lab.put("/a/later", 10);
    let later = lab.parts("/a", &FilePlace::default(), asked_ms);
    assert_eq!((later.parts, later.all), (vec![], true), "it was put after the job was asked for");
    let Parts { parts, .. } = lab.parts("/a", &FilePlace::default(), u64::MAX);
    for state in [JobState::Paused, JobState::Cancelled] {
        lab.job_is(state);
        assert!(lab.set(1, parts.clone()), "whoever asked must not take it for done");
        assert_eq!(lab.wanted("/a/later"), [3], "{state:?}");
    }
    lab.job_is(JobState::Running);
    assert!(!lab.set(1, parts));
    assert_eq!(lab.wanted("/a/later"), [1]);
}

#[test]
fn directories_without_files_are_passed_in_bounded_steps() {
    let mut lab = Lab::new();
    for directory in 0..2_100 {
        lab.mkdir(&format!("/a/{directory:04}"));
    }
    lab.put("/a/z", 10);
    let first = lab.parts("/a", &FilePlace::default(), u64::MAX);
    assert!(first.parts.is_empty() && !first.all && first.after.is_some());
    let place = FilePlace { after: first.after, begun: None };
    let second = lab.parts("/a", &place, u64::MAX);
    assert_eq!((second.parts.len(), second.all), (1, true));
    let mut look = ReplicationLook::new(WantedCopies { path: path("/a"), copies: 2 });
    assert!(!lab.reader().read(|view| look.step(view, 10_000)).unwrap());
    assert!(lab.reader().read(|view| look.step(view, 10_000)).unwrap());
    assert_eq!(look.found().files, 1);
}

#[test]
fn a_step_of_the_wait_stands_at_the_first_chunk_that_is_not_as_it_is_to_be() {
    let mut lab = Lab::new();
    lab.put("/a", 3 * 65_536);
    let part = lab.parts("/a", &FilePlace::default(), u64::MAX).parts[0];
    let heard = |lab: &Lab, of: &[u128]| {
        let heard = |node: NodeId| of.contains(&node.0);
        lab.reader().read(|view| settled(view, &part, &heard)).unwrap()
    };
    let of = |lab: &Lab| heard(lab, &[1, 2, 3]);
    let all = of(&lab);
    assert_eq!((all.next, all.waits, all.amount.chunks, all.amount.bytes), (3, false, 3, 3 * 65_536));
    lab.set_replication("/a", 2);
    let surplus = of(&lab);
    assert_eq!((surplus.next, surplus.waits, surplus.amount.chunks), (0, true, 0), "one is to go");
    assert!(!heard(&lab, &[1, 2]).waits, "one on a node that is away goes when that is back");
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
