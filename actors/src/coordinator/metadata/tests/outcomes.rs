//! Operation ids: the first outcome counts, and what is forgotten is never done again (C8 of the contract).

use proptest::prelude::*;

use super::*;
use crate::coordinator::metadata::migrate;
use crate::coordinator::metadata::model::records::ClusterMeta;
use crate::coordinator::metadata::table::format::encode;
use crate::coordinator::metadata::table::store::Batch;

fn mkdir(p: &str) -> Mutation {
    Mutation::Mkdir(Mkdir { path: path(p), parents: false })
}

#[test]
fn outcomes_are_forgotten_after_a_day_and_a_repeat_is_told_so() {
    let mut lab = Lab::new();
    let ops: Vec<OpId> = (0..120).map(|i| OpId::time_ordered(lab.now_ms, i)).collect();
    for (i, op) in ops.iter().enumerate() {
        lab.apply_as(*op, &mkdir(&format!("/{i}"))).unwrap();
    }
    lab.now_ms += lab.policy.outcome_ms - 1;
    lab.drain();
    assert_eq!(lab.count(b"o"), 120);
    lab.delete("/7", true).unwrap();
    assert_eq!(lab.apply_as(ops[7], &mkdir("/7")), Ok(Outcome::Done), "the first outcome, and no effect");
    lab.now_ms += 1;
    lab.drain();
    assert_eq!(lab.count(b"o"), 1, "the deletion of just now");
    assert_eq!(lab.apply_as(ops[7], &mkdir("/7")).unwrap_err().code(), StatusCode::StaleOperation);
    assert_eq!(lab.reader().stat(&path("/7")).unwrap_err().code(), StatusCode::NotFound);
    lab.assert_consistent();
}

#[test]
fn outcomes_keep_to_their_bytes_and_the_oldest_go_first() {
    let mut lab = Lab::new();
    lab.policy.outcome_bytes_max = 4096;
    let mut ops = Vec::new();
    for i in 0..500u128 {
        lab.now_ms += 1;
        ops.push(OpId::time_ordered(lab.now_ms, i));
        lab.apply_as(ops[ops.len() - 1], &mkdir(&format!("/{i}"))).unwrap();
        let outcomes = lab.reader().outcomes().unwrap();
        assert!(outcomes.bytes <= 4096, "{outcomes:?}");
    }
    lab.assert_consistent();
    assert!(lab.reader().outcomes().unwrap().rows > 60, "it is made use of");
    assert_eq!(lab.apply_as(ops[499], &mkdir("/499")), Ok(Outcome::Done));
    assert_eq!(lab.apply_as(ops[0], &mkdir("/0")).unwrap_err().code(), StatusCode::StaleOperation);
    assert_eq!(
        lab.apply_as(OpId::time_ordered(lab.now_ms, 9_999), &mkdir("/0")).unwrap_err().code(),
        StatusCode::AlreadyExists,
        "a new operation is done as ever"
    );
}

#[test]
fn a_put_is_remembered_in_one_small_row() {
    let mut lab = Lab::new();
    let before = (lab.count(b"o"), lab.reader().outcomes().unwrap().bytes);
    lab.put("/a-name-that-is-not-so-short-and-does-not-matter", 10);
    assert_eq!(lab.count(b"o"), before.0 + 1);
    let bytes = lab.reader().outcomes().unwrap().bytes - before.1;
    assert!(bytes <= 96, "{bytes} bytes");
}

#[test]
fn an_upload_is_opened_once_and_a_late_repeat_opens_nothing_that_was_committed() {
    let mut lab = Lab::new();
    let op = OpId::time_ordered(lab.now_ms, 7);
    let open = Mutation::OpenUpload(upload_of("/f"), Vec::new());
    let Outcome::Opened(opened) = lab.apply_as(op, &open).unwrap() else { panic!() };
    let before = lab.dump();
    let Outcome::Opened(again) = lab.apply_as(op, &open).unwrap() else { panic!() };
    assert_eq!((again, lab.dump()), (opened.clone(), before));
    let other = Mutation::OpenUpload(upload_of("/g"), Vec::new());
    assert_eq!(lab.apply_as(op, &other).unwrap_err().code(), StatusCode::OpIdReuse);
    lab.commit(opened.session, 0, 0).unwrap();
    assert_eq!(lab.apply_as(op, &open).unwrap_err().code(), StatusCode::SessionClosed);
    assert_eq!(lab.totals().uploads, 0);
}

#[test]
fn an_id_ahead_of_time_is_not_done_and_does_not_hold_up_others() {
    let mut lab = Lab::new();
    lab.policy.outcome_bytes_max = 0;
    let ahead = lab.now_ms + dfs_wire::limits::OP_STAMP_AHEAD_MS;
    let refused = lab.apply_as(OpId::time_ordered(ahead + 1, 1), &mkdir("/a")).unwrap_err().code();
    assert_eq!(refused, StatusCode::StaleOperation);
    lab.apply_as(OpId::time_ordered(ahead, 1), &mkdir("/a")).unwrap();
    let fresh = lab.reader().fresh_stamp(lab.now_ms).unwrap();
    assert_eq!(fresh, ahead + 1, "forgotten at once, and who comes now gets a stamp above it");
    lab.apply_as(OpId::time_ordered(fresh, 1), &mkdir("/b")).unwrap();
}

#[test]
fn outcomes_of_format_1_are_given_again_and_forgotten_with_the_others() {
    let mut lab = Lab::new();
    let op = OpId::time_ordered(lab.now_ms, 3);
    let digest = crate::coordinator::metadata::ops::outcome::digest(
        "mkdir",
        &Mkdir { path: path("/a"), parents: false },
    );
    let value = [&[1], &digest.unwrap()[..], &[0; 24], &[9, 0, 0]].concat();
    let time = [b"O".as_slice(), &9u64.to_be_bytes(), &op.to_bytes()].concat();
    let key = [b"o".as_slice(), &op.to_bytes()].concat();
    let writes = vec![(key, Some(value)), (time, Some(vec![1]))];
    lab.store.commit(&[Batch { conditions: Vec::new(), writes }]).unwrap();
    let meta: ClusterMeta = lab.reader().read(|view| view.require(keys::CLUSTER)).unwrap();
    let old = encode(keys::CLUSTER, &ClusterMeta { format: 1, ..meta }).unwrap();
    let writes = vec![(keys::CLUSTER.to_vec(), Some(old))];
    lab.store.commit(&[Batch { conditions: Vec::new(), writes }]).unwrap();
    migrate::run(lab.store.as_ref(), &lab.reign).unwrap();
    assert_eq!(lab.reader().outcomes().unwrap().rows, 1, "it counts in the bound");
    lab.assert_consistent();
    assert_eq!(lab.apply_as(op, &mkdir("/a")), Ok(Outcome::Done));
    assert_eq!(lab.reader().stat(&path("/a")).unwrap_err().code(), StatusCode::NotFound, "not done again");
    lab.now_ms += lab.policy.outcome_ms;
    lab.drain();
    lab.drain();
    assert_eq!((lab.count(b"o"), lab.count(b"O")), (0, 0));
    assert_eq!(lab.reader().outcomes().unwrap().rows, 0);
    assert_eq!(lab.apply_as(op, &mkdir("/a")).unwrap_err().code(), StatusCode::StaleOperation);
}

/// What may happen to operations and their outcomes.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A new directory, or file, under an id whose stamp is off by so many seconds.
    New { file: bool, off: i64 },
    /// A message of an earlier operation comes again: one of those sent, and which of its messages.
    Again { which: usize, opening: bool },
    /// Time passes.
    Later(u64),
    /// The collector goes round.
    Collect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any::<bool>(), prop_oneof![3 => Just(0), 1 => -400i64..120]).prop_map(|(file, off)| Event::New { file, off }),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, opening)| Event::Again { which, opening }),
        2 => (1u64..90_000).prop_map(Event::Later),
        1 => Just(Event::Collect),
    ]
}

/// The model: an operation, its messages, and the answer that counts.
struct Sent {
    path: String,
    opening: Option<(OpId, Mutation)>,
    op: OpId,
    mutation: Mutation,
    first: Option<Outcome>,
    /// It was refused for good.
    refused: bool,
}

impl Sent {
    fn new(lab: &mut Lab, number: usize, file: bool, off: i64) -> Self {
        let fresh = lab.reader().fresh_stamp(lab.now_ms).unwrap();
        let stamp = fresh.saturating_add_signed(off * 1000);
        let mut op = || OpId::time_ordered(stamp, lab.fresh());
        let (path, op, open) = (format!("/{number}"), op(), op());
        if !file {
            return Self { mutation: mkdir(&path), path, opening: None, op, first: None, refused: false };
        }
        let opening = Mutation::OpenUpload(upload_of(&path), Vec::new());
        let session = SessionId(open.0);
        let commit = CommitUpload { session, chunks: Vec::new(), size: 0, chunk_count: 0, sha256: None };
        let (opening, mutation) = (Some((open, opening)), Mutation::Commit(commit));
        Self { path, opening, op, mutation, first: None, refused: false }
    }

    fn open(&self, lab: &mut Lab) {
        if let Some((op, opening)) = &self.opening {
            let _ = lab.apply_as(*op, opening);
            self.assert_absent(lab);
        }
    }

    /// Sends the message that takes effect, and takes the effect away again, so that a second one would show.
    fn deliver(&mut self, lab: &mut Lab) {
        let answer = lab.apply_as(self.op, &self.mutation);
        match (&self.first, answer) {
            (Some(first), Ok(again)) => assert_eq!(*first, again, "{}", self.path),
            (Some(_), Err(error)) => assert_eq!(error.code(), StatusCode::StaleOperation, "{}", self.path),
            (None, Ok(outcome)) => {
                assert!(!self.refused, "{} is done after it was refused", self.path);
                self.first = Some(outcome);
                lab.delete(&self.path, true).unwrap();
            }
            (None, Err(error)) => self.refused |= error.code() != StatusCode::StaleOperation,
        }
        self.assert_absent(lab);
    }

    fn assert_absent(&self, lab: &Lab) {
        assert!(lab.reader().stat(&path(&self.path)).is_err(), "{} is there a second time", self.path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_operation_is_done_twice_whatever_comes_again_and_whatever_is_forgotten(
        events in proptest::collection::vec(event(), 1..120),
        bytes in prop_oneof![Just(0u64), 200..3000u64],
    ) {
        let mut lab = Lab::new();
        lab.policy.outcome_bytes_max = bytes;
        lab.policy.outcome_ms = 200_000;
        lab.policy.read_lease_ms = 0;
        let mut sent: Vec<Sent> = Vec::new();
        for event in events {
            match event {
                Event::New { file, off } => {
                    let mut new = Sent::new(&mut lab, sent.len(), file, off);
                    new.open(&mut lab);
                    new.deliver(&mut lab);
                    sent.push(new);
                }
                Event::Again { which, opening } if !sent.is_empty() => {
                    let index = which % sent.len();
                    if opening { sent[index].open(&mut lab) } else { sent[index].deliver(&mut lab) }
                }
                Event::Again { .. } => {}
                Event::Later(ms) => lab.now_ms += ms,
                Event::Collect => lab.drain_and_delete(3),
            }
            lab.assert_consistent();
        }
    }
}
