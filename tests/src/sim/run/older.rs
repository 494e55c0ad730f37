//! An operator puts an older copy of the metadata in place of the newer one, and later puts the newer one back: whatever
//! the older one does not know must still be there.

use super::{AUDITOR, LOAD_MAX_MS, until_done};
use crate::sim::client::{Load, Program};
use crate::sim::id::HostId;
use crate::sim::world::World;

/// Operations between the copy and its return: so many that some of them change something, else nobody could tell the two apart.
const OPS: u32 = 20;
/// Every node hears of what was done since.
const HEARD_MS: u64 = 10_000;
/// So long the older copy is served: longer than anything that nobody wants is kept.
const SERVED_MS: u64 = 150_000;

/// Does it, once everything works. While the older copy is there, and soon after, whoever meets it may log errors.
pub(super) fn restored(world: &mut World, nodes: usize) -> Result<(), String> {
    let (co, client) = (HostId::COORDINATOR, HostId::client(1));
    let older = world.copy_of(co);
    world.employ(client, Program::Load(Load { operations: OPS, span_ms: 0 }));
    until_done(world, &[client], LOAD_MAX_MS)?;
    wait(world, HEARD_MS);
    world.serves_past = true;
    let newer = world.replace(co, &older);
    wait(world, SERVED_MS);
    world.replace(co, &newer);
    world.serves_past = false;
    world.heal();
    world.employ(AUDITOR, Program::Settle(nodes));
    until_done(world, &[AUDITOR], LOAD_MAX_MS)
}

fn wait(world: &mut World, span_ms: u64) {
    let end = world.now_ms() + span_ms;
    while world.now_ms() < end {
        world.tick();
    }
}
