//! The census as the service has it: counted at once where there is little to count, else by an actor, again and again.
//!
//! ```text
//!   Step --> a task reads some groups --> Stepped, more are left --> Step
//!    ^                                \-> Stepped, that was all --> published --+
//!    +--- after a pause; at once if a node changed its state meanwhile ---------+
//! ```
//!
//! A cluster of some nodes has some hundred groups of chunks (see [`crate::coordinator::metadata::model::copies`]): whoever asks counts them
//! himself, and the answer is of that instant. A cluster of hundreds of nodes may have millions; there the actor counts in
//! bounded steps and publishes what it has, with the version of the cluster state that it was counted by. Until that is
//! the current one, the answer says that it is being counted.

mod actor;
mod messages;
mod state;

pub(super) use actor::{CensusArgs, CensusTaker, census_channel};
pub(super) use messages::CensusMsg;
pub(super) use state::{Counted, compared, count_at_once, expected, heard_of, reaches};
