//! The first outcome of an operation counts, for as long as it is remembered (C8 of the contract).

use dfs_wire::codec;
use dfs_wire::id::OpId;
use dfs_wire::status::{Status, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{OpContext, Outcome, Progress};
use crate::metadata::error::MetaError;
use crate::metadata::keys::{self, table};
use crate::metadata::records::OpOutcome;
use crate::metadata::store::KeyRange;
use crate::metadata::txn::Txn;
use crate::metadata::view::View;

/// What tells two requests of one operation id apart.
///
/// # Errors
/// If the request has no encoding.
pub fn digest(name: &str, request: &impl Serialize) -> Result<[u8; 32], MetaError> {
    let bytes = codec::encode(&(name, request))
        .map_err(|e| MetaError::refused(StatusCode::InvalidArgument, format!("unencodable request: {e}")))?;
    Ok(Sha256::digest(&bytes).into())
}

/// The first outcome of `op`, if it is remembered.
///
/// # Errors
/// `OpIdReuse` if it was for another request.
pub fn recall(
    view: &impl View,
    op: OpId,
    digest: &[u8; 32],
) -> Result<Option<Result<Outcome, Status>>, MetaError> {
    let Some(known) = view.load::<OpOutcome>(&keys::outcome(op))? else { return Ok(None) };
    if known.digest != *digest {
        return Err(MetaError::refused_with_hint(
            StatusCode::OpIdReuse,
            format!("operation {op} was used before for a different request"),
            "this is a fault of the client: every operation needs an id of its own",
        ));
    }
    Ok(Some(known.result))
}

/// Whether the operation has an outcome.
///
/// # Errors
/// Of the store.
pub fn is_known(view: &impl View, op: OpId) -> Result<bool, MetaError> {
    Ok(view.get(&keys::outcome(op))?.is_some())
}

/// Remembers the outcome of the operation, in the transaction of its effect.
///
/// # Errors
/// Of the store.
pub fn remember(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    digest: &[u8; 32],
    result: Result<Outcome, Status>,
) -> Result<(), MetaError> {
    let record = OpOutcome { digest: *digest, at_ms: ctx.now_ms, result };
    txn.put(keys::outcome(ctx.op), &record)?;
    txn.put(keys::outcome_time(ctx.now_ms, ctx.op), &())
}

/// Forgets some outcomes that are old enough.
///
/// # Errors
/// Of the store.
pub fn expire(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<Progress, MetaError> {
    let Some(before) = ctx.now_ms.checked_sub(ctx.policy.outcome_ms) else { return Ok(Progress::default()) };
    let range = KeyRange::between(table::OUTCOME_TIME, &keys::outcome_time(before, OpId(0)));
    let old = txn.scan(&range, 51)?;
    let mut done = 0;
    for (key, _) in old.iter().take(50) {
        let op = keys::parse_outcome_time(key)
            .ok_or_else(|| MetaError::damaged(key, "not a time of an outcome"))?;
        txn.delete(keys::outcome(op));
        txn.delete(key.clone());
        done += 1;
    }
    Ok(Progress { done, more: old.len() > 50 })
}
