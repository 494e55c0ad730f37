//! What findings are made from.

use dfs_wire::id::NodeId;

use crate::coordinator::gc::Stuck;
use crate::coordinator::membership::{ClusterView, NodeView};
use crate::coordinator::metadata::model::census::Census;
use crate::coordinator::metadata::model::records::UnknownReign;
use crate::coordinator::metadata::ops::Policy;
use crate::coordinator::metadata::writer::StoreTrouble;
use crate::coordinator::repair::RepairTally;

/// Deletions of one node that are counted; more are shown as this many, or more.
pub(crate) const DELETIONS_COUNTED: usize = 4096;

/// All that is looked at.
pub(crate) struct Signs<'a> {
    pub(crate) view: &'a ClusterView,
    /// What all chunks are worth.
    pub(crate) census: &'a Census,
    /// The census is of before a node changed its state.
    pub(crate) counting: bool,
    /// The coordinator's time.
    pub(crate) now_ms: u64,
    /// The proof that the metadata is an old copy.
    pub(crate) unknown_reign: Option<&'a UnknownReign>,
    pub(crate) policy: &'a Policy,
    pub(crate) unsafe_modes: &'a [String],
    /// What is wrong with the metadata store.
    pub(crate) store: Option<StoreTrouble>,
    /// Garbage collection that does not get on.
    pub(crate) stuck: &'a [Stuck],
    /// What repair does.
    pub(crate) repair: &'a RepairTally,
    /// Bad copies known on each node.
    pub(crate) corrupt: &'a dyn Fn(&NodeView) -> u64,
    /// Deletions that each node has not confirmed, up to [`DELETIONS_COUNTED`].
    pub(crate) deletions: &'a dyn Fn(NodeId) -> u64,
}
