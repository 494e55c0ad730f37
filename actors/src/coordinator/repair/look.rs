//! Reading the metadata for endangered chunks, in bounded steps.

use super::plan::Outlook;
use super::state::{Found, Look, Range};
use crate::coordinator::metadata::model::records::ChunkRecord;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View;

/// Rows that one read looks at.
const STEP: usize = 512;

/// Looks at some more rows.
///
/// # Errors
/// Of the store, or a damaged row.
pub(super) fn step(view: &impl View, outlook: &Outlook<'_>, look: &Look) -> Result<Found, MetaError> {
    let whole = match look.range {
        Range::Wished => return wished(view, outlook),
        Range::Risk => KeyRange::prefix(table::RISK),
        Range::Groups => KeyRange::prefix(table::GROUP),
        Range::On(node) => KeyRange::prefix(&keys::copies(node)),
    };
    let range = if look.after.is_empty() { whole } else { whole.after(&look.after) };
    let page = view.scan(&range, STEP)?;
    let mut found = Found::default();
    for (key, _) in &page {
        let chunk = match look.range {
            Range::Wished => None,
            Range::Groups => {
                let (wanted, copies) =
                    keys::parse_group(key).ok_or_else(|| MetaError::damaged(key, "not a group"))?;
                found.nodes.extend(outlook.look_on(wanted, &copies));
                continue;
            }
            Range::Risk => keys::parse_risk(key),
            Range::On(_) => keys::parse_copy(key).map(|(_, chunk)| chunk),
        };
        let chunk = chunk.ok_or_else(|| MetaError::damaged(key, "it names no chunk"))?;
        let record: Option<ChunkRecord> = view.load(&keys::chunk(chunk))?;
        if let Some(urgency) = record.and_then(|record| outlook.urgency(chunk, &record)) {
            found.chunks.push((urgency, chunk));
        }
    }
    found.next = page.last().filter(|_| page.len() >= STEP).map(|(key, _)| key.clone());
    Ok(found)
}

/// Looks at the chunks that are to be elsewhere: a page of them is published at a time.
fn wished(view: &impl View, outlook: &Outlook<'_>) -> Result<Found, MetaError> {
    let mut found = Found::default();
    for chunk in outlook.wishes.moves.keys() {
        let record: Option<ChunkRecord> = view.load(&keys::chunk(*chunk))?;
        if let Some(urgency) = record.and_then(|record| outlook.urgency(*chunk, &record)) {
            found.chunks.push((urgency, *chunk));
        }
    }
    Ok(found)
}
