//! Clusters whose connections are secured: who has a certificate is served as ever, and nobody else is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dfs_client::{Client, ClientConfig, StatusCode};
use dfs_tests::{Cluster, Content, Fault, NodeHandle, Options, TestAuthority, Trust, identity};

fn secured() -> Options {
    Options { trust: Trust::Own("required"), ..Options::default() }
}

#[test]
fn a_secured_cluster_stores_reads_repairs_and_is_looked_after() {
    let cluster = Cluster::start(3, secured().set("cluster.repair_grace", "1s"));
    let content = Content::new("in", 0, 3_000_000).bytes();
    cluster.file("in", &content);
    cluster.ok(&["put", "-p", "in", "/a/f"]);
    cluster.ok(&["get", "/a/f", "out"]);
    assert!(std::fs::read(cluster.home().join("out")).expect("read") == content);
    cluster.ok(&["verify", "/a/f"]);
    cluster.ok(&["fsck", "--fresh"]);
    cluster.ok(&["actors", "--node", "dn2"]);
    cluster.ok(&["gc", "status"]);
    // Node to node: a copy that is made anew.
    let node = cluster.datanode(1);
    node.kill();
    let lost = node.chunk_files().pop().expect("it has chunks");
    std::fs::remove_file(&lost).expect("removed");
    node.start();
    cluster.wait_for_nodes();
    dfs_tests::wait_until("the chunk is copied again", || lost.exists());
    cluster.ok(&["verify", "/a/f"]);
}

#[test]
fn whoever_has_no_certificate_of_the_cluster_is_refused_and_told_why() {
    let cluster = Cluster::start(1, secured().set("cluster.min_ack", "1"));
    let strangers = TestAuthority::new(cluster.home().join("strangers"));
    let (endpoint, home) = (cluster.coordinator().address(), cluster.home());
    let as_who = |dir: Option<&std::path::Path>| {
        let dfsctl = dfs_tests::Dfsctl::new(cluster.binaries(), home, Some(endpoint), &["ls", "/"]);
        let began = Instant::now();
        let said = match dir {
            Some(dir) => dfsctl.env("DFS_IDENTITY", dir.to_str().expect("text")).run(),
            None => dfsctl.run(),
        };
        assert!(began.elapsed() < Duration::from_secs(5), "it was tried again: {:?}", began.elapsed());
        said
    };
    as_who(Some(&cluster.authority().user("ada"))).ok();
    as_who(None).code(5).says(&["Unauthenticated", "secured connections only", "--identity"]);
    as_who(Some(&strangers.user("eve")))
        .code(5)
        .says(&["Unauthenticated", "not a coordinator of the cluster"]);
    // One who trusts the cluster, and whom the cluster does not.
    let mixed = strangers.user("mallory");
    let [ours, theirs] = [cluster.authority().user("ada"), mixed.clone()]
        .map(|dir| std::fs::read_to_string(dir.join("ca.pem")).expect("read"));
    std::fs::write(mixed.join("ca.pem"), ours + &theirs).expect("written");
    as_who(Some(&mixed)).code(5).says(&["Unauthenticated", "certificate"]);
    // A datanode is a member, and no user.
    as_who(Some(&home.join("certificates/dn1")))
        .code(5)
        .says(&["PermissionDenied", "cannot speak as a client"]);
    let key = cluster.authority().user("ada").join("key.pem");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("opened");
    as_who(key.parent()).code(78).says(&["OpenKey", "chmod 600"]);
}

#[test]
fn a_datanode_cannot_be_another_and_a_plain_one_does_not_get_in() {
    let mut cluster = Cluster::start(2, secured());
    cluster.logs().allow("no link to the coordinator");
    let (one, two) = (cluster.datanode(0), cluster.datanode(1));
    one.kill();
    // With the certificate of another: it finds that out itself.
    let theirs = cluster.home().join("certificates/dn2");
    let file = |name: &str| theirs.join(name).display().to_string();
    let output = one
        .command()
        .args(["--set", &format!("security.certificate={}", file("certificate.pem"))])
        .args(["--set", &format!("security.key={}", file("key.pem"))])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("its certificate has to have the names"), "{said}");
    // Without any: nobody listens to it.
    one.start_with(&["--set", "security.mode=off"]);
    dfs_tests::wait_until("it is refused", || one.log().contains("secured connections only"));
    dfs_tests::wait_until("it is missed", || cluster.ok(&["nodes"]).contains("suspect"));
    one.kill();
    one.start();
    cluster.wait_for_nodes();
    assert!(two.runs());
}

#[test]
fn what_crosses_the_line_is_not_the_bytes_of_the_file() {
    let options = Options { proxied: true, ..secured() };
    let cluster = Cluster::start(3, options);
    let content = b"The quick brown fox jumps over the lazy dog. ".repeat(20_000);
    cluster.file("in", &content);
    for index in 0..3 {
        cluster.proxy(index).record();
    }
    cluster.ok(&["put", "in", "/secret-name"]);
    cluster.ok(&["get", "/secret-name", "out"]);
    let seen: Vec<u8> = (0..3).flat_map(|index| cluster.proxy(index).recorded()).collect();
    assert!(seen.len() > content.len(), "{} bytes were seen", seen.len());
    for word in [&b"quick brown fox"[..], b"secret-name", b"DFS1"] {
        assert!(!seen.windows(word.len()).any(|window| window == word), "{}", String::from_utf8_lossy(word));
    }
}

#[test]
fn a_cluster_is_secured_node_by_node_while_it_is_used() {
    // What was plain, with certificates that nobody asks for yet.
    let cluster = Cluster::start(3, Options { trust: Trust::Own("off"), ..Options::default() });
    cluster.file("in", &Content::new("in", 0, 700_000).bytes());
    let endpoint = Some(cluster.coordinator().address());
    let ask = |args: &[&str]| dfs_tests::Dfsctl::new(cluster.binaries(), cluster.home(), endpoint, args);
    let ada = cluster.authority().user("ada");
    let as_ada = |args: &[&str]| ask(args).env("DFS_IDENTITY", ada.to_str().expect("text")).run();
    let turn = |node: &NodeHandle, mode: &str| {
        assert!(node.stop().success());
        node.start_with(&["--set", &format!("security.mode={mode}")]);
        node.wait_ready();
    };
    ask(&["put", "in", "/one"]).run().ok();
    as_ada(&["ls", "/"]).code(12).says(&["plain connections"]);
    for node in cluster.nodes() {
        turn(node, "permissive");
        ask(&["put", "in", &format!("/plain-{}", node.name())]).run().ok();
    }
    // Whoever has a certificate is served now, and that it is not over is said.
    as_ada(&["put", "in", "/two"]).ok();
    assert!(as_ada(&["status", "--all"]).ok().text().contains("permissive"));
    for node in cluster.nodes() {
        turn(node, "required");
        as_ada(&["put", "in", &format!("/secured-{}", node.name())]).ok();
    }
    dfs_tests::wait_until("all is whole", || as_ada(&["verify", "-r", "/"]).code == 0);
    ask(&["ls", "/"]).run().code(5);
}

#[test]
fn a_new_certificate_counts_without_a_restart_and_one_that_does_not_fit_changes_nothing() {
    let mut cluster = Cluster::start(1, secured().set("cluster.min_ack", "1"));
    cluster.logs().allow("not read again");
    cluster.logs().allow("no link to the coordinator");
    let node = cluster.coordinator();
    let dir = cluster.home().join("certificates/coordinator");
    std::fs::write(dir.join("key.pem"), "nonsense").expect("written");
    node.reload();
    dfs_tests::wait_until("it is refused", || node.log().contains("certificate and key not read again"));
    cluster.ok(&["ls", "/"]);

    // All three are of another authority: whom the old one signed for is a stranger from then on.
    let others = TestAuthority::new(cluster.home().join("others"));
    let id = node.log().split_once("cluster=").map(|(_, rest)| rest.chars().take(32).collect::<String>());
    let id = id.expect("the log names the cluster");
    let names = [
        "coordinator.dfs.internal".to_owned(),
        "node.dfs.internal".to_owned(),
        format!("{id}.node.dfs.internal"),
    ];
    let new = others.issue("coordinator", &names);
    for name in ["ca.pem", "certificate.pem", "key.pem"] {
        std::fs::copy(new.join(name), dir.join(name)).expect("copied");
    }
    node.reload();
    dfs_tests::wait_until("it is taken", || node.log().contains("certificate and key read again"));
    let ls = |dir: &std::path::Path| {
        let dfsctl =
            dfs_tests::Dfsctl::new(cluster.binaries(), cluster.home(), Some(node.address()), &["ls", "/"]);
        dfsctl.env("DFS_IDENTITY", dir.to_str().expect("text")).run()
    };
    ls(&others.user("ada")).ok();
    ls(&cluster.authority().user("ada")).code(5);
}

#[test]
fn a_bit_that_flips_on_a_secured_line_costs_a_connection_and_no_byte() {
    let cluster = Cluster::start(3, Options { proxied: true, ..secured() });
    let content = Content::new("in", 0, 2_000_000).bytes();
    cluster.file("in", &content);
    for round in 0..3 {
        (0..3).for_each(|index| cluster.proxy(index).set(Fault::FlipBit));
        let path = format!("/{round}");
        cluster.ok(&["put", "in", &path]);
        (0..3).for_each(|index| cluster.proxy(index).set(Fault::FlipBit));
        cluster.ok(&["get", &path, "out"]);
        assert!(std::fs::read(cluster.home().join("out")).expect("read") == content);
    }
    assert!((0..3).map(|index| cluster.proxy(index).flips()).sum::<u64>() > 0);
}

#[test]
fn strangers_who_begin_and_do_not_go_on_are_let_go() {
    let cluster = Cluster::start(1, secured().set("cluster.min_ack", "1"));
    let mut stream = TcpStream::connect(cluster.coordinator().address()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    // The first byte of TLS, and nothing more: as long as a handshake may take.
    stream.write_all(&[22]).expect("written");
    let began = Instant::now();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn the_sdk_says_who_it_does_not_believe() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(1, secured().set("cluster.min_ack", "1")))
        .await
        .expect("started");
    let address = cluster.datanode(0).address().to_owned();
    // Where a coordinator is expected, a datanode does not do.
    let tls = Some(identity(&cluster.authority().user("ada")));
    let error =
        Client::connect(ClientConfig { tls, ..ClientConfig::new([address]) }).await.expect_err("it is none");
    assert_eq!(error.status_code(), Some(StatusCode::Unauthenticated), "{error}");
    assert!(!error.retryable());
    tokio::task::spawn_blocking(move || drop(cluster)).await.expect("ended");
}
