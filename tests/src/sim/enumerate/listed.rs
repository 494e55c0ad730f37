//! What every step is called, and what it belongs to.
//!
//! | part | what it is |
//! |---|---|
//! | `U1` | an upload is opened, under its lease |
//! | `U2` | nodes are chosen, and told to the client with leave to write |
//! | `U3` to `U5` | a chunk is written, synced, and given its name on a node's disk |
//! | `U6` | it is acknowledged |
//! | `U7`, `U8`, `U9` | its receipts are handed in; the version is committed; with it what the old one was is queued to be released |
//! | `D1` | a file is deleted |
//! | `D2` | the trash is emptied |
//! | `D3` | nodes are told to delete, obey, confirm, and purge |
//! | `GC` | what nothing refers to any more is released: ended uploads, and chunks that were given up, among it |
//! | `repair` | a node is told to copy a chunk from another one, and does |
//! | `drain`, `replication`, `jobs` | an operator empties a node, or changes how many copies files have; jobs that do so are remembered |
//! | `events` | what happened, and what is muted, is kept |
//! | `inventory` | what a node has is compared with what it should have: it is told what nobody knows, and misses are written down |
//!
//! [`PARTS`] are those that the tables of the contract promise: none of them may be without a step, and without a point at which a
//! process ends. What a version replaces is queued in the transaction that makes the new one visible: its steps are of two parts.
//!
//! A new kind of step wants a line here, in order; the suite prints it.

use std::collections::BTreeSet;

/// Parts of the work each of which must be able to be a process's last.
pub const PARTS: &[&str] = &[
    "U1",
    "U2",
    "U3",
    "U4",
    "U5",
    "U6",
    "U7",
    "U8",
    "U9",
    "D1",
    "D2",
    "D3",
    "GC",
    "balance",
    "repair",
    "drain",
    "replication",
    "jobs",
];

/// Parts of [`PARTS`] to which none of these steps belongs.
pub fn empty_parts<'a>(steps: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let steps: BTreeSet<&str> = steps.collect();
    let listed = LISTED.iter().filter(|(name, _)| steps.contains(name));
    let there: BTreeSet<&str> = listed.flat_map(|(_, parts)| parts.split(' ')).collect();
    PARTS.iter().copied().filter(|part| !there.contains(part)).collect()
}

/// Names of steps, each with the part of the work that it belongs to, or both parts.
pub const LISTED: &[(&str, &str)] = &[
    ("client -> coordinator: admin.balance", "balance"),
    ("client -> coordinator: admin.cluster_status", "status"),
    ("client -> coordinator: admin.drain_node", "drain"),
    ("client -> coordinator: admin.mute_finding", "events"),
    ("client -> coordinator: admin.set_replication", "replication"),
    ("client -> coordinator: admin.undrain_node", "drain"),
    ("client -> coordinator: error", "connection"),
    ("client -> coordinator: hello", "connection"),
    ("client -> coordinator: metadata.abort_upload", "GC"),
    ("client -> coordinator: metadata.allocate_chunks", "U2"),
    ("client -> coordinator: metadata.commit_upload", "U7"),
    ("client -> coordinator: metadata.copy_chunks", "namespace"),
    ("client -> coordinator: metadata.delete", "D1"),
    ("client -> coordinator: metadata.list", "namespace"),
    ("client -> coordinator: metadata.mkdir", "namespace"),
    ("client -> coordinator: metadata.open_copy", "namespace"),
    ("client -> coordinator: metadata.open_read", "read"),
    ("client -> coordinator: metadata.open_upload", "U1"),
    ("client -> coordinator: metadata.record_chunks", "U7"),
    ("client -> coordinator: metadata.rename", "namespace"),
    ("client -> coordinator: metadata.stat", "namespace"),
    ("client -> coordinator: metadata.trash_purge", "D2"),
    ("client -> coordinator: metadata.undelete", "namespace"),
    ("client -> coordinator: ping", "connection"),
    ("client -> coordinator: pong", "connection"),
    ("client -> datanode: chunk.read", "read"),
    ("client -> datanode: chunk.write", "U3"),
    ("client -> datanode: data of chunk.write", "U3"),
    ("client -> datanode: end of chunk.write", "U3"),
    ("client -> datanode: error", "connection"),
    ("client -> datanode: hello", "connection"),
    ("client -> datanode: ping", "connection"),
    ("client -> datanode: pong", "connection"),
    ("client -> datanode: window of chunk.read", "read"),
    ("client -> datanode: window of chunk.write", "U3"),
    ("coordinator -> client: NoWriteQuorum to metadata.allocate_chunks", "U2"),
    ("coordinator -> client: NotFound to metadata.stat", "namespace"),
    ("coordinator -> client: answer to admin.balance", "balance"),
    ("coordinator -> client: answer to admin.cluster_status", "status"),
    ("coordinator -> client: answer to admin.drain_node", "drain"),
    ("coordinator -> client: answer to admin.mute_finding", "events"),
    ("coordinator -> client: answer to admin.set_replication", "replication"),
    ("coordinator -> client: answer to admin.undrain_node", "drain"),
    ("coordinator -> client: answer to metadata.abort_upload", "GC"),
    ("coordinator -> client: answer to metadata.allocate_chunks", "U2"),
    ("coordinator -> client: answer to metadata.commit_upload", "U8"),
    ("coordinator -> client: answer to metadata.copy_chunks", "namespace"),
    ("coordinator -> client: answer to metadata.delete", "D1"),
    ("coordinator -> client: answer to metadata.list", "namespace"),
    ("coordinator -> client: answer to metadata.mkdir", "namespace"),
    ("coordinator -> client: answer to metadata.open_copy", "namespace"),
    ("coordinator -> client: answer to metadata.open_read", "read"),
    ("coordinator -> client: answer to metadata.open_upload", "U2"),
    ("coordinator -> client: answer to metadata.record_chunks", "U7"),
    ("coordinator -> client: answer to metadata.rename", "namespace"),
    ("coordinator -> client: answer to metadata.stat", "namespace"),
    ("coordinator -> client: answer to metadata.trash_purge", "D2"),
    ("coordinator -> client: answer to metadata.undelete", "namespace"),
    ("coordinator -> client: pong", "connection"),
    ("coordinator -> client: welcome", "connection"),
    ("coordinator -> datanode: answer to inventory.report", "inventory"),
    ("coordinator -> datanode: answer to membership.heartbeat", "D3"),
    ("coordinator -> datanode: answer to membership.register", "membership"),
    ("coordinator -> datanode: error", "connection"),
    ("coordinator -> datanode: hello", "connection"),
    ("coordinator -> datanode: orders in answer to inventory.confirm", "inventory"),
    ("coordinator -> datanode: orders in answer to inventory.report", "inventory"),
    ("coordinator -> datanode: orders in answer to membership.heartbeat", "D3"),
    ("coordinator -> datanode: ping", "connection"),
    ("coordinator -> datanode: pong", "connection"),
    ("coordinator -> datanode: replication.copy", "repair"),
    ("coordinator -> datanode: welcome", "connection"),
    ("coordinator: create metadata: opening", "start"),
    ("coordinator: rename metadata: opening", "start"),
    ("coordinator: set length of metadata", "commit"),
    ("coordinator: sync metadata: abort_upload", "GC"),
    ("coordinator: sync metadata: allocate_chunks", "U2"),
    ("coordinator: sync metadata: apply_findings", "inventory"),
    ("coordinator: sync metadata: commit_upload", "U8 U9"),
    ("coordinator: sync metadata: confirm_deleted", "D3"),
    ("coordinator: sync metadata: copy_chunks", "namespace"),
    ("coordinator: sync metadata: delete", "D1"),
    ("coordinator: sync metadata: drop_copy", "repair"),
    ("coordinator: sync metadata: expire_uploads", "GC"),
    ("coordinator: sync metadata: mkdir", "namespace"),
    ("coordinator: sync metadata: note_events", "events"),
    ("coordinator: sync metadata: nothing but the time", "time"),
    ("coordinator: sync metadata: open_copy", "namespace"),
    ("coordinator: sync metadata: open_upload", "U1"),
    ("coordinator: sync metadata: opening", "start"),
    ("coordinator: sync metadata: orphans", "GC"),
    ("coordinator: sync metadata: purge", "D2"),
    ("coordinator: sync metadata: put_jobs", "jobs"),
    ("coordinator: sync metadata: put_nodes", "membership"),
    ("coordinator: sync metadata: record_chunks", "U7"),
    ("coordinator: sync metadata: release", "GC"),
    ("coordinator: sync metadata: rename", "namespace"),
    ("coordinator: sync metadata: set_replication", "replication"),
    ("coordinator: sync metadata: trash", "D2"),
    ("coordinator: sync metadata: trash_purge", "D2"),
    ("coordinator: sync metadata: undelete", "namespace"),
    ("coordinator: sync names in metadata", "start"),
    ("coordinator: write metadata: abort_upload", "GC"),
    ("coordinator: write metadata: allocate_chunks", "U2"),
    ("coordinator: write metadata: apply_findings", "inventory"),
    ("coordinator: write metadata: commit_upload", "U8 U9"),
    ("coordinator: write metadata: confirm_deleted", "D3"),
    ("coordinator: write metadata: copy_chunks", "namespace"),
    ("coordinator: write metadata: delete", "D1"),
    ("coordinator: write metadata: drop_copy", "repair"),
    ("coordinator: write metadata: expire_uploads", "GC"),
    ("coordinator: write metadata: mkdir", "namespace"),
    ("coordinator: write metadata: note_events", "events"),
    ("coordinator: write metadata: nothing but the time", "time"),
    ("coordinator: write metadata: open_copy", "namespace"),
    ("coordinator: write metadata: open_upload", "U1"),
    ("coordinator: write metadata: opening", "start"),
    ("coordinator: write metadata: orphans", "GC"),
    ("coordinator: write metadata: purge", "D2"),
    ("coordinator: write metadata: put_jobs", "jobs"),
    ("coordinator: write metadata: put_nodes", "membership"),
    ("coordinator: write metadata: record_chunks", "U7"),
    ("coordinator: write metadata: release", "GC"),
    ("coordinator: write metadata: rename", "namespace"),
    ("coordinator: write metadata: set_replication", "replication"),
    ("coordinator: write metadata: trash", "D2"),
    ("coordinator: write metadata: trash_purge", "D2"),
    ("coordinator: write metadata: undelete", "namespace"),
    ("datanode -> client: answer to chunk.read", "read"),
    ("datanode -> client: answer to chunk.write", "U6"),
    ("datanode -> client: data of chunk.read", "read"),
    ("datanode -> client: pong", "connection"),
    ("datanode -> client: welcome", "connection"),
    ("datanode -> client: window of chunk.write", "U3"),
    ("datanode -> coordinator: answer to replication.copy", "repair"),
    ("datanode -> coordinator: hello", "connection"),
    ("datanode -> coordinator: inventory.confirm", "inventory"),
    ("datanode -> coordinator: inventory.report", "inventory"),
    ("datanode -> coordinator: membership.heartbeat", "D3"),
    ("datanode -> coordinator: membership.register", "membership"),
    ("datanode -> coordinator: pong", "connection"),
    ("datanode -> coordinator: welcome", "connection"),
    ("datanode -> datanode: answer to chunk.read", "repair"),
    ("datanode -> datanode: answer to replication.replicate", "U6"),
    ("datanode -> datanode: chunk.read", "repair"),
    ("datanode -> datanode: data of chunk.read", "repair"),
    ("datanode -> datanode: data of replication.replicate", "U3"),
    ("datanode -> datanode: end of replication.replicate", "U3"),
    ("datanode -> datanode: error", "connection"),
    ("datanode -> datanode: hello", "connection"),
    ("datanode -> datanode: ping", "connection"),
    ("datanode -> datanode: pong", "connection"),
    ("datanode -> datanode: replication.replicate", "U3"),
    ("datanode -> datanode: reset of replication.replicate", "U3"),
    ("datanode -> datanode: welcome", "connection"),
    ("datanode -> datanode: window of chunk.read", "repair"),
    ("datanode -> datanode: window of replication.replicate", "U3"),
    ("datanode: create identity.spare", "identity"),
    ("datanode: create lock", "start"),
    ("datanode: create quarantine/*", "D3"),
    ("datanode: create tmp/*", "U3"),
    ("datanode: exchange identity", "identity"),
    ("datanode: mkdir chunks", "start"),
    ("datanode: mkdir chunks/*", "start"),
    ("datanode: mkdir chunks/*/*", "start"),
    ("datanode: mkdir its data directory", "start"),
    ("datanode: mkdir quarantine", "start"),
    ("datanode: mkdir quarantine/*", "D3"),
    ("datanode: mkdir tmp", "start"),
    ("datanode: rename chunks/*/*/*", "U5"),
    ("datanode: rename identity", "identity"),
    ("datanode: rename quarantine/*/*", "D3"),
    ("datanode: rename scrub", "scrub"),
    ("datanode: set length of identity.spare", "identity"),
    ("datanode: set length of tmp/*", "U3"),
    ("datanode: sync identity.spare", "identity"),
    ("datanode: sync names in chunks", "start"),
    ("datanode: sync names in chunks/*", "start"),
    ("datanode: sync names in chunks/*/*", "U5"),
    ("datanode: sync names in its data directory", "start"),
    ("datanode: sync names in quarantine", "D3"),
    ("datanode: sync names in quarantine/*", "D3"),
    ("datanode: sync quarantine/*", "D3"),
    ("datanode: sync tmp/*", "U4"),
    ("datanode: unlink quarantine/*/*", "D3"),
    ("datanode: unlink tmp/*", "U3"),
    ("datanode: write identity.spare", "identity"),
    ("datanode: write quarantine/*", "D3"),
    ("datanode: write tmp/*", "U3"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_work_without_a_step_is_noticed() {
        let all = || LISTED.iter().map(|(name, _)| *name);
        assert_eq!(empty_parts(all()), Vec::<&str>::new());
        for part in PARTS {
            let others = LISTED.iter().filter(|(_, parts)| parts.split(' ').all(|there| there != *part));
            assert!(empty_parts(others.map(|(name, _)| *name)).contains(part), "{part}");
        }
    }
}
