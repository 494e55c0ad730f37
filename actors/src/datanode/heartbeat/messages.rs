//! What the heartbeat actor can be told.

use std::sync::Arc;

use dfs_wire::message::membership::{HeartbeatReply, Registered};
use dfs_wire::status::Status;

use crate::datanode::authority::{Joined, WantNews};
use crate::supervisor::Addr;
use dfs_wire::id::ChunkKey;

/// A message to the heartbeat actor.
#[derive(Debug)]
pub enum HeartbeatMsg {
    /// A copy on this node was found bad: a mismatch read twice.
    Corrupt(ChunkKey),
    /// A reader was sent for a copy that is not on this node.
    Missing(ChunkKey),
    /// Somebody needs to know what changed in the cluster, sooner than the next heartbeat would tell.
    NewsWanted,
    /// Its own: time may have come for something.
    Wake,
    /// Its own: the answer to a registration.
    Registered(Result<Box<Registered>, Status>),
    /// Its own: the answer to a heartbeat.
    Answered(Result<Box<HeartbeatReply>, Status>),
    /// Its own: the identity was saved, or not.
    Saved(Result<Joined, Status>),
    /// Its own: what was heard of the metadata is durable, or not.
    Kept(Result<(), Status>),
    /// Its own: chunks were put into quarantine (true), or could not be.
    Quarantined(Vec<(ChunkKey, bool)>),
}

/// What is wrong with a copy that somebody came for, or that was read unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFault {
    /// A mismatch was read twice.
    Corrupt,
    /// It is not here.
    Missing,
}

/// How the rest of the node has `heartbeat` ask for news.
pub fn want_news(heartbeat: Addr<HeartbeatMsg>) -> WantNews {
    // A full mailbox is worked through in no time, and whoever waits asks again.
    Arc::new(move || _ = heartbeat.try_send(HeartbeatMsg::NewsWanted))
}
