//! How processes end, and how the world does.

use std::any::Any;
use std::sync::Weak;

use super::World;
use crate::sim::host::{Host, Stepped};
use crate::sim::id::HostId;
use crate::sim::net::Presence;

impl World {
    /// The process of a host has ended in a step of its own.
    pub(super) fn ended(&mut self, id: HostId, stepped: Stepped) {
        match stepped {
            Stepped::Doomed if self.hosts[&id].doom().is_some_and(|doom| doom.is_kill()) => {
                self.down(id, "is killed at a step", Presence::On);
            }
            Stepped::Doomed => {
                self.down(id, "loses power at a step", Presence::Off);
                if let Some(medium) = self.media.get(&id) {
                    medium.lose_power(&mut self.rng);
                }
            }
            Stepped::Ended(Ok(())) => {
                let life = self.hosts[&id].lives();
                if !id.is_client() && self.left.get(&id) != Some(&life) {
                    self.ledger.accuse(format!("{id} ended in order, and nobody had asked it to"));
                }
                self.down(id, "has ended", Presence::On);
                self.leaves(id);
            }
            Stepped::Ended(Err(why)) => {
                self.down(id, &format!("gave up: {why}"), Presence::On);
                if id.is_client() {
                    self.ledger.accuse(format!("{id}: {why}"));
                } else if !self.ledger.troubles.may_give_up(id, self.now) {
                    self.ledger.accuse(format!("a node gave up without a reason: {id}: {why}"));
                }
            }
            Stepped::On => {}
        }
    }

    pub(super) fn leaves(&mut self, id: HostId) {
        let life = self.hosts.get(&id).map_or(0, Host::lives);
        self.left.insert(id, life);
    }

    /// Ends a process where it stands.
    pub(super) fn down(&mut self, id: HostId, why: &str, machine: Presence) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_up()) else { return };
        host.say(why);
        host.doom().into_iter().for_each(|doom| doom.seal());
        self.net.ended(id, machine);
        host.crash();
        self.ledger.closes(id);
        let life = host.lives();
        if let Some(probe) = self.probes.get(&id) {
            let seen = std::mem::take(&mut *probe.look());
            let had_joined = seen.authority.is_some_and(|authority| authority.get().active);
            if had_joined && self.left.get(&id).is_some_and(|left| *left < life) {
                self.left.remove(&id);
            }
        }
    }

    /// Ends it, and looks whether anything of it is left in memory.
    pub(in crate::sim) fn end(self) -> Vec<String> {
        let disks = self.media.iter().map(|(id, medium)| (format!("the disk of {id}"), medium.watch()));
        let lives = self.lives.iter().map(|(id, life, doom)| (format!("life {life} of {id}"), doom.clone()));
        let watched: Vec<(String, Weak<dyn Any>)> = disks.chain(lives).collect();
        drop(self);
        let left = watched.into_iter().filter(|(_, weak)| weak.strong_count() > 0);
        left.map(|(what, _)| format!("{what} is still in memory when all is over")).collect()
    }
}
