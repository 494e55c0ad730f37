//! What the taker of the census is told, by itself.

use dfs_wire::status::Status;

use super::state::Stepped;

/// Its own words.
pub(crate) enum CensusMsg {
    /// Look at some more groups.
    Step,
    /// So far it has come.
    Stepped(Result<Stepped, Status>),
}
