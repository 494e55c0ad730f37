//! The checked configuration: what the rest of the node sees.

use std::{fmt, path::PathBuf, time::Duration};

use dfs_actors::peer::admin::ChaosToken;
use dfs_actors::peer::gate::Gate;
use dfs_actors::peer::session::PlacesMax;

use crate::store::{DirectIo, ReadMode};

/// What a process does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns the namespace, membership and placement.
    Coordinator,
    /// Owns chunks on a disk.
    Datanode,
    /// A coordinator and several datanodes in one process.
    All,
}

impl Role {
    /// The word used in files and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Datanode => "datanode",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host name or address with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name, IPv4 or bare IPv6 address.
    pub host: String,
    /// Port; 0 where "any free one" makes sense.
    pub port: u16,
}

impl HostPort {
    /// A host and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Splits `host:port` or `[v6]:port`.
    ///
    /// # Errors
    /// Text that says what is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| format!("`{text}` is not of the form host:port"))?;
        let port = port.parse().map_err(|_| format!("`{port}` in `{text}` is not a port"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || (host.contains(':') && !text.starts_with('[')) {
            return Err(format!("`{text}` is not of the form host:port"));
        }
        Ok(Self::new(host, port))
    }

    /// Whether the host can only be reached from this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether the host stands for every address of the machine.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Everything a node is told. Made by [`super::load`] only, so its cross-field rules hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Identity, data directory, listener.
    pub node: NodeConfig,
    /// Where the coordinator is, and its metadata.
    pub coordinator: CoordinatorConfig,
    /// Rules of the whole cluster.
    pub cluster: ClusterConfig,
    /// Disk use of a datanode.
    pub storage: StorageConfig,
    /// Buffers of a datanode.
    pub memory: MemoryConfig,
    /// Connections and streams.
    pub network: NetworkConfig,
    /// Admin HTTP port.
    pub admin: AdminConfig,
    /// Who may connect, and the certificate that says who this node is.
    pub security: SecurityConfig,
    /// What is logged, and how it looks.
    pub log: LogConfig,
    /// Faults made on purpose, for tests.
    pub chaos: ChaosConfig,
}

/// Section `node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Name in listings and logs.
    pub name: String,
    /// What this process does.
    pub role: Role,
    /// The directory it owns.
    pub data_dir: PathBuf,
    /// Failure domain, if any.
    pub zone: Option<String>,
    /// Where it listens; port 0 takes a free one.
    pub listen: HostPort,
    /// Where others reach it; `None` means at the address it really listens on.
    pub advertise: Option<HostPort>,
    /// Label of the installation.
    pub environment: String,
    /// Datanodes of role `all`.
    pub datanodes: u16,
    /// Patience of a first SIGTERM.
    pub drain_timeout: Duration,
}

/// Section `coordinator`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// Where datanodes find it.
    pub address: HostPort,
    /// Directory of the metadata database, already under the data directory.
    pub metadata_dir: PathBuf,
    /// Reigns up to this epoch that an old copy of the metadata may forget.
    pub give_up_epoch: Option<u64>,
}

/// Section `cluster`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Default chunk size of a file, in bytes.
    pub chunk_bytes: u32,
    /// Default number of copies.
    pub replication: u8,
    /// Durable copies without which nothing is acknowledged.
    pub min_ack: u8,
    /// Lease of an upload.
    pub commit_timeout: Duration,
    /// Wait for the remaining copies once `min_ack` are durable.
    pub straggler_timeout: Duration,
    /// Time a deleted file can be brought back.
    pub trash_retention: Duration,
    /// Time that unreferenced chunks stay readable.
    pub read_lease: Duration,
    /// Time that outcomes of operations are remembered.
    pub outcome_retention: Duration,
    /// Bytes that remembered outcomes take at most.
    pub outcome_memory: u64,
    /// Between two heartbeats.
    pub heartbeat_interval: Duration,
    /// Silence before a node is suspect.
    pub suspect_after: Duration,
    /// Silence before a node is down.
    pub down_after: Duration,
    /// Time a node that was stopped on purpose is expected back without alarm.
    pub maintenance_grace: Duration,
    /// Time a silent node may take to come back before its copies are made elsewhere.
    pub repair_grace: Duration,
    /// Chunks of 8 MiB that are repaired at once; 0 = none ever.
    pub repair_max: usize,
    /// Bytes that repair copies in a second.
    pub repair_bytes_per_second: u64,
    /// Datanodes that may join without an operator's yes.
    pub nodes_unasked_max: usize,
    /// Validity of a grant.
    pub grant_ttl: Duration,
    /// Age below which unknown chunks are left alone.
    pub orphan_grace: Duration,
    /// Between two full inventories.
    pub inventory_interval: Duration,
    /// Between two cleaning rounds.
    pub gc_interval: Duration,
}

/// Section `storage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// Threads for blocking work.
    pub io_threads: usize,
    /// Operations waiting for them.
    pub queue_depth: usize,
    /// O_DIRECT or not.
    pub direct_io: DirectIo,
    /// Mapping or copying.
    pub read_mode: ReadMode,
    /// Free bytes that writes never take.
    pub reserve_bytes: u64,
    /// Time in quarantine before a deleted chunk is unlinked.
    pub quarantine_retention: Duration,
    /// Most chunks, in percent, that one inventory may put into quarantine.
    pub mass_delete_percent: u8,
    /// Within this time everything is read and checked.
    pub scrub_period: Duration,
    /// Bytes a second that this reads at most.
    pub scrub_bytes_per_second: u64,
    /// Wait for others to share a directory sync.
    pub group_commit_delay: Duration,
    /// Files kept open for reading.
    pub open_files_max: usize,
}

/// Section `memory`, with the shares worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// All buffers together, in bytes.
    pub limit_bytes: usize,
    /// For uploads from clients.
    pub ingest_bytes: usize,
    /// For copies from other datanodes.
    pub replica_bytes: usize,
    /// For reads: what the two others leave.
    pub read_bytes: usize,
}

/// Section `network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Connections served at once, by class.
    pub places: PlacesMax,
    /// Patience with a new connection.
    pub handshake_timeout: Duration,
    /// Silence before a connection is closed.
    pub idle_timeout: Duration,
    /// Standstill before a streaming session ends.
    pub stream_idle_timeout: Duration,
    /// Wait for buffers before `Busy`.
    pub prepare_timeout: Duration,
}

/// Section `admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where the admin port listens; port 0 takes a free one.
    pub listen: HostPort,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, a line for each event.
    Text,
    /// One JSON object per line.
    Json,
}

/// Section `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or directives as `tracing_subscriber::EnvFilter` reads them.
    pub level: String,
    /// Text or JSON.
    pub format: LogFormat,
}

/// Section `security`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityConfig {
    /// Which connections are taken.
    pub mode: Gate,
    /// Directory of what makes this node who it is.
    pub directory: PathBuf,
    /// File with a join token, for a datanode that has no certificate yet.
    pub join_token_file: Option<PathBuf>,
    /// For whom a coordinator keeps join tokens ready.
    pub invite: Vec<String>,
    /// Where those lie.
    pub invitations: PathBuf,
    /// Where a coordinator keeps an identity of an operator ready.
    pub operator: Option<PathBuf>,
    /// How long the certificates last that the cluster's own authority signs.
    pub certificate_lifetime: Duration,
    /// Certificates of an operator's own authority, in place of the cluster's.
    pub own: Option<OwnCertificate>,
}

/// The files of an operator's own authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// This node's certificate.
    pub certificate: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
}

/// Section `chaos`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChaosConfig {
    /// Whether faults may be asked for.
    pub enabled: bool,
    /// What whoever asks has to know.
    pub token: ChaosToken,
}

impl Config {
    /// Settings that make the cluster promise less than its documents say; empty in a safe configuration.
    pub fn unsafe_settings(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        if self.cluster.min_ack < 2 {
            found.push("cluster.min_ack is 1: an acknowledged write may exist on a single disk");
        }
        if self.cluster.replication < 2 {
            found
                .push("cluster.replication is 1: files have a single copy unless their writer asks for more");
        }
        if self.cluster.repair_max == 0 {
            found.push("cluster.repair_max is 0: copies that are lost are not made up");
        }
        if self.security.mode == Gate::Off {
            found.push("security.mode is off: whoever reaches a port of this node is believed, and whoever sees the line reads it");
        }
        if self.security.mode == Gate::Permissive {
            found.push("security.mode is permissive: whoever connects without TLS is believed");
        }
        if self.chaos.enabled {
            found.push("chaos.enabled is true: anyone who knows its token can make this node fail");
        }
        found
    }

    /// The configurations of the nodes in a process of role `all`: the coordinator's and each datanode's, in
    /// directories of their own, on the coordinator's port and the ones after it. `coordinator` is the
    /// address the datanodes are to use, known once the coordinator listens.
    pub fn coordinator_of_all(&self) -> Self {
        let mut config = self.clone();
        config.node.role = Role::Coordinator;
        config.node.data_dir = self.node.data_dir.join("coordinator");
        config.coordinator.metadata_dir =
            rebase(&self.coordinator.metadata_dir, &self.node.data_dir, "coordinator");
        config.security.directory = self.security.directory.join("coordinator");
        config.security.invitations = config.security.directory.join(INVITATIONS);
        // By the names that the nodes have: one that is known is invited as itself.
        config.security.invite = (0..self.node.datanodes).map(|index| self.name_in_all(index)).collect();
        config
    }

    fn name_in_all(&self, index: u16) -> String {
        format!("{}-{}", self.node.name, datanode_name(index))
    }

    /// See [`Config::coordinator_of_all`]; `index` counts from 0.
    pub fn datanode_of_all(&self, index: u16, coordinator: HostPort) -> Self {
        let mut config = self.clone();
        let name = datanode_name(index);
        let listen = &mut config.node.listen;
        listen.port = if listen.port == 0 { 0 } else { listen.port.saturating_add(1 + index) };
        config.node.advertise = None;
        config.node.role = Role::Datanode;
        config.node.data_dir = self.node.data_dir.join(&name);
        config.node.name = self.name_in_all(index);
        config.coordinator.address = coordinator;
        config.security.directory = self.security.directory.join(&name);
        let invitations = self.security.directory.join("coordinator").join(INVITATIONS);
        config.security.join_token_file = Some(invitations.join(&config.node.name));
        config
    }
}

/// Name of the directory of invitations, where nobody names another.
pub(super) const INVITATIONS: &str = "invitations";

fn datanode_name(index: u16) -> String {
    format!("dn{}", index + 1)
}

/// Where the keys lie of a node with this data directory, where nobody says: beside it.
pub(super) fn keys_of(data_dir: &std::path::Path) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(".keys");
    data_dir.with_file_name(name)
}

fn rebase(dir: &std::path::Path, data_dir: &std::path::Path, sub: &str) -> PathBuf {
    dir.strip_prefix(data_dir).map_or_else(|_| dir.to_path_buf(), |rest| data_dir.join(sub).join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_and_put_together_again() {
        for text in ["node-1:8080", "127.0.0.1:0", "[::1]:8080"] {
            assert_eq!(HostPort::parse(text).map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in ["node-1", ":8080", "::1:8080", "host:99999", "host:"] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
        assert!(HostPort::new("::1", 1).is_loopback() && HostPort::new("0.0.0.0", 1).is_wildcard());
    }
}
