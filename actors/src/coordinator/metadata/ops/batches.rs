//! Working off the rows of a queue: many batches of one group.
//!
//! ```text
//! rows, read once --> batch: as many as there is room for --> batch --> ... [STEP_BATCHES] --> one commit of the group
//!                       | one that fails: those before it are done, and the step ends with the failure
//! ```
//!
//! A batch keeps to the bounds of the store; the group shares one sync, and rows that lie side by side share the pages that
//! are written. The rows are read once: to look for the first one again after each batch would pass over all that the
//! batches before have deleted.

use super::OpContext;
use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::txn::{Overlay, Txn};

/// Batches that one step puts into its group: so long may the change of a client have to wait for it. Few in tests, so that
/// small trees take steps.
pub const STEP_BATCHES: usize = if cfg!(test) { 3 } else { 64 };
/// Rows of a queue that one step takes up.
pub const STEP_ROWS: usize = if cfg!(test) { 20 } else { 1024 };

/// What became of a row of a queue.
#[derive(Debug, Clone, Copy)]
pub struct RowEnd {
    /// What it came to, in the things that the kind of step counts.
    pub done: u64,
    /// The row is worked off. Else it was taken as far as the batch had room, and comes first in the next one.
    pub finished: bool,
}

impl RowEnd {
    /// One thing done, and nothing left.
    pub const ONE: Self = Self { done: 1, finished: true };
}

/// What can be done with a row.
pub type WorkOff<'a, T> = &'a dyn Fn(&mut Txn<'_>, &OpContext, &mut T) -> Result<RowEnd, MetaError>;

/// Works `rows` off, each where `ops` writes have room; a row that takes more than that says how far it came.
///
/// # Errors
/// Of the first row that fails.
pub fn work_off<T: Clone>(
    overlay: &mut Overlay,
    ctx: &OpContext,
    mut rows: Vec<T>,
    ops: usize,
    one: WorkOff<'_, T>,
) -> Result<StepProgress, MetaError> {
    let (mut at, mut done) = (0, 0);
    let more = !rows.is_empty();
    for _ in 0..STEP_BATCHES {
        let left = rows.get_mut(at..).unwrap_or_default();
        if left.is_empty() {
            break;
        }
        let mut sound = 0;
        let batch = run(overlay, ctx, left, ops, one, &mut sound);
        let (finished, did) = match batch {
            Ok(end) => end,
            Err(error) => {
                let before = left.get_mut(..sound).unwrap_or_default();
                run(overlay, ctx, before, ops, one, &mut 0)?;
                return Err(error);
            }
        };
        (at, done) = (at + finished, done + did);
    }
    Ok(StepProgress { done, more })
}

/// One batch: returns how many rows it worked off, and what it did. `sound` counts the rows that did not fail.
fn run<T: Clone>(
    overlay: &mut Overlay,
    ctx: &OpContext,
    rows: &mut [T],
    ops: usize,
    one: WorkOff<'_, T>,
    sound: &mut usize,
) -> Result<(usize, u64), MetaError> {
    let (mut finished, mut done, mut rest) = (0, 0, None);
    overlay.mutate(|txn| {
        for row in rows.iter() {
            if !txn.has_room(ops) {
                break;
            }
            let mut row = row.clone();
            let end = one(txn, ctx, &mut row)?;
            (*sound, done) = (*sound + 1, done + end.done);
            if !end.finished {
                rest = Some(row);
                break;
            }
            finished += 1;
        }
        Ok(())
    })?;
    if let (Some(rest), Some(row)) = (rest, rows.get_mut(finished)) {
        *row = rest;
    }
    Ok((finished, done))
}
