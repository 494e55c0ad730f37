//! What the writer can be told.

use dfs_wire::id::OpId;

use super::committer::{GroupEnd, MutationResult};
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::supervisor::Reply;

/// A message to the writer.
pub enum WriterMsg {
    /// Change something; answered after the commit.
    Mutate {
        /// The operation: the client's id, or a fresh one for background work.
        op: OpId,
        /// What to change.
        mutation: Box<Mutation>,
        /// The outcome, or why there is none.
        reply: Reply<MutationResult>,
    },
    /// A group has ended.
    GroupDone(GroupEnd),
}

impl WriterMsg {
    /// The question for [`crate::supervisor::Addr::ask`].
    pub fn mutate(op: OpId, mutation: Mutation) -> impl FnOnce(Reply<MutationResult>) -> Self {
        move |reply| Self::Mutate { op, mutation: Box::new(mutation), reply }
    }
}
