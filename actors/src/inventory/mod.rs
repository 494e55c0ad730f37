//! A datanode's report of everything it has: pages of its chunk index, told to the coordinator, which answers what to
//! put into quarantine.

pub mod actor;
pub mod messages;
pub mod state;
