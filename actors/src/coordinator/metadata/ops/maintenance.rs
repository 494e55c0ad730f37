//! Nodes that operators have in maintenance.

use dfs_wire::id::NodeId;
use dfs_wire::status::StatusCode;

use super::cluster;
use crate::coordinator::metadata::model::records::{MaintainedNodes, Maintenance, Standing};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// What operators have said.
///
/// # Errors
/// Of the store.
pub fn all(view: &impl View) -> Result<MaintainedNodes, MetaError> {
    Ok(view.load(keys::MAINTENANCE)?.unwrap_or_default())
}

/// Remembers what an operator says of a node, in place of what was said before.
///
/// # Errors
/// `NotFound`; `PreconditionFailed` of a node that is lost or forgotten: it holds nothing.
pub fn set(txn: &mut Txn<'_>, node: NodeId, said: Maintenance) -> Result<(), MetaError> {
    let Some(record) = cluster::node(txn, node)? else {
        let text = format!("no datanode with the id {node} is known");
        return Err(MetaError::refused(StatusCode::NotFound, text));
    };
    if matches!(record.standing, Standing::Lost | Standing::Forgotten) {
        let text = format!("datanode {} is gone: it holds nothing", record.name);
        return Err(MetaError::refused_with_hint(
            StatusCode::PreconditionFailed,
            text,
            "repair makes up for what it had",
        ));
    }
    let mut all = all(txn)?;
    all.0.insert(node, said);
    txn.put(keys::MAINTENANCE.to_vec(), &all)
}

/// Nothing that was said of a node counts any more.
///
/// # Errors
/// Of the store.
pub fn forget(txn: &mut Txn<'_>, node: NodeId) -> Result<(), MetaError> {
    let mut all = all(txn)?;
    match all.0.remove(&node) {
        Some(_) => txn.put(keys::MAINTENANCE.to_vec(), &all),
        None => Ok(()),
    }
}
