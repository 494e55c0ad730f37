//! What was called and has not returned: if its process dies, it may have happened.

use super::{Ledger, Person};
use crate::history::{Event, Op};

impl Person {
    /// A change is asked for.
    pub(in crate::sim) fn calls(&self, called: u64, event: Event) {
        self.ledger.under_way().insert(self.number(), (called, event));
    }

    /// It came to nothing.
    pub(in crate::sim) fn forget_call(&self) {
        self.ledger.under_way().remove(&self.number());
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
