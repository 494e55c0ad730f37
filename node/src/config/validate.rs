//! From what is written to what is meant: raw structs in, typed structs out, with the rules between fields.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dfs_actors::coordinator::membership::{ADDRESS_BYTES_MAX, NODE_NAME_BYTES_MAX, ZONE_BYTES_MAX};
use dfs_actors::peer::admin::ChaosToken;
use dfs_actors::peer::gate::Gate;
use dfs_actors::peer::session::PlacesMax;
use dfs_wire::limits;

use super::{
    error::{ConfigError, Problem},
    keys,
    layers::{Extracted, Layers, size},
    raw::{Count, RawConfig, RawSecurity, Text},
    typed::{
        AdminConfig, ChaosConfig, ClusterConfig, Config, CoordinatorConfig, HostPort, INVITATIONS, LogConfig,
        LogFormat, MemoryConfig, NetworkConfig, NodeConfig, OwnCertificate, Role, SecurityConfig,
        StorageConfig, keys_of,
    },
};
use crate::store::{DirectIo, ReadMode};

/// Bytes of the token of chaos at least.
const TOKEN_MIN: usize = 16;

/// Why log directives would not do what was meant. A bare word that is no level would be taken for the name of a
/// module, and silence all others.
fn refused_level(directives: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let mut bare = directives.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
    if let Some(word) = bare.find(|word| !known(word)) {
        return Some(format!("`{word}` is not one of {}", LEVELS.join(", ")));
    }
    let parsed = tracing_subscriber::EnvFilter::try_new(directives);
    parsed.err().map(|error| format!("`{directives}` is not a log level: {error}"))
}

/// Whether a text can be an address or a host name. Whether it is one, only the network knows.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:%".contains(&b))
}

/// Fewest buffers that let each share of the memory make progress.
const SLABS_MIN: usize = 16;

/// Checks the layers and builds the configuration, or says everything that is wrong.
pub(crate) fn validate(layers: &Layers) -> Result<Config, ConfigError> {
    let Extracted { raw, problems } = layers.extract()?;
    let wrong = problems.iter().map(|problem| problem.key.clone()).collect();
    let mut check = Check { layers, problems, wrong };
    let role = check.role(&raw.node.role);
    let config = Config {
        node: check.node(&raw, role),
        coordinator: CoordinatorConfig {
            address: HostPort::new(raw.coordinator.host.0.clone(), port(&raw.coordinator.port, 8080)),
            metadata_dir: raw.node.data_dir.join(&raw.coordinator.metadata_dir),
            give_up_epoch: raw.coordinator.give_up_epoch.0,
        },
        cluster: cluster(&raw),
        storage: storage(&raw),
        memory: memory(&raw),
        network: network(&raw),
        admin: AdminConfig {
            listen: HostPort::new(
                raw.admin.host.0.clone(),
                port(&raw.admin.port, if role == Role::Datanode { 8091 } else { 8090 }),
            ),
        },
        security: security(&raw),
        log: LogConfig { level: raw.log.level.0.clone(), format: log_format(&raw) },
        chaos: ChaosConfig {
            enabled: raw.chaos.enabled.0,
            token: ChaosToken::new(raw.chaos.token.0.clone()),
        },
    };
    check.between_fields(&raw.security, &config);
    check.memory(&raw, &config.memory);
    if check.problems.is_empty() { Ok(config) } else { Err(ConfigError::new(check.problems)) }
}

struct Check<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
    /// Keys whose values could not be used: their defaults stand in, and no rule that looks at them says anything.
    wrong: BTreeSet<String>,
}

impl Check<'_> {
    fn say(&mut self, key: &str, text: String) {
        self.problems.push(Problem { origin: self.layers.origin(key), key: key.to_owned(), text });
    }

    fn demand(&mut self, holds: bool, key: &str, text: impl FnOnce() -> String) {
        self.rule(holds, key, &[], text);
    }

    /// A rule that `key` breaks together with others.
    fn rule(&mut self, holds: bool, key: &str, others: &[&str], text: impl FnOnce() -> String) {
        let usable = |key: &&str| !self.wrong.contains(*key);
        if !holds && usable(&key) && others.iter().all(usable) {
            self.say(key, text());
        }
    }

    fn role(&mut self, role: &Text) -> Role {
        match role.0.as_str() {
            "coordinator" => return Role::Coordinator,
            "datanode" => return Role::Datanode,
            "all" => return Role::All,
            "" => self.say("node.role", format!("a role is needed: `--role` {}", keys::ROLES.join("|"))),
            "gateway" => {
                let text =
                    "the gateway comes with a later release; this one has coordinator, datanode and all";
                self.say("node.role", text.to_owned());
            }
            other => self.say("node.role", format!("`{other}` is not one of {}", keys::ROLES.join(", "))),
        }
        Role::All
    }

    fn node(&mut self, raw: &RawConfig, role: Role) -> NodeConfig {
        let node = &raw.node;
        let name = if node.name.0.is_empty() { host_name() } else { node.name.0.clone() };
        let named = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let rule =
            |most: usize| format!("up to {most} letters, digits, dots, dashes and underscores are allowed");
        let fits = |text: &str, most: usize| text.len() <= most && named(text);
        // The datanodes of `all` are called after it.
        let most = NODE_NAME_BYTES_MAX - if role == Role::All { "-dn16".len() } else { 0 };
        self.demand(!name.is_empty() && fits(&name, most), "node.name", || rule(most));
        self.demand(fits(&node.zone.0, ZONE_BYTES_MAX), "node.zone", || rule(ZONE_BYTES_MAX));
        self.demand(!node.data_dir.as_os_str().is_empty(), "node.data_dir", || {
            "a directory is needed".to_owned()
        });
        let listen_port = port(&node.listen_port, if role == Role::Datanode { 8081 } else { 8080 });
        let listen = HostPort::new(node.listen_host.0.clone(), listen_port);
        NodeConfig {
            name,
            role,
            data_dir: node.data_dir.clone(),
            zone: Some(node.zone.0.clone()).filter(|zone| !zone.is_empty()),
            advertise: self.advertise(&node.advertise.0, &listen),
            listen,
            environment: node.environment.0.clone(),
            datanodes: narrow(&node.datanodes),
            drain_timeout: node.drain_timeout.0,
        }
    }

    fn advertise(&mut self, text: &str, listen: &HostPort) -> Option<HostPort> {
        if text.is_empty() {
            // With a wildcard and a free port the address is only known once the port is bound.
            return (listen.is_wildcard() && listen.port != 0)
                .then(|| HostPort::new(host_name(), listen.port));
        }
        match HostPort::parse(text) {
            Ok(address) if address.port == 0 => {
                self.say("node.advertise", "the port must not be 0".to_owned())
            }
            Ok(address) if address.to_string().len() > ADDRESS_BYTES_MAX => {
                self.say("node.advertise", format!("more than {ADDRESS_BYTES_MAX} bytes long"));
            }
            Ok(address) if address.is_wildcard() => {
                self.say("node.advertise", format!("nobody can connect to {address}; name one address"));
            }
            Ok(address) => return Some(address),
            Err(text) => self.say("node.advertise", text),
        }
        None
    }

    fn between_fields(&mut self, security: &RawSecurity, config: &Config) {
        let cluster = &config.cluster;
        self.demand(
            cluster.chunk_bytes.is_multiple_of(limits::BLOCK_BYTES as u32),
            "cluster.chunk_size",
            || format!("{} is not a multiple of {}", cluster.chunk_bytes, size(limits::BLOCK_BYTES as u64)),
        );
        self.rule(
            cluster.min_ack <= cluster.replication,
            "cluster.min_ack",
            &["cluster.replication"],
            || format!("{} is more than cluster.replication, {}", cluster.min_ack, cluster.replication),
        );
        self.rule(
            cluster.heartbeat_interval * 2 <= cluster.suspect_after,
            "cluster.suspect_after",
            &["cluster.heartbeat_interval"],
            || {
                "must be at least twice cluster.heartbeat_interval, else one lost heartbeat makes a suspect"
                    .to_owned()
            },
        );
        self.rule(
            cluster.suspect_after < cluster.down_after,
            "cluster.down_after",
            &["cluster.suspect_after"],
            || "must be longer than cluster.suspect_after".to_owned(),
        );
        self.rule(
            cluster.grant_ttl <= cluster.commit_timeout,
            "cluster.grant_ttl",
            &["cluster.commit_timeout"],
            || "must not be longer than cluster.commit_timeout: a grant would outlive its upload".to_owned(),
        );
        self.rule(
            cluster.commit_timeout < cluster.orphan_grace,
            "cluster.orphan_grace",
            &["cluster.commit_timeout"],
            || {
                "must be longer than cluster.commit_timeout, else chunks of a live upload look like orphans"
                    .to_owned()
            },
        );
        self.rule(
            cluster.commit_timeout <= cluster.outcome_retention,
            "cluster.outcome_retention",
            &["cluster.commit_timeout"],
            || "must be at least cluster.commit_timeout".to_owned(),
        );
        self.ports(config);
        if let Some(text) = refused_level(&config.log.level) {
            self.say("log.level", text);
        }
        self.security(security, config);
        self.demand(!config.chaos.enabled || cfg!(feature = "chaos"), "chaos.enabled", || {
            "this binary was built without the `chaos` feature".to_owned()
        });
        self.demand(!config.chaos.enabled || config.chaos.token.len() >= TOKEN_MIN, "chaos.token", || {
            format!("must have {TOKEN_MIN} characters or more where chaos.enabled is true")
        });
    }

    fn security(&mut self, raw: &RawSecurity, config: &Config) {
        let security = &config.security;
        let files = [
            (&raw.ca, "security.ca"),
            (&raw.certificate, "security.certificate"),
            (&raw.key, "security.key"),
        ];
        let any = files.iter().any(|(path, _)| !path.as_os_str().is_empty());
        for (path, name) in files {
            self.demand(!any || !path.as_os_str().is_empty(), name, || {
                "must name a file, too: an authority of your own needs security.ca, security.certificate and security.key"
                    .to_owned()
            });
        }
        self.demand(!any || config.node.role != Role::All, "security.ca", || {
            "role all is for trying out, and its nodes have certificates of the cluster's own authority"
                .to_owned()
        });
        let inside = security.directory.starts_with(&config.node.data_dir);
        self.demand(!inside, "security.directory", || {
            "must not lie in node.data_dir: whoever has a copy of that must not have the keys".to_owned()
        });
        let odd = security.invite.iter().find(|name| !is_file_name(name));
        self.demand(odd.is_none(), "security.invite", || {
            format!("`{}` cannot be the name of an invitation", odd.map_or("", String::as_str).escape_debug())
        });
        let secured = security.mode != Gate::Off;
        let mapped = secured && config.storage.read_mode == ReadMode::Mmap;
        self.demand(!mapped, "storage.read_mode", || {
            "must be pread where connections are secured: what is enciphered is looked at, and a mapping of a disk that fails must not be"
                .to_owned()
        });
    }

    fn ports(&mut self, config: &Config) {
        let listen = &config.node.listen;
        let admin = &config.admin.listen;
        let last = if config.node.role == Role::All {
            listen.port.saturating_add(config.node.datanodes)
        } else {
            listen.port
        };
        let same_host = admin.host == listen.host || admin.is_wildcard() || listen.is_wildcard();
        let clash = admin.port != 0 && listen.port != 0 && (listen.port..=last).contains(&admin.port);
        self.rule(!(same_host && clash), "admin.port", &["node.listen_port", "node.datanodes"], || {
            format!("{} is also the node's own port", admin.port)
        });
        for (key, host) in [
            ("node.listen_host", &listen.host),
            ("admin.host", &admin.host),
            ("coordinator.host", &config.coordinator.address.host),
        ] {
            self.demand(is_host(host), key, || {
                format!("`{host}` is not an address or a host name (0.0.0.0 and :: listen on all addresses)")
            });
        }
    }

    fn memory(&mut self, raw: &RawConfig, memory: &MemoryConfig) {
        let shares = percent(&raw.memory.ingest_percent) + percent(&raw.memory.replica_percent);
        self.rule(shares <= 95, "memory.replica_percent", &["memory.ingest_percent"], || {
            format!("this and memory.ingest_percent make {shares}; reads need at least 5 of 100")
        });
        let floor = SLABS_MIN * limits::DATA_FRAME_BYTES;
        for (key, bytes) in [
            ("memory.ingest_percent", memory.ingest_bytes),
            ("memory.replica_percent", memory.replica_bytes),
            ("memory.limit", memory.read_bytes.max(floor / 4)),
        ] {
            let shares = ["memory.limit", "memory.ingest_percent", "memory.replica_percent"];
            self.rule(bytes >= floor / 4, key, &shares, || {
                format!("leaves {bytes} bytes, less than the {} a share needs", size(floor as u64 / 4))
            });
        }
    }
}

fn cluster(raw: &RawConfig) -> ClusterConfig {
    let cluster = &raw.cluster;
    ClusterConfig {
        chunk_bytes: u32::try_from(cluster.chunk_size.0).unwrap_or(limits::CHUNK_BYTES_MAX),
        replication: narrow(&cluster.replication),
        min_ack: narrow(&cluster.min_ack),
        commit_timeout: cluster.commit_timeout.0,
        straggler_timeout: cluster.straggler_timeout.0,
        trash_retention: cluster.trash_retention.0,
        read_lease: cluster.read_lease.0,
        outcome_retention: cluster.outcome_retention.0,
        outcome_memory: cluster.outcome_memory.0,
        heartbeat_interval: cluster.heartbeat_interval.0,
        suspect_after: cluster.suspect_after.0,
        down_after: cluster.down_after.0,
        maintenance_grace: cluster.maintenance_grace.0,
        repair_grace: cluster.repair_grace.0,
        repair_max: narrow(&cluster.repair_max),
        repair_bytes_per_second: cluster.repair_bytes_per_second.0,
        nodes_unasked_max: narrow(&cluster.nodes_unasked_max),
        grant_ttl: cluster.grant_ttl.0,
        orphan_grace: cluster.orphan_grace.0,
        inventory_interval: cluster.inventory_interval.0,
        gc_interval: cluster.gc_interval.0,
    }
}

fn security(raw: &RawConfig) -> SecurityConfig {
    let RawSecurity { mode, directory, join_token_file, invite, invitations, certificate_lifetime, .. } =
        raw.security.clone();
    let RawSecurity { ca, certificate, key, operator, .. } = raw.security.clone();
    let mode = match mode.0.as_str() {
        "off" => Gate::Off,
        "permissive" => Gate::Permissive,
        _ => Gate::Required,
    };
    let named = |path: PathBuf| Some(path).filter(|path| !path.as_os_str().is_empty());
    let directory = named(directory).unwrap_or_else(|| keys_of(&raw.node.data_dir));
    let own = named(ca).map(|ca| OwnCertificate { ca, certificate, key });
    let names = invite.0.split(',').map(str::trim).filter(|name| !name.is_empty());
    SecurityConfig {
        mode,
        join_token_file: named(join_token_file),
        invite: names.map(str::to_owned).collect(),
        invitations: named(invitations).unwrap_or_else(|| directory.join(INVITATIONS)),
        operator: named(operator),
        directory,
        certificate_lifetime: certificate_lifetime.0,
        own,
    }
}

/// Whether a text can be the name of a file in a directory, as names of nodes are.
fn is_file_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !text.starts_with('.') && text.len() <= 255 && text.bytes().all(legal)
}

fn storage(raw: &RawConfig) -> StorageConfig {
    let storage = &raw.storage;
    StorageConfig {
        io_threads: narrow(&storage.io_threads),
        queue_depth: narrow(&storage.queue_depth),
        direct_io: match storage.direct_io.0.as_str() {
            "on" => DirectIo::On,
            "off" => DirectIo::Off,
            _ => DirectIo::Auto,
        },
        read_mode: if storage.read_mode.0 == "pread" { ReadMode::Pread } else { ReadMode::Mmap },
        reserve_bytes: storage.reserve.0,
        quarantine_retention: storage.quarantine_retention.0,
        mass_delete_percent: narrow(&storage.mass_delete_percent),
        scrub_period: storage.scrub_period.0,
        scrub_bytes_per_second: storage.scrub_bytes_per_second.0,
        group_commit_delay: storage.group_commit_delay.0,
        open_files_max: narrow(&storage.open_files_max),
    }
}

fn memory(raw: &RawConfig) -> MemoryConfig {
    let limit_bytes = usize::try_from(raw.memory.limit.0).unwrap_or(usize::MAX);
    let ingest_bytes = limit_bytes / 100 * percent(&raw.memory.ingest_percent);
    let replica_bytes = limit_bytes / 100 * percent(&raw.memory.replica_percent);
    let read_bytes = limit_bytes.saturating_sub(ingest_bytes + replica_bytes);
    MemoryConfig { limit_bytes, ingest_bytes, replica_bytes, read_bytes }
}

fn network(raw: &RawConfig) -> NetworkConfig {
    let network = &raw.network;
    NetworkConfig {
        places: PlacesMax {
            clients: narrow(&network.connections_max),
            members: narrow(&network.members_max),
            operators: narrow(&network.operators_max),
        },
        handshake_timeout: network.handshake_timeout.0,
        idle_timeout: network.idle_timeout.0,
        stream_idle_timeout: network.stream_idle_timeout.0,
        prepare_timeout: network.prepare_timeout.0,
    }
}

fn log_format(raw: &RawConfig) -> LogFormat {
    match (raw.log.format.0.as_str(), raw.node.environment.0.as_str()) {
        ("json", _) | ("auto", "production") => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

fn port(count: &Count, otherwise: u16) -> u16 {
    count.0.and_then(|port| u16::try_from(port).ok()).unwrap_or(otherwise)
}

fn percent(count: &Count) -> usize {
    narrow(count)
}

/// The value as a narrower type. The range of its key was checked before, so nothing is lost.
fn narrow<T: TryFrom<u64> + Default>(count: &Count) -> T {
    count.0.and_then(|n| T::try_from(n).ok()).unwrap_or_default()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_str().unwrap_or("localhost").to_owned()
}
