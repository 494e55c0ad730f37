//! Registration, heartbeats and farewells: the words go to the membership actor, what must last to the metadata.

use std::sync::Arc;

use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::{ChunkKey, NodeId};
use dfs_wire::limits::TOMBSTONES_PER_HEARTBEAT_MAX;
use dfs_wire::message::admin::{AdminResponse, MaintainNode, MaintainedNode};
use dfs_wire::message::membership::{
    Heartbeat, HeartbeatReply, Leave, MembershipRequest, MembershipResponse, Register, Registered, Revoked,
    StateUpdate,
};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, refused};
use super::doorbell;
use super::forget::called;
use crate::coordinator::census::compared;
use crate::coordinator::membership::{MembershipMsg, WaitingNode};
use crate::coordinator::metadata::model::records::{self, Known, Maintenance, NodeRecord};
use crate::coordinator::metadata::model::worth::Reaches;
use crate::coordinator::metadata::ops::inventory::{CopyChange, CopyFinding};
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::coordinator::metadata::table::error::MetaError;

/// How long an operator may have a node down for maintenance.
const MAINTENANCE_DAYS_MAX: u64 = 7;
const MAINTENANCE_MS_MAX: u64 = MAINTENANCE_DAYS_MAX * 24 * 3600 * 1000;
/// Nodes in a state update that still leaves room for tombstones in the same answer.
const SMALL_UPDATE: usize = 48;

fn unanswered(error: crate::supervisor::AskError) -> Status {
    refused("the register of nodes", error)
}

/// What a heartbeat says of single copies.
fn findings(word: &Heartbeat) -> Vec<CopyFinding> {
    let finding = |key: &ChunkKey, change| CopyFinding { key: *key, change };
    let corrupt = word.corrupt.iter().map(|copy| finding(copy, CopyChange::Corrupt));
    let change = CopyChange::Missing { heard_ms: word.heard_ms };
    let missing = word.missing.iter().map(|copy| finding(copy, change));
    corrupt.chain(missing).collect()
}

/// What the node is to delete, and the commit position: nothing if the answer has other news, or the metadata is an old copy.
fn orders(
    reader: &MetadataReader,
    node: NodeId,
    quiet: bool,
    heard: Reaches<'_>,
) -> Result<(Vec<ChunkKey>, u64), MetaError> {
    let quiet = quiet || reader.unknown_reign()?.is_some();
    let tombstones = match quiet {
        true => Vec::new(),
        false => reader.orders(node, TOMBSTONES_PER_HEARTBEAT_MAX, heard)?,
    };
    // After the orders: no position that the node keeps before it obeys one is older than the order.
    Ok((tombstones, reader.position()?))
}

impl CoordinatorService {
    pub(super) async fn membership(
        self: &Arc<Self>,
        asked: &Asked,
        request: MembershipRequest,
    ) -> Result<MembershipResponse, Status> {
        match request {
            MembershipRequest::Register(word) => {
                self.register(asked, word).await.map(MembershipResponse::Registered)
            }
            MembershipRequest::Heartbeat(word) => {
                self.heartbeat(asked, word).await.map(MembershipResponse::Heartbeat)
            }
            MembershipRequest::Leave(word) => {
                self.leave(asked, word).await.map(|()| MembershipResponse::Left)
            }
        }
    }

    /// A node is taken in only once its record is durable: whatever it will hold can then be named for ever.
    async fn register(self: &Arc<Self>, asked: &Asked, word: Register) -> Result<Registered, Status> {
        let membership = &self.parts.membership;
        let (source, left) = (asked.source, self.left(asked));
        let admit = |reply| MembershipMsg::Admit(Box::new(word.clone()), source, reply);
        let admission = membership.ask(admit, left).await.map_err(unanswered)??;
        self.check_reign(asked, &word).await?;
        doorbell::check(&*self.parts.doorbell, &word).await?;
        // Its own also where nothing is new: the metadata may say by now that it is forgotten.
        let records = [admission.lost.clone(), vec![(word.node, admission.record.clone())]].concat();
        for (node, lost) in &admission.lost {
            tracing::warn!(%node, name = lost.name, by = %word.node, "another node takes the place of one that is gone");
        }
        let node = word.node;
        if let Err(status) = self.remember(asked, records).await {
            self.follow(asked, node).await?;
            return Err(status);
        }
        let register = |reply| MembershipMsg::Register(Box::new(word), admission, reply);
        let state = membership.ask(register, self.left(asked)).await.map_err(unanswered)??;
        let interval = self.parts.config.membership.heartbeat_interval.as_millis();
        Ok(Registered {
            cluster: self.parts.reign.cluster,
            epoch: self.parts.reign.epoch,
            position: self.position(ReadFor::Membership, asked).await?,
            now_ms: self.parts.time.now_ms(),
            key: self.parts.signer.key(node),
            heartbeat_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX),
            state,
        })
    }

    /// A node that another reign took in, of which the metadata knows nothing or less than the node, holds what was written
    /// in it. The proof is durable before the node hears of it; the node stays apart.
    async fn check_reign(self: &Arc<Self>, asked: &Asked, word: &Register) -> Result<(), Status> {
        let epoch = word.epoch;
        let known =
            self.apart(ReadFor::Membership, asked, move |_, reader| reader.knows_reign(epoch)).await?;
        let known = match known {
            _ if bugs::is(Bug::ObeyOldMetadata) => return Ok(()),
            Known::Whole => return Ok(()),
            Known::UpTo(known) if word.position <= known => return Ok(()),
            Known::UpTo(known) => Some(known),
            Known::Not => None,
        };
        let (node, name, heard) = (word.node, word.name.clone(), word.position);
        tracing::error!(%node, name, %epoch, heard, ?known, "a node has seen more than this metadata: it is an old copy");
        let found_ms = self.parts.time.now_ms();
        let seen = records::UnknownReign { epoch, node, name, found_ms, heard, known };
        let known = match known {
            Some(known) => format!("this coordinator's metadata knows those up to {known}"),
            None => "which this coordinator's metadata does not know".to_owned(),
        };
        let text =
            format!("{} {}, {known}: the metadata is older than what the node holds", word.name, seen.seen());
        self.note(asked, Mutation::NoteUnknownReign(seen)).await?;
        Err(Status::new(StatusCode::StaleEpoch, text)
            .hint("restore a newer copy of the metadata; `dfsctl status` has more")
            .at_node(node))
    }

    /// The metadata did not take a node: if it says that it is forgotten, the register of nodes has to know.
    async fn follow(self: &Arc<Self>, asked: &Asked, node: NodeId) -> Result<(), Status> {
        let known = self.apart(ReadFor::Membership, asked, move |_, reader| reader.node(node)).await?;
        match known.is_some_and(|known| known.standing == records::Standing::Forgotten) {
            true => self.note_forgotten(asked, node).await,
            false => Ok(()),
        }
    }

    /// Makes records durable, all of them or none.
    async fn remember(&self, asked: &Asked, records: Vec<(NodeId, NodeRecord)>) -> Result<(), Status> {
        if records.is_empty() {
            return Ok(());
        }
        self.note(asked, Mutation::PutNodes(records)).await.map(|_| ())
    }

    /// An operator says yes to a node that waits.
    pub(super) async fn admit_node(&self, asked: &Asked, called: &str) -> Result<AdminResponse, Status> {
        let view = self.view();
        let is_called = |w: &&WaitingNode| w.record.name == called || w.node.to_string() == called;
        let mut found = view.waiting.iter().filter(is_called).map(|w| w.node);
        let (Some(node), None) = (found.next(), found.next()) else {
            let all: Vec<_> =
                view.waiting.iter().map(|w| format!("{} ({})", w.record.name, w.node)).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let text = format!("'{called}' is not the name or id of one datanode that waits to be admitted");
            return Err(Status::new(StatusCode::NotFound, text)
                .hint(format!("waiting now: {all}; a datanode asks again every few seconds")));
        };
        let yes = |reply| MembershipMsg::SayYes(node, reply);
        let record = self.parts.membership.ask(yes, self.left(asked)).await.map_err(unanswered)??;
        let name = record.name.clone();
        tracing::info!(%node, name, "an operator admits a node");
        self.remember(asked, vec![(node, record)]).await?;
        self.happened(asked, &format!("let datanode {name} in"), &name);
        Ok(AdminResponse::NodeAdmitted(name))
    }

    /// An operator has a node down for maintenance, or ends that. What a lease from before says counts no more.
    pub(super) async fn maintain_node(
        self: &Arc<Self>,
        asked: &Asked,
        word: &MaintainNode,
    ) -> Result<AdminResponse, Status> {
        let MaintainNode { node: text, for_ms } = word;
        if *for_ms > MAINTENANCE_MS_MAX {
            let text =
                format!("maintenance for {} s is longer than {} days", for_ms / 1000, MAINTENANCE_DAYS_MAX);
            return Err(Status::new(StatusCode::InvalidArgument, text)
                .hint("a node that is away for longer: `dfsctl nodes drain` empties it first"));
        }
        let (node, name) = called(&self.view(), text)?;
        let now_ms = self.parts.time.now_ms();
        let said = match *for_ms {
            0 => Maintenance::Over(now_ms),
            lasts => Maintenance::Until(now_ms.saturating_add(lasts)),
        };
        self.note(asked, Mutation::Maintain(node, said)).await.map_err(|status| status.at_node(node))?;
        // What is durable by now: two words at once come here in any order.
        let all = self.apart(ReadFor::Membership, asked, |_, reader| reader.maintenance()).await?;
        let maintain = |reply| MembershipMsg::Maintain(all, reply);
        self.parts.membership.ask(maintain, self.left(asked)).await.map_err(unanswered)?;
        tracing::info!(%node, name, for_ms, "an operator says how long a node may be away");
        let what = match *for_ms {
            0 => format!("ended the maintenance of datanode {name}"),
            ms => format!("has datanode {name} in maintenance for {} min", ms.div_ceil(60_000)),
        };
        self.happened(asked, &what, &name);
        Ok(AdminResponse::NodeMaintained(MaintainedNode { node, name, left_ms: *for_ms }))
    }

    /// The answer means that all the heartbeat told is durable: the node forgets it then.
    async fn heartbeat(self: &Arc<Self>, asked: &Asked, word: Heartbeat) -> Result<HeartbeatReply, Status> {
        let (node, deleted, found) = (word.node, word.deleted.clone(), findings(&word));
        let revoked_version = word.revoked_version;
        let counts = (node, word.load.chunks);
        let corrupt = word.corrupt.clone();
        let beat = |reply| MembershipMsg::Heartbeat(Box::new(word), reply);
        let heard = self.parts.membership.ask(beat, self.left(asked)).await.map_err(unanswered)??;
        let mut reply = HeartbeatReply {
            epoch: self.parts.reign.epoch,
            position: 0,
            now_ms: self.parts.time.now_ms(),
            update: heard.update,
            revoked: None,
            tombstones: Vec::new(),
            register_again: heard.register_again,
            inventory_wanted: heard.inventory_wanted,
        };
        if heard.register_again {
            return Ok(reply);
        }
        self.compare(counts);
        if !found.is_empty() {
            tracing::warn!(%node, bad = corrupt.len(), missing = found.len() - corrupt.len(), "a node reports copies");
            self.parts.examiner.reports.corrupt(node, &corrupt);
            self.note(asked, Mutation::ApplyFindings(node, found)).await?;
        }
        if !deleted.is_empty() {
            self.parts.examiner.reports.deleted(node, &deleted);
            self.note(asked, Mutation::ConfirmDeleted(node, deleted)).await?;
        }
        let news = match &reply.update {
            StateUpdate::Unchanged => 0,
            StateUpdate::Increment(step) => step.nodes.len(),
            StateUpdate::Full(all) => all.nodes.len(),
        };
        // Beside other news there may be no room for it: the next answer has it.
        let revoked = self.parts.trust.revoked();
        if revoked.version != revoked_version && news == 0 {
            reply.revoked = Some(Revoked::clone(&revoked));
        }
        let quiet = news > SMALL_UPDATE || reply.revoked.is_some();
        let orders = move |service: &Self, reader: &MetadataReader| {
            // What was revoked durably counts, whatever became of whoever asked for it.
            service.parts.trust.learn(&reader.revoked_keys()?);
            let view = service.view();
            orders(reader, node, quiet, &compared(&view, service.parts.time.now_ms()))
        };
        (reply.tombstones, reply.position) = self.apart(ReadFor::Membership, asked, orders).await?;
        Ok(reply)
    }

    /// Compares how many chunks a node has with how many it should have. The count is some seconds old, and what was
    /// deleted meanwhile is not missing: so only a node that stays short is asked.
    fn compare(&self, (node, has): (NodeId, u64)) {
        let expected = self.parts.census.borrow().census.expected(node);
        if self.parts.examiner.reports.compare(node, has, expected, self.parts.time.now_ms()) {
            tracing::warn!(%node, has, expected, "a node has fewer chunks than it should have: its inventory is wanted");
            // If it is lost, the next heartbeat but some asks again.
            let _asked_again = self.parts.membership.try_send(MembershipMsg::WantInventory(Some(node)));
        }
    }

    async fn leave(&self, asked: &Asked, word: Leave) -> Result<(), Status> {
        let node = word.node;
        let leave = |reply| MembershipMsg::Leave(word, reply);
        match self.parts.membership.ask(leave, self.left(asked)).await.map_err(unanswered)? {
            Some(record) => self.remember(asked, vec![(node, record)]).await,
            None => Ok(()),
        }
    }
}
