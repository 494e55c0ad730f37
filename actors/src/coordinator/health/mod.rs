//! The cluster's health as a list of findings: pure, from the view, the counters and the configuration.
//!
//! `findings` looks at the cluster and orders all that is said, `nodes` looks at single nodes, both at what `signs` lists.

mod findings;
mod nodes;
mod signs;
mod words;

pub(super) use findings::findings;
pub use findings::{METADATA_DISK_FULL, METADATA_FAILING};
pub(super) use signs::{DELETIONS_COUNTED, Signs};
