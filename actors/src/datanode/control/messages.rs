//! What the owner of the control connection can be told.

use std::time::Duration;

use dfs_wire::link::Dialed;
use dfs_wire::message::{Request, Response};
use dfs_wire::status::Status;

use crate::supervisor::Reply;

/// One question to the coordinator.
#[derive(Debug)]
pub struct Call {
    pub(super) request: Request,
    pub(super) timeout: Duration,
    pub(super) reply: Reply<Result<Response, Status>>,
}

/// What the actor can be told.
#[derive(Debug)]
pub enum ControlMsg {
    /// Ask the coordinator something.
    Call(Box<Call>),
    /// A dial ended.
    Dialed(Box<Result<Dialed, Status>>),
    /// A call that was sent has ended.
    Ended {
        /// On which connection.
        connection: u64,
        /// The coordinator has said something, or the connection has ended by itself.
        answered: bool,
    },
}
