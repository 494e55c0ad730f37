//! What a datanode knows of its coordinator, shared by every streaming session; and the check of grants against it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::watch;
use dfs_wire::auth::{Grant, GrantOp, Mac, NodeKey, Receipt};
use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::{ChunkKey, ClusterId, Epoch, NodeId};
use dfs_wire::identity::KeyDigest;
use dfs_wire::message::membership::{NodeEntry, NodeState, Revoked, StateUpdate};
use dfs_wire::status::{Status, StatusCode};

use super::identity::Heard;
use super::rule::Authority;
use crate::env::{Clock, MonoTime};

/// One reading of the coordinator's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// What the coordinator's clock showed, milliseconds.
    pub coordinator_ms: u64,
    /// When that was heard, by this node's clock.
    pub heard: MonoTime,
}

impl ClockReading {
    /// What the coordinator's clock shows now, or a little less: the message's way here is not counted, so that a grant
    /// is never thought over before it is.
    pub fn now_ms(&self, now: MonoTime) -> u64 {
        let passed = u64::try_from(now.since(self.heard).as_millis()).unwrap_or(u64::MAX);
        self.coordinator_ms.saturating_add(passed)
    }
}

/// What is known, as of one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// The cluster this node belongs to.
    pub cluster: Option<ClusterId>,
    /// The key it checks grants with and signs receipts with.
    pub key: Option<NodeKey>,
    /// The highest epoch it has seen: it obeys no lower one.
    pub epoch: Epoch,
    /// What it names when it registers; durable before it obeys any order to delete.
    pub heard: Heard,
    /// The coordinator's clock; `None` until it has been heard in this run.
    pub clock: Option<ClockReading>,
    /// Version of the cluster state.
    pub state_version: u64,
    /// The cluster state.
    pub nodes: BTreeMap<NodeId, NodeEntry>,
    /// Which keys are not believed any more, and the version of that.
    pub revoked: Arc<Revoked>,
    /// Whether the coordinator has taken this run in, and has answered lately.
    pub active: bool,
    /// Why the coordinator did not take this run in, or did not answer, when it was last asked in vain.
    pub refusal: Option<String>,
}

impl Knowledge {
    /// Applies a cluster state update. An increment that does not fit is not applied: the next heartbeat then names
    /// version 0 and is answered with everything.
    pub fn apply(&mut self, update: StateUpdate) {
        match update {
            StateUpdate::Unchanged => {}
            StateUpdate::Increment(step) if step.from == self.state_version => {
                self.state_version = step.to;
                self.nodes.extend(step.nodes.into_iter().map(|n| (n.node, n)));
                self.nodes.retain(|_, n| n.state != NodeState::Forgotten);
            }
            StateUpdate::Increment(_) => self.state_version = 0,
            StateUpdate::Full(all) => {
                self.state_version = all.version;
                self.nodes = all.nodes.into_iter().map(|n| (n.node, n)).collect();
            }
        }
    }

    /// Takes in that a reign has taken this node in, durably.
    pub fn taken_in(&mut self, epoch: Epoch, position: u64) {
        self.heard = self.heard.max(Heard { epoch, position });
    }

    /// Takes in how far the metadata of the coordinator that took this node in has come.
    pub fn hear(&mut self, epoch: Epoch, position: u64) {
        if epoch == self.heard.epoch {
            self.heard.position = self.heard.position.max(position);
        }
    }

    /// Whether `grant` with `mac` allows `op` on this node now. Pure; [`CoordinatorView::check_grant`] also learns.
    ///
    /// The signature is looked at first: nothing else of a forged grant deserves an answer. It covers chunk, generation,
    /// file, index, length, epoch and expiry, so none of them can be another's.
    ///
    /// # Errors
    /// `NotRegistered` (no key, or no clock, yet: try another replica), `PermissionDenied` (forged, for another node,
    /// for another operation, expired), `StaleEpoch` (of an earlier reign: ask the coordinator anew).
    pub fn check_grant(&self, grant: &Grant, mac: &Mac, op: GrantOp, now: MonoTime) -> Result<(), Status> {
        let (Some(key), Some(clock)) = (&self.key, &self.clock) else {
            return Err(refuse(
                StatusCode::NotRegistered,
                grant,
                "this node has not registered yet".to_owned(),
            )
            .hint("try another replica, or again in a few seconds"));
        };
        if !grant.verify(key, mac) {
            let text = "the grant is not signed by this cluster's coordinator for this node".to_owned();
            return Err(refuse(StatusCode::PermissionDenied, grant, text));
        }
        if grant.op != op {
            let text = format!("the grant is for {:?}, not for {op:?}", grant.op);
            return Err(refuse(StatusCode::PermissionDenied, grant, text));
        }
        if grant.epoch < self.epoch && !bugs::is(Bug::IgnoreEpoch) {
            let text = format!("the grant is of epoch {}, this node obeys {}", grant.epoch, self.epoch);
            return Err(
                refuse(StatusCode::StaleEpoch, grant, text).hint("ask the coordinator for a new grant")
            );
        }
        let now_ms = clock.now_ms(now);
        if now_ms > grant.expires_ms {
            let text = format!("the grant expired {} ms ago", now_ms - grant.expires_ms);
            return Err(
                refuse(StatusCode::PermissionDenied, grant, text).hint("ask the coordinator for a new grant")
            );
        }
        Ok(())
    }
}

fn refuse(code: StatusCode, grant: &Grant, text: String) -> Status {
    Status::new(code, text).about_chunk(grant.chunk)
}

/// The knowledge as it is shared: cheap to read, written by the heartbeat actor.
#[derive(Debug)]
pub struct CoordinatorView {
    known: RwLock<Arc<Knowledge>>,
    verdict: watch::Sender<Option<Status>>,
}

impl CoordinatorView {
    /// What is known at the start of a run: what the identity file says.
    pub fn new(cluster: Option<ClusterId>, key: Option<NodeKey>, heard: Heard) -> Arc<Self> {
        let known = Knowledge { cluster, key, epoch: heard.epoch, heard, ..Knowledge::default() };
        Arc::new(Self { known: RwLock::new(Arc::new(known)), verdict: watch::Sender::new(None) })
    }

    /// What is known now.
    pub fn get(&self) -> Arc<Knowledge> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known. The epoch never goes back, whatever `change` does.
    pub fn update(&self, change: impl FnOnce(&mut Knowledge)) {
        let mut slot = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Knowledge::clone(&slot);
        change(&mut next);
        next.epoch = next.epoch.max(slot.epoch);
        *slot = Arc::new(next);
    }

    /// The highest epoch seen.
    pub fn epoch(&self) -> Epoch {
        self.get().epoch
    }

    /// The key that receipts are signed with; `None` until the node has registered once.
    pub fn key(&self) -> Option<NodeKey> {
        self.get().key.clone()
    }

    /// Checks a grant; see [`Knowledge::check_grant`]. A good grant of a higher epoch than any seen teaches it: from
    /// then on the former coordinator's grants are refused here.
    ///
    /// # Errors
    /// As [`Knowledge::check_grant`]; also whatever told this node to stop.
    pub fn check_grant(&self, grant: &Grant, mac: &Mac, op: GrantOp, now: MonoTime) -> Result<(), Status> {
        if let Some(status) = self.verdict() {
            return Err(status);
        }
        let known = self.get();
        known.check_grant(grant, mac, op, now)?;
        if grant.epoch > known.epoch {
            self.update(|k| k.epoch = k.epoch.max(grant.epoch));
        }
        Ok(())
    }

    /// Why this node must stop, if the coordinator said so.
    pub fn verdict(&self) -> Option<Status> {
        self.verdict.borrow().clone()
    }

    /// Completes when the coordinator has told this node to stop: a newer process has its id. Cancel safety: may be called again.
    pub async fn told_to_stop(&self) -> Status {
        let mut verdict = self.verdict.subscribe();
        loop {
            if let Some(status) = verdict.borrow_and_update().clone() {
                return status;
            }
            if verdict.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(crate) fn tell_to_stop(&self, status: Status) {
        self.update(|k| k.active = false);
        self.verdict.send_replace(Some(status));
    }
}

/// A node's [`Authority`]: it obeys and signs by what its heartbeat has learned.
pub struct NodeAuthority {
    node: NodeId,
    view: Arc<CoordinatorView>,
    clock: Arc<dyn Clock>,
    want_news: WantNews,
}

/// Has the coordinator asked for news, soon; does not wait.
pub type WantNews = Arc<dyn Fn() + Send + Sync>;

impl NodeAuthority {
    /// For `node`, by what is in `view`; `want_news` is how more gets there.
    pub fn new(node: NodeId, view: Arc<CoordinatorView>, clock: Arc<dyn Clock>, want_news: WantNews) -> Self {
        Self { node, view, clock, want_news }
    }
}

fn not_registered() -> Status {
    Status::new(StatusCode::NotRegistered, "this node has not joined a cluster yet")
        .hint("try another replica, or again in a few seconds")
}

impl Authority for NodeAuthority {
    fn node(&self) -> NodeId {
        self.node
    }

    fn cluster(&self) -> Result<ClusterId, Status> {
        self.view.get().cluster.ok_or_else(not_registered)
    }

    fn address_of(&self, node: NodeId) -> Option<String> {
        self.view.get().nodes.get(&node).map(|entry| entry.address.clone())
    }

    fn want_news(&self) {
        (self.want_news)();
    }

    fn is_revoked(&self, key: &KeyDigest) -> bool {
        self.view.get().revoked.keys.contains(key)
    }

    fn check(&self, grant: &Grant, mac: &Mac, op: GrantOp) -> Result<(), Status> {
        self.view.check_grant(grant, mac, op, self.clock.now())
    }

    fn sign(&self, copy: ChunkKey, len: u32, sha256: [u8; 32]) -> Result<Receipt, Status> {
        let key = self.view.key().ok_or_else(not_registered)?;
        Ok(Receipt::sign(self.node, copy.chunk, copy.generation, len, sha256, &key))
    }
}

#[cfg(test)]
mod tests;
