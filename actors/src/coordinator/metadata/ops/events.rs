//! What happened to the cluster: the last events, by number, and what is remembered of its health beside them.

use dfs_wire::message::admin::{ClusterEvent, ReadEvents};

use crate::coordinator::metadata::model::records::{EventRecord, HealthBook};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::{MUTATION_OPS_MAX, Txn};
use crate::coordinator::metadata::table::view::View;

/// Events that are kept: of more, the oldest go.
pub const EVENTS_MAX: u64 = if cfg!(test) { 100 } else { 10_000 };
/// Events that are noted at once.
pub const EVENTS_AT_ONCE: usize = 32;
/// Events in one answer.
const PAGE_MAX: usize = 1000;

const _: () = assert!(2 * EVENTS_AT_ONCE < MUTATION_OPS_MAX);

/// What is remembered of the health of the cluster.
///
/// # Errors
/// Of the store.
pub fn book(view: &impl View) -> Result<HealthBook, MetaError> {
    Ok(view.load(keys::HEALTH)?.unwrap_or_default())
}

/// Notes events, and what is to be remembered with them.
///
/// # Errors
/// Of the store.
pub fn note(txn: &mut Txn<'_>, events: &[EventRecord], remember: &HealthBook) -> Result<(), MetaError> {
    // From 1 on: whoever asks for those after 0 gets all of them.
    let mut next = book(txn)?.next_event.max(1);
    for event in events.iter().take(EVENTS_AT_ONCE) {
        txn.put(keys::event(next), event)?;
        if let Some(old) = next.checked_sub(EVENTS_MAX) {
            txn.delete(keys::event(old));
        }
        next = next.saturating_add(1);
    }
    txn.put(keys::HEALTH.to_vec(), &HealthBook { next_event: next, ..remember.clone() })
}

/// Some events, the oldest first.
///
/// # Errors
/// Of the store.
pub fn read(view: &impl View, asked: &ReadEvents, now_ms: u64) -> Result<Vec<ClusterEvent>, MetaError> {
    let most = usize::try_from(asked.most).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let first = match asked.after {
        Some(after) => after.saturating_add(1),
        None => book(view)?.next_event.saturating_sub(most as u64),
    };
    let range = KeyRange { start: keys::event(first), ..KeyRange::prefix(table::EVENT) };
    let event = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let number = keys::parse_event(key).ok_or_else(|| MetaError::damaged(key, "not an event"))?;
        let EventRecord { at_ms, kind, level, subject, text } = decode(key, value)?;
        Ok(ClusterEvent { number, age_ms: now_ms.saturating_sub(at_ms), kind, level, subject, text })
    };
    view.scan(&range, most)?.iter().map(event).collect()
}
