//! A datanode's report of everything it has: pages of its chunk index, told to the coordinator, which answers what to
//! put into quarantine.

mod actor;
mod messages;
mod state;

pub use actor::{DatanodeHealth, Inventory, InventoryArgs};
pub use messages::InventoryMsg;
pub use state::InventoryConfig;
