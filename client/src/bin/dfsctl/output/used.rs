//! What a cluster uses its space for, as `df` and `status` say it.

use dfs_wire::message::admin::ClusterStatus;
use dfs_wire::message::membership::NodeLoad;
use serde::Serialize;

use crate::output::text::count;

/// What all of a cluster takes on its disks.
pub(crate) fn all_used(status: &ClusterStatus) -> u64 {
    [status.used, status.footers, status.quarantine, status.metadata].into_iter().fold(0, u64::saturating_add)
}

/// What all of a datanode takes on its disk.
pub(crate) fn used_of(load: &NodeLoad) -> u64 {
    [load.used, load.footers, load.quarantine].into_iter().fold(0, u64::saturating_add)
}

/// What lies in the trash, as a part of what chunks take.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Trash {
    /// Things that were deleted.
    pub entries: u64,
    /// Bytes of the files in them.
    pub bytes: u64,
    /// Those times the copies that each file asks for.
    pub raw_bytes: u64,
    /// A large directory that was deleted is being counted: there are more bytes than said.
    pub counting: bool,
}

impl Trash {
    pub(crate) fn of(status: &ClusterStatus) -> Self {
        let ClusterStatus { trash_entries, trash_bytes, trash_raw_bytes, trash_counting, .. } = status;
        let (entries, bytes) = (*trash_entries, *trash_bytes);
        Self { entries, bytes, raw_bytes: *trash_raw_bytes, counting: *trash_counting }
    }

    /// For people, with sizes as `show` writes them.
    pub(crate) fn phrase(&self, show: impl Fn(u64) -> String) -> String {
        let entries = count(self.entries, "entry");
        if self.entries == 0 {
            return entries;
        }
        let counting = if self.counting { ", counting" } else { "" };
        format!(
            "{} of what is used, for files of {} in {entries}{counting}",
            show(self.raw_bytes),
            show(self.bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text::size;

    #[test]
    fn the_trash_is_a_part_of_what_chunks_take() {
        let mut trash = Trash { entries: 1, bytes: 10, raw_bytes: 30, counting: true };
        assert_eq!(trash.phrase(size), "30 B of what is used, for files of 10 B in 1 entry, counting");
        trash.counting = false;
        let exact = trash.phrase(|bytes| bytes.to_string());
        assert_eq!(exact, "30 of what is used, for files of 10 in 1 entry");
        assert_eq!(Trash::default().phrase(size), "0 entries");
    }
}
