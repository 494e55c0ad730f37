//! The registry of one node's actors: what `dfsctl actors tree` and the metrics show.
//!
//! Not ractor's registry, which is one for the whole process: several nodes run in one process in tests and in the
//! simulator, each with a tree of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::ActorRef;

#[cfg(any(test, feature = "chaos"))]
use super::chaos::Lever;
use super::envelope::Envelope;
use super::stats::{Stats, StatsSnapshot};
#[cfg(any(test, feature = "chaos"))]
use super::strike::{Strike, StrikeTarget};

/// One actor of a [`ActorTree::snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorRow {
    /// Its place, such as `root/datanode/disk-0`.
    pub path: String,
    /// What it is, such as `disk`.
    pub kind: &'static str,
    /// The path of its supervisor; `None` for the root.
    pub parent: Option<String>,
    /// Its counters at the moment of the snapshot.
    pub stats: StatsSnapshot,
}

/// A registered actor.
pub(crate) struct ActorEntry {
    path: Arc<str>,
    kind: &'static str,
    stats: Arc<Stats>,
    #[cfg(any(test, feature = "chaos"))]
    lever: Lever,
}

struct Shared {
    node: String,
    /// By path with each separator replaced by the lowest character, so that parents come right before their children.
    entries: Mutex<BTreeMap<String, Arc<ActorEntry>>>,
}

/// All actors of one node. Cheap to clone.
#[derive(Clone)]
pub struct ActorTree {
    shared: Arc<Shared>,
}

impl fmt::Debug for ActorTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorTree")
            .field("node", &self.shared.node)
            .field("actors", &self.entries().len())
            .finish()
    }
}

impl ActorTree {
    /// An empty tree for the node of this name.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self { shared: Arc::new(Shared { node: node.into(), entries: Mutex::default() }) }
    }

    /// Name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.shared.node
    }

    /// All actors, each supervisor right before its children, siblings by name. The order never depends on timing.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ActorRow> {
        self.entries().values().map(|entry| entry.row()).collect()
    }

    /// One actor by path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<ActorRow> {
        self.entries().get(&key(path)).map(|entry| entry.row())
    }

    /// How many actors of `kind` are registered, ended ones included.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.entries().values().filter(|entry| entry.kind == kind).count()
    }

    /// Registers an actor, in place of its predecessor at the same path.
    pub(crate) fn enter<M: Send + 'static>(
        &self,
        path: &Arc<str>,
        kind: &'static str,
        stats: &Arc<Stats>,
        actor: &ActorRef<Envelope<M>>,
    ) -> Arc<ActorEntry> {
        #[cfg(not(any(test, feature = "chaos")))]
        let _unused_without_chaos = actor;
        let entry = Arc::new(ActorEntry {
            path: Arc::clone(path),
            kind,
            stats: Arc::clone(stats),
            #[cfg(any(test, feature = "chaos"))]
            lever: Lever::on(actor),
        });
        self.entries().insert(key(path), Arc::clone(&entry));
        entry
    }

    /// Removes an actor, unless a successor has its path by now.
    pub(crate) fn forget(&self, entry: &Arc<ActorEntry>) {
        let mut entries = self.entries();
        let key = key(&entry.path);
        if entries.get(&key).is_some_and(|now| Arc::ptr_eq(now, entry)) {
            entries.remove(&key);
        }
    }

    /// Strikes every actor that `target` names and tells how many that were.
    #[cfg(any(test, feature = "chaos"))]
    #[must_use]
    pub fn strike(&self, target: &StrikeTarget, strike: Strike) -> usize {
        let named = |entry: &ActorEntry| match target {
            StrikeTarget::Path(path) => *entry.path == **path,
            StrikeTarget::Kind(kind) => entry.kind == kind,
        };
        let victims: Vec<_> = self.entries().values().filter(|entry| named(entry)).cloned().collect();
        tracing::warn!(node = self.node(), ?target, ?strike, victims = victims.len(), "chaos strikes");
        victims.iter().filter(|victim| victim.lever.pull(strike)).count()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ActorEntry>>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActorEntry {
    fn row(&self) -> ActorRow {
        let parent = self.path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
        ActorRow { path: self.path.to_string(), kind: self.kind, parent, stats: self.stats.snapshot() }
    }
}

fn key(path: &str) -> String {
    path.replace('/', "\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_follow_their_parent_whatever_their_siblings_are_called() {
        let mut paths = vec!["a", "a/b", "a/b-c", "a/b/x", "a/b.1"];
        paths.sort_by_key(|path| key(path));
        assert_eq!(paths, ["a", "a/b", "a/b/x", "a/b-c", "a/b.1"]);
    }
}
