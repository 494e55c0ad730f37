//! Who is let into a cluster, and who not any more: join tokens, certificates of the cluster's own authority, the keys beside the data.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dfs_client::{StatusCode, Tls};
use dfs_tests::{
    Cluster, Content, Dfsctl, NodeHandle, Options, PeerLink, Trust, client_hello, identity, wait_until,
};
use dfs_wire::auth::{Grant, GrantOp, Mac};
use dfs_wire::handshake::{Hello, NodePeer, Peer};
use dfs_wire::id::{ChunkId, Epoch, Generation, Incarnation, InodeId};
use dfs_wire::message::Request;
use dfs_wire::message::replication::{Replicate, ReplicationRequest};

/// A datanode that is not running yet, with this token.
fn newcomer(cluster: &Cluster, home: &Path, name: &str, token: &Path) -> NodeHandle {
    let token = format!("security.join_token_file={}", token.display());
    let (name, coordinator) = (format!("node.name={name}"), cluster.coordinator().address());
    NodeHandle::alone("datanode", home, &["--coordinator", coordinator, "--set", &token, "--set", &name])
}

fn token(cluster: &Cluster, name: &str, args: &[&str]) -> PathBuf {
    let said = cluster.ok(&[&["nodes", "token"], args].concat());
    let path = cluster.file(name, said.as_bytes());
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    path
}

fn up(cluster: &Cluster) -> usize {
    let nodes = cluster.dfsctl(&["-o", "json", "nodes"]).run().ok().json();
    nodes["nodes"].as_array().expect("a list").iter().filter(|node| node["state"] == "up").count()
}

#[test]
fn a_token_lets_one_node_in_once_and_nobody_take_the_place_of_another() {
    let mut cluster = Cluster::start(1, Options::default().set("cluster.min_ack", "1"));
    cluster.logs().allow("not in the cluster yet");
    let (first, second) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("home"));
    let good = token(&cluster, "token", &[]);
    let mut shown = vec![fs::read_to_string(&good).expect("a token")];
    let node = newcomer(&cluster, first.path(), "one", &good);
    node.start();
    node.wait_ready();
    // The same token again: for another node it is worth nothing.
    let other = newcomer(&cluster, second.path(), "two", &good);
    other.start();
    wait_until("it is refused", || other.log().contains("the join token is not known here"));
    let (status, why) = other.get("/readyz").expect("an answer");
    assert!(status == 503 && why.contains("not in the cluster yet"), "{status} {why}");
    // Nonsense, then an open file, then a good one: it takes what lies there without being started again.
    cluster.file("token", b"dfs-join-1.nonsense\n");
    wait_until("it is refused", || other.log().contains("holds no join token"));
    let open = token(&cluster, "token", &[]);
    shown.push(fs::read_to_string(&open).expect("a token"));
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("opened");
    wait_until("it is refused", || other.log().contains("chmod 600"));
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    other.wait_ready();
    // It needs no token any more, not even one that is gone.
    assert!(other.stop().success());
    fs::remove_file(&open).expect("removed");
    other.start();
    other.wait_ready();
    // A node that the cluster knows, without its certificate: not with a token for anybody.
    assert!(node.stop().success());
    fs::remove_dir_all(node.keys()).expect("removed");
    token(&cluster, "token", &[]);
    node.start();
    wait_until("it is refused", || node.log().contains("belongs to the cluster already"));
    token(&cluster, "token", &["--node", "one"]);
    node.wait_ready();
    let log = other.log();
    for text in &shown {
        let secret = text.trim().rsplit('.').next().expect("its secret");
        assert!(!log.contains(secret), "a token is in the log: {log}");
    }
    cluster.dfsctl(&["nodes", "token", "--node", "nobody"]).run().code(3).says(&["dn1"]);
    cluster.dfsctl(&["nodes", "token", "--for", "8d"]).run().code(2).says(&["longer than 7 days"]);
}

/// How a datanode answers a member that wants to store what nobody allowed.
async fn forged(link: &PeerLink) -> StatusCode {
    let grant = Grant {
        epoch: Epoch(u64::MAX),
        op: GrantOp::Write,
        chunk: ChunkId(1),
        generation: Generation(1),
        file: InodeId(1),
        index: 0,
        len_max: 1,
        expires_ms: u64::MAX,
    };
    let word = Replicate { grant, mac: Mac::default(), len_hint: 1 };
    let asked = link.ask(1, Request::Replication(ReplicationRequest::Replicate(word))).await;
    asked.expect_err("nobody allowed it").code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_is_worth_nothing_within_a_heartbeat_once_it_is_revoked() {
    let mut cluster = Cluster::start(3, Options::default());
    cluster.logs().allow("the certificate was revoked");
    cluster.logs().allow("no link to the coordinator");
    cluster.logs().allow("not in the cluster yet");
    let stolen = fs::read(cluster.datanode(2).keys().join("identity.pem")).expect("stolen");
    let stolen = Tls::from_bundle(&stolen).expect("usable");
    let me = NodePeer { node: cluster.node_id(2), incarnation: Incarnation(1), name: "thief".to_owned() };
    let hello = Hello { peer: Peer::Datanode(me), ..client_hello() };
    let meets = async |node: &NodeHandle| {
        let met = PeerLink::secured(node.address(), &stolen, &hello).await;
        met.map_err(|error| error.into_status().code)
    };
    let held = meets(cluster.datanode(0)).await.expect("it is believed for now");
    assert_eq!(forged(&held).await, StatusCode::PermissionDenied, "as any member with a forged grant");
    cluster.ok(&["nodes", "revoke", "dn3"]);
    assert_eq!(meets(cluster.coordinator()).await.err(), Some(StatusCode::Unauthenticated));
    for index in [0, 1] {
        let (node, began) = (cluster.datanode(index), Instant::now());
        while meets(node).await.is_ok() {
            assert!(began.elapsed() < Duration::from_secs(3), "datanode {index} believes it for too long");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(forged(&held).await, StatusCode::Unauthenticated, "on a connection that stood");
    tokio::task::spawn_blocking(move || {
        // Nobody is sent to it, and it comes back with a token of its own.
        wait_until("it counts as down", || up(&cluster) == 2);
        cluster.file("in", &Content::new("in", 0, 300_000).bytes());
        cluster.ok(&["put", "in", "/f"]);
        let node = cluster.datanode(2);
        node.kill();
        fs::remove_file(node.keys().join("identity.pem")).expect("removed");
        let own = token(&cluster, "own", &["--node", "dn3"]);
        node.start_with(&["--set", &format!("security.join_token_file={}", own.display())]);
        wait_until("it is back", || up(&cluster) == 3);
        cluster.ok(&["put", "in", "/g"]);
        wait_until("all is whole", || cluster.code(&["verify", "-r", "/"]).0 == 0);
        cluster.dfsctl(&["nodes", "revoke", "nobody"]).run().code(3);
    })
    .await
    .expect("done");
}

#[test]
fn certificates_are_renewed_while_the_cluster_is_used() {
    let cluster = Cluster::start(2, Options::default().set("security.certificate_lifetime", "12s"));
    let kept = |index: usize| fs::read(cluster.datanode(index).keys().join("identity.pem")).expect("read");
    let before = [kept(0), kept(1)];
    cluster.file("in", &Content::new("in", 0, 300_000).bytes());
    let until = Instant::now() + Duration::from_secs(26);
    let (mut round, user) = (0, cluster.home().join("again"));
    while Instant::now() < until {
        // A user renews nothing by himself: each round has an identity of its own.
        let out = user.to_str().expect("text");
        let made = cluster
            .coordinator()
            .command()
            .args(["init-admin", "--user", &format!("u{round}"), "--out", out])
            .output();
        assert!(made.expect("it runs").status.success());
        let ask = |args: &[&str]| {
            Dfsctl::new(cluster.binaries(), cluster.home(), Some(cluster.coordinator().address()), args)
                .env("DFS_IDENTITY", out)
                .run()
                .ok()
        };
        ask(&["put", "in", &format!("/{round}")]);
        ask(&["get", &format!("/{round}"), "out"]);
        round += 1;
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(before[0] != kept(0) && before[1] != kept(1), "the certificates are the first ones still");
    assert!(round > 5);
}

#[test]
fn the_keys_of_a_cluster_are_not_in_its_metadata_and_nothing_opens_without_them() {
    let mut cluster = Cluster::start(1, Options::default().set("cluster.min_ack", "1"));
    cluster.logs().allow("cannot start");
    cluster.logs().allow("ended");
    let node = cluster.coordinator();
    assert!(node.stop().success());
    let database = fs::read(node.data_dir().join("metadata/metadata.redb")).expect("read");
    let has = |bytes: &[u8]| database.windows(bytes.len()).any(|part| part == bytes);
    assert!(has(b"dfs cluster "), "the certificate of the authority is there");
    // How every PKCS #8 key of P-256 begins.
    let pkcs8 = [0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let private = [&[0x02, 0x01, 0x00][..], &pkcs8].concat();
    assert!(has(&pkcs8[..9]) && !has(&private), "the key of the authority lies bare");
    let kek = node.keys().join("kek");
    let good = fs::read_to_string(&kek).expect("read");
    let refused = |why: &str| {
        let output = node.command().output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
    };
    fs::remove_file(&kek).expect("removed");
    refused("put it back from its backup");
    assert!(!kek.exists(), "no other one is made");
    let (form, digits) = good.split_once(':').expect("its form");
    let other = format!("{form}:{}", digits.replace(|c: char| c.is_ascii_digit(), "7"));
    for (text, why) in [(other.as_str(), "another key than"), ("nonsense\n", "is not a key-encryption key")] {
        fs::write(&kek, text).expect("written");
        fs::set_permissions(&kek, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
        refused(why);
    }
    fs::set_permissions(&kek, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("opened");
    refused("chmod 600");
    fs::set_permissions(&kek, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    fs::write(&kek, good).expect("written");
    node.start();
    cluster.wait_for_nodes();
    cluster.ok(&["ls", "/"]);
}

#[test]
fn the_first_operator_is_made_on_the_host_of_the_coordinator_alone() {
    let cluster = Cluster::start(1, Options::default().set("cluster.min_ack", "1"));
    let node = cluster.coordinator();
    let out = cluster.home().join("ada");
    let make = |user: &str| {
        let out = out.to_str().expect("text");
        let output = node
            .command()
            .args(["init-admin", &format!("--user={user}"), "--out", out])
            .output()
            .expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(make("ada").0);
    let tls = identity(&out);
    assert_eq!(tls.identity().map(ToString::to_string).as_deref(), Some("user ada"));
    for name in ["Ada", "", "a.b", "x y", "-a"] {
        let (made, said) = make(name);
        assert!(!made && said.contains("cannot be the name of a user"), "{name}: {said}");
    }
    // What lies there is of this start: a copy of an earlier one is worth nothing.
    let host = node.keys().join("host");
    let before = fs::read(&host).expect("read");
    assert!(node.stop().success());
    let (made, said) = make("ada");
    assert!(!made && said.contains("no identity was made"), "{said}");
    node.start();
    cluster.wait_for_nodes();
    fs::write(&host, before).expect("written");
    let (made, said) = make("ada");
    assert!(!made && said.contains("is another one now"), "{said}");
    let lone = NodeHandle::alone("datanode", cluster.home(), &["--set", "security.mode=required"]);
    let output = lone.command().args(["init-admin", "--out", "x"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("only a coordinator makes identities"), "{said}");
    // And a datanode that has nothing to join with says what it needs.
    let output = lone.command().output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && said.contains("dfsctl nodes token"), "{said}");
}

#[test]
fn a_cluster_without_certificates_gets_them_of_its_own_authority_without_a_stop() {
    let cluster = Cluster::start(3, Options { trust: Trust::Everybody, ..Options::default() });
    cluster.file("in", &Content::new("in", 0, 700_000).bytes());
    let out = cluster.home().join("ada");
    let as_ada = |args: &[&str]| {
        let endpoint = Some(cluster.coordinator().address());
        let dfsctl = Dfsctl::new(cluster.binaries(), cluster.home(), endpoint, args);
        dfsctl.env("DFS_IDENTITY", out.to_str().expect("text")).run()
    };
    let turn = |node: &NodeHandle, settings: &[String]| {
        assert!(node.stop().success());
        let set: Vec<_> = settings.iter().flat_map(|set| ["--set", set.as_str()]).collect();
        node.start_with(&set);
        node.wait_ready();
    };
    cluster.ok(&["put", "in", "/plain"]);
    assert!(cluster.ok(&["status", "--all"]).contains("security.mode is off"));
    turn(cluster.coordinator(), &["security.mode=permissive".to_owned()]);
    let text = out.to_str().expect("text");
    let permissive = ["--set", "security.mode=permissive", "init-admin", "--user", "ada", "--out", text];
    let made = cluster.coordinator().command().args(permissive).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (index, node) in cluster.datanodes().iter().enumerate() {
        let said = as_ada(&["nodes", "token", "--node", node.name()]).ok().text();
        let path = cluster.file(&format!("token-{index}"), said.as_bytes());
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
        let token = format!("security.join_token_file={}", path.display());
        turn(node, &["security.mode=permissive".to_owned(), token]);
        // Whoever is not secured yet goes on.
        cluster.ok(&["put", "in", &format!("/plain-{index}")]);
    }
    // Whoever has an identity talks to nobody who has none: from now on he can.
    as_ada(&["put", "in", "/secured"]).ok();
    for node in cluster.nodes() {
        turn(node, &["security.mode=required".to_owned()]);
    }
    wait_until("all is whole", || as_ada(&["verify", "-r", "/"]).code == 0);
    as_ada(&["put", "in", "/last"]).ok();
    cluster.dfsctl(&["ls", "/"]).run().code(5).says(&["secured connections only"]);
}

#[test]
fn nodes_that_are_known_and_have_no_certificate_find_invitations_of_their_own() {
    let mut cluster = Cluster::start(2, Options { trust: Trust::Everybody, ..Options::default() });
    cluster.logs().allow("not in the cluster yet");
    cluster.nodes().for_each(|node| assert!(node.stop().success()));
    let (coordinator, out) = (cluster.coordinator(), cluster.home().join("operator"));
    coordinator.start_with(&["--set", "security.mode=required", "--set", "security.invite=dn1,dn2"]);
    for node in cluster.datanodes() {
        let token = coordinator.keys().join("invitations").join(node.name());
        let token = format!("security.join_token_file={}", token.display());
        node.start_with(&["--set", "security.mode=required", "--set", &token]);
    }
    cluster.nodes().for_each(NodeHandle::wait_ready);
    let out = out.to_str().expect("text");
    let made = coordinator.command().args(["init-admin", "--out", out]).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ls = || {
        let endpoint = Some(coordinator.address());
        Dfsctl::new(cluster.binaries(), cluster.home(), endpoint, &["ls", "/"]).env("DFS_IDENTITY", out).run()
    };
    ls().ok();
    // Whoever is believed no more is told so, and by the datanodes as well.
    let users = Dfsctl::new(
        cluster.binaries(),
        cluster.home(),
        Some(coordinator.address()),
        &["users", "revoke", "admin"],
    );
    users.env("DFS_IDENTITY", out).run().ok();
    ls().code(5).says(&["revoked"]);
}
