//! What the membership actor can be told.

use std::net::IpAddr;

use dfs_wire::id::{Incarnation, NodeId};
use dfs_wire::message::membership::{Heartbeat, Leave, Register, StateFull};
use dfs_wire::status::Status;

use super::state::{Admission, HeartbeatAnswer};
use crate::coordinator::metadata::model::records::{MaintainedNodes, NodeRecord};
use crate::supervisor::Reply;

/// A message to the membership actor.
#[derive(Debug)]
pub enum MembershipMsg {
    /// Judge a registration from this source; what is to be made durable comes back.
    Admit(Box<Register>, Option<IpAddr>, Reply<Result<Admission, Status>>),
    /// An operator says yes to a node that waits; the record to make durable comes back.
    SayYes(NodeId, Reply<Result<NodeRecord, Status>>),
    /// Take in a node whose admission is durable; the whole cluster state comes back.
    Register(Box<Register>, Admission, Reply<Result<StateFull, Status>>),
    /// A node is still there.
    Heartbeat(Box<Heartbeat>, Reply<Result<HeartbeatAnswer, Status>>),
    /// A node leaves; the record to make durable comes back, if that changes anything.
    Leave(Leave, Reply<Option<NodeRecord>>),
    /// Have a node emptied, or take chunks again; the record to make durable comes back.
    Drain(NodeId, bool, Reply<Result<NodeRecord, Status>>),
    /// What operators have said of nodes that may be away, all of it: that is durable.
    Maintain(MaintainedNodes, Reply<()>),
    /// Whether a node may be forgotten: it must be gone.
    CheckForget(NodeId, Reply<Result<(), Status>>),
    /// An operator forgets a node: it is held; until when the metadata may be told comes back, in the coordinator's time.
    BeginForget(NodeId, Reply<Result<u64, Status>>),
    /// A node that was to be forgotten is not.
    Spare(NodeId),
    /// A node is forgotten: that is durable.
    Forget(NodeId, Reply<()>),
    /// Nobody believes a node any more: it counts as down until it is heard of again.
    Expel(NodeId),
    /// An inventory is wanted of this node, or of all.
    WantInventory(Option<NodeId>),
    /// A whole inventory of a node came to its end.
    InventoryDone(NodeId, Incarnation),
}
