//! The layers, the messages, and the files and documents that must agree with the table of keys.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use super::*;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn file(text: &str) -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node.yaml");
    std::fs::write(&path, text).expect("the file is written");
    (dir, Source { file: Some(path), ..Source::for_role(Role::Datanode) })
}

fn problems(source: &Source) -> String {
    load(source).expect_err("a refusal").to_string()
}

#[test]
fn the_defaults_are_a_valid_configuration_for_every_role() {
    for (role, port, admin) in
        [(Role::Coordinator, 8080, 8090), (Role::Datanode, 8081, 8091), (Role::All, 8080, 8090)]
    {
        let config = load(&Source::for_role(role)).expect("the defaults hold");
        assert_eq!(
            (config.node.role, config.node.listen.port, config.admin.listen.port),
            (role, port, admin)
        );
        assert_eq!(config.cluster.chunk_bytes, 8 << 20);
        assert_eq!(config.cluster.commit_timeout, Duration::from_secs(900));
        assert!(config.unsafe_settings().is_empty());
        let memory = &config.memory;
        assert_eq!(memory.ingest_bytes + memory.replica_bytes + memory.read_bytes, memory.limit_bytes);
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let (_dir, mut source) =
        file("node:\n  zone: file\n  name: file\n  data_dir: file\nlog:\n  level: warn\n");
    source.env = env(&[("DFS_NODE__NAME", "env"), ("DFS_NODE__DATA_DIR", "env"), ("LOG_LEVEL", "debug")]);
    let source = source.set("node.data_dir", "flag");
    let config = load(&source).expect("valid");
    assert_eq!(config.node.zone.as_deref(), Some("file"));
    assert_eq!(config.node.name, "env");
    assert_eq!(config.node.data_dir, PathBuf::from("flag"));
    assert_eq!(config.log.level, "debug");
    let printed = describe(&source).expect("printable");
    for origin in
        ["# environment DFS_NODE__NAME", "# environment LOG_LEVEL", "# flag --set", "node.yaml", "# default"]
    {
        assert!(printed.contains(origin), "{origin} is missing in\n{printed}");
    }
}

#[test]
fn the_short_environment_names_mean_what_they_mean_to_each_role() {
    let names = env(&[
        ("COORDINATOR_HOST", "c"),
        ("COORDINATOR_PORT", "9000"),
        ("DATANODE_HOST", "d"),
        ("DATANODE_PORT", "9001"),
        ("DISK_STORAGE_BASE_DIR", "/d"),
        ("ENVIRONMENT", "production"),
    ]);
    let config = |role| load(&Source { env: names.clone(), ..Source::for_role(role) }).expect("valid");
    let datanode = config(Role::Datanode);
    assert_eq!(datanode.coordinator.address, HostPort::new("c", 9000));
    assert_eq!(datanode.node.listen, HostPort::new("d", 9001));
    assert_eq!(datanode.node.data_dir, PathBuf::from("/d"));
    assert_eq!(datanode.log.format, LogFormat::Json);
    assert_eq!(config(Role::Coordinator).node.listen, HostPort::new("c", 9000));
}

#[test]
fn a_wrong_key_is_refused_with_its_file_and_a_suggestion() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/wrong-key.yaml");
    let text = problems(&Source { file: Some(path), ..Source::for_role(Role::Coordinator) });
    assert!(text.contains("wrong-key.yaml"), "{text}");
    assert!(
        text.contains("cluster.replicaton") && text.contains("did you mean `cluster.replication`?"),
        "{text}"
    );
    let text = problems(&Source { env: env(&[("DFS_CLUSTER__MINACK", "2")]), ..Source::for_role(Role::All) });
    assert!(text.contains("environment DFS_CLUSTER__MINACK") && text.contains("cluster.min_ack"), "{text}");
    let wrong = [
        ("DFS_CLUSTER_CHUNK_SIZE", "4MiB"),
        ("DFS_ENDPIONT", "x:1"),
        ("DFS_ENDPOINT", "x:1"),
        ("DFS_SUBNET", "7"),
    ];
    let text = problems(&Source { env: env(&wrong), ..Source::for_role(Role::All) });
    for said in [
        "environment DFS_CLUSTER_CHUNK_SIZE: there is no such variable; did you mean `DFS_CLUSTER__CHUNK_SIZE`?",
        "environment DFS_ENDPIONT: there is no such variable; did you mean `DFS_ENDPOINT`?",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    assert!(text.starts_with("2 problems"), "the others are somebody else's: {text}");
    let service = env(&[("DFS_COORDINATOR_PORT", "tcp://10.0.0.1:8080")]);
    assert!(
        load(&Source { env: service, ..Source::for_role(Role::All) }).is_ok(),
        "an address of Kubernetes"
    );
    let text = problems(&Source::for_role(Role::All).set("nonsense", "1"));
    assert!(text.contains("nonsense") && text.contains("no such key"), "{text}");
}

#[test]
fn every_problem_is_reported_at_once_with_its_origin() {
    let (_dir, source) = file("cluster:\n  replication: 9\n  chunk_size: 1KiB\n  read_lease: 30\n");
    let text = problems(&source.set("storage.read_mode", "psychic"));
    for part in [
        "9 is not between 1 and 7",
        "1KiB is not between 64KiB and 64MiB",
        "with its unit",
        "pread, mmap",
        "flag --set",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(text.starts_with("4 problems"), "{text}");
}

#[test]
fn unknown_names_wrong_values_and_broken_rules_are_reported_together() {
    let text = "node:\n  role: datanode\ncluster:\n  replicaton: 3\n  chunk_size: 3\n  min_ack: 5\n  suspect_after: 40s\n";
    let said = problems(&file(text).1);
    for part in [
        "4 problems",
        "cluster.replicaton: there is no such key; did you mean `cluster.replication`?",
        "cluster.chunk_size: 3B is not between",
        "cluster.min_ack: 5 is more than cluster.replication, 3",
        "cluster.down_after: must be longer than cluster.suspect_after",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    // A rule says nothing about a value that is wrong by itself.
    let said = problems(&file("node:\n  role: datanode\ncluster:\n  replication: 99\n  min_ack: 5\n").1);
    assert!(said.contains("1 problem ") && said.contains("cluster.replication"), "{said}");
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let said = problems(&file("node:\n  role: datanode\n  role: coordinator\n").1);
    assert!(said.contains("`role` is there twice"), "{said}");
}

#[test]
fn a_word_that_is_no_level_is_refused_and_directives_are_taken() {
    for level in ["warning", "", "verbose", "info,lod"] {
        let said = problems(&Source::for_role(Role::All).set("log.level", level));
        assert!(said.contains("log.level: ") && said.contains("is not one of off, error"), "{level}: {said}");
    }
    for level in ["WARN", "info,dfs_actors=debug", "dfs_wire=trace"] {
        assert!(load(&Source::for_role(Role::All).set("log.level", level)).is_ok(), "{level}");
    }
}

#[test]
fn a_host_that_can_be_none_is_refused() {
    for key in ["node.listen_host", "admin.host", "coordinator.host"] {
        for host in ["*", "", "a b", "http://a"] {
            let said = problems(&Source::for_role(Role::Datanode).set(key, host));
            assert!(said.contains(key), "{key}={host}: {said}");
        }
        assert!(load(&Source::for_role(Role::Datanode).set(key, "fe80::1%eth0")).is_ok());
    }
}

#[test]
fn rules_between_keys_are_checked() {
    let refused = |key: &str, value: &str| problems(&Source::for_role(Role::All).set(key, value));
    assert!(refused("cluster.min_ack", "4").contains("more than cluster.replication"));
    assert!(refused("cluster.suspect_after", "40s").contains("longer than cluster.suspect_after"));
    assert!(refused("cluster.heartbeat_interval", "6s").contains("lost heartbeat"));
    assert!(refused("cluster.chunk_size", "100000").contains("multiple of 64KiB"));
    assert!(refused("cluster.orphan_grace", "10min").contains("live upload"));
    assert!(refused("memory.ingest_percent", "80").contains("make 120"));
    assert!(refused("admin.port", "8082").contains("the node's own port"));
    assert!(refused("log.level", "info,=").contains("log level"));
    assert!(refused("node.role", "gateway").contains("later release"));
    assert!(refused("node.role", "").contains("--role"));
    assert!(refused("node.advertise", "0.0.0.0:1").contains("nobody can connect"));
}

#[test]
fn a_section_with_every_key_commented_out_keeps_its_defaults() {
    let (_dir, source) = file("node:\n  # name: x\nlog:\n  level:\n");
    assert_eq!(load(&source).expect("valid").log.level, "info");
}

#[test]
fn broken_files_are_named() {
    let source = Source { file: Some("no/such.yaml".into()), ..Source::default() };
    assert!(problems(&source).contains("no/such.yaml: cannot be read"));
    let (_dir, source) = file("node: [\n");
    assert!(problems(&source).contains("is not valid YAML"));
    let (_dir, source) = file("node: 7\nnodes:\n  a: 1\n");
    let text = problems(&source);
    assert!(text.contains("holds keys, not a value") && text.contains("there is no such section"), "{text}");
}

#[test]
fn what_is_printed_can_be_loaded_again() {
    let source = Source::for_role(Role::Datanode).set("node.name", "dn: 1").set("memory.limit", "1GiB");
    let (_dir, again) = file(&describe(&source).expect("printable"));
    let texts = |source: &Source| {
        values(source).expect("readable").into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(texts(&source), texts(&again));
}

#[test]
fn nodes_of_one_process_have_directories_and_ports_of_their_own() {
    let config =
        load(&Source::for_role(Role::All).set("node.data_dir", "/d").set("node.name", "x")).expect("valid");
    let coordinator = config.coordinator_of_all();
    assert_eq!(coordinator.coordinator.metadata_dir, PathBuf::from("/d/coordinator/metadata"));
    let second = config.datanode_of_all(1, HostPort::new("127.0.0.1", 8080));
    assert_eq!((second.node.name.as_str(), second.node.listen.port), ("x-dn2", 8082));
    assert_eq!(second.node.data_dir, PathBuf::from("/d/dn2"));
}

/// Compares a file of the repository with what it must hold; with `DFS_BLESS=1` rewrites it instead.
fn in_step(path: &str, wanted: &str) {
    let path = repository(path);
    if std::env::var_os("DFS_BLESS").is_some() {
        std::fs::write(&path, wanted).expect("the file is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let (found, wanted) = (found.lines(), wanted.lines());
    let line = found.clone().zip(wanted.clone()).position(|(a, b)| a != b);
    let differs = line.or_else(|| (found.clone().count() != wanted.count()).then(|| found.count()));
    assert_eq!(
        differs,
        None,
        "{} differs from the table of keys there; DFS_BLESS=1 rewrites it",
        path.display()
    );
}

#[test]
fn the_sample_files_load_and_show_every_key_with_its_default() {
    let all: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
    let without =
        |left_out: &[&str]| all.iter().filter(|name| !left_out.contains(name)).copied().collect::<Vec<_>>();
    for (role, sections) in [
        (Role::Coordinator, without(&["storage", "memory"])),
        (Role::Datanode, without(&[])),
        (Role::All, without(&[])),
    ] {
        let path = format!("configs/{role}.yaml");
        in_step(&path, &sample(role, &sections));
        let config =
            load(&Source { file: Some(repository(&path)), ..Source::default() }).expect("the sample loads");
        assert_eq!(config.node.role, role);
    }
}

fn sample(role: Role, sections: &[&str]) -> String {
    let mut out = format!("# A dfs node of role {role}: every key it looks at, with its default.\n");
    out.push_str("# Layers, lowest first: defaults, this file, environment (DFS_<SECTION>__<KEY>), flags.\n");
    out.push_str("# Sizes and times carry a unit: 8MiB, 30s, 15min. An unknown key is an error.\n");
    let _ = writeln!(out, "# Check it with: dfs-node --config configs/{role}.yaml --check-config");
    for (section, heading) in SECTIONS.iter().filter(|(name, _)| sections.contains(name)) {
        let _ = write!(out, "\n# {heading}\n{section}:\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let note = format!("{}{}", key.doc, if key.live { " Applied by SIGHUP." } else { "" });
            wrap(&mut out, &note);
            let default = if key.default.is_empty() { "\"\"" } else { key.default };
            let _ = match key.path().as_str() {
                "node.role" => writeln!(out, "  role: {role}"),
                _ => writeln!(out, "  # {}: {default}", key.name),
            };
        }
    }
    out
}

fn wrap(out: &mut String, text: &str) {
    let mut line = String::from("  #");
    for word in text.split_whitespace() {
        if line.len() + word.len() > 100 {
            let _ = writeln!(out, "{line}");
            line = String::from("  #");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

#[test]
fn the_reference_document_lists_every_key_with_its_default() {
    let path = "node/docs/CONFIGURATION.md";
    let text = std::fs::read_to_string(repository(path)).expect("the document is there");
    let (begin, end) = ("<!-- keys: generated -->\n", "<!-- end of keys -->\n");
    let (head, rest) = text.split_once(begin).expect("the mark where the tables begin");
    let (_, tail) = rest.split_once(end).expect("the mark where they end");
    in_step(path, &format!("{head}{begin}\n{}{end}{tail}", reference()));
}
