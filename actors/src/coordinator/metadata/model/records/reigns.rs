//! The records of the history of the metadata: reigns, and how far each of them got.

use dfs_wire::codec::{self, CodecError};
use dfs_wire::id::{Epoch, NodeId};
use serde::{Deserialize, Serialize};

use crate::coordinator::metadata::table::format::Record;

/// Where a reign began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReignStart {
    /// The number of the reign.
    pub epoch: Epoch,
    /// The commit position when it began, which is where the one before ended.
    pub from: u64,
}

/// The reigns that this metadata has been through: what a node may have been taken in by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reigns {
    /// Reigns up to this one count as known, however far: older ones are forgotten, or were given up by an operator.
    pub horizon: Epoch,
    /// The later ones, in order.
    pub later: Vec<ReignStart>,
}

/// What the metadata knows of a reign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// All of it.
    Whole,
    /// What was committed up to this position.
    UpTo(u64),
    /// Nothing: this metadata has not been through it.
    Not,
}

impl Reigns {
    /// Reigns that are remembered one by one.
    pub const KEPT_MAX: usize = 1024;

    /// What the metadata, which is at `position` now, knows of this reign; 0 stands for none.
    pub fn knows(&self, epoch: Epoch, position: u64) -> Known {
        if epoch <= self.horizon {
            return Known::Whole;
        }
        match self.later.binary_search_by_key(&epoch, |reign| reign.epoch) {
            Ok(at) => Known::UpTo(self.later.get(at + 1).map_or(position, |next| next.from)),
            Err(_) => Known::Not,
        }
    }

    /// One more begins, higher than all before, at this commit position.
    pub fn push(&mut self, epoch: Epoch, from: u64) {
        self.later.push(ReignStart { epoch, from });
        if self.later.len() > Self::KEPT_MAX {
            self.horizon = self.horizon.max(self.later.remove(0).epoch);
        }
    }
}

/// [`Reigns`] of format 1, whose nodes had not heard of positions.
#[derive(Serialize, Deserialize)]
struct ReignsV1 {
    horizon: Epoch,
    later: Vec<Epoch>,
}

impl Record for Reigns {
    const FORMAT: u8 = 2;

    fn from_older(format: u8, body: &[u8]) -> Option<Result<Self, CodecError>> {
        let start = |epoch| ReignStart { epoch, from: 0 };
        let later = |old: ReignsV1| old.later.into_iter().map(start).collect();
        let now = |old: ReignsV1| Self { horizon: old.horizon, later: later(old) };
        (format == 1).then(|| codec::decode::<ReignsV1>(body).map(now))
    }
}

/// The proof that this metadata is older than what the cluster has seen: a node that another reign took in, or that has
/// heard more of a reign than this metadata knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownReign {
    /// The highest such reign that any node has named.
    pub epoch: Epoch,
    /// The node that named it.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// When it did.
    pub found_ms: u64,
    /// The commit position that the node has heard of in that reign.
    pub heard: u64,
    /// The position up to which this metadata knows the reign, if it does at all.
    pub known: Option<u64>,
}

impl UnknownReign {
    /// What the node has seen, to be said after its name.
    pub fn seen(&self) -> String {
        let Self { epoch, heard, .. } = self;
        match self.known {
            Some(_) => format!("has heard of commit {heard} of epoch {epoch}"),
            None => format!("has obeyed epoch {epoch}"),
        }
    }
}

/// An [`UnknownReign`] of format 1.
#[derive(Serialize, Deserialize)]
struct UnknownReignV1 {
    epoch: Epoch,
    node: NodeId,
    name: String,
    found_ms: u64,
}

impl Record for UnknownReign {
    const FORMAT: u8 = 2;

    fn from_older(format: u8, body: &[u8]) -> Option<Result<Self, CodecError>> {
        let now = |old: UnknownReignV1| {
            let UnknownReignV1 { epoch, node, name, found_ms } = old;
            Self { epoch, node, name, found_ms, heard: 0, known: None }
        };
        (format == 1).then(|| codec::decode::<UnknownReignV1>(body).map(now))
    }
}
