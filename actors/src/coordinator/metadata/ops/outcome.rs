//! The first outcome of an operation counts (C8 of the contract), within a bound of bytes.
//!
//! # Which operations may begin
//!
//! An operation id is a stamp of 48 bits and 80 random ones. The stamp is the coordinator's time in milliseconds, which a
//! client learns when it is welcomed and counts on from there. Outcomes lie in the order of their ids, and are only ever
//! forgotten from the low end: the highest stamp that was forgotten is the *low-water mark*, kept in the transaction
//! that forgets.
//!
//! ```text
//!            low-water mark                          now    + AHEAD_MS
//!  ----------------|----------------------------------|----------|------------> stamp
//!  StaleOperation  |   remembered: the first outcome             |  StaleOperation
//!                  |   not remembered: it is new, and done       |
//! ```
//!
//! Invariants, whoever made an id and however often it comes:
//! - an operation is done only if its outcome is not remembered and its stamp lies above the mark and not ahead of time;
//! - its effect and its outcome are one transaction;
//! - an outcome is forgotten only in a transaction that leaves the mark at its stamp or above; the mark never falls.
//!
//! So no operation is done twice. An id that the coordinator had no part in (random, or stamped by a wrong clock) is
//! never trusted to be new: it may be told `StaleOperation` though it is, which is honest, and the SDK then takes a new
//! stamp if it knows that nothing was sent before.
//!
//! # What is kept
//!
//! One row an operation. To open an upload takes none: its session has the id of the operation, so the session's record,
//! while it is open, is the outcome, and what a repeat would open after that is as invisible as any other upload.
//!
//! ```text
//! o <stamp 6> <random 10> -> format 1 | digest 8 | outcome        and about 16 bytes of the engine's
//!                              mkdir, rename, abort   2     27 + 16 bytes
//!                              delete              3-20     38 + 16
//!                              put                35-55     74 + 16
//!                              refusal           60-300     cut to TEXT_BYTES of message and hint each
//! ```
//!
//! At the default bound of 256 MiB that is some three million puts. Rows go when they are older than
//! [`Policy::outcome_ms`], or, the oldest first, when the bound is reached, in the transaction that reaches it.
//!
//! [`Policy::outcome_ms`]: super::Policy::outcome_ms

use dfs_wire::bugs::{self, Bug};
use dfs_wire::codec;
use dfs_wire::id::{OpId, SessionId};
use dfs_wire::limits::OP_STAMP_AHEAD_MS;
use dfs_wire::status::{Status, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::OpContext;
use crate::coordinator::metadata::model::outcome::{Outcome, StepProgress};
use crate::coordinator::metadata::model::records::{OpOutcome, Outcomes};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::{Record, encode};
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// What the engine takes for a row beside its key and value, about.
const ROW_BYTES: u64 = 16;
/// Outcomes that one operation forgets when the bound is reached: many at once, so that most operations forget none.
const FORGOTTEN_AT_ONCE: usize = 24;
/// Outcomes that one step of the collector forgets.
const EXPIRED_AT_ONCE: usize = 100;
/// Bytes of the message, and of the hint, of a remembered refusal.
const TEXT_BYTES: usize = 240;

/// What tells two requests of one operation id apart.
pub type RequestDigest = [u8; 8];

/// The digest of a request.
///
/// # Errors
/// If the request has no encoding.
pub fn digest(name: &str, request: &impl Serialize) -> Result<RequestDigest, MetaError> {
    let bytes = codec::encode(&(name, request))
        .map_err(|e| MetaError::refused(StatusCode::InvalidArgument, format!("unencodable request: {e}")))?;
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    Ok([a, b, c, d, e, f, g, h])
}

/// What is remembered, and what was forgotten.
///
/// # Errors
/// Of the store.
pub fn outcomes(view: &impl View) -> Result<Outcomes, MetaError> {
    Ok(view.load(keys::OUTCOMES)?.unwrap_or_default())
}

/// The stamp for an id that is made now: above the low-water mark, wherever that is.
///
/// # Errors
/// Of the store.
pub fn fresh_stamp(view: &impl View, now_ms: u64) -> Result<u64, MetaError> {
    Ok(now_ms.max(above(&outcomes(view)?)))
}

/// The first stamp that was not forgotten.
fn above(outcomes: &Outcomes) -> u64 {
    outcomes.low_water_ms.map_or(0, |mark| mark.saturating_add(1))
}

/// The latest stamp that an id may have.
fn latest(outcomes: &Outcomes, now_ms: u64) -> u64 {
    now_ms.max(above(outcomes)).saturating_add(OP_STAMP_AHEAD_MS)
}

/// Whether an operation whose outcome is not remembered is certainly new.
fn is_new(outcomes: &Outcomes, op: OpId, now_ms: u64) -> bool {
    (above(outcomes)..=latest(outcomes, now_ms)).contains(&op.stamp_ms())
}

/// The first outcome of `op`, if it is remembered.
///
/// # Errors
/// `OpIdReuse` if it was for another request.
pub fn recall(
    view: &impl View,
    op: OpId,
    digest: &RequestDigest,
) -> Result<Option<Result<Outcome, Status>>, MetaError> {
    let Some(known) = view.load::<OpOutcome>(&keys::outcome(op))? else { return Ok(None) };
    if known.digest != *digest {
        return Err(reused(op));
    }
    if bugs::is(Bug::ForgetOutcome) {
        return Ok(None);
    }
    Ok(Some(known.result))
}

/// The answer to an id that was used for something else.
pub fn reused(op: OpId) -> MetaError {
    MetaError::refused_with_hint(
        StatusCode::OpIdReuse,
        format!("operation {op} was used before for a different request"),
        "this is a fault of the client: every operation needs an id of its own",
    )
}

/// Lets an operation begin whose outcome is not remembered.
///
/// # Errors
/// `StaleOperation` if it may have had one.
pub fn admit(view: &impl View, ctx: &OpContext) -> Result<(), MetaError> {
    let outcomes = outcomes(view)?;
    if is_new(&outcomes, ctx.op, ctx.now_ms) {
        return Ok(());
    }
    let stamp = ctx.op.stamp_ms();
    let why = match stamp < above(&outcomes) {
        true => "outcomes of its time are forgotten",
        false => "its stamp is ahead of the coordinator's time",
    };
    Err(MetaError::refused_with_hint(
        StatusCode::StaleOperation,
        format!("operation {} is not known, and cannot be told to be new: {why}", ctx.op),
        "nothing was done now; if it was sent before, look whether it was done, else send it with a new id",
    ))
}

/// Whether the operation has an outcome, or has opened an upload that is open.
///
/// # Errors
/// Of the store.
pub fn is_known(view: &impl View, op: OpId) -> Result<bool, MetaError> {
    let known = view.get(&keys::outcome(op))?.or(view.get(&keys::session(SessionId(op.0)))?);
    Ok(known.is_some())
}

/// Remembers the outcome of the operation, in the transaction of its effect.
///
/// # Errors
/// Of the store.
pub fn remember(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    digest: &RequestDigest,
    result: Result<Outcome, Status>,
) -> Result<(), MetaError> {
    let key = keys::outcome(ctx.op);
    let record = OpOutcome { digest: *digest, result: result.map_err(shortened) };
    let mut outcomes = outcomes(txn)?;
    outcomes.rows = outcomes.rows.saturating_add(1);
    outcomes.bytes = outcomes.bytes.saturating_add(row_bytes(&key, &encode(&key, &record)?));
    txn.put(key, &record)?;
    if outcomes.bytes > ctx.policy.outcome_bytes_max && txn.has_room(FORGOTTEN_AT_ONCE) {
        let upto = latest(&outcomes, ctx.now_ms);
        forget(txn, &mut outcomes, upto, FORGOTTEN_AT_ONCE)?;
    }
    txn.put(keys::OUTCOMES.to_vec(), &outcomes)
}

fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ROW_BYTES
}

/// A refusal as it is kept: its code, and what a person needs of its words.
fn shortened(status: Status) -> Status {
    let cut = |text: &str| text[..text.floor_char_boundary(TEXT_BYTES)].to_owned();
    Status { message: cut(&status.message), hint: cut(&status.hint), ..status }
}

/// Forgets the oldest outcomes with stamps up to `upto_ms`, at most `most`, and raises the low-water mark.
/// Returns how many.
fn forget(txn: &mut Txn<'_>, outcomes: &mut Outcomes, upto_ms: u64, most: usize) -> Result<usize, MetaError> {
    let upto = OpId::time_ordered(upto_ms.saturating_add(1), 0);
    let oldest = txn.scan(&KeyRange::between(table::OUTCOME, &keys::outcome(upto)), most)?;
    for (key, value) in &oldest {
        let op = keys::parse_outcome(key).ok_or_else(|| MetaError::damaged(key, "not an outcome"))?;
        txn.delete(key.clone());
        outcomes.low_water_ms = outcomes.low_water_ms.max(Some(op.stamp_ms()));
        outcomes.rows = outcomes.rows.saturating_sub(1);
        outcomes.bytes = outcomes.bytes.saturating_sub(row_bytes(key, value));
    }
    Ok(oldest.len())
}

/// Forgets some outcomes that are old enough.
///
/// # Errors
/// Of the store.
pub fn expire(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let Some(before) = ctx.now_ms.checked_sub(ctx.policy.outcome_ms) else {
        return Ok(StepProgress::default());
    };
    let mut outcomes = outcomes(txn)?;
    let mut done = forget(txn, &mut outcomes, before, EXPIRED_AT_ONCE)?;
    if done > 0 {
        txn.put(keys::OUTCOMES.to_vec(), &outcomes)?;
    } else {
        done = drop_times(txn)?;
    }
    Ok(StepProgress { done: done as u64, more: done == EXPIRED_AT_ONCE })
}

/// Counts an outcome that an older build left uncounted: those of its own format.
///
/// # Errors
/// Of the store.
pub fn count_older(txn: &mut Txn<'_>, key: &[u8], value: &[u8]) -> Result<(), MetaError> {
    if value.first() == Some(&OpOutcome::FORMAT) {
        return Ok(());
    }
    let mut outcomes = outcomes(txn)?;
    outcomes.rows = outcomes.rows.saturating_add(1);
    outcomes.bytes = outcomes.bytes.saturating_add(row_bytes(key, value));
    txn.put(keys::OUTCOMES.to_vec(), &outcomes)
}

/// Removes some rows of the table that the format before had for the times of its outcomes.
fn drop_times(txn: &mut Txn<'_>) -> Result<usize, MetaError> {
    let rows = txn.scan(&KeyRange::prefix(table::OUTCOME_TIME), EXPIRED_AT_ONCE)?;
    let count = rows.len();
    rows.into_iter().for_each(|(key, _)| txn.delete(key));
    Ok(count)
}
