//! The cluster's health as a list of findings, from the view, the counters and the configuration.
//!
//! `findings` looks at the cluster and orders all that is said, `nodes` looks at single nodes, both at what `signs` lists; `examiner`
//! gathers that. `reports` has what datanodes say of their copies, `book` adds since when something needs attention.

mod book;
mod examiner;
mod findings;
mod nodes;
mod reports;
mod signs;
mod words;

pub(super) use book::annotate;
pub(super) use examiner::{Examined, Examiner, deletions};
pub use findings::{METADATA_DISK_FULL, METADATA_FAILING};
pub(super) use reports::NodeReports;
pub(super) use signs::DELETIONS_COUNTED;
