//! What a streaming session is told, by its own tasks.

use dfs_wire::auth::Receipt;
use dfs_wire::status::Status;

/// What a streaming session is told, by its own tasks.
#[derive(Debug)]
pub enum StreamingMsg {
    /// All bytes were received and matched.
    Sealed,
    /// The copy here is durable, or cannot be.
    Local(Box<Result<Receipt, Status>>),
    /// The copy on a replica is durable, or cannot be.
    Replica(usize, Box<Result<Receipt, Status>>),
}
