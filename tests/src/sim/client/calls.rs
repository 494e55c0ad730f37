//! What was called, and what came of it: whether it is a fact, an unknown, or an accusation. What has not returned when its
//! process dies may have happened.

use std::time::Duration;

use dfs_client::{Error, ErrorKind};

use super::{Ledger, Person};
use crate::history::{Event, Op};
use crate::sim::host::now_us;
use crate::sim::node::READ_LEASE_MS;
use crate::sim::trouble::{Asker, Needs, Troubles};

/// Something that was asked for.
pub(in crate::sim) struct Call {
    what: String,
    needs: Needs,
    /// When, in the history's time and in the world's.
    pub(super) called: u64,
    pub(super) begun_us: u64,
}

/// Codes by which something is refused, and what was learnt from it.
pub(in crate::sim) type Refusal = (&'static [&'static str], Event);

impl Person {
    /// Asks for something.
    pub(in crate::sim) fn asks(&self, what: String, needs: Needs) -> Call {
        self.say(format!("{what} ..."));
        self.ledger.opens(self.host, what.clone(), now_us());
        Call { what, needs, called: self.ledger.recorder.now(), begun_us: now_us() }
    }

    /// Asks for a change.
    pub(in crate::sim) fn changes(&self, what: String, needs: Needs, event: Event) -> Call {
        let call = self.asks(what, needs);
        self.ledger.under_way().insert(self.number(), (call.called, event));
        call
    }

    /// What is called now is not waited for any more.
    pub(super) fn forget_call(&self) {
        self.ledger.closes(self.host);
        self.ledger.under_way().remove(&self.number());
    }

    /// Writes down what came of a change.
    pub(in crate::sim) fn note(
        &self,
        call: &Call,
        result: Result<(), Error>,
        done: Event,
        refused: Option<Refusal>,
    ) {
        let recorder = &self.ledger.recorder;
        self.forget_call();
        let Err(error) = result else {
            self.say(format!("{}: done", call.what));
            return recorder.returned(self.number(), call.called, done);
        };
        self.say(format!("{}: {:?}, {}", call.what, error.kind(), error.code()));
        match (error.kind(), refused) {
            (_, Some((codes, refused))) if codes.contains(&error.code()) => {
                recorder.returned(self.number(), call.called, refused);
            }
            (ErrorKind::OutcomeUnknown, _) => {
                self.excuse(call, &error);
                recorder.unknown(self.number(), call.called, done);
            }
            // It is promised that nothing was done.
            (ErrorKind::Unavailable, _) => self.excuse(call, &error),
            // A definite failure: nothing happened.
            (ErrorKind::NoSpace, _)
                if self.ask_troubles(|troubles, asker| {
                    troubles.excuse_no_space(asker, call.needs, call.begun_us)
                }) => {}
            _ => self.ledger.accuse(format!("{}: {}: {error:?}", self.host, call.what)),
        }
    }

    /// Writes down what was seen.
    pub(super) fn note_seen(&self, call: &Call, seen: Event) {
        self.ledger.closes(self.host);
        self.say(format!("{}: {seen:?}", call.what));
        self.ledger.recorder.returned(self.number(), call.called, seen);
    }

    /// Nothing was seen: that may be only if something was in the way, or if what was read was replaced and it took longer
    /// than replaced versions are kept.
    pub(super) fn note_unseen(&self, call: &Call, error: &Error) {
        self.ledger.closes(self.host);
        self.say(format!("{}: {:?}, {}", call.what, error.kind(), error.code()));
        let took = Duration::from_micros(now_us() - call.begun_us);
        match error.kind() {
            ErrorKind::Unavailable => self.excuse(call, error),
            _ if error.code() == "VersionGone" && took >= Duration::from_millis(READ_LEASE_MS) => {}
            _ => self.ledger.accuse(format!("{}: {}: {error:?}", self.host, call.what)),
        }
    }

    /// While nothing is in the way of what an operation needs, it is not put off, and a lease that is renewed does not end.
    fn excuse(&self, call: &Call, error: &Error) {
        let needs = if error.code() == "SessionClosed" { Needs::Metadata } else { call.needs };
        if !self.ask_troubles(|troubles, asker| troubles.excuse(asker, needs, call.begun_us)) {
            let took_ms = (now_us() - call.begun_us) / 1000;
            let text = format!("{}, and nothing was in its way for {took_ms} ms", call.what);
            self.ledger.accuse(format!("{}: {text}: {error:?}", self.host));
        }
    }
}

impl Person {
    fn ask_troubles(&self, ask: impl FnOnce(&Troubles, &Asker<'_>) -> bool) -> bool {
        let Ledger { troubles, disks, .. } = &*self.ledger;
        let damaged = disks.hurt_since(0);
        ask(troubles, &Asker { client: self.host, nodes: disks.count(), damaged: &damaged })
    }

    /// Whether what a call has put at a path may have been replaced by somebody meanwhile.
    pub(super) fn may_be_replaced(&self, call: &Call, at: usize) -> bool {
        let me = self.number();
        history(&self.ledger).iter().any(|op| {
            op.event.changes(at)
                && (op.client, op.called) != (me, call.called)
                && op.returned.is_none_or(|returned| returned > call.called)
        })
    }
}

/// The history of a world, as what was called and answered.
pub(in crate::sim) fn history(ledger: &Ledger) -> Vec<Op> {
    let mut ops = ledger.recorder.history();
    let lost = ledger.under_way();
    ops.extend(lost.iter().map(|(client, (called, event))| Op {
        event: event.clone(),
        called: *called,
        returned: None,
        client: *client,
    }));
    ops
}
