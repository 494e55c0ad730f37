//! What operators wish of copies that are as they should be: nodes that are to be emptied, and chunks that are to be elsewhere.
//!
//! Whoever wishes publishes all wishes at once; repair obeys the latest ones. A wish is no order: a chunk that lacks copies
//! comes first, and none is dropped before another one is good.

use std::collections::BTreeMap;
use std::sync::Arc;

use dfs_wire::id::{ChunkId, NodeId};

use crate::watch;

/// A copy that is to be on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    /// Where it is.
    pub(crate) from: NodeId,
    /// Where it is to be.
    pub(crate) to: NodeId,
}

/// What is wished now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Nodes that are emptied, and who is to have what they have, if that was said: their copies can be read, but count for nothing.
    pub(crate) leaving: BTreeMap<NodeId, Option<NodeId>>,
    /// Chunks that have all their copies, one of which is to be elsewhere.
    pub(crate) moves: BTreeMap<ChunkId, Move>,
}

/// Where the latest wishes are to be had.
pub(crate) type WishReceiver = watch::Receiver<Arc<Wishes>>;

/// A channel of wishes that outlives each life of whoever wishes.
pub(crate) fn wish_channel() -> (Arc<watch::Sender<Arc<Wishes>>>, WishReceiver) {
    let (tx, rx) = watch::channel(Arc::new(Wishes::default()));
    (Arc::new(tx), rx)
}
