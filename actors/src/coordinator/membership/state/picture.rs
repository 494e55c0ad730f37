//! What the register shows: the cluster state that nodes are told, by increments, and the picture for everyone else.

use std::collections::BTreeSet;
use std::sync::Arc;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::{NodeEntry, NodeState, StateFull, StateIncrement, StateUpdate};

use super::{HISTORY_MAX, Member, MembershipState};
use crate::coordinator::membership::view::{ClusterView, NodeView};
use crate::coordinator::metadata::model::records::{Maintenance, Standing};

impl MembershipState {
    /// The whole cluster state, as nodes are told it: forgotten nodes are no part of it.
    pub(crate) fn full(&self) -> StateFull {
        let known = self.nodes.values().filter(|n| n.state != NodeState::Forgotten);
        StateFull { version: self.version, nodes: known.map(Member::entry).collect() }
    }

    /// What changed since `version`.
    pub(crate) fn update_since(&self, version: u64) -> StateUpdate {
        if version == self.version {
            return StateUpdate::Unchanged;
        }
        if version < self.forgotten || version > self.version {
            return StateUpdate::Full(self.full());
        }
        let changed: BTreeSet<NodeId> =
            self.history.iter().rev().take_while(|(at, _)| *at > version).map(|(_, node)| *node).collect();
        let nodes = changed.iter().filter_map(|id| self.nodes.get(id)).map(Member::entry).collect();
        StateUpdate::Increment(StateIncrement { from: version, to: self.version, nodes })
    }

    /// The picture for everyone else.
    pub(crate) fn view(&self) -> ClusterView {
        let grace_ms = u64::try_from(self.config.maintenance_grace.as_millis()).unwrap_or(u64::MAX);
        let grace = |n: &Member| {
            Maintenance::grace_until(self.maintenance.get(&n.id).copied(), n.state, n.since_ms, grace_ms)
        };
        let picture = |n: &Member| {
            Arc::new(NodeView {
                entry: n.entry(),
                since_ms: n.since_ms,
                grace_until_ms: grace(n),
                incarnation: n.incarnation,
                version: n.version.clone(),
                load: n.load.clone(),
                heard: n.heard,
                report: n.report,
                findings: n.findings.clone(),
                draining: n.record.standing == Standing::Draining,
                told: n.told,
            })
        };
        let (forgotten, nodes) =
            self.nodes.values().partition::<Vec<_>, _>(|n| n.state == NodeState::Forgotten);
        ClusterView {
            version: self.version,
            nodes: nodes.into_iter().map(picture).collect(),
            forgotten: forgotten.into_iter().map(picture).collect(),
            waiting: self.door.waiting().cloned().collect(),
        }
    }

    pub(super) fn note_change(&mut self, node: NodeId) {
        self.version += 1;
        self.history.push_back((self.version, node));
        while self.history.len() > HISTORY_MAX {
            if let Some((version, _)) = self.history.pop_front() {
                self.forgotten = version;
            }
        }
    }
}

impl Member {
    fn entry(&self) -> NodeEntry {
        NodeEntry {
            node: self.id,
            name: self.record.name.clone(),
            zone: self.record.zone.clone(),
            address: self.record.address.clone(),
            state: self.state,
        }
    }
}
