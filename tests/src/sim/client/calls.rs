//! What was called and has not returned: if its process dies, it may have happened.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use super::{Ledger, Person};
use crate::history::{Event, Op};

impl Ledger {
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<usize, (u64, Event)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
