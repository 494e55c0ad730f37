//! What a coordinator does with the requests of clients and datanodes, and the subtree of actors it does it with.
//!
//! ```text
//!   session's task --> CoordinatorService --asks--> metadata writer   (everything that changes)
//!                         |     |    |   --asks--> membership         (who is there)
//!                         |     |    +---asks--> placement            (where new chunks go)
//!                         |     +---reads---> committed metadata      (everything that only looks)
//!                         +---asks at the address of a node that registers: is it there?
//!                         +---reads---> the published cluster view
//! ```
//!
//! The service is no actor: it owns nothing that must survive, and runs in the task of whoever asks.

mod authority;
mod census;
mod events;
pub mod gc;
mod health;
mod jobs;
pub mod membership;
pub mod metadata;
pub mod placement;
mod repair;
mod service;
mod signer;
mod space;
pub mod tree;

#[cfg(any(test, feature = "testing"))]
pub use authority::Unwrapped;
pub use authority::{CertificateAuthority, KeyWrap, Signed};
pub use health::{METADATA_DISK_FULL, METADATA_FAILING};
pub use repair::{RepairConfig, RepairTally};
pub use service::{Answering, Dialing, Doorbell};
pub use service::{CoordinatorConfig, CoordinatorParts, CoordinatorService, Trust};

#[cfg(test)]
pub(crate) mod tests;
