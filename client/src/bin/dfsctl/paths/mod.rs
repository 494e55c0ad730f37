//! Paths of the cluster and of this machine: as written, as patterns, as trees, side by side.

pub(crate) mod compare;
pub(crate) mod content;
pub(crate) mod destination;
pub(crate) mod glob;
pub(crate) mod local;
pub(crate) mod look;
pub(crate) mod node_dirs;
pub(crate) mod pinned;
pub(crate) mod remote;
pub(crate) mod sides;
pub(crate) mod walk;
