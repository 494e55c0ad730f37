//! One request, one answer: retried within its budget, a mutation always under the same operation id.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dfs_wire::id::OpId;
use dfs_wire::message::admin::{AdminRequest, AdminResponse};
use dfs_wire::message::metadata::{MetadataRequest, MetadataResponse};
use dfs_wire::message::{Request, Response};
use dfs_wire::status::StatusCode;
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::config::{COORDINATOR_PORT_DEFAULT, ClientConfig, RetryPolicy};
use crate::error::Error;
use crate::pool::Pool;

/// A new operation id, ordered by time for the readers of logs.
pub fn new_op() -> OpId {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    OpId::time_ordered(u64::try_from(millis).unwrap_or(0), rand::random())
}

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
        let mut backoff = Backoff::new(&policy);
        loop {
            let mut last = None;
            for _ in &self.endpoints {
                match self.pool.get(self.endpoint(), 1).await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = Some(error),
                }
                self.rotate();
            }
            let Some(error) = last else { return Ok(()) };
            if !error.retryable() {
                return Err(error);
            }
            backoff.pause(error).await.map_err(|e| self.unreachable(e))?;
        }
    }

    /// Asks the coordinator something that changes nothing.
    pub(crate) async fn ask(&self, body: MetadataRequest) -> Result<MetadataResponse, Error> {
        self.metadata(new_op(), body, Manner { mutation: false, final_code: None }).await
    }

    /// Asks the coordinator to change something. However often it is sent, it is done at most once.
    pub(crate) async fn mutate(&self, op: OpId, body: MetadataRequest) -> Result<MetadataResponse, Error> {
        self.metadata(op, body, Manner { mutation: true, final_code: None }).await
    }

    /// As [`Self::mutate`], but the answer `final_code` is taken as it is, even if waiting might change it.
    pub(crate) async fn mutate_unless(
        &self,
        op: OpId,
        body: MetadataRequest,
        final_code: StatusCode,
    ) -> Result<MetadataResponse, Error> {
        self.metadata(op, body, Manner { mutation: true, final_code: Some(final_code) }).await
    }

    async fn metadata(
        &self,
        op: OpId,
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
        match self.call(address.as_deref(), new_op(), Request::Admin(body), manner).await? {
            Response::Admin(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn call(
        &self,
        address: Option<&str>,
        op: OpId,
        body: Request,
        manner: Manner,
    ) -> Result<Response, Error> {
        let mut backoff = Backoff::new(&self.retry);
        let mut doubt = false;
        loop {
            let error = match self.attempt(address, op, &body).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            doubt |= manner.mutation && error.leaves_doubt();
            // What is refused for good is a definite answer, whatever came before: the operation id sees to that.
            if !error.retryable() || (manner.final_code.is_some() && error.status_code() == manner.final_code)
            {
                return Err(error);
            }
            if address.is_none() {
                self.rotate();
            }
            if let Err(error) = backoff.pause(error).await {
                return Err(match doubt {
                    true => outcome_unknown(&body, op, error),
                    false if address.is_none() => self.unreachable(error),
                    false => error,
                });
            }
        }
    }

    async fn attempt(&self, address: Option<&str>, op: OpId, body: &Request) -> Result<Response, Error> {
        let address = address.unwrap_or_else(|| self.endpoint());
        let conn = self.pool.get(address, 1).await?;
        let request = conn.link().request(op, millis(self.request_timeout), body.clone());
        match timeout(self.request_timeout, request).await {
            Ok(Ok((response, _))) => Ok(response),
            Ok(Err(status)) => Err(Error::from(status)),
            Err(_) => {
                let seconds = self.request_timeout.as_secs_f32();
                let text = format!("{address} did not answer {} within {seconds} s", body.name());
                Err(Error::new(StatusCode::DeadlineExceeded, text))
            }
        }
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
    Error::new(StatusCode::ProtocolViolation, format!("unexpected answer: {shown}"))
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

    #[test]
    fn operation_ids_are_new_and_ordered() {
        let (a, b) = (new_op(), new_op());
        assert_ne!(a, b);
        assert!(a.0 >> 80 <= b.0 >> 80);
    }
}
