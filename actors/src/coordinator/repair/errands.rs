//! Requests of the coordinator to datanodes, over links that it keeps as long as there is something to ask.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::handshake::{Hello, NodePeer, Peer};
use dfs_wire::id::{Incarnation, NodeId, OpId};
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::message::{Request, Response};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};

use crate::coordinator::metadata::ops::cluster::Reign;
use crate::env::Env;
use crate::peer::links::{LinksArgs, LinksMsg, PeerLimits, link};
use crate::supervisor::Addr;

/// Where a datanode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeAddress {
    /// Who is to answer there.
    pub(super) node: NodeId,
    /// Where it listens, `host:port`.
    pub(super) address: String,
}

/// Asks datanodes to do something. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Errands {
    env: Env,
    links: Addr<LinksMsg>,
}

/// How the coordinator introduces itself to datanodes in its `reign`, by its name for people.
pub(in crate::coordinator) fn introduction(reign: &Reign, name: &str) -> LinksArgs {
    let me = NodePeer {
        node: NodeId(reign.cluster.0),
        incarnation: Incarnation(reign.epoch.0),
        name: name.to_owned(),
    };
    let hello = Hello {
        cluster: Some(reign.cluster),
        peer: Peer::Coordinator(me),
        credentials: None,
        features: 0,
        connection_credit: CONNECTION_CREDIT_BYTES,
    };
    LinksArgs {
        hello: Arc::new(move || hello.clone()),
        // Answers bring no payload: the least that a link can have.
        budget: SlabBudget::new(SlabPool::new(1), 1),
        limits: PeerLimits::default(),
    }
}

impl Errands {
    /// Asks over these links.
    pub(in crate::coordinator) fn new(env: Env, links: Addr<LinksMsg>) -> Self {
        Self { env, links }
    }

    /// Has a datanode carry a request out, within `limit`.
    ///
    /// Cancel safety: dropping the future resets the request; it may have been carried out.
    ///
    /// # Errors
    /// The node's refusal, or why nobody answered; then it may have been carried out all the same.
    pub(super) async fn ask(
        &self,
        to: NodeAddress,
        request: Request,
        limit: Duration,
    ) -> Result<Response, Status> {
        let NodeAddress { node, address } = to;
        let deadline_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        let asked = async {
            let link = link(&self.links, node, address).await?;
            link.request(OpId(self.env.rng.u128()), deadline_ms, request).await
        };
        let late = |_| {
            let text = format!("no answer within {} s", limit.as_secs());
            Err(Status::new(StatusCode::DeadlineExceeded, text))
        };
        let answered = self.env.clock.timeout(limit, asked).await.unwrap_or_else(late);
        answered.map(|(response, _)| response).map_err(|status| status.at_node(node))
    }
}
