//! What an operator may end or ask for: a node that will not come back, and a fresh look at all that is there.

use std::sync::Arc;

use dfs_wire::id::NodeId;
use dfs_wire::message::admin::{AdminResponse, ForgetNode, ForgottenNode};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, refused};
use crate::coordinator::membership::{ClusterView, MembershipMsg};
use crate::coordinator::metadata::ops::forget::{self, Losses};
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::supervisor::AskError;

/// Groups of chunks that are looked at in one go: a millisecond or two.
const LOOK_ROWS: usize = 4096;
/// How often all of them are looked at while copies go missing.
const LOOKS_MAX: u32 = 3;

fn unanswered(error: AskError) -> Status {
    refused("the register of nodes", error)
}

/// The one node that an operator calls so. The id of one that is forgotten already counts: a repeat is answered as the
/// first try was.
pub(super) fn called(view: &ClusterView, text: &str) -> Result<(NodeId, String), Status> {
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
    /// Forgets a node that is gone. Whether it is gone is decided by the register of nodes, which holds it meanwhile; what
    /// would be lost with it is counted beside the writer, which looks whether that still holds.
    pub(super) async fn forget_node(
        self: &Arc<Self>,
        asked: &Asked,
        word: &ForgetNode,
    ) -> Result<AdminResponse, Status> {
        let view = self.view();
        let (node, name) = called(&view, &word.node)?;
        let check = |reply| MembershipMsg::CheckForget(node, reply);
        self.parts.membership.ask(check, self.left(asked)).await.map_err(unanswered)??;
        let count =
            move |service: &Self, reader: &MetadataReader| service.parts.examiner.counted(reader, &view);
        let copies = self.apart(ReadFor::Health, asked, count).await?.census.expected(node);
        let mut losses = self.losses(asked, node).await?;
        if !word.dry_run {
            losses = self.forget(asked, node, word.accept_loss, losses).await?;
        }
        let lost = losses.count().chunks;
        if !word.dry_run {
            tracing::warn!(%node, name, copies, lost, "a node is forgotten");
        }
        Ok(AdminResponse::NodeForgotten(ForgottenNode { node, name, copies, lost }))
    }

    /// Looks at all groups of chunks, a page at a time.
    async fn losses(self: &Arc<Self>, asked: &Asked, node: NodeId) -> Result<Losses, Status> {
        let begin = move |_: &Self, reader: &MetadataReader| reader.read(|rows| Losses::new(rows, node));
        let mut losses = self.apart(ReadFor::Health, asked, begin).await?;
        loop {
            let page = move |_: &Self, reader: &MetadataReader| {
                let all = reader.read(|rows| losses.step(rows, LOOK_ROWS));
                all.map(|all| (losses, all))
            };
            let (looked, all) = self.apart(ReadFor::Health, asked, page).await?;
            if all {
                return Ok(looked);
            }
            losses = looked;
        }
    }

    /// Has the node held and forgotten. Where copies changed meanwhile it looks again.
    async fn forget(
        self: &Arc<Self>,
        asked: &Asked,
        node: NodeId,
        accept_loss: bool,
        mut losses: Losses,
    ) -> Result<Losses, Status> {
        let membership = &self.parts.membership;
        let begin = |reply| MembershipMsg::BeginForget(node, reply);
        let until_ms = membership.ask(begin, self.left(asked)).await.map_err(unanswered)??;
        let mut looks = 1;
        loop {
            let request = forget::ForgetNode { node, accept_loss, losses: losses.clone(), until_ms };
            match self.change(asked, Mutation::ForgetNode(request)).await {
                Ok(_) => break,
                Err(status) if status.code == StatusCode::Busy && looks < LOOKS_MAX => looks += 1,
                Err(status) => {
                    // Of an outcome that is not known the metadata decides once the node comes back.
                    if status.code != StatusCode::OutcomeUnknown {
                        // If that is lost, the node is held for some seconds more.
                        let _held_on = membership.try_send(MembershipMsg::Spare(node));
                    }
                    return Err(status);
                }
            }
            losses = self.losses(asked, node).await?;
        }
        self.note_forgotten(asked, node).await?;
        Ok(losses)
    }

    /// Has the register of nodes follow the metadata, where the node is forgotten.
    pub(super) async fn note_forgotten(&self, asked: &Asked, node: NodeId) -> Result<(), Status> {
        let forget = |reply| MembershipMsg::Forget(node, reply);
        self.parts.membership.ask(forget, self.left(asked)).await.map_err(|error| {
            let text = format!("the node is forgotten, but the register of nodes did not answer: {error}");
            Status::new(StatusCode::Unavailable, text)
                .hint("repeat it: that changes nothing more")
                .at_node(node)
        })
    }

    /// Has every node tell all it has, from the start.
    pub(super) fn take_inventories(&self) -> Result<AdminResponse, Status> {
        self.parts.examiner.reports.want_inventories(self.parts.time.now_ms());
        let want = MembershipMsg::WantInventory(None);
        self.parts.membership.try_send(want).map_err(|error| {
            Status::new(StatusCode::Busy, format!("the register of nodes did not take the word: {error}"))
                .hint("try again in a moment")
        })?;
        Ok(AdminResponse::InventoriesWanted)
    }
}
