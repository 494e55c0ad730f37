//! What can be done to a cluster, and against whom.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::units::Span;

/// Datanodes of `compose/cluster.yml`.
pub(super) const DATANODES_MAX: usize = 6;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// An actor is killed in the middle of a handler.
    KillActor,
    /// An actor panics.
    PanicActor,
    /// An actor handles nothing for a while.
    PauseActor,
    /// All actors of a kind take longer for each message, for a while.
    DelayActor,
    /// A datanode is emptied; after a while it has to be empty, and takes chunks again.
    Drain,
    /// SIGKILL to a node; it is started again after a while.
    Kill,
    /// SIGTERM to a node, which drains; it is started again after a while.
    Stop,
    /// A node does nothing for a while, and does not know it.
    Pause,
    /// SIGKILL to a node, whose directory is emptied; it is started again after a while.
    Wipe,
    /// Bytes of chunks change on disks.
    Corrupt,
    /// All datanodes read everything they have.
    Scrub,
    /// A node cannot be reached, or reaches nobody, or both, for a while.
    Cut,
    /// What goes to a node comes later, for a while.
    Slow,
    /// A disk has no free byte, for a while.
    Fill,
    /// A node is stopped and started at once; `each`: one after the other, the next when the one before is back.
    Restart,
    /// All nodes are killed at once, and started again after a while.
    RestartAll,
}

/// Who suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The coordinator.
    Coordinator,
    /// A datanode, from 1.
    Datanode(usize),
    /// A datanode that chance names.
    AnyDatanode,
    /// A node that chance names, the coordinator among them.
    Any,
    /// All nodes, one after the other.
    Each,
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "coordinator" => Ok(Self::Coordinator),
            "any-datanode" => Ok(Self::AnyDatanode),
            "any" => Ok(Self::Any),
            "each" => Ok(Self::Each),
            _ => {
                let number = text.strip_prefix("datanode").and_then(|number| number.parse().ok());
                let number = number.filter(|number| (1..=DATANODES_MAX).contains(number));
                number.map(Self::Datanode).ok_or_else(|| {
                    format!(
                        "`{text}` is no node: coordinator, datanode1 to datanode6, any-datanode, any, each"
                    )
                })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Whom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Which direction of a line is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Nothing comes, nothing goes.
    #[default]
    Both,
    /// Nobody reaches the node; it reaches the others.
    In,
    /// The node does not reach the coordinator; all reach it.
    Out,
}

/// One line of the schedule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, counted from the end of the quiet time.
    pub at: Span,
    /// What is done.
    #[serde(rename = "do")]
    pub deed: Deed,
    /// Who suffers.
    pub node: Option<Whom>,
    /// The kind of actor; `each`: every kind of every role in turn.
    pub actor: Option<String>,
    /// How long it lasts; without it, to the end of the schedule.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
    /// Again after so long.
    pub every: Option<Span>,
    /// How often in all.
    pub times: Option<u32>,
    /// How much later what goes to the node comes, or how much longer the actors take for each message.
    pub delay: Option<Span>,
    /// Which direction is cut.
    pub way: Option<Way>,
    /// Copies of each chunk that change.
    pub copies: Option<usize>,
    /// Chunks of which copies change.
    pub chunks: Option<usize>,
}

impl Fault {
    /// When the last repetition is over.
    pub(super) fn end(&self) -> Duration {
        let again = self.every.unwrap_or_default().0 * (self.times.unwrap_or(1).saturating_sub(1));
        self.at.0 + again + self.lasts.unwrap_or_default().0
    }

    /// Whether it needs disks with a size.
    pub(super) fn fills(&self) -> bool {
        self.deed == Deed::Fill
    }

    /// The keys that do not belong to what is done, or are missing for it, and why.
    pub(super) fn wrong(&self, datanodes: usize) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let deed = self.deed;
        let has = |key: &'static str, given: bool, takes: bool, needs: bool| match (given, takes, needs) {
            (true, false, _) => Some((key, format!("{deed} has no such thing"))),
            (false, _, true) => Some((key, format!("{deed} needs it"))),
            _ => None,
        };
        let one_actor = matches!(deed, Deed::KillActor | Deed::PanicActor | Deed::PauseActor);
        let actor = one_actor || deed == Deed::DelayActor;
        let delay = matches!(deed, Deed::Slow | Deed::DelayActor);
        let long = matches!(deed, Deed::PauseActor | Deed::DelayActor | Deed::Drain);
        let all = matches!(deed, Deed::RestartAll | Deed::Corrupt | Deed::Scrub);
        let once = matches!(deed, Deed::KillActor | Deed::PanicActor | Deed::Corrupt | Deed::Scrub);
        let lasts = !once && deed != Deed::Restart;
        let corrupt = deed == Deed::Corrupt;
        let unknown = |whom: &Whom| matches!(whom, Whom::Datanode(number) if *number > datanodes);
        let only_datanodes = matches!(deed, Deed::Wipe | Deed::Cut | Deed::Slow | Deed::Fill | Deed::Drain);
        let misplaced = |whom: &Whom| match whom {
            Whom::Each => !(one_actor || deed == Deed::Restart),
            Whom::Coordinator | Whom::Any => only_datanodes,
            _ => false,
        };
        let node = self.node.filter(unknown).map(|_| ("node", format!("there are {datanodes} datanodes")));
        let whom = self.node.filter(misplaced).map(|_| ("node", format!("{deed} cannot be done to that")));
        let repeated = self.every.is_some() == self.times.is_some();
        let together = (!repeated).then(|| ("every", "`every` and `times` belong together".to_owned()));
        [
            has("node", self.node.is_some(), !all, !all),
            has("actor", self.actor.is_some(), actor, actor),
            has("for", self.lasts.is_some(), lasts, long),
            has("delay", self.delay.is_some(), delay, delay),
            has("way", self.way.is_some(), deed == Deed::Cut, false),
            has("copies", self.copies.is_some(), corrupt, corrupt),
            has("chunks", self.chunks.is_some(), corrupt, corrupt),
            node,
            whom,
            together,
        ]
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillActor => "kill-actor",
            Self::PanicActor => "panic-actor",
            Self::PauseActor => "pause-actor",
            Self::DelayActor => "delay-actor",
            Self::Drain => "drain",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Wipe => "wipe",
            Self::Corrupt => "corrupt",
            Self::Scrub => "scrub",
            Self::Cut => "cut",
            Self::Slow => "slow",
            Self::Fill => "fill",
            Self::Restart => "restart",
            Self::RestartAll => "restart-all",
        })
    }
}
