//! What the keeper of events can be told.

use dfs_wire::message::admin::{HealthFinding, HealthLevel, MuteFinding, MutedFinding};
use dfs_wire::status::Status;

use crate::supervisor::Reply;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(super) kind: &'static str,
    pub(super) level: HealthLevel,
    pub(super) subject: String,
    pub(super) text: String,
}

impl Happening {
    /// Something that happened to the cluster: one word for its kind, how bad it is, and a sentence.
    pub(crate) fn new(kind: &'static str, level: HealthLevel, text: String) -> Self {
        Self { kind, level, subject: String::new(), text }
    }

    /// It is about the datanode of this name.
    pub(crate) fn about(self, name: &str) -> Self {
        Self { subject: name.to_owned(), ..self }
    }
}

/// A message to the keeper of events.
pub(crate) enum EventsMsg {
    /// Something happened. Where too much happens at once, it may be dropped.
    Note(Happening),
    /// Somebody wants to hear nothing of something, or hear it again; answered with all mutes once that is durable.
    Mute(MuteFinding, String, Reply<Result<Vec<MutedFinding>, Status>>),
    /// All that is muted.
    Mutes(Reply<Vec<MutedFinding>>),
    /// What needs attention now.
    Examined(Result<Vec<HealthFinding>, Status>),
    /// So many events were written, or not.
    Written(usize, Result<(), Status>),
}
