//! What happened to the cluster: the last events, by number, and what is remembered of its health beside them.

use dfs_wire::message::admin::{ClusterEvent, ReadEvents};

use super::PAGE_BYTES_MAX;
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
/// Events in one answer; fewer where they are long.
const PAGE_MAX: usize = 1000;
/// What an event takes in an answer beside its record.
const EVENT_BYTES: usize = 24;

const _: () = assert!(2 * EVENTS_AT_ONCE < MUTATION_OPS_MAX);

/// What is remembered of the health of the cluster. What cannot be read, because it is damaged or another build wrote it, is begun
/// anew: nothing is decided by it.
///
/// # Errors
/// Of the store.
pub fn book(view: &impl View) -> Result<HealthBook, MetaError> {
    match view.load(keys::HEALTH) {
        Ok(book) => Ok(book.unwrap_or_default()),
        Err(MetaError::Damaged { .. }) => {
            Ok(HealthBook { next_event: last(view)?.saturating_add(1), ..HealthBook::default() })
        }
        Err(error) => Err(error),
    }
}

/// The number of the last event that is there, found by looking through all of them.
fn last(view: &impl View) -> Result<u64, MetaError> {
    let (mut range, mut last) = (KeyRange::prefix(table::EVENT), 0);
    loop {
        let page = view.scan(&range, PAGE_MAX)?;
        let Some((key, _)) = page.last() else { return Ok(last) };
        last = keys::parse_event(key).unwrap_or(last);
        range = range.after(key);
    }
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

/// Some events, the oldest first, at this time of the wall clock.
///
/// # Errors
/// Of the store.
pub fn read(view: &impl View, asked: &ReadEvents, wall_ms: u64) -> Result<Vec<ClusterEvent>, MetaError> {
    let most = usize::try_from(asked.most).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let first = match asked.after {
        Some(after) => after.saturating_add(1),
        None => book(view)?.next_event.saturating_sub(most as u64),
    };
    let range = KeyRange { start: keys::event(first), ..KeyRange::prefix(table::EVENT) };
    let (mut events, mut bytes) = (Vec::new(), 0);
    for (key, value) in view.scan(&range, most)? {
        bytes += value.len() + EVENT_BYTES;
        // The first always fits: without it nobody would get past it.
        if bytes > PAGE_BYTES_MAX && !events.is_empty() {
            break;
        }
        let number = keys::parse_event(&key).ok_or_else(|| MetaError::damaged(&key, "not an event"))?;
        // One that cannot be read is passed over.
        let Ok(EventRecord { wall_ms: at_ms, kind, level, subject, text }) = decode(&key, &value) else {
            continue;
        };
        let age_ms = wall_ms.saturating_sub(at_ms);
        events.push(ClusterEvent { number, at_ms, age_ms, kind, level, subject, text });
    }
    Ok(events)
}
