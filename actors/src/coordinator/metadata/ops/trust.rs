//! Whom the cluster trusts: its authority, join tokens, the keys that it certified, and those that it believes no more.
//!
//! ```text
//! token:   made --used by a node, for a key--> used, for the same node and key again --its time is over--> gone
//!            \--its time is over--> gone
//! key:     certified (again: its time is longer) --revoked--> not believed --its last certificate has ended--> gone
//! ```
//!
//! A token lets a node in that the cluster does not know. To be a node that it knows, whose certificate or directory may have been
//! lost, takes a token for that very node: whoever finds another one cannot take the place of a node.

use std::collections::BTreeMap;

use dfs_wire::id::NodeId;
use dfs_wire::identity::{Identity, KeyDigest};
use dfs_wire::limits::REVOKED_MAX;
use dfs_wire::message::enroll::JoinRole;
use dfs_wire::secret::SecretDigest;
use dfs_wire::status::StatusCode;

use super::{OpContext, cluster};
use crate::coordinator::metadata::model::records::{IssuedKeys, JoinTokenRecord, RevokedKeys};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Tokens that can be there at once.
const TOKENS_MAX: usize = 1024;
/// Tokens whose time is over that go with one that comes.
const FORGOTTEN_AT_ONCE: usize = 32;
/// How long what was revoked is remembered when it has ended: clocks differ.
const REMEMBERED_MS: u64 = 24 * 3600 * 1000;
/// Keys that are remembered of one holder. It makes one for each certificate.
const KEYS_PER_HOLDER_MAX: usize = 16;

/// The token with this secret, whether it can still be used or not.
///
/// # Errors
/// Of the store.
pub fn token(view: &impl View, secret: SecretDigest) -> Result<Option<JoinTokenRecord>, MetaError> {
    view.load(&keys::join_token(secret))
}

/// Remembers a token, and forgets those whose time is over.
///
/// # Errors
/// `NotFound` if it is for a node that nobody knows; `PreconditionFailed` if there are too many.
pub fn put_token(
    txn: &mut Txn<'_>,
    secret: SecretDigest,
    token: &JoinTokenRecord,
    ctx: &OpContext,
) -> Result<(), MetaError> {
    if let Some(node) = token.node
        && cluster::node(txn, node)?.is_none()
    {
        let text = format!("no datanode with the id {node} is known");
        return Err(MetaError::refused(StatusCode::NotFound, text));
    }
    let all = txn.scan(&KeyRange::prefix(table::JOIN_TOKEN), TOKENS_MAX + 1)?;
    let (mut left, mut over) = (0, Vec::new());
    for (key, value) in all {
        let old: JoinTokenRecord = decode(&key, &value)?;
        match old.expires_ms < ctx.now_ms || old.expires_wall_ms < ctx.wall_ms {
            true => over.push(key),
            false => left += 1,
        }
    }
    over.into_iter().take(FORGOTTEN_AT_ONCE).for_each(|key| txn.delete(key));
    if left >= TOKENS_MAX {
        let text = format!("there are {TOKENS_MAX} join tokens already");
        return Err(MetaError::refused_with_hint(
            StatusCode::PreconditionFailed,
            text,
            "use those, or wait until they end",
        ));
    }
    txn.put(keys::join_token(secret), token)
}

/// Who wants to join with a token, and for which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// What the token is known by.
    pub secret: SecretDigest,
    /// What the node wants to be.
    pub role: JoinRole,
    /// Which node it is.
    pub node: NodeId,
    /// The key that it wants certified.
    pub key: KeyDigest,
}

/// Why a token is worth nothing. It is the same for all of them: nobody learns which secrets there were.
fn worthless() -> MetaError {
    MetaError::refused_with_hint(
        StatusCode::Unauthenticated,
        "the join token is not known here: it was used, its time is over, or it is of another cluster",
        "`dfsctl nodes token` makes another",
    )
}

/// Whether a token can still be used by somebody.
///
/// # Errors
/// `Unauthenticated`.
pub fn check_token(
    view: &impl View,
    secret: SecretDigest,
    now_ms: u64,
    wall_ms: u64,
) -> Result<JoinTokenRecord, MetaError> {
    // The coordinator's time stands still while it is off, the wall clock may be set back: either end counts.
    let lasts = |token: &JoinTokenRecord| token.expires_ms >= now_ms && token.expires_wall_ms >= wall_ms;
    token(view, secret)?.filter(lasts).ok_or_else(worthless)
}

/// Uses a token up, and notes the key that is certified for it until then. Says whether it was not used before.
///
/// # Errors
/// `Unauthenticated` if it is worth nothing; `PermissionDenied` if it is for something else.
pub fn join(
    txn: &mut Txn<'_>,
    joining: &Joining,
    not_after_ms: u64,
    ctx: &OpContext,
) -> Result<bool, MetaError> {
    let Joining { secret, role, node, key } = joining;
    let mut token = check_token(txn, *secret, ctx.now_ms, ctx.wall_ms)?;
    let who = Identity::Datanode(*node);
    match token.used {
        Some(used) if used == (*node, *key) => {
            let again = NewKey { who, key: *key, not_after_ms, asked_with: None };
            return note_key(txn, &again, ctx).map(|()| false);
        }
        Some(_) => return Err(worthless()),
        None => {}
    }
    let other = |text: String, hint: String| {
        Err(MetaError::refused_with_hint(StatusCode::PermissionDenied, text, &hint))
    };
    if token.role != *role {
        let text = format!("the join token is for a {}", token.role.name());
        return other(text, "`dfsctl nodes token` makes another".to_owned());
    }
    if token.node.is_some_and(|only| only != *node) {
        let text = format!("the join token is for another node than {node}");
        return other(text, format!("`dfsctl nodes token --node {node}` makes one for this"));
    }
    let known = cluster::node(txn, *node)?.is_some() || issued(txn, &who)?.is_some();
    if token.node.is_none() && known {
        let text = format!("node {node} belongs to the cluster already");
        let hint =
            format!("`dfsctl nodes token --node {node}` makes a token that gives it another certificate");
        return other(text, hint);
    }
    token.used = Some((*node, *key));
    txn.put(keys::join_token(*secret), &token)?;
    note_key(txn, &NewKey { who, key: *key, not_after_ms, asked_with: None }, ctx).map(|()| true)
}

/// The keys that somebody has certificates for.
///
/// # Errors
/// Of the store.
pub fn issued(view: &impl View, who: &Identity) -> Result<Option<IssuedKeys>, MetaError> {
    view.load(&keys::issued(who))
}

/// A key that is to be certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Whose it is.
    pub who: Identity,
    /// By what the key is known in his hands.
    pub key: KeyDigest,
    /// When its certificate ends, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// The key with which it was asked for, if that was one: it must be believed still.
    pub asked_with: Option<KeyDigest>,
}

/// Notes that somebody has a certificate for a key, before he gets it.
///
/// # Errors
/// `Unauthenticated` if the key, or the one that it was asked for with, is revoked; `PreconditionFailed` if there are too many.
pub fn note_key(txn: &mut Txn<'_>, new: &NewKey, ctx: &OpContext) -> Result<(), MetaError> {
    let NewKey { who, key, not_after_ms, asked_with } = new;
    let revoked = revoked(txn)?;
    if [Some(key), asked_with.as_ref()].into_iter().flatten().any(|key| revoked.keys.contains_key(key)) {
        return Err(MetaError::refused(StatusCode::Unauthenticated, "this key was revoked"));
    }
    let mut all = issued(txn, who)?.unwrap_or_default();
    forget_ended(&mut all.0, ctx, 0);
    let last = all.0.entry(*key).or_default();
    *last = (*last).max(*not_after_ms);
    if all.0.len() > KEYS_PER_HOLDER_MAX {
        let text = format!("{who} has certificates for {KEYS_PER_HOLDER_MAX} keys already");
        return Err(MetaError::refused_with_hint(
            StatusCode::PreconditionFailed,
            text,
            "revoke them, or wait until they end",
        ));
    }
    txn.put(keys::issued(who), &all)
}

/// Forgets keys whose certificates ended so long ago, by the coordinator's time, which no wall clock that is set wrong moves on.
fn forget_ended(keys: &mut BTreeMap<KeyDigest, u64>, ctx: &OpContext, ago_ms: u64) {
    keys.retain(|_, not_after_ms| not_after_ms.saturating_add(ago_ms) >= ctx.now_ms);
}

/// The keys that are not believed any more.
///
/// # Errors
/// Of the store.
pub fn revoked(view: &impl View) -> Result<RevokedKeys, MetaError> {
    Ok(view.load(keys::REVOKED)?.unwrap_or_default())
}

/// Believes none of the keys any more that somebody was given certificates for. Returns how many there were.
///
/// # Errors
/// `PreconditionFailed` if there are too many.
pub fn revoke(txn: &mut Txn<'_>, who: &Identity, ctx: &OpContext) -> Result<u64, MetaError> {
    let keys_of = issued(txn, who)?.unwrap_or_default();
    if keys_of.0.is_empty() {
        return Ok(0);
    }
    let mut all = revoked(txn)?;
    all.version += 1;
    forget_ended(&mut all.keys, ctx, REMEMBERED_MS);
    let count = keys_of.0.len() as u64;
    all.keys.extend(keys_of.0);
    if all.keys.len() > REVOKED_MAX {
        let text = format!("{REVOKED_MAX} keys are revoked already, and their certificates have not ended");
        return Err(MetaError::refused(StatusCode::PreconditionFailed, text));
    }
    // The row stays: to be this node again takes a token for it.
    txn.put(keys::issued(who), &IssuedKeys::default())?;
    txn.put(keys::REVOKED.to_vec(), &all)?;
    Ok(count)
}
