//! Asking at an address who is there, before a node is counted that says it is reached there.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::handshake::{ClientPeer, Hello, Peer};
use dfs_wire::id::{ClientId, ClusterId, NodeId};
use dfs_wire::identity::PeerName;
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::message::membership::Register;
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::budgets::ADDRESSES_ASKED_MAX;
use crate::coordinator::membership::{advertise_hint, too_many_register};
use crate::env::Env;
use crate::peer::dial::dial;

/// How long a node may take to answer at its address.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Who answered at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// The id it says it has.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
}

/// Asks who is at an address.
pub trait Doorbell: Send + Sync + 'static {
    /// Who answers at `address`, where `node` says that it is, within a few seconds.
    ///
    /// # Errors
    /// Why nobody does.
    fn ring(&self, node: NodeId, address: String) -> BoxFuture<'static, Result<Answering, Status>>;
}

/// Asks by the handshake that any peer begins with.
pub struct Dialing {
    env: Env,
    hello: Hello,
    budget: SlabBudget,
    turns: Arc<Semaphore>,
}

impl Dialing {
    /// Asks on behalf of the coordinator of `cluster`.
    pub fn new(env: Env, cluster: ClusterId) -> Self {
        let peer = ClientPeer { client: ClientId(env.rng.u128()), name: "coordinator".to_owned() };
        let hello = Hello {
            cluster: Some(cluster),
            // Clients that take all their places at a node do not keep it out of the cluster.
            peer: Peer::Operator(peer),
            credentials: None,
            features: 0,
            connection_credit: CONNECTION_CREDIT_BYTES,
        };
        // Nothing is sent after the handshake: the least that a link can have.
        let budget = SlabBudget::new(SlabPool::new(1), 1);
        Self { env, hello, budget, turns: Arc::new(Semaphore::new(ADDRESSES_ASKED_MAX)) }
    }
}

impl Doorbell for Dialing {
    fn ring(&self, node: NodeId, address: String) -> BoxFuture<'static, Result<Answering, Status>> {
        let (env, hello, budget) = (self.env.clone(), self.hello.clone(), self.budget.clone());
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            let _turn = turns.try_acquire().map_err(|_| too_many_register())?;
            let dialed = dial(&env, &address, PeerName::Node(node), &hello, &budget, ANSWER_TIMEOUT).await?;
            Ok(Answering { node: dialed.welcome.node, name: dialed.welcome.name })
        })
    }
}

/// Whether it is the node itself that answers where it says that it is reached.
///
/// # Errors
/// `NotAdmitted`, with what answers there, or why nothing does.
pub(super) async fn check(bell: &dyn Doorbell, word: &Register) -> Result<(), Status> {
    let Register { node, name, address, .. } = word;
    let answered = bell.ring(*node, address.clone()).await;
    let (text, hint) = match answered {
        Ok(who) if who.node == *node => return Ok(()),
        Ok(who) => (
            format!(
                "{name} ({node}) says that it is reached at {address}, but {} ({}) answers there",
                who.name, who.node
            ),
            advertise_hint(name),
        ),
        Err(status) if status.code == StatusCode::Busy => return Err(status.at_node(*node)),
        Err(status) => (
            format!("{name} does not answer at {address}, where it says that it is reached: {}", status.message),
            "set node.advertise to an address that the coordinator, clients and other datanodes reach it at; check the \
             firewall between them"
                .to_owned(),
        ),
    };
    Err(Status::new(StatusCode::NotAdmitted, text).hint(hint).at_node(*node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_takes_no_place_of_clients() {
        let bell = Dialing::new(Env::for_tests(1), ClusterId(1));
        assert!(matches!(bell.hello.peer, Peer::Operator(_)), "all of theirs may be taken");
    }
}
