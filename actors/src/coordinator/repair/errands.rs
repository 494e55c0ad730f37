//! Requests of the coordinator to datanodes.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::handshake::{Hello, NodePeer, Peer};
use dfs_wire::id::{Incarnation, NodeId, OpId};
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::message::{Request, Response};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

use crate::coordinator::metadata::ops::cluster::Reign;
use crate::env::Env;
use crate::peer::dial::{DIAL_TIMEOUT, dial};

/// Where a datanode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Who is to answer there.
    pub node: NodeId,
    /// Where it listens, `host:port`.
    pub address: String,
}

/// Asks datanodes to do something.
pub trait Errands: Send + Sync + 'static {
    /// Has a datanode carry a request out, within `limit`.
    ///
    /// # Errors
    /// The node's refusal, or why nobody answered; then it may have been carried out all the same.
    fn ask(
        &self,
        to: NodeAddress,
        request: Request,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Response, Status>>;
}

/// Asks over a connection for each request.
pub struct NodeErrands(Arc<Caller>);

struct Caller {
    env: Env,
    hello: Hello,
    budget: SlabBudget,
}

impl NodeErrands {
    /// Asks on behalf of the coordinator, in its `reign`, by its name for people.
    pub fn new(env: Env, reign: &Reign, name: &str) -> Self {
        let me = NodePeer {
            node: NodeId(reign.cluster.0),
            incarnation: Incarnation(reign.epoch.0),
            name: name.to_owned(),
        };
        let hello = Hello {
            cluster: Some(reign.cluster),
            peer: Peer::Coordinator(me),
            credentials: Vec::new(),
            features: 0,
            connection_credit: CONNECTION_CREDIT_BYTES,
        };
        // Answers bring no payload: the least that a link can have.
        let budget = SlabBudget::new(SlabPool::new(1), 1);
        Self(Arc::new(Caller { env, hello, budget }))
    }
}

impl Caller {
    async fn ask(&self, to: &NodeAddress, request: Request, deadline_ms: u32) -> Result<Response, Status> {
        let dialed = dial(&self.env, &to.address, &self.hello, &self.budget, DIAL_TIMEOUT).await?;
        if dialed.welcome.node != to.node {
            let text = format!("{} answers at {}, not {}", dialed.welcome.name, to.address, to.node);
            return Err(Status::new(StatusCode::Unavailable, text).at_node(to.node));
        }
        let asked = dialed.link.request(OpId(self.env.rng.u128()), deadline_ms, request);
        let lost = || Status::new(StatusCode::ConnectionLost, "the connection ended before the answer");
        tokio::select! {
            biased; // Both end with the first, so nobody starves; the answer may be there when the connection ends.
            answer = asked => answer.map(|(response, _)| response),
            _ = futures_util::future::join(dialed.driver.reader, dialed.driver.writer) => Err(lost().at_node(to.node)),
        }
    }
}

impl Errands for NodeErrands {
    fn ask(
        &self,
        to: NodeAddress,
        request: Request,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Response, Status>> {
        let caller = Arc::clone(&self.0);
        Box::pin(async move {
            let deadline_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            let asked = caller.ask(&to, request, deadline_ms);
            caller.env.clock.timeout(limit, asked).await.unwrap_or_else(|_| {
                let text = format!("no answer within {} s", limit.as_secs());
                Err(Status::new(StatusCode::DeadlineExceeded, text).at_node(to.node))
            })
        })
    }
}
