//! Who is who in a development cluster: an identity for whoever uses it, and a join token for each datanode that has none yet.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_client::{Client, ClientConfig, ErrorKind};

use super::launch::clean_command;
use super::ready::{self, READY_LIMIT, Started};
use crate::connect::identity;
use crate::connect::invocation::Invocation;
use crate::dev_cluster::node::DevNode;
use crate::dev_cluster::state::ClusterState;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};

/// What a datanode that joined has in the directory of its keys.
const IDENTITY: &str = "identity.pem";
const TOKEN: &str = "join-token";
/// A token is used within seconds.
const TOKEN_LASTS: Duration = Duration::from_secs(600);

/// Where a datanode finds its token.
pub(super) fn token_of(node: &DevNode) -> PathBuf {
    node.keys().join(TOKEN)
}

/// Sees to it that a node that is about to be started can join: a datanode without a certificate needs a token, and to make one
/// the coordinator has to run.
///
/// # Errors
/// If the coordinator does not come up, or makes no token.
pub(super) async fn prepare(
    invocation: &Invocation,
    state: &ClusterState,
    node: &DevNode,
    binary: &Path,
    started: &[Started],
) -> Outcome {
    // Without an identity of its data, what it was given is another's.
    let joined = node.keys().join(IDENTITY).exists() && node.data_dir.join("identity").exists();
    if !state.is_secured() || node.role == "coordinator" || joined {
        return Ok(());
    }
    let Some(coordinator) = state.coordinator() else { return Ok(()) };
    let only = ClusterState { nodes: vec![coordinator.clone()], ..ClusterState::new(state.dir.clone()) };
    ready::wait(invocation, &only, started, READY_LIMIT).await?;
    let client = administer(state, coordinator, binary).await?;
    // One that the cluster knows needs a token of its own.
    let made = match client.make_join_token(Some(&node.name), TOKEN_LASTS).await {
        Err(error) if error.kind() == ErrorKind::NotFound => client.make_join_token(None, TOKEN_LASTS).await,
        other => other,
    }?;
    let (dir, path) = (node.keys(), token_of(node));
    let write = || {
        DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(format!("{}\n", made.token.reveal()).as_bytes())
    };
    write().map_err(|e| Failure::local("write", &path, &e))
}

/// A connection as the cluster's operator, whose identity is made if there is none that counts.
async fn administer(state: &ClusterState, coordinator: &DevNode, binary: &Path) -> Outcome<Client> {
    let dir = state.admin_dir();
    if identity::read(&dir).is_err() {
        let mut command = clean_command(binary);
        command.args(["--role", "coordinator", "--listen", &coordinator.address]);
        command.arg("--data").arg(&coordinator.data_dir).args(["init-admin", "--out"]).arg(&dir);
        let output = command.output().map_err(|e| Failure::local("start", binary, &e))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::new(
                Exit::Other,
                "NoIdentity",
                format!("nobody may use the cluster: {said}"),
            ));
        }
    }
    let tls = Some(identity::read(&dir)?);
    let config = ClientConfig { tls, operator: true, ..ClientConfig::new([coordinator.address.clone()]) };
    Client::connect(config).await.map_err(Failure::from)
}

/// Removes what was made for a node and for the operator.
///
/// # Errors
/// If something stays.
pub(super) fn purge(state: &ClusterState) -> Outcome {
    let keys = state.nodes.iter().map(DevNode::keys);
    for dir in keys.chain([state.admin_dir()]) {
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::local("remove", &dir, &e));
            }
            _ => {}
        }
    }
    Ok(())
}
