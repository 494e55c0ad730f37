//! What disks durably hold, whatever anybody says of it: C1 of the contract is looked at where it has to be true.
//!
//! When a put is acknowledged, each chunk of it must be durable, name and contents, on enough disks; and every copy that
//! has its name must be right. Disks that were made to rot, or replaced by an older copy of themselves, are excused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use dfs_node::store::format;

use super::disk::Medium;
use super::id::HostId;
use super::node::DATA_DIR;
use crate::Content;

/// Copies without which nothing is acknowledged.
const ENOUGH: usize = 2;

/// The disks of a world, and which of them may lack what they should hold.
#[derive(Default)]
pub(super) struct Disks {
    media: Mutex<BTreeMap<HostId, Medium>>,
    excused: Mutex<BTreeSet<HostId>>,
}

impl Disks {
    /// One more disk.
    pub(super) fn add(&self, host: HostId, medium: Medium) {
        self.media.lock().expect("nobody panics with it").insert(host, medium);
    }

    /// From here on this disk may lack or falsify what was on it.
    pub(super) fn excuse(&self, host: HostId) {
        self.excused.lock().expect("nobody panics with it").insert(host);
    }

    pub(super) fn is_excused(&self, host: HostId) -> bool {
        self.excused.lock().expect("nobody panics with it").contains(&host)
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

    /// What is wrong with the copies of an acknowledged file, its contents in chunks of `chunk` bytes.
    pub(super) fn what_is_wrong(&self, inode: u64, content: &Content, chunk: u32) -> Vec<String> {
        let (mut good, mut wrong) = (BTreeMap::<u32, BTreeSet<HostId>>::new(), Vec::new());
        let media = self.media.lock().expect("nobody panics with it");
        for (host, medium) in media.iter() {
            medium.each_durable(&Path::new(DATA_DIR).join("chunks"), |name, bytes| {
                let found = judge(bytes, inode, content, chunk);
                match found {
                    Some(Ok(index)) => {
                        good.entry(index).or_default().insert(*host);
                    }
                    Some(Err(why)) if !self.is_excused(*host) => {
                        wrong.push(format!("{name} on {host}: {why}"));
                    }
                    _ => {}
                }
            });
        }
        let excused = self.excused.lock().expect("nobody panics with it").len();
        for index in 0..content.len().div_ceil(chunk.into()) as u32 {
            let on = good.get(&index).cloned().unwrap_or_default();
            if on.len() + excused.min(1) < ENOUGH {
                wrong.push(format!("chunk {index} is durable on {on:?} only"));
            }
        }
        wrong
    }
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
