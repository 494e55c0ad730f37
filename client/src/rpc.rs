//! One request, one answer: retried within its budget, a mutation always under the same operation id.
//!
//! Only a response is an answer. A connection that is lost after the request left, or a peer that gives the request up or
//! does not know itself what became of it, says nothing about what was done: the request is repeated, and a mutation that never gets its answer ends as
//! `OutcomeUnknown`. A coordinator that has forgotten the outcomes of an id's time does nothing under it: if nothing was sent
//! under it before, the mutation gets a new id with a new stamp, else its outcome is unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::OpId;
use dfs_wire::identity::PeerName;
use dfs_wire::message::admin::{AdminRequest, AdminResponse};
use dfs_wire::message::metadata::{MetadataRequest, MetadataResponse};
use dfs_wire::message::{Request, Response};
use dfs_wire::status::StatusCode;
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::config::{COORDINATOR_PORT_DEFAULT, ClientConfig, RetryPolicy};
use crate::error::Error;
use crate::pool::{Conn, Pool};

/// Times that one mutation takes a new stamp because its own is told to be too old.
const STAMPS_MAX: u32 = 3;

/// A duration as the wire has it.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// How a request is to be repeated.
#[derive(Clone, Copy)]
struct Manner {
    /// It changes something: an answer that was lost leaves doubt.
    mutation: bool,
    /// An answer that is not waited away.
    final_code: Option<StatusCode>,
}

/// When a request is given up, whatever is being done for it; `None` = its budgets alone count.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<Instant>);

impl Limit {
    fn after(patience: Option<Duration>) -> Self {
        Self(patience.and_then(|patience| Instant::now().checked_add(patience)))
    }

    /// `patience`, or what is left if that is less.
    fn cap(self, patience: Duration) -> Duration {
        self.0.map_or(patience, |end| patience.min(end.saturating_duration_since(Instant::now())))
    }

    fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }

    /// The outcome of `work`, unless there is no time left for it.
    async fn within<F: Future>(self, work: F) -> Option<F::Output> {
        match self.0 {
            None => Some(work.await),
            Some(end) => tokio::time::timeout_at(end, work).await.ok(),
        }
    }
}

/// Why an attempt brought no response as it was asked for.
struct Failed {
    error: Error,
    /// The request may have left; else nobody knows of it.
    sent: bool,
}

/// Sends requests to the coordinator that answers, or to a named node.
pub(crate) struct Rpc {
    pool: Pool,
    endpoints: Vec<String>,
    /// Which endpoint answered last.
    current: AtomicUsize,
    request_timeout: Duration,
    retry: RetryPolicy,
}

impl Rpc {
    pub(crate) fn new(config: &ClientConfig, pool: Pool) -> Result<Self, Error> {
        let endpoints: Vec<String> =
            config.endpoints.iter().map(|e| with_port(e)).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(Error::new(StatusCode::InvalidArgument, "no coordinator is named")
                .with_hint("name one: host:port"));
        }
        Ok(Self {
            pool,
            endpoints,
            current: AtomicUsize::new(0),
            request_timeout: config.timeouts.request,
            retry: config.retry.clone(),
        })
    }

    /// Finds a coordinator that answers, trying each endpoint in turn within the budget for connecting.
    pub(crate) async fn connect(&self) -> Result<(), Error> {
        let policy = RetryPolicy { budget: self.retry.connect_budget, ..self.retry.clone() };
        let mut backoff = Backoff::new(&policy, self.pool.env());
        let limit = Limit::after(Some(policy.budget));
        loop {
            let mut last = None;
            for _ in &self.endpoints {
                match self.link_to(self.endpoint(), limit).await {
                    Ok(_) => return Ok(()),
                    // That the time is over says less than what was met before.
                    Err(_) if last.is_some() && limit.is_over() => {}
                    Err(error) => last = Some(error),
                }
                self.rotate();
            }
            let Some(error) = last else { return Ok(()) };
            if !error.retryable() {
                return Err(error);
            }
            if !matches!(limit.within(backoff.pause(error.clone())).await, Some(Ok(()))) {
                return Err(self.unreachable(error));
            }
        }
    }

    /// Asks the coordinator something that changes nothing.
    pub(crate) async fn ask(&self, body: MetadataRequest) -> Result<MetadataResponse, Error> {
        self.metadata(None, body, Manner { mutation: false, final_code: None }).await
    }

    /// An id for the logs, of a request that changes no metadata.
    pub(crate) fn log_id(&self) -> OpId {
        OpId(self.pool.env().u128())
    }

    /// A new operation id, with the coordinator's time for a stamp.
    pub(crate) fn new_op(&self) -> OpId {
        let random = if bugs::is(Bug::ReuseOpId) { 0 } else { self.pool.env().u128() };
        OpId::time_ordered(self.pool.time_ms(), random)
    }

    /// Asks the coordinator to change something, under this operation id or a new one. However often it is sent, it is
    /// done at most once.
    pub(crate) async fn mutate(
        &self,
        op: Option<OpId>,
        body: MetadataRequest,
    ) -> Result<MetadataResponse, Error> {
        self.metadata(op, body, Manner { mutation: true, final_code: None }).await
    }

    /// As [`Self::mutate`], but the answer `final_code` is taken as it is, even if waiting might change it.
    pub(crate) async fn mutate_unless(
        &self,
        body: MetadataRequest,
        final_code: StatusCode,
    ) -> Result<MetadataResponse, Error> {
        self.metadata(None, body, Manner { mutation: true, final_code: Some(final_code) }).await
    }

    async fn metadata(
        &self,
        op: Option<OpId>,
        body: MetadataRequest,
        manner: Manner,
    ) -> Result<MetadataResponse, Error> {
        match self.call(None, op, Request::Metadata(body), manner).await? {
            Response::Metadata(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the coordinator, or the node at `address`, about itself.
    pub(crate) async fn admin(
        &self,
        address: Option<&str>,
        body: AdminRequest,
    ) -> Result<AdminResponse, Error> {
        let address = address.map(with_port).transpose()?;
        let manner = Manner { mutation: false, final_code: None };
        match self.call(address.as_deref(), None, Request::Admin(body), manner).await? {
            Response::Admin(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn call(
        &self,
        address: Option<&str>,
        given: Option<OpId>,
        body: Request,
        manner: Manner,
    ) -> Result<Response, Error> {
        let mut backoff = Backoff::new(&self.retry, self.pool.env());
        let limit = Limit::after(self.retry.limit);
        let mut op = given.unwrap_or_else(|| self.new_op());
        let (mut doubt, mut stamps) = (false, 0);
        loop {
            let Failed { error, sent } = match self.attempt(address, op, &body, limit).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if error.status_code() == Some(StatusCode::StaleOperation) {
                // An id that was given is one that may have been sent before.
                if doubt || given.is_some() || stamps == STAMPS_MAX {
                    return Err(outcome_unknown(&body, op, error));
                }
                stamps += 1;
                op = self.new_stamp(limit).await.map_err(|e| e.caused_by(error))?;
                continue;
            }
            doubt |= manner.mutation && sent && error.leaves_doubt() && !bugs::is(Bug::ForgetDoubt);
            let refused = !error.retryable()
                || (manner.final_code.is_some() && error.status_code() == manner.final_code);
            // What is refused for good is a definite answer, whatever came before: the operation id sees to that. A
            // connection that is refused is no answer to what was sent on an earlier one.
            if refused && (sent || !doubt) {
                return Err(error);
            }
            if address.is_none() {
                self.rotate();
            }
            if refused || !matches!(limit.within(backoff.pause(error.clone())).await, Some(Ok(()))) {
                return Err(match doubt {
                    true => outcome_unknown(&body, op, error),
                    false if address.is_none() => self.unreachable(error),
                    false => error,
                });
            }
        }
    }

    async fn attempt(
        &self,
        address: Option<&str>,
        op: OpId,
        body: &Request,
        limit: Limit,
    ) -> Result<Response, Failed> {
        let address = address.unwrap_or_else(|| self.endpoint());
        let conn = self.link_to(address, limit).await.map_err(|error| Failed { error, sent: false })?;
        let patience = limit.cap(self.request_timeout);
        let request = conn.link().request(op, millis(patience), body.clone());
        let error = match timeout(patience, request).await {
            Ok(Ok((response, _))) => return Ok(response),
            // Whoever worked on it there is gone, and nobody says how far it came.
            Ok(Err(status)) if matches!(status.code, StatusCode::Cancelled | StatusCode::OutcomeUnknown) => {
                let text = format!("{address} gave {} up without an answer", body.name());
                Error::new(StatusCode::ConnectionLost, text).caused_by(Error::from(status))
            }
            Ok(Err(status)) => Error::from(status),
            Err(_) => {
                let seconds = patience.as_secs_f32();
                let text = format!("{address} did not answer {} within {seconds:.1} s", body.name());
                Error::new(StatusCode::DeadlineExceeded, text)
            }
        };
        Err(Failed { error, sent: true })
    }

    /// A new operation id, after the coordinator was asked for its time.
    async fn new_stamp(&self, limit: Limit) -> Result<OpId, Error> {
        let late = || Err(Error::new(StatusCode::Unavailable, "the coordinator's time could not be learned"));
        limit.within(self.pool.greet_again(self.endpoint())).await.unwrap_or_else(late)?;
        Ok(self.new_op())
    }

    async fn link_to(&self, address: &str, limit: Limit) -> Result<Arc<Conn>, Error> {
        let late = || Err(Error::new(StatusCode::Unavailable, format!("no connection to {address} in time")));
        let whom = if self.endpoints.iter().any(|endpoint| endpoint == address) {
            PeerName::Coordinator
        } else {
            PeerName::AnyNode
        };
        limit.within(self.pool.get(address, whom, 1)).await.unwrap_or_else(late)
    }

    fn endpoint(&self) -> &str {
        let index = self.current.load(Ordering::Relaxed) % self.endpoints.len().max(1);
        self.endpoints.get(index).map_or("", String::as_str)
    }

    fn rotate(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    fn unreachable(&self, error: Error) -> Error {
        if error.status_code() != Some(StatusCode::Unavailable) {
            return error;
        }
        error
            .context(format_args!("no coordinator can serve (tried {})", self.endpoints.join(", ")))
            .with_hint("check that the coordinator runs and that the endpoint is right")
    }
}

fn outcome_unknown(body: &Request, op: OpId, cause: Error) -> Error {
    let text = format!("{} was sent, but its outcome could not be learned", body.name());
    Error::new(StatusCode::OutcomeUnknown, text)
        .of_op(op)
        .with_hint("look whether it was done, or repeat it with the same operation id within 24 h")
        .caused_by(cause)
}

/// An answer that does not fit its question.
pub(crate) fn unexpected(response: &impl std::fmt::Debug) -> Error {
    let mut shown = format!("{response:?}");
    if let Some((end, _)) = shown.char_indices().nth(120) {
        shown.truncate(end);
    }
    let text = format!("the answer is not one to the question, as if from another build of dfs: {shown}");
    Error::new(StatusCode::ProtocolViolation, text)
}

/// Completes an endpoint with the default port.
fn with_port(endpoint: &str) -> Result<String, Error> {
    let endpoint = endpoint.trim();
    let bad = |why: &str| {
        Error::new(StatusCode::InvalidArgument, format!("{why}: {endpoint:?}"))
            .with_hint("an endpoint looks like 127.0.0.1:8080, [::1]:8080 or host:8080")
    };
    if endpoint.is_empty() || endpoint.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(bad("not an endpoint"));
    }
    let after_host = match endpoint.rsplit_once(']') {
        Some((_, rest)) => rest,
        None => endpoint,
    };
    match after_host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok_and(|p| p > 0) => Ok(endpoint.to_owned()),
        Some(_) => Err(bad("not a port number")),
        None => Ok(format!("{endpoint}:{COORDINATOR_PORT_DEFAULT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_completed_or_refused() {
        for (text, full) in [
            ("localhost", "localhost:8080"),
            ("10.0.0.1:81", "10.0.0.1:81"),
            ("[::1]:9000", "[::1]:9000"),
            ("[::1]", "[::1]:8080"),
        ] {
            assert_eq!(with_port(text).unwrap(), full);
        }
        for bad in ["", "http://x:1", "a:b", "a:0", "a:70000", "a b"] {
            assert!(with_port(bad).is_err(), "{bad:?}");
        }
    }
}
