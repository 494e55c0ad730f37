//! What a datanode reports of its load.

use std::sync::Arc;

use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::message::membership::NodeLoad;
use dfs_wire::slab::SlabBudget;

use super::chunk_store::ChunkStore;
use super::heartbeat::{LoadProbe, load_of_store};
use crate::supervisor::Nursery;

/// Disk, memory and uploads as they are at this moment.
pub(super) struct Load {
    pub(super) store: Arc<dyn ChunkStore>,
    pub(super) budgets: [SlabBudget; 2],
    pub(super) nurseries: [Nursery; 2],
    pub(super) memory_limit: u64,
}

impl LoadProbe for Load {
    fn load(&self) -> NodeLoad {
        let slabs: usize = self.budgets.iter().map(|b| b.total() - b.available()).sum();
        let writes: usize = self.nurseries.iter().map(Nursery::taken).sum();
        NodeLoad {
            write_streams: u32::try_from(writes).unwrap_or(u32::MAX),
            memory_reserved: (slabs * DATA_FRAME_BYTES) as u64,
            memory_limit: self.memory_limit,
            ..load_of_store(&self.store.stats())
        }
    }
}
