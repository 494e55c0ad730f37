//! What a coordinator answers: each conversation in a file of its own, over one [`CoordinatorService`].

mod apart;
mod dispatch;
mod doorbell;
mod enroll;
mod events;
mod forget;
mod garbage;
mod grants;
mod inventory;
mod jobs;
mod membership;
mod metadata;
mod read_order;
mod replication;
mod trust;
mod turns;

#[cfg(test)]
pub(super) use dispatch::speaks_for_itself;
pub use dispatch::{CoordinatorConfig, CoordinatorParts, CoordinatorService};
pub use doorbell::{Answering, Dialing, Doorbell};
pub use trust::Trust;
