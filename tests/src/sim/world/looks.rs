//! What can be seen of a world: what is wrong in it now, and what is on its disks.

use std::path::Path;

use dfs_actors::datanode::chunk_store::ChunkStore as _;
use dfs_node::store::layout::{Aside, Layout};
use dfs_wire::id::{ChunkKey, NodeId};

use super::World;
use crate::sim::id::HostId;
use crate::sim::node::DATA_DIR;
use crate::sim::trouble::Trouble;

/// The most tasks that a coordinator and a datanode of these small clusters have at once: about twice what was seen, which was 612
/// while a connection was said again and again to a coordinator whose disk hung.
const TASKS_MAX: [usize; 2] = [1200, 250];

impl World {
    /// Takes down what is wrong now.
    pub(super) fn look_around(&self) {
        let troubles = &self.ledger.troubles;
        let seen = |trouble| troubles.seen(trouble, self.now);
        for (id, medium) in &self.media {
            let host = &self.hosts[id];
            let wrong = [
                (!host.is_running(), Trouble::At(*id)),
                (medium.is_failing(), Trouble::Disk(*id)),
                (medium.is_full(), Trouble::Full(*id)),
                (self.is_apart_with_an_older_disk(*id), Trouble::Older(*id)),
                (host.fate.is_awaited(), Trouble::Actor(*id)),
            ];
            wrong.into_iter().filter(|(is, _)| *is).for_each(|(_, trouble)| seen(trouble));
        }
        self.ledger.disks.hurt_since(0).into_iter().for_each(|id| seen(Trouble::Hurt(id)));
        self.net.troubled(|a, b| seen(Trouble::between(a, b)));
        if self.serves_past {
            seen(Trouble::Past);
        }
        if !self.ledger.has_accused() {
            self.nodes().into_iter().filter_map(|id| self.is_too_large(id)).for_each(|what| {
                self.ledger.accuse(format!("too much in memory of {what}"));
            });
        }
    }

    fn is_apart_with_an_older_disk(&self, id: HostId) -> bool {
        let is_taken_in = || self.probe(id).look().authority.as_ref().is_some_and(|known| known.get().active);
        self.aged.contains(&id) && !is_taken_in()
    }

    /// What a process has more of than it may ever have.
    fn is_too_large(&self, id: HostId) -> Option<String> {
        let (tasks, most) = (self.tasks(id), TASKS_MAX[usize::from(id != HostId::COORDINATOR)]);
        if tasks > most {
            return Some(format!("{id}: {tasks} tasks, {most} is the most"));
        }
        self.probe(id).look().overdrawn().map(|overdrawn| format!("{id}: {overdrawn}"))
    }

    /// Copies that are on a disk and served from there, by node.
    pub(in crate::sim) fn on_disks(&self) -> Vec<(HostId, NodeId, Vec<ChunkKey>)> {
        let mut found = Vec::new();
        for (id, probe) in &self.probes {
            let Some(store) = probe.look().store.clone() else { continue };
            let Some(identity) = store.data_dir().identity() else { continue };
            let keys = store.inventory(None, usize::MAX).into_iter().map(|info| info.key()).collect();
            found.push((*id, identity.node, keys));
        }
        found
    }

    /// Files that are not finished, or that are kept for a while only. What was hurt and is kept as damaged stays for ever, and
    /// what was set aside at a time that is still to come, because the clock was set, stays until then.
    pub(in crate::sim) fn unfinished(&self, id: HostId) -> Vec<String> {
        let names = |dir: &Path| self.media[&id].names(dir);
        let root = names(Path::new("/")).into_iter().filter(|name| name.ends_with(".unfinished"));
        let layout = Layout::new(DATA_DIR);
        let aside = names(&layout.quarantine_dir()).into_iter().flat_map(|name| {
            let inside = names(&layout.quarantine_dir().join(&name));
            inside.into_iter().chain([name])
        });
        let aside = aside.filter(|name| Aside::parse(name).is_some());
        let believed_ms = self.hosts[&id].believed_ms();
        let stays = |name: &String| match Aside::parse(name) {
            Some(aside) if aside.damaged => self.ledger.disks.is_hurt(id, aside.copy),
            Some(aside) => aside.since_ms > believed_ms,
            None => false,
        };
        root.chain(names(&layout.tmp_dir())).chain(aside).filter(|name| !stays(name)).collect()
    }
}
