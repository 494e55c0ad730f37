//! What a coordinator keeps ready in directories, for those who share its machine or a volume with it: a join token for each datanode
//! that it is told of, which nobody has used, and another one when somebody has; and the identity of an operator.
//!
//! Whoever can read the one can be a datanode of the cluster, whoever can read the other can do with it as he likes; it is how the nodes
//! of one machine, and who looks after them, come together without a person between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dfs_actors::coordinator::CoordinatorService;
use dfs_actors::peer::session::Service as _;
use dfs_client::read_identity;
use dfs_wire::secret::JoinToken;
use dfs_wire::tls::Tls;
use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::{bundle, enroll};
use crate::config::SecurityConfig;
use crate::private;
use crate::shutdown::Shutdown;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often if it was in vain.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long a token lasts if nobody uses it. It is replaced in time.
const LASTS_MS: u64 = 3600 * 1000;
const BYTES_MAX: u64 = 1024;
/// Whose identity it is.
const OPERATOR: &str = "operator";

/// What is to be kept ready, and where.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    tokens: Vec<PathBuf>,
    operator: Option<PathBuf>,
    lifetime: Duration,
}

impl Ready {
    /// What the configuration asks for; `None` if that is nothing.
    pub(crate) fn of(config: &SecurityConfig) -> Option<Self> {
        let tokens: Vec<_> = config.invite.iter().map(|name| config.invitations.join(name)).collect();
        let (operator, lifetime) = (config.operator.clone(), config.certificate_lifetime);
        (!tokens.is_empty() || operator.is_some()).then_some(Self { tokens, operator, lifetime })
    }

    /// Keeps it until the process stops.
    pub(crate) async fn keep(self, service: Arc<CoordinatorService>, authority: Vec<u8>, shutdown: Shutdown) {
        let (mut before, mut pending) = (String::new(), Pending::default());
        loop {
            let mut outcomes = Vec::new();
            for path in &self.tokens {
                outcomes.push((path, invite(&service, path, &mut pending).await));
            }
            if let Some(dir) = &self.operator {
                outcomes.push((dir, self.certify(&service, dir, &authority, &mut pending).await));
            }
            let failed = outcomes.iter().find_map(|(path, outcome)| Some((path, outcome.as_ref().err()?)));
            let pause = if failed.is_some() { LOOK_AGAIN } else { LOOK };
            let now =
                failed.map_or_else(String::new, |(path, error)| format!("{}: {error:#}", path.display()));
            if now != before && !now.is_empty() {
                tracing::warn!(why = now, "what is to be ready for those who share a volume is not");
            }
            before = now;
            tokio::select! {
                biased;
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Writes an identity, unless there is one with half of its time left.
    async fn certify(
        &self,
        service: &Arc<CoordinatorService>,
        dir: &Path,
        authority: &[u8],
        pending: &mut Pending,
    ) -> anyhow::Result<()> {
        let half = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.lifetime / 2;
        let there = read_identity(dir).ok();
        // One that was revoked is of no use to those who share the volume, whoever else has a copy.
        let counts = there.as_ref().and_then(Tls::key).is_some_and(|key| !service.is_revoked(&key));
        let lasts = there.and_then(|tls| tls.validity_ms());
        let of_ours =
            private::read(&dir.join("ca.pem"), 64 * 1024).is_ok_and(|pem| pem == bundle::pem_of(authority));
        if of_ours && counts && lasts.is_some_and(|(_, end)| Duration::from_millis(end) > half) {
            return Ok(());
        }
        let key = match pending.key.take() {
            Some(key) => key,
            None => enroll::fresh_key()?,
        };
        let key = pending.key.insert(key);
        let enrolled = service.certify_user(OPERATOR, enroll::public(key)).await?;
        bundle::write_user(dir, key, &enrolled)?;
        pending.key = None;
        Ok(())
    }
}

async fn invite(service: &Arc<CoordinatorService>, path: &Path, pending: &mut Pending) -> anyhow::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let lies_there = private::read(path, BYTES_MAX).ok().and_then(|text| text.parse::<JoinToken>().ok());
    // One that was made and could not be written is as good as one that lies there.
    let made = pending.tokens.remove(path);
    let renewed = service.renew_invitation(name, made.clone().or(lies_there), LASTS_MS).await?;
    let Some(token) = renewed.or(made) else { return Ok(()) };
    let token = pending.tokens.entry(path.to_owned()).insert_entry(token);
    if let Some(dir) = path.parent() {
        private::make_dirs(dir)?;
    }
    private::replace(path, &Zeroizing::new(format!("{}\n", token.get().reveal())))?;
    token.remove();
    Ok(())
}

/// What was made and could not be put where it belongs yet: it is used again, so that the cluster does not remember one for each attempt.
#[derive(Default)]
struct Pending {
    tokens: BTreeMap<PathBuf, JoinToken>,
    key: Option<KeyPair>,
}
