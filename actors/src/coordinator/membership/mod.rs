//! Who belongs to the cluster and how they are.
//!
//! `state` is the register of nodes as a pure machine; `view` is the picture of it that everyone else reads;
//! `actor` gives it a mailbox, a clock and a voice.

mod actor;
mod messages;
mod state;
mod view;

pub use actor::{Membership, MembershipArgs, RememberedMembers, RememberedNodes};
pub use messages::MembershipMsg;
pub use state::{
    ADDRESS_BYTES_MAX, MembershipConfig, NODE_NAME_BYTES_MAX, ZONE_BYTES_MAX, advertise_hint,
    too_many_register,
};
pub use view::{ClusterView, NodeView, ViewReceiver, WaitingNode, view_channel};
