//! When an upload is answered, and when a copy is given up: pure.

use std::time::Duration;

use dfs_wire::auth::Receipt;
use dfs_wire::id::NodeId;
use dfs_wire::message::chunk::{ChunkStored, ReplicaFailure};
use dfs_wire::status::{Status, StatusCode};

use crate::datanode::replication::Sent;
use crate::env::MonoTime;

/// Limits of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// How long after the last copy that was needed the others may take.
    pub straggler: Duration,
    /// How long a replica may stand still while the primary has something for it.
    pub stall: Duration,
    /// How long a disk may say nothing: after everything was sent, a replica's or this node's own; and for each step of a read.
    pub answer: Duration,
    /// How long the client may send nothing; six times as long while its connection brings other bytes.
    pub idle: Duration,
}

/// How much longer a client has whose connection brings bytes of other streams: on a slow line its own stand behind them.
const IDLE_TIMES_MAX: u32 = 6;
/// Bytes of a connection that are more than signs of life.
const LINE_BYTES: u64 = 4096;

impl UploadLimits {
    /// Those of a copy. Its primary watches the client, and what it watches it passes on: the copy waits for longer than
    /// the primary does.
    #[must_use]
    pub(super) fn behind_a_primary(self) -> Self {
        Self { idle: self.idle.saturating_mul(IDLE_TIMES_MAX + 1), ..self }
    }
}

/// How far the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Frames of the upload that came.
    pub frames: u64,
    /// Bytes that its connection brought, of whatever.
    pub line: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            straggler: Duration::from_secs(2),
            stall: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            idle: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, Clone)]
enum ReplicaWrite {
    /// `line`: bytes that its connection had taken; `moved_at`: when it last had nothing to take or took something;
    /// `took_at`: when it, or the line to it, last took something.
    Pending {
        sent: u64,
        line: u64,
        moved_at: MonoTime,
        took_at: MonoTime,
    },
    Durable(Receipt),
    Failed(Status),
}

impl ReplicaWrite {
    fn pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Give this replica up: abort its transfer.
    Cut(usize),
    /// Answer with success; the upload is over.
    Answer(ChunkStored),
    /// Answer with failure; the upload is over.
    Fail(Status),
}

/// An upload, as far as decisions go. Nothing follows an `Answer` or a `Fail`.
#[derive(Debug)]
pub(super) struct UploadState {
    node: NodeId,
    local: ReplicaWrite,
    replicas: Vec<(NodeId, ReplicaWrite)>,
    enough: usize,
    limits: UploadLimits,
    received: Received,
    received_at: MonoTime,
    /// When the client's connection last brought something worth the name.
    heard_at: MonoTime,
    sealed_at: Option<MonoTime>,
    enough_at: Option<MonoTime>,
    over: bool,
}

impl UploadState {
    /// An upload that began at `now`, to this node, `node`, and `replicas`; `min_ack` durable copies are enough.
    pub(super) fn new(
        now: MonoTime,
        node: NodeId,
        replicas: &[NodeId],
        min_ack: u8,
        limits: UploadLimits,
    ) -> Self {
        let pending = ReplicaWrite::Pending { sent: 0, line: 0, moved_at: now, took_at: now };
        Self {
            node,
            local: pending.clone(),
            replicas: replicas.iter().map(|node| (*node, pending.clone())).collect(),
            enough: usize::from(min_ack).clamp(1, replicas.len() + 1),
            limits,
            received: Received { frames: 0, line: 0 },
            received_at: now,
            heard_at: now,
            sealed_at: None,
            enough_at: None,
            over: false,
        }
    }

    /// All bytes were received and matched their SHA-256.
    pub(super) fn on_sealed(&mut self, now: MonoTime) {
        self.sealed_at = Some(now);
    }

    /// The copy on this node is durable, or cannot be.
    pub(super) fn on_local(&mut self, now: MonoTime, outcome: Result<Receipt, Status>) -> Vec<Effect> {
        match outcome {
            Ok(receipt) => self.local = ReplicaWrite::Durable(receipt),
            Err(status) => return self.fail(status),
        }
        self.settle(now)
    }

    /// The copy on a replica is durable, or cannot be.
    pub(super) fn on_replica(
        &mut self,
        now: MonoTime,
        index: usize,
        outcome: Result<Receipt, Status>,
    ) -> Vec<Effect> {
        if let Some((_, copy)) = self.replicas.get_mut(index).filter(|(_, copy)| copy.pending()) {
            *copy = outcome.map_or_else(ReplicaWrite::Failed, ReplicaWrite::Durable);
        }
        self.settle(now)
    }

    /// Looks at the clock and at how far everyone is: what came from the client, what went to each replica.
    pub(super) fn on_tick(&mut self, now: MonoTime, received: Received, sent: &[Sent]) -> Vec<Effect> {
        let before = self.received.frames;
        self.hear(now, received);
        let mut effects = Vec::new();
        for (index, sent) in sent.iter().enumerate() {
            effects.extend(self.look_at(now, index, *sent, before));
        }
        let waits_for_client =
            self.sealed_at.is_none() && !effects.iter().any(|e| matches!(e, Effect::Cut(_)));
        let silent = now.since(self.heard_at) >= self.limits.idle
            || now.since(self.received_at) >= self.limits.idle.saturating_mul(IDLE_TIMES_MAX);
        if waits_for_client && silent {
            let text = format!("no data for {} s", now.since(self.received_at).as_secs());
            effects.extend(self.fail(Status::new(StatusCode::DeadlineExceeded, text)));
            return effects;
        }
        if self.local.pending() && self.sealed_at.is_some_and(|at| now.since(at) >= self.limits.answer) {
            // The disk may hang for ever. The bytes it still has stay accounted for; the upload need not wait.
            let text = format!("the disk gave no answer for {} s", self.limits.answer.as_secs());
            effects.extend(self.fail(Status::new(StatusCode::DeadlineExceeded, text).at_node(self.node)));
            return effects;
        }
        effects.extend(self.settle(now));
        effects
    }

    fn hear(&mut self, now: MonoTime, received: Received) {
        if received.frames != self.received.frames {
            self.received_at = now;
        }
        let line = received.line.saturating_sub(self.received.line) >= LINE_BYTES;
        if line || received.frames != self.received.frames {
            (self.received, self.heard_at) = (received, now);
        }
    }

    /// `before` is what had been received at the last look: a replica that had all of that was not standing still.
    fn look_at(&mut self, now: MonoTime, index: usize, sent_now: Sent, before: u64) -> Option<Effect> {
        let (received, sealed_at, limits) = (self.received.frames, self.sealed_at, self.limits);
        let (_, copy) = self.replicas.get_mut(index)?;
        let ReplicaWrite::Pending { sent, line, moved_at, took_at } = copy else { return None };
        let line_moved = sent_now.line.is_some_and(|bytes| bytes >= line.saturating_add(LINE_BYTES));
        if sent_now.frames != *sent || line_moved {
            *took_at = now;
        }
        if sent_now.frames != *sent || line_moved || *sent >= before {
            *moved_at = now.max(*moved_at);
        }
        (*sent, *line) = (sent_now.frames, if line_moved { sent_now.line.unwrap_or(*line) } else { *line });
        let stuck = sent_now.frames < received && now.since(*moved_at) >= limits.stall;
        let mute = sealed_at.is_some_and(|at| now.since(at.max(*took_at)) >= limits.answer);
        if !stuck && !mute {
            return None;
        }
        let what = if stuck { "took no data" } else { "gave no answer" };
        let limit = if stuck { limits.stall } else { limits.answer };
        let text = format!("the replica {what} for {} s and was cut", limit.as_secs());
        *copy = ReplicaWrite::Failed(Status::new(StatusCode::Straggler, text));
        Some(Effect::Cut(index))
    }

    /// Ends the upload if it can end now.
    fn settle(&mut self, now: MonoTime) -> Vec<Effect> {
        if self.over || self.local.pending() {
            return Vec::new();
        }
        let durable = self.copies().filter(|copy| matches!(copy, ReplicaWrite::Durable(_))).count();
        if durable >= self.enough && self.enough_at.is_none() {
            self.enough_at = Some(now);
        }
        let late = self.enough_at.is_some_and(|at| now.since(at) >= self.limits.straggler);
        let mut effects = Vec::new();
        if late {
            effects = self.cut_the_rest();
        }
        if !self.copies().any(ReplicaWrite::pending) {
            self.over = true;
            effects.push(Effect::Answer(self.outcome()));
        }
        effects
    }

    fn cut_the_rest(&mut self) -> Vec<Effect> {
        let after = self.limits.straggler.as_millis();
        let text = format!("not durable {after} ms after the copies that are enough; cut, to be repaired");
        let pending = self.replicas.iter_mut().enumerate().filter(|(_, (_, copy))| copy.pending());
        pending
            .map(|(index, (_, copy))| {
                *copy = ReplicaWrite::Failed(Status::new(StatusCode::Straggler, text.clone()));
                Effect::Cut(index)
            })
            .collect()
    }

    fn fail(&mut self, status: Status) -> Vec<Effect> {
        if self.over {
            return Vec::new();
        }
        self.over = true;
        vec![Effect::Fail(status)]
    }

    fn copies(&self) -> impl Iterator<Item = &ReplicaWrite> {
        std::iter::once(&self.local).chain(self.replicas.iter().map(|(_, copy)| copy))
    }

    fn outcome(&self) -> ChunkStored {
        let receipts = self.copies().filter_map(|copy| match copy {
            ReplicaWrite::Durable(receipt) => Some(receipt.clone()),
            _ => None,
        });
        let failed = self.replicas.iter().filter_map(|(node, copy)| match copy {
            ReplicaWrite::Failed(status) => Some(ReplicaFailure { node: *node, status: status.clone() }),
            _ => None,
        });
        ChunkStored { receipts: receipts.collect(), failed: failed.collect() }
    }
}

#[cfg(test)]
mod tests {
    use dfs_wire::auth::Mac;
    use dfs_wire::id::{ChunkId, Generation};
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> MonoTime {
        MonoTime::from_micros(millis * 1000)
    }

    fn receipt(node: u128) -> Receipt {
        let (chunk, generation) = (ChunkId(1), Generation(1));
        Receipt { node: NodeId(node), chunk, generation, len: 1, sha256: [0; 32], mac: Mac::default() }
    }

    fn upload(min_ack: u8) -> UploadState {
        UploadState::new(at(0), NodeId(1), &[NodeId(2), NodeId(3)], min_ack, UploadLimits::default())
    }

    /// A look at an upload of which `received` frames came, on a line that brings nothing else.
    fn tick(u: &mut UploadState, now: MonoTime, received: u64, sent: &[u64]) -> Vec<Effect> {
        let sent: Vec<_> = sent.iter().map(|&frames| Sent { frames, line: None }).collect();
        u.on_tick(now, Received { frames: received, line: 0 }, &sent)
    }

    fn broken() -> Status {
        Status::new(StatusCode::ConnectionLost, "gone")
    }

    fn answered(effects: &[Effect]) -> Option<(usize, usize)> {
        effects.iter().find_map(|e| match e {
            Effect::Answer(stored) => Some((stored.receipts.len(), stored.failed.len())),
            _ => None,
        })
    }

    #[test]
    fn all_three_copies_answer_at_once() {
        let mut u = upload(2);
        u.on_sealed(at(1));
        assert!(u.on_replica(at(2), 0, Ok(receipt(2))).is_empty());
        assert!(u.on_local(at(3), Ok(receipt(1))).is_empty());
        assert_eq!(answered(&u.on_replica(at(4), 1, Ok(receipt(3)))), Some((3, 0)));
        assert!(tick(&mut u, at(99_000), 9, &[0, 0]).is_empty(), "nothing follows an answer");
    }

    #[test]
    fn a_straggler_is_cut_two_seconds_after_the_second_durable_copy() {
        let mut u = upload(2);
        u.on_sealed(at(0));
        u.on_local(at(1000), Ok(receipt(1)));
        u.on_replica(at(5000), 0, Ok(receipt(2)));
        assert!(tick(&mut u, at(6999), 4, &[4, 4]).is_empty());
        let effects = tick(&mut u, at(7000), 4, &[4, 4]);
        assert_eq!(effects.first(), Some(&Effect::Cut(1)));
        assert_eq!(answered(&effects), Some((2, 1)));
    }

    #[test]
    fn a_replica_that_stands_still_is_cut_and_the_upload_goes_on() {
        let mut u = upload(2);
        assert!(tick(&mut u, at(1000), 4, &[1, 4]).is_empty());
        assert!(tick(&mut u, at(5999), 4, &[1, 4]).is_empty());
        assert_eq!(tick(&mut u, at(6000), 4, &[1, 4]), [Effect::Cut(0)]);
        // It had nothing to take: that is no standstill.
        assert!(tick(&mut u, at(14_000), 5, &[1, 4]).is_empty());
        assert!(tick(&mut u, at(14_001), 5, &[1, 5]).is_empty());
    }

    #[test]
    fn two_mute_replicas_leave_one_copy_and_say_so() {
        let mut u = upload(2);
        u.on_sealed(at(0));
        u.on_local(at(10), Ok(receipt(1)));
        assert!(tick(&mut u, at(0), 4, &[4, 4]).is_empty());
        assert!(tick(&mut u, at(19_999), 4, &[4, 4]).is_empty());
        assert_eq!(answered(&tick(&mut u, at(20_000), 4, &[4, 4])), Some((1, 2)));
    }

    #[test]
    fn a_failed_disk_fails_the_upload() {
        let mut u = upload(2);
        let effects = u.on_local(at(1), Err(broken()));
        assert_eq!(effects, [Effect::Fail(broken())]);
        assert!(u.on_replica(at(2), 0, Ok(receipt(2))).is_empty());
    }

    #[test]
    fn a_disk_that_never_answers_fails_the_upload_by_name() {
        let mut u = upload(2);
        u.on_sealed(at(1000));
        u.on_replica(at(1001), 0, Ok(receipt(2)));
        u.on_replica(at(1001), 1, Ok(receipt(3)));
        assert!(tick(&mut u, at(20_999), 4, &[4, 4]).is_empty());
        match &tick(&mut u, at(21_000), 4, &[4, 4])[..] {
            [Effect::Fail(status)] => {
                assert_eq!((status.code, status.node), (StatusCode::DeadlineExceeded, Some(NodeId(1))));
            }
            other => panic!("{other:?}"),
        }
        assert!(u.on_local(at(30_000), Ok(receipt(1))).is_empty(), "nothing follows a failure");
    }

    #[test]
    fn bytes_of_the_line_keep_a_client_alive_for_a_bounded_time() {
        let mut u = upload(2);
        let mut look = |now: u64, line: u64| {
            let sent = [Sent { frames: 1, line: None }; 2];
            u.on_tick(at(now), Received { frames: 1, line }, &sent)
        };
        assert!(look(1000, 0).is_empty());
        for second in 2..181 {
            assert!(look(second * 1000, second * 5000).is_empty(), "{second} s");
        }
        assert!(matches!(look(181_000, 181 * 5000)[..], [Effect::Fail(_)]), "not for ever");
        let mut mute = upload(2);
        let sent = [Sent { frames: 1, line: None }; 2];
        assert!(mute.on_tick(at(1000), Received { frames: 1, line: 9000 }, &sent).is_empty());
        let signs_of_life = Received { frames: 1, line: 9500 };
        assert!(matches!(mute.on_tick(at(31_000), signs_of_life, &sent)[..], [Effect::Fail(_)]));
    }

    #[test]
    fn a_slow_line_to_a_replica_is_no_standstill_and_a_replica_that_takes_nothing_is() {
        let mut u = upload(2);
        let look = |u: &mut UploadState, second: u64, line: Option<u64>| {
            let sent = [Sent { frames: 1, line }, Sent { frames: 4, line: None }];
            // The client's line brings bytes, too.
            u.on_tick(at(second * 1000), Received { frames: 4, line: second * 8000 }, &sent)
        };
        for second in 1..60 {
            assert!(look(&mut u, second, Some(second * 8000)).is_empty(), "{second} s");
        }
        // What was in the line has arrived; now the replica is waited for.
        assert!(look(&mut u, 63, None).is_empty());
        assert_eq!(look(&mut u, 64, None), [Effect::Cut(0)]);
    }

    #[test]
    fn a_replica_has_its_time_to_answer_from_the_last_byte_it_took() {
        let mut u = upload(3);
        u.on_sealed(at(0));
        u.on_local(at(10), Ok(receipt(1)));
        for second in 0..30 {
            assert!(tick(&mut u, at(second * 1000), 40, &[second, second]).is_empty(), "{second} s");
        }
        assert!(tick(&mut u, at(30_000), 40, &[40, 40]).is_empty());
        assert!(tick(&mut u, at(49_999), 40, &[40, 40]).is_empty());
        assert_eq!(answered(&tick(&mut u, at(50_000), 40, &[40, 40])), Some((1, 2)));
    }

    #[test]
    fn a_silent_client_is_given_up() {
        let mut u = upload(2);
        assert!(tick(&mut u, at(10_000), 1, &[1, 1]).is_empty());
        assert!(matches!(tick(&mut u, at(40_000), 1, &[1, 1])[..], [Effect::Fail(_)]));
    }

    proptest! {
        /// Whatever happens in whatever order: exactly one end, an answer never names a node twice, and it comes
        /// only when every copy is settled.
        #[test]
        fn exactly_one_end(min_ack in 0u8..5, steps in prop::collection::vec((0u8..5, any::<bool>(), 0u64..3000), 0..60)) {
            let mut u = upload(min_ack);
            let (mut now, mut ends) = (0, 0);
            u.on_sealed(at(0));
            for (what, good, pause) in steps {
                now += pause;
                let outcome = |node| if good { Ok(receipt(node)) } else { Err(broken()) };
                let effects = match what {
                    0 => u.on_local(at(now), outcome(1)),
                    1 => u.on_replica(at(now), 0, outcome(2)),
                    2 => u.on_replica(at(now), 1, outcome(3)),
                    _ => tick(&mut u, at(now), 4, &[4, 4]),
                };
                for effect in &effects {
                    if let Effect::Answer(stored) = effect {
                        prop_assert_eq!(stored.receipts.len() + stored.failed.len(), 3);
                    }
                }
                ends += effects.iter().filter(|e| !matches!(e, Effect::Cut(_))).count();
            }
            prop_assert!(ends <= 1);
        }
    }
}
