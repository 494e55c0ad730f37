//! What disks durably hold, whatever anybody says of it: C1 of the contract is looked at where it has to be true.
//!
//! When a put is acknowledged, each chunk of it must be durable, name and contents, on enough disks; and every copy that
//! has its name must be right. Excused is what was hurt: a copy that was made to rot, and all that was on a disk when it was
//! replaced by an older copy of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use dfs_node::store::format;
use sha2::{Digest as _, Sha256};

use super::disk::Medium;
use super::id::HostId;
use super::node::DATA_DIR;
use crate::Content;

/// Copies without which nothing is acknowledged.
pub(super) const ENOUGH: usize = 2;

/// What a disk was made to lose or falsify, and when, in microseconds of world time.
#[derive(Debug, Default)]
struct Damage {
    /// It was replaced by an older copy.
    old: Option<u64>,
    /// Names of copies in which a bit was flipped.
    rotten: BTreeMap<String, u64>,
}

/// The disks of a world, and what was done to them.
#[derive(Default)]
pub(super) struct Disks {
    media: Mutex<BTreeMap<HostId, Medium>>,
    damage: Mutex<BTreeMap<HostId, Damage>>,
}

impl Disks {
    /// One more disk.
    pub(super) fn add(&self, host: HostId, medium: Medium) {
        self.media.lock().expect("nobody panics with it").insert(host, medium);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.media.lock().expect("nobody panics with it").len()
    }

    fn damage(&self) -> MutexGuard<'_, BTreeMap<HostId, Damage>> {
        self.damage.lock().expect("nobody panics with it")
    }

    /// A bit of this copy flips.
    pub(super) fn rots(&self, host: HostId, name: String, now_us: u64) {
        self.damage().entry(host).or_default().rotten.insert(name, now_us);
    }

    /// The disk is replaced by an older copy of itself.
    pub(super) fn grows_old(&self, host: HostId, now_us: u64) {
        self.damage().entry(host).or_default().old = Some(now_us);
    }

    /// Whether this copy may be lost or wrong.
    pub(super) fn is_hurt(&self, host: HostId, name: &str) -> bool {
        let hurt = |damage: &Damage| damage.old.is_some() || damage.rotten.contains_key(name);
        self.damage().get(&host).is_some_and(hurt)
    }

    /// Nodes on whose disks something was hurt since then.
    pub(super) fn hurt_since(&self, since_us: u64) -> BTreeSet<HostId> {
        let later =
            |damage: &Damage| damage.old.iter().chain(damage.rotten.values()).any(|at| *at >= since_us);
        self.damage().iter().filter(|(_, damage)| later(damage)).map(|(host, _)| *host).collect()
    }

    /// Nodes that may lack a copy of this name.
    pub(super) fn that_may_lack(&self, name: &str) -> usize {
        let hosts: Vec<_> = self.damage().keys().copied().collect();
        hosts.into_iter().filter(|host| self.is_hurt(*host, name)).count()
    }

    /// Copies that are not what they say of themselves, though another disk has a good one: the scrub is to find and heal them.
    pub(super) fn to_be_healed(&self) -> Vec<String> {
        let (mut good, mut bad) = (BTreeSet::new(), Vec::new());
        let media = self.media.lock().expect("nobody panics with it");
        for (host, medium) in media.iter() {
            medium.each_durable(&Path::new(DATA_DIR).join("chunks"), |name, bytes| match is_sound(bytes) {
                true => _ = good.insert(name.to_owned()),
                false => bad.push((name.to_owned(), *host)),
            });
        }
        bad.into_iter()
            .filter(|(name, _)| good.contains(name))
            .map(|(name, at)| format!("{name} on {at}"))
            .collect()
    }

    /// Whether a disk has a file of this name in its durable directories.
    pub(super) fn holds(&self, host: HostId, name: &str) -> bool {
        let media = self.media.lock().expect("nobody panics with it");
        let mut found = false;
        if let Some(medium) = media.get(&host) {
            medium.each_durable(&Path::new(DATA_DIR).join("chunks"), |there, _| found |= there == name);
        }
        found
    }

    /// What is wrong with the copies of an acknowledged file whose put began at `since_us`, its contents in chunks of `chunk`
    /// bytes.
    pub(super) fn what_is_wrong(
        &self,
        inode: u64,
        content: &Content,
        chunk: u32,
        since_us: u64,
    ) -> Vec<String> {
        let (mut good, mut wrong) = (BTreeMap::<u32, BTreeSet<HostId>>::new(), Vec::new());
        let media = self.media.lock().expect("nobody panics with it");
        for (host, medium) in media.iter() {
            medium.each_durable(&Path::new(DATA_DIR).join("chunks"), |name, bytes| {
                let found = judge(bytes, inode, content, chunk);
                match found {
                    Some(Ok(index)) => {
                        good.entry(index).or_default().insert(*host);
                    }
                    Some(Err(why)) if !self.is_hurt(*host, name) => {
                        wrong.push(format!("{name} on {host}: {why}"));
                    }
                    _ => {}
                }
            });
        }
        let hurt = self.hurt_since(since_us);
        for index in 0..content.len().div_ceil(chunk.into()) as u32 {
            let on = good.get(&index).cloned().unwrap_or_default();
            if on.union(&hurt).count() < ENOUGH {
                wrong.push(format!("chunk {index} is durable on {on:?} only"));
            }
        }
        wrong
    }
}

/// Whether the bytes of a chunk file are those that its footer vouches for.
fn is_sound(bytes: &[u8]) -> bool {
    let start = bytes.len().saturating_sub(format::FOOTER_BYTES_MAX);
    format::decode(&bytes[start..], bytes.len() as u64).is_ok_and(|footer| {
        let len = footer.seal.len as usize;
        let padded = format::padded_len(footer.seal.len) as usize;
        let is_zero = |padding: &[u8]| padding.iter().all(|byte| *byte == 0);
        bytes.get(..len).is_some_and(|data| Sha256::digest(data)[..] == footer.seal.sha256)
            && bytes.get(len..padded).is_some_and(is_zero)
    })
}

/// Which chunk of the file this is, if it is one of it: right, or what is wrong.
fn judge(bytes: &[u8], inode: u64, content: &Content, chunk: u32) -> Option<Result<u32, String>> {
    let start = bytes.len().saturating_sub(format::FOOTER_BYTES_MAX);
    let footer = match format::decode(&bytes[start..], bytes.len() as u64) {
        Ok(footer) => footer,
        // A name that is durable before the contents are: whose chunk it is does not matter.
        Err(why) => return Some(Err(format!("it has a name and is no chunk: {why}"))),
    };
    if footer.identity.file.0 != inode {
        return None;
    }
    let index = footer.identity.index;
    let at = u64::from(index) * u64::from(chunk);
    let wanted = content.len().saturating_sub(at).min(chunk.into());
    let data = bytes.get(..footer.seal.len as usize).unwrap_or_default();
    Some(match (data.len() as u64 == wanted, content.first_difference(at, data)) {
        (true, None) => Ok(index),
        (true, Some(place)) => Err(format!("it differs from what was put at {place}")),
        (false, _) => Err(format!("it has {} of {wanted} bytes", data.len())),
    })
}
