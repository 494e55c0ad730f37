//! Grants and where they lead: what a client shows to datanodes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dfs_wire::auth::{ClusterKey, Grant, GrantOp, Mac, NodeKey};
use dfs_wire::id::{Epoch, NodeId};
use dfs_wire::limits::REPLICATION_MAX;
use dfs_wire::message::chunk::Target;
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::{Allocation, ChunkLocation, CopyState, ReplicaLocation};

use crate::membership::view::ClusterView;
use crate::metadata::ops::AllocatedChunk;
use crate::metadata::ops::read::LocatedChunk;
use crate::metadata::records::CopyRecord;

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

/// Copies in the order in which a reader should try them: on nodes that are up first, good ones first; among equals
/// the first one changes with `spread`, so that the chunks of a file are read from all of their nodes.
fn in_order(view: &ClusterView, copies: &[CopyRecord], spread: u128) -> Vec<CopyRecord> {
    let rank = |copy: &CopyRecord| {
        let useless = matches!(copy.state, CopyState::Corrupt | CopyState::Missing);
        let node = match view.state(copy.node) {
            NodeState::Up | NodeState::Draining => 0,
            NodeState::Suspect => 1,
            NodeState::Down | NodeState::Left => 2,
            NodeState::Lost | NodeState::Forgotten => 3,
        };
        (useless, node, copy.state != CopyState::Good)
    };
    let mut ordered = copies.to_vec();
    // Not the low bits: those of a time-ordered id of one upload differ by the chunk's index.
    let turn = usize::try_from((spread ^ (spread >> 32)) % (copies.len().max(1) as u128)).unwrap_or(0);
    ordered.rotate_left(turn);
    ordered.sort_by_key(rank);
    ordered
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dfs_wire::id::Incarnation;
    use dfs_wire::message::membership::{NodeEntry, NodeLoad};

    use super::*;
    use crate::membership::view::NodeView;

    fn view(states: &[NodeState]) -> ClusterView {
        let node = |(i, state): (usize, &NodeState)| {
            let entry = NodeEntry {
                node: NodeId(i as u128),
                name: format!("dn-{i}"),
                zone: String::new(),
                address: format!("h{i}:1"),
                state: *state,
            };
            let load = NodeLoad::default();
            Arc::new(NodeView {
                entry,
                since_ms: 0,
                grace_until_ms: None,
                incarnation: Incarnation(1),
                version: String::new(),
                load,
                heard: None,
                report: 1,
                findings: Vec::new(),
            })
        };
        let nodes = states.iter().enumerate().map(node).collect();
        ClusterView { version: 1, nodes, ..ClusterView::default() }
    }

    fn copy(node: u128, state: CopyState) -> CopyRecord {
        CopyRecord { node: NodeId(node), state, since_ms: 0 }
    }

    #[test]
    fn readers_are_sent_to_good_copies_on_nodes_that_are_up() {
        let view = view(&[NodeState::Down, NodeState::Up, NodeState::Up, NodeState::Suspect, NodeState::Up]);
        let copies = [
            copy(0, CopyState::Good),
            copy(1, CopyState::Corrupt),
            copy(2, CopyState::Unverified),
            copy(3, CopyState::Good),
            copy(4, CopyState::Good),
            copy(77, CopyState::Good),
        ];
        for spread in 0..10 {
            let order: Vec<u128> = in_order(&view, &copies, spread).iter().map(|c| c.node.0).collect();
            assert_eq!(order[..3], [4, 2, 3], "spread {spread}: {order:?}");
            assert_eq!(order[5], 1, "a corrupt copy is the last resort");
        }
    }

    #[test]
    fn equal_copies_share_the_reading() {
        let view = view(&[NodeState::Up; 3]);
        let copies = [copy(0, CopyState::Good), copy(1, CopyState::Good), copy(2, CopyState::Good)];
        let mut first = [0; 3];
        for index in 0..300u128 {
            let chunk = dfs_wire::id::ChunkId::time_ordered(1_700_000_000_000, (0xabcd_ef01 << 40) + index);
            first[usize::try_from(in_order(&view, &copies, chunk.0)[0].node.0).unwrap()] += 1;
        }
        assert!(first.iter().all(|n| (80..=120).contains(n)), "{first:?}");
    }
}
