//! Actors that are struck: between two steps of their node, or in the middle of one.

use dfs_actors::supervisor::{Strike, StrikeTarget};

use super::World;
use crate::rng::mix;
use crate::sim::host::now_us;
use crate::sim::id::HostId;
use crate::sim::trace::What;

/// A kill comes at once, or at one of so many steps of its node after that.
const STEPS: u64 = 8;

impl World {
    /// Strikes the actor of this number. A kill may come while its node changes its disk or sends something, so that whoever
    /// does so ends at the await that comes next.
    pub(super) fn strike(&self, id: HostId, actor: u64, strike: Strike) {
        let (Some(host), Some(probe)) = (self.hosts.get(&id), self.probes.get(&id)) else { return };
        let (probe, trace) = (probe.clone(), self.trace.clone());
        let blow = move || {
            let Some(tree) = probe.look().tree.clone() else { return };
            let rows = tree.snapshot();
            let Some(row) = rows.get((actor % rows.len().max(1) as u64) as usize) else { return };
            trace.note(now_us(), id, What::Life(format!("{strike:?} of {}", row.path)));
            let _struck = tree.strike(&StrikeTarget::Path(row.path.clone()), strike);
        };
        match mix(self.seed ^ mix(self.now ^ actor)) % STEPS {
            skip @ 1.. if strike == Strike::Kill && host.is_up() => host.fate.strike_at(skip - 1, blow),
            _ => blow(),
        }
    }
}
