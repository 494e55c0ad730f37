//! What an operator may end or ask for: a node that will not come back, and a fresh look at all that is there.

use dfs_wire::id::NodeId;
use dfs_wire::message::admin::{AdminResponse, ForgetNode, ForgottenNode};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, refused};
use crate::coordinator::census::reaches;
use crate::coordinator::membership::{ClusterView, MembershipMsg};
use crate::coordinator::metadata::ops::forget;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::table::error::MetaError;

/// The one node that an operator calls so. The id of one that is forgotten already counts: a repeat is answered as the
/// first try was.
fn called(view: &ClusterView, text: &str) -> Result<(NodeId, String), Status> {
    let is_called = |name: &str, id: NodeId| name == text || id.to_string() == text;
    let all = || view.nodes.iter().map(|node| (&node.entry.name, node.entry.node));
    let found: Vec<_> = all().filter(|(name, id)| is_called(name, *id)).collect();
    let names = |nodes: Vec<(&String, NodeId)>| {
        let one = |(name, id): &(&String, NodeId)| format!("{name} ({id})");
        nodes.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    if let Some(node) = view.forgotten.iter().find(|node| node.entry.node.to_string() == text) {
        return Ok((node.entry.node, node.entry.name.clone()));
    }
    match found.as_slice() {
        [(name, id)] => Ok((*id, (*name).clone())),
        [] => Err(Status::new(StatusCode::NotFound, format!("there is no datanode '{text}'"))
            .hint(format!("write the name or the id of one of {}", names(all().collect())))),
        _ => Err(Status::new(StatusCode::InvalidArgument, format!("several datanodes are called '{text}'"))
            .hint(format!("write the id of one of {}", names(found)))),
    }
}

impl CoordinatorService {
    /// Forgets a node that is gone. It is decided in one batch of the metadata, so that two nodes that are forgotten at the
    /// same time cannot take the last two copies of a chunk along.
    pub(super) async fn forget_node(
        &self,
        asked: &Asked,
        word: &ForgetNode,
    ) -> Result<AdminResponse, Status> {
        let view = self.view();
        let (node, name) = called(&view, &word.node)?;
        let membership = &self.parts.membership;
        let unanswered = |error| refused("the register of nodes", error);
        let check = |reply| MembershipMsg::CheckForget(node, reply);
        membership.ask(check, self.left(asked)).await.map_err(unanswered)??;
        let reach = reaches(&view, self.parts.time.now_ms());
        let reaches = view.nodes.iter().chain(&view.forgotten).map(|n| (n.entry.node, reach(n.entry.node)));
        let request = forget::ForgetNode { node, accept_loss: word.accept_loss, reaches: reaches.collect() };
        let counted = self.counted(&view).map_err(MetaError::into_status)?;
        let loss = self.parts.reader.read(|rows| request.loss(rows)).map_err(MetaError::into_status)?;
        let answer = ForgottenNode { node, name, copies: counted.census.expected(node), lost: loss.chunks };
        if !word.dry_run {
            self.change(asked, Mutation::ForgetNode(request)).await?;
            let forget = |reply| MembershipMsg::Forget(node, reply);
            membership.ask(forget, self.left(asked)).await.map_err(unanswered)??;
            tracing::warn!(%node, name = answer.name, copies = answer.copies, lost = answer.lost, "a node is forgotten");
        }
        Ok(AdminResponse::NodeForgotten(answer))
    }

    /// Has every node tell all it has, from the start.
    pub(super) fn take_inventories(&self) -> Result<AdminResponse, Status> {
        self.facts.want_inventories(self.parts.time.now_ms());
        let want = MembershipMsg::WantInventory(None);
        self.parts.membership.try_send(want).map_err(|error| {
            Status::new(StatusCode::Busy, format!("the register of nodes did not take the word: {error}"))
                .hint("try again in a moment")
        })?;
        Ok(AdminResponse::InventoriesWanted)
    }
}
