//! The table of every configuration key: its default, its kind and range, and what it means.
//!
//! This is the only place where a key is described. Defaults, range checks, suggestions for misspelt keys and
//! the tables in `node/docs/CONFIGURATION.md` all come from here; a test holds the document to it.

use dfs_wire::limits;

/// What a value must look like, with the range it must lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Free text; empty means "not set".
    Text,
    /// Text that is never shown.
    Secret,
    /// A path, relative to the working directory of the process.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number between two bounds, both included.
    Count(u64, u64),
    /// Bytes, written with a unit (`8MiB`), between two bounds.
    Size(u64, u64),
    /// A time with a unit (`30s`, `15min`), between two bounds in milliseconds.
    Time(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section of the file it stands in.
    pub section: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// Kind and range of its value.
    pub kind: Kind,
    /// Default, written as a user would write it.
    pub default: &'static str,
    /// Whether SIGHUP applies a new value without a restart.
    pub live: bool,
    /// One sentence or two for the reference.
    pub doc: &'static str,
}

impl Key {
    /// The dotted name used by `--set` and in messages.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets any key: `DFS_<SECTION>__<KEY>`.
    pub fn env(&self) -> String {
        format!("DFS_{}__{}", self.section.to_uppercase(), self.name.to_uppercase())
    }

    const fn live(mut self) -> Self {
        self.live = true;
        self
    }
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { section, name, kind, default, live: false, doc }
}

/// Sections in the order of the documents, each with a heading sentence.
pub const SECTIONS: &[(&str, &str)] = &[
    ("node", "Who this process is, where it keeps its data and where it listens."),
    ("coordinator", "Where the coordinator is found, and where it keeps its metadata."),
    ("cluster", "Rules of the whole cluster: give every node the same."),
    ("storage", "How a datanode uses its disk."),
    ("memory", "How much memory a datanode may use for bytes in flight, and how it is divided."),
    ("network", "Limits of connections and streams, for both roles."),
    ("admin", "The HTTP port for health checks and metrics."),
    ("security", "TLS: who the other end of a connection is, and that nobody listens in."),
    ("log", "What is logged to standard error, and how."),
    ("chaos", "Deliberate faults, for tests."),
];

/// Roles a process can take.
pub(crate) const ROLES: &[&str] = &["coordinator", "datanode", "all"];

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const PORT: Kind = Kind::Count(0, 65_535);

/// Every key there is.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("node", "name", Kind::Text, "", "Name shown in listings and logs, unique in the cluster. Empty: the host name."),
    key("node", "role", Kind::Text, "", "`coordinator`, `datanode` or `all` (a coordinator and datanodes in one process, to try dfs out). Required, here or as `--role`."),
    key("node", "data_dir", Kind::Path, "data", "Directory that this process owns alone. One process per directory."),
    key("node", "zone", Kind::Text, "", "Failure domain (rack, room, host). Copies of a chunk spread over zones where nodes have one."),
    key("node", "listen_host", Kind::Text, "127.0.0.1", "Address to listen on. Other than loopback is warned about where connections are not secured."),
    key("node", "listen_port", PORT, "", "Port to listen on; 0 takes a free one. Empty: 8080 for a coordinator and for `all`, 8081 for a datanode."),
    key("node", "advertise", Kind::Text, "", "`host:port` at which others reach this node. Empty: the address it listens on, with the host name in place of a wildcard."),
    key("node", "environment", Kind::Text, "development", "Label of the installation, shown in the first log line. `production` makes JSON the default log format."),
    key("node", "datanodes", Kind::Count(1, 16), "3", "Datanodes in a process of role `all`."),
    key("node", "drain_timeout", Kind::Time(0, HOUR), "30s", "How long a first SIGTERM waits for work in progress before the process stops.").live(),

    key("coordinator", "host", Kind::Text, "127.0.0.1", "Where a datanode finds the coordinator."),
    key("coordinator", "port", Kind::Count(1, 65_535), "8080", "Port of the coordinator."),
    key("coordinator", "metadata_dir", Kind::Path, "metadata", "Directory of the metadata database, under `node.data_dir` unless absolute."),
    key("coordinator", "give_up_epoch", Kind::Count(0, u64::MAX), "", "Go on with an old copy of the metadata, and lose what was written since: the epoch that the finding `METADATA_OUTDATED` names. Any other value changes nothing."),

    key("cluster", "chunk_size", Kind::Size(limits::CHUNK_BYTES_MIN as u64, limits::CHUNK_BYTES_MAX as u64), "8MiB", "Size of the chunks of a file whose writer asks for none; a multiple of 64KiB."),
    key("cluster", "replication", Kind::Count(1, limits::REPLICATION_MAX as u64), "3", "Copies of each chunk of a file whose writer asks for no other number."),
    key("cluster", "min_ack", Kind::Count(1, limits::REPLICATION_MAX as u64), "2", "Durable copies without which no write is acknowledged. 1 is weaker than what dfs promises and is reported as unsafe."),
    key("cluster", "commit_timeout", Kind::Time(MINUTE, DAY), "15min", "Lease of an upload: it ends this long after its last sign of life."),
    key("cluster", "straggler_timeout", Kind::Time(100, MINUTE), "2s", "How long a write waits for its remaining copies once `min_ack` are durable."),
    key("cluster", "trash_retention", Kind::Time(0, 365 * DAY), "2h", "How long a deleted file can be brought back."),
    key("cluster", "read_lease", Kind::Time(MINUTE, DAY), "10min", "How long chunks that no version refers to any more stay readable for those who opened them."),
    key("cluster", "outcome_retention", Kind::Time(HOUR, 30 * DAY), "24h", "How long the outcome of an operation id is remembered: a repeat within this time learns the first outcome."),
    key("cluster", "outcome_memory", Kind::Size(MIB, 64 << 30), "256MiB", "Bytes of the metadata that remembered outcomes take at most, about 90 a stored file. Beyond it the oldest are forgotten sooner; a repeat of one is not done, and told that its outcome is unknown."),
    key("cluster", "heartbeat_interval", Kind::Time(100, MINUTE), "2s", "Time between two heartbeats of a datanode."),
    key("cluster", "suspect_after", Kind::Time(SECOND, HOUR), "10s", "Silence after which a node is suspect: it gets no new chunks."),
    key("cluster", "down_after", Kind::Time(SECOND, DAY), "30s", "Silence after which a node is down."),
    key("cluster", "maintenance_grace", Kind::Time(0, 7 * DAY), "10min", "How long a node that was stopped on purpose is expected back: until then its copies are not reported as missing, unless something cannot be read."),
    key("cluster", "repair_grace", Kind::Time(0, 7 * DAY), "5min", "How long a silent node may take to come back before its copies are made elsewhere. No grace delays a chunk with one good copy."),
    key("cluster", "repair_max", Kind::Count(0, 1024), "32", "Chunks of 8 MiB that are repaired at once, or up to eight times as many small ones. 0 makes up nothing that is missing and is reported as unsafe."),
    key("cluster", "repair_bytes_per_second", Kind::Size(64 * KIB, 1024 * GIB), "256MiB", "What repair copies in a second at most, in the whole cluster. Where clients are served, it takes less: datanodes let them go first."),
    key("cluster", "nodes_unasked_max", Kind::Count(1, 256), "32", "Datanodes that may join without being asked for. Further ones wait for `dfsctl nodes admit`."),
    key("cluster", "grant_ttl", Kind::Time(10 * SECOND, HOUR), "5min", "Validity of the permission to write a chunk, in the coordinator's time. One to read is valid for `cluster.read_lease`."),
    key("cluster", "orphan_grace", Kind::Time(MINUTE, 30 * DAY), "24h", "Age below which a chunk unknown to the metadata is left alone."),
    key("cluster", "inventory_interval", Kind::Time(SECOND, 7 * DAY), "1h", "Time between two full inventories of a datanode."),
    key("cluster", "gc_interval", Kind::Time(SECOND, DAY), "30s", "Time between two rounds of the cleaning of trash and of unreferenced chunks."),

    key("storage", "io_threads", Kind::Count(1, 64), "8", "Threads that write to one disk, and as many again that read from it."),
    key("storage", "queue_depth", Kind::Count(1, 4096), "256", "Frames of 256 KiB and other jobs that may wait for the threads of each kind."),
    key("storage", "direct_io", Kind::Choice(&["auto", "on", "off"]), "auto", "Write around the page cache (O_DIRECT). `auto` tries it on the data directory at start."),
    key("storage", "read_mode", Kind::Choice(&["pread", "mmap"]), "pread", "How committed chunks are read: by copying, or through a mapping (no faster where it was measured)."),
    key("storage", "reserve", Kind::Size(0, 1024 * GIB), "1GiB", "Free space that new chunks never take, so that deletes and metadata go on; never more than a twentieth of the disk, whatever is set."),
    key("storage", "quarantine_retention", Kind::Time(0, 30 * DAY), "24h", "How long a deleted chunk stays in quarantine before it is unlinked; of an hour or more, up to an hour longer."),
    key("storage", "mass_delete_percent", Kind::Count(1, 100), "50", "Share of a datanode's chunks that one inventory may put into quarantine. If the coordinator wants more gone, none is touched and health shows it."),
    key("storage", "scrub_period", Kind::Time(SECOND, 90 * DAY), "14days", "Within this time a datanode reads everything it has, and checks it: what rots at rest is found. It cannot be turned off."),
    key("storage", "scrub_bytes_per_second", Kind::Size(64 * KIB, 16 * GIB), "32MiB", "What that reads of a disk in a second at most. Where it is too little for the period, `dfsctl status` says so."),
    key("storage", "group_commit_delay", Kind::Time(0, SECOND), "2ms", "How long a finished chunk waits for others that are being synced, to share their directory sync. One that nobody follows does not wait."),
    key("storage", "open_files_max", Kind::Count(16, 65_536), "1024", "Chunk files kept open for reading."),

    key("memory", "limit", Kind::Size(32 * MIB, 1024 * GIB), "256MiB", "All buffers of a datanode together. The process stays under this plus 64 MiB."),
    key("memory", "ingest_percent", Kind::Count(5, 90), "40", "Share of the limit for uploads from clients."),
    key("memory", "replica_percent", Kind::Count(5, 90), "40", "Share of the limit for copies from other datanodes. What the two leave is for reads."),

    key("network", "connections_max", Kind::Count(1, 65_536), "1024", "Clients connected at once. One more takes the place of one that is idle, or is told that all are busy."),
    key("network", "members_max", Kind::Count(1, 65_536), "256", "Connections from datanodes at once, beside those of clients. A coordinator needs one for each datanode, a datanode two."),
    key("network", "operators_max", Kind::Count(1, 1024), "32", "Connections of operators (`dfsctl status` and the like) at once, beside the others."),
    key("network", "handshake_timeout", Kind::Time(100, MINUTE), "5s", "Time a new connection has to introduce itself.").live(),
    key("network", "idle_timeout", Kind::Time(SECOND, DAY), "60s", "Silence after which a connection is closed.").live(),
    key("network", "stream_idle_timeout", Kind::Time(SECOND, HOUR), "30s", "Time a streaming session may stand still before it is ended.").live(),
    key("network", "prepare_timeout", Kind::Time(100, HOUR), "30s", "Time a streaming session may wait for buffers before it is answered `Busy`.").live(),

    key("admin", "host", Kind::Text, "127.0.0.1", "Address of the admin port."),
    key("admin", "port", PORT, "", "Admin port; 0 takes a free one. Empty: 8090 for a coordinator and for `all`, 8091 for a datanode."),

    key("security", "mode", Kind::Choice(&["off", "permissive", "required"]), "required", "Which connections are taken: secured ones only (`required`); plain ones too, for as long as a cluster is secured node by node (`permissive`); all, and whoever reaches the port is believed (`off`)."),
    key("security", "directory", Kind::Path, "", "Directory of what makes this node who it is: a datanode's certificate and its key; a coordinator's key-encryption key, without which its metadata cannot be opened. Never inside `node.data_dir`. Empty: beside it, `<data_dir>.keys`."),
    key("security", "join_token_file", Kind::Path, "", "File in which a datanode that has no certificate yet finds its join token (`dfsctl nodes token`), now or later; readable by this user alone."),
    key("security", "invite", Kind::Text, "", "Names, with commas between them: for each one a coordinator keeps a join token ready, for a datanode on this machine or with the same volume."),
    key("security", "invitations", Kind::Path, "", "Directory in which those join tokens lie. Empty: `invitations` in `security.directory`."),
    key("security", "operator", Kind::Path, "", "Directory in which a coordinator keeps an identity of an operator ready, for `dfsctl --identity` on this machine or with the same volume: whoever can read it can do anything with the cluster. Empty: nowhere."),
    key("security", "certificate_lifetime", Kind::Time(10 * SECOND, 825 * DAY), "90d", "How long the certificates last that the cluster's own authority signs. Nodes renew theirs by themselves after half of it."),
    key("security", "ca", Kind::Path, "", "PEM file with the certificate of an authority of your own, in place of the cluster's: who shows a certificate that it signed belongs to the cluster. Needs `security.certificate` and `security.key`."),
    key("security", "certificate", Kind::Path, "", "PEM file with this node's certificate by that authority, then what leads from it to the authority. Read again at SIGHUP."),
    key("security", "key", Kind::Path, "", "PEM file with the key of the certificate, readable by this user alone. Read again at SIGHUP."),
    key("log", "level", Kind::Text, "info", "`error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,dfs_node::store=debug`.").live(),
    key("log", "format", Kind::Choice(&["auto", "text", "json"]), "auto", "`auto` is JSON when `node.environment` is `production`, else text."),

    key("chaos", "enabled", Kind::Flag, "false", "Obey requests to kill, panic or pause actors. Only in a binary built with the `chaos` feature, and only from those who know the token."),
    key("chaos", "token", Kind::Secret, "", "What those have to know who ask for such faults, 16 characters or more; `dfsctl chaos` takes it from DFS_CHAOS_TOKEN."),
];

/// Environment names that older installations know, and the key each sets. `COORDINATOR_HOST` and
/// `COORDINATOR_PORT` are where a coordinator listens, and where a datanode looks for it.
pub const SHORT_ENV: &[(&str, &str, &str)] = &[
    ("COORDINATOR_HOST", "node.listen_host", "coordinator.host"),
    ("COORDINATOR_PORT", "node.listen_port", "coordinator.port"),
    ("DATANODE_HOST", "", "node.listen_host"),
    ("DATANODE_PORT", "", "node.listen_port"),
    ("LOG_LEVEL", "log.level", "log.level"),
    ("ENVIRONMENT", "node.environment", "node.environment"),
    ("DISK_STORAGE_BASE_DIR", "node.data_dir", "node.data_dir"),
];

/// Names that begin like those of the keys and are `dfsctl`'s: both may be set in one environment.
const DFSCTL_ENV: &[&str] =
    &["DFS_ENDPOINT", "DFS_CONTEXT", "DFS_NODE_BIN", "DFS_CHAOS_TOKEN", "DFS_IDENTITY"];

/// The variable that was probably meant by one that is no `DFS_<SECTION>__<KEY>`; `None` if it is somebody else's.
pub(crate) fn suggest_env(name: &str) -> Option<String> {
    /// So many changed letters are a slip of the finger; more are another name.
    const SLIPS_MAX: usize = 2;
    let rest = name.strip_prefix("DFS_")?;
    if DFSCTL_ENV.contains(&name) {
        return None;
    }
    let variables = KEYS.iter().map(|key| variable(&key.path()));
    let known = variables.chain(DFSCTL_ENV.iter().map(|name| (*name).to_owned()));
    let near = known.map(|known| (strsim::damerau_levenshtein(name, &known), known)).min()?;
    if near.0 <= SLIPS_MAX {
        return Some(near.1);
    }
    let rest = rest.to_lowercase();
    let in_section = |(section, _): &(&str, _)| {
        let key = rest.strip_prefix(section)?.strip_prefix('_')?;
        suggest(&format!("{section}.{key}"))
    };
    SECTIONS.iter().find_map(in_section).map(|path| variable(&path))
}

/// The environment variable of a key.
fn variable(path: &str) -> String {
    format!("DFS_{}", path.to_uppercase().replacen('.', "__", 1))
}

/// Looks a key up by its dotted name.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    let (section, name) = path.split_once('.')?;
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// The known name nearest to a misspelt one, if any is near enough to be worth suggesting. A right name in the
/// wrong section counts as near.
pub(crate) fn suggest(path: &str) -> Option<String> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let score = |key: &Key| {
        let whole = strsim::damerau_levenshtein(path, &key.path());
        let part = strsim::damerau_levenshtein(name, key.name);
        whole.min(part + 1)
    };
    let best = KEYS.iter().min_by_key(|key| score(key))?;
    (score(best) <= 1 + path.len() / 4).then(|| best.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour_and_nonsense_finds_none() {
        assert_eq!(suggest("cluster.replicaton").as_deref(), Some("cluster.replication"));
        assert_eq!(suggest("clustr.min_ack").as_deref(), Some("cluster.min_ack"));
        assert_eq!(suggest("storage.chunk_size").as_deref(), Some("cluster.chunk_size"));
        assert_eq!(suggest("zz.qqqqqqqq"), None);
    }

    #[test]
    fn a_misspelt_variable_finds_its_neighbour_and_those_of_others_are_left_alone() {
        let said = |name: &str| suggest_env(name);
        assert_eq!(said("DFS_CLUSTER_CHUNK_SIZE").as_deref(), Some("DFS_CLUSTER__CHUNK_SIZE"));
        assert_eq!(said("DFS_NODE_NAME").as_deref(), Some("DFS_NODE__NAME"));
        assert_eq!(said("DFS_STORAGE_RESERV").as_deref(), Some("DFS_STORAGE__RESERVE"));
        assert_eq!(said("DFS_ENDPIONT").as_deref(), Some("DFS_ENDPOINT"));
        for other in
            ["DFS_ENDPOINT", "DFS_CONTEXT", "DFS_NODE_BIN", "DFS_SUBNET", "DFS_TEST_SEED", "HOME", "DFS_"]
        {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn keys_are_unique_and_stand_in_known_sections() {
        let mut seen = std::collections::BTreeSet::new();
        for key in KEYS {
            assert!(SECTIONS.iter().any(|(name, _)| *name == key.section), "{}", key.path());
            assert!(seen.insert(key.path()), "{} is there twice", key.path());
        }
        for (_, a, b) in SHORT_ENV {
            assert!((a.is_empty() || find(a).is_some()) && find(b).is_some(), "{a} {b}");
        }
    }
}
