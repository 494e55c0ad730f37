//! Who signs for the coordinator: grants of one reign, under the key that it shares with each node.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dfs_wire::auth::{ClusterKey, Grant, Mac, NodeKey};
use dfs_wire::id::{Epoch, NodeId};

/// Nodes whose keys are kept: more than a cluster has, in case ids change.
const KEYS_MAX: usize = 4096;

/// Signs grants for one reign. Derives each node's key once.
#[derive(Debug)]
pub(super) struct Signer {
    cluster: ClusterKey,
    epoch: Epoch,
    keys: Mutex<BTreeMap<NodeId, NodeKey>>,
}

impl Signer {
    pub(super) fn new(cluster: ClusterKey, epoch: Epoch) -> Self {
        Self { cluster, epoch, keys: Mutex::default() }
    }

    /// The reign that the grants are of.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The key shared with a node.
    pub(super) fn key(&self, node: NodeId) -> NodeKey {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.entry(node).or_insert_with(|| self.cluster.node_key(node)).clone()
    }

    /// The grant's signature for a node.
    pub(super) fn sign(&self, grant: &Grant, node: NodeId) -> Mac {
        grant.sign(&self.key(node))
    }
}
