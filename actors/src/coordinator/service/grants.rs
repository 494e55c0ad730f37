//! Grants and where they lead: what a client shows to datanodes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dfs_wire::auth::{ClusterKey, Grant, GrantOp, Mac, NodeKey};
use dfs_wire::id::{Epoch, NodeId};
use dfs_wire::limits::REPLICATION_MAX;
use dfs_wire::message::chunk::Target;
use dfs_wire::message::metadata::{Allocation, ChunkLocation, ReplicaLocation};

use super::read_order::in_order;
use crate::coordinator::membership::ClusterView;
use crate::coordinator::metadata::model::outcome::AllocatedChunk;
use crate::coordinator::metadata::ops::read::LocatedChunk;

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

    /// The key shared with a node.
    pub(super) fn key(&self, node: NodeId) -> NodeKey {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.entry(node).or_insert_with(|| self.cluster.node_key(node)).clone()
    }

    fn sign(&self, grant: &Grant, node: NodeId) -> Mac {
        grant.sign(&self.key(node))
    }

    /// An allocated chunk as a client needs it: leave to write, and for each node its address and signature.
    pub(super) fn allocation(
        &self,
        view: &ClusterView,
        chunk: &AllocatedChunk,
        expires_ms: u64,
    ) -> Allocation {
        let grant = Grant {
            epoch: self.epoch,
            op: GrantOp::Write,
            chunk: chunk.chunk,
            generation: chunk.generation,
            file: chunk.file,
            index: chunk.index,
            len_max: chunk.len_max,
            expires_ms,
        };
        let target = |node: &NodeId| Target {
            node: *node,
            address: view.node(*node).map(|n| n.entry.address.clone()).unwrap_or_default(),
            mac: self.sign(&grant, *node),
        };
        Allocation { index: chunk.index, targets: chunk.nodes.iter().map(target).collect(), grant }
    }

    /// A stored chunk as a reader needs it: leave to read, and its copies, best first.
    pub(super) fn location(
        &self,
        view: &ClusterView,
        chunk: &LocatedChunk,
        expires_ms: u64,
    ) -> ChunkLocation {
        let grant = Grant {
            epoch: self.epoch,
            op: GrantOp::Read,
            chunk: chunk.chunk,
            generation: chunk.generation,
            file: chunk.file,
            index: chunk.index,
            len_max: chunk.len,
            expires_ms,
        };
        let replicas = in_order(view, &chunk.copies, chunk.chunk.0)
            .into_iter()
            .take(usize::from(REPLICATION_MAX))
            .map(|copy| {
                let node = view.node(copy.node);
                ReplicaLocation {
                    node: copy.node,
                    name: view.name(copy.node),
                    address: node.map(|n| n.entry.address.clone()).unwrap_or_default(),
                    mac: self.sign(&grant, copy.node),
                    node_state: view.state(copy.node),
                    copy: copy.state,
                }
            })
            .collect();
        ChunkLocation { index: chunk.index, len: chunk.len, sha256: chunk.sha256, replicas, grant }
    }
}
