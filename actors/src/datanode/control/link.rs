//! The control connection as the heartbeat and the inventory see it.

use std::time::Duration;

use dfs_wire::message::{Request, Response};
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

use super::messages::{Call, ControlMsg};
use crate::supervisor::{Addr, AskError};

/// The control connection to the coordinator, however it is kept up.
pub trait CoordinatorLink: Send + Sync + 'static {
    /// Asks and waits for the answer, at most `timeout`, connecting first if need be.
    ///
    /// # Errors
    /// The coordinator's refusal, or what went wrong on the way; always within `timeout`.
    fn call(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Result<Response, Status>>;
}

/// The connection that the control actor keeps.
#[derive(Clone)]
pub struct ControlLink(pub Addr<ControlMsg>);

impl CoordinatorLink for ControlLink {
    fn call(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Result<Response, Status>> {
        let control = self.0.clone();
        Box::pin(async move {
            let message = |reply| ControlMsg::Call(Box::new(Call { request, timeout, reply }));
            control.ask(message, timeout).await.unwrap_or_else(|e: AskError| {
                Err(Status::new(StatusCode::Unavailable, format!("no word from the coordinator: {e}")))
            })
        })
    }
}
