//! What the coordinator's collector can be told.

use super::state::GcReport;
use crate::coordinator::metadata::ops::mutation::Step;
use crate::coordinator::metadata::writer::MutationResult;
use crate::supervisor::{AskError, Reply};

/// A message to the collector.
#[derive(Debug)]
pub enum GcMsg {
    /// Its own: the step under way has ended.
    Stepped(Step, Result<MutationResult, AskError>),
    /// What has it done so far?
    Report(Reply<GcReport>),
    /// Somebody does not want to wait for the next cycle.
    Begin(Reply<()>),
}
