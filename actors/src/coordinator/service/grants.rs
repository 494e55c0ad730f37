//! Grants and where they lead: what a client shows to datanodes.

use dfs_wire::auth::{Grant, GrantOp};
use dfs_wire::id::NodeId;
use dfs_wire::limits::REPLICATION_MAX;
use dfs_wire::message::chunk::Target;
use dfs_wire::message::metadata::{Allocation, ChunkLocation, ReplicaLocation};

use super::read_order::in_order;
use crate::coordinator::membership::ClusterView;
use crate::coordinator::metadata::model::outcome::AllocatedChunk;
use crate::coordinator::metadata::ops::read::LocatedChunk;
use crate::coordinator::signer::Signer;

impl Signer {
    /// An allocated chunk as a client needs it: leave to write, and for each node its address and signature.
    pub(in crate::coordinator) fn allocation(
        &self,
        view: &ClusterView,
        chunk: &AllocatedChunk,
        expires_ms: u64,
    ) -> Allocation {
        let grant = Grant {
            epoch: self.epoch(),
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
    pub(in crate::coordinator) fn location(
        &self,
        view: &ClusterView,
        chunk: &LocatedChunk,
        expires_ms: u64,
    ) -> ChunkLocation {
        let grant = Grant {
            epoch: self.epoch(),
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
