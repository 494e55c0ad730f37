//! How a node, or a person on the coordinator's host, comes to a certificate of the cluster.
//!
//! ```text
//! nothing --a token, the coordinator answers--> key kept --signed--> identity kept: the key goes away
//! ```
//! The key is kept before it is shown: a node that ends before it has the answer asks again for the same one, and the token that it
//! used is good for that.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use dfs_actors::env::Env;
use dfs_actors::peer::dial::dial;
use dfs_actors::peer::gate::Gate;
use dfs_wire::handshake::{ClientPeer, Credentials, Hello, Peer};
use dfs_wire::id::{ClientId, NodeId, OpId};
use dfs_wire::identity::PeerName;
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::message::enroll::{
    EnrollNode, EnrollRequest, EnrollResponse, EnrollUser, Enrolled, JoinRole, PublicKey,
};
use dfs_wire::message::{Request, Response};
use dfs_wire::secret::{JoinToken, Secret};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::tls::Tls;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use super::{Security, bundle};
use crate::config::HostPort;
use crate::private;

/// Patience with one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pause after an attempt in vain.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The key that a node has shown, until it has its certificate.
const JOINING: &str = "joining.pem";
const KEY_BYTES_MAX: u64 = 16 * 1024;
/// As much of a token's file as is read.
const TOKEN_BYTES_MAX: u64 = 1024;
/// Name of the file in which a coordinator tells its own host a secret.
pub(crate) const HOST_FILE: &str = "host";

/// Asks the coordinator at `address` for a certificate, on a connection that `env` secures.
async fn ask(
    env: &Env,
    address: &str,
    (peer, credentials): (Peer, Option<Credentials>),
    request: EnrollRequest,
) -> Result<Enrolled, Status> {
    let hello =
        Hello { cluster: None, peer, credentials, features: 0, connection_credit: CONNECTION_CREDIT_BYTES };
    let budget = SlabBudget::new(SlabPool::new(1), 1);
    let dialed = dial(env, address, PeerName::Coordinator, &hello, &budget, ATTEMPT).await?;
    let (reader, writer) = (tokio::spawn(dialed.driver.reader), tokio::spawn(dialed.driver.writer));
    let (op, millis) = (OpId(env.rng.u128()), u32::try_from(ATTEMPT.as_millis()).unwrap_or(u32::MAX));
    let asked = dialed.link.request(op, millis, Request::Enroll(request));
    let answer = tokio::time::timeout(ATTEMPT, asked).await;
    dialed.link.close(Status::new(StatusCode::Cancelled, "done"));
    reader.abort();
    writer.abort();
    let late = |_| Status::new(StatusCode::DeadlineExceeded, format!("{address} did not answer in time"));
    match answer.map_err(late)??.0 {
        Response::Enroll(EnrollResponse::Enrolled(enrolled)) => Ok(enrolled),
        _ => Err(Status::new(StatusCode::ProtocolViolation, "the coordinator answered something else")),
    }
}

fn newcomer(env: &Env, name: &str) -> Peer {
    Peer::Newcomer(ClientPeer { client: ClientId(env.rng.u128()), name: name.to_owned() })
}

/// How the real world is made for a node that is this to others.
pub(crate) type MakeEnv = fn(Security, Gate) -> Env;

/// A world in which whoever has a certificate of this authority is believed.
fn pinned(make: MakeEnv, authority: [u8; 32]) -> anyhow::Result<Env> {
    let security = Security::default();
    security.adopt(Tls::pinned(authority)?);
    Ok(make(security, Gate::Required))
}

/// A key that nobody has seen.
///
/// # Errors
/// If there is no randomness.
pub(crate) fn fresh_key() -> anyhow::Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")
}

/// The part of a key that others may see.
pub(crate) fn public(key: &KeyPair) -> PublicKey {
    PublicKey(key.public_key_raw().to_vec())
}

/// Who wants to join, and where.
#[derive(Debug)]
pub(crate) struct Joiner<'a> {
    /// As its data directory has it.
    pub(crate) node: NodeId,
    /// Its name, for people.
    pub(crate) name: &'a str,
    /// Where the coordinator is.
    pub(crate) coordinator: &'a HostPort,
    /// Where its identity is kept.
    pub(crate) dir: &'a Path,
    /// Where its token lies, or will lie.
    pub(crate) token: &'a Path,
    /// What it dials with.
    pub(crate) make: MakeEnv,
}

impl Joiner<'_> {
    /// Tries until the cluster takes it in; `told` hears why it is not yet, when that changes. Cancel safety: may be begun again.
    ///
    /// # Errors
    /// If the identity cannot be kept.
    pub(crate) async fn join(&self, mut told: impl FnMut(&str)) -> anyhow::Result<Tls> {
        let (mut pause, mut before) = (PAUSE, String::new());
        loop {
            let why = match self.token() {
                Ok(token) => match self.attempt(&token).await? {
                    Ok(tls) => return Ok(tls),
                    Err(status) if status.hint.is_empty() => status.to_string(),
                    Err(status) => format!("{status}; {}", status.hint),
                },
                Err(why) => {
                    pause = PAUSE;
                    why
                }
            };
            if why != before {
                tracing::warn!(why, "not in the cluster yet");
                told(&why);
                before = why;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn token(&self) -> Result<JoinToken, String> {
        let shown = self.token.display();
        let text = private::read(self.token, TOKEN_BYTES_MAX)
            .map_err(|error| format!("no join token in {shown} (security.join_token_file): {error}"))?;
        private::must_be_ours(self.token).map_err(|error| format!("{shown} {error}"))?;
        Zeroizing::new(text).parse().map_err(|error| format!("{shown} holds no join token: {error}"))
    }

    async fn attempt(&self, token: &JoinToken) -> anyhow::Result<Result<Tls, Status>> {
        let (env, key) = (pinned(self.make, token.authority)?, self.key()?);
        let who = (newcomer(&env, self.name), Some(Credentials::Join(token.secret.clone())));
        let request = EnrollRequest::Node(EnrollNode {
            role: JoinRole::Datanode,
            node: self.node,
            name: self.name.to_owned(),
            public_key: public(&key),
        });
        let enrolled = match ask(&env, &self.coordinator.to_string(), who, request).await {
            Ok(enrolled) => enrolled,
            Err(status) => return Ok(Err(status)),
        };
        let bundle = bundle::assemble(&key, &enrolled);
        let tls = Tls::from_bundle(bundle.as_bytes()).context("use the certificate that was given out")?;
        bundle::set_aside(self.dir)
            .and_then(|()| bundle::keep(self.dir, &bundle))
            .with_context(|| format!("keep it in {}", self.dir.display()))?;
        forget_joining(self.dir);
        tracing::info!(node = %self.node, "the cluster gave this node its certificate");
        Ok(Ok(tls))
    }

    /// The key to have certified: the one of an attempt before, if there was one.
    fn key(&self) -> anyhow::Result<KeyPair> {
        let path = self.dir.join(JOINING);
        let kept = private::read(&path, KEY_BYTES_MAX).map(Zeroizing::new);
        if let Ok(kept) = kept
            && let Ok(key) = KeyPair::from_pem(&kept)
        {
            return Ok(key);
        }
        let key = fresh_key()?;
        private::make_secret_dir(self.dir)
            .and_then(|()| private::replace(&path, &Zeroizing::new(key.serialize_pem())))
            .with_context(|| format!("keep a key in {}", path.display()))?;
        Ok(key)
    }
}

/// Gets the next certificate of a node that has one. The key that it is for stays the same until one is kept: whatever fails, the cluster does
/// not remember one key for each attempt.
pub(crate) struct Renewal {
    env: Env,
    me: Peer,
    coordinator: HostPort,
    dir: PathBuf,
    key: Mutex<Option<Arc<KeyPair>>>,
}

impl Renewal {
    pub(crate) fn new(env: Env, me: Peer, coordinator: HostPort, dir: PathBuf) -> Self {
        Self { env, me, coordinator, dir, key: Mutex::default() }
    }

    fn pending(&self) -> MutexGuard<'_, Option<Arc<KeyPair>>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self) -> anyhow::Result<Arc<KeyPair>> {
        let mut pending = self.pending();
        let key = pending.take().map_or_else(|| fresh_key().map(Arc::new), Ok)?;
        *pending = Some(Arc::clone(&key));
        Ok(key)
    }

    /// The next certificate, kept in place of the one before.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn renew(&self) -> anyhow::Result<Tls> {
        let key = self.key()?;
        let request = EnrollRequest::Renew(public(&key));
        let enrolled =
            ask(&self.env, &self.coordinator.to_string(), (self.me.clone(), None), request).await?;
        let bundle = bundle::assemble(&key, &enrolled);
        let tls = Tls::from_bundle(bundle.as_bytes())?;
        bundle::keep(&self.dir, &bundle).with_context(|| format!("keep it in {}", self.dir.display()))?;
        *self.pending() = None;
        Ok(tls)
    }
}

/// The key of a node that was joining is of no use once it has its identity.
pub(crate) fn forget_joining(dir: &Path) {
    std::fs::remove_file(dir.join(JOINING)).unwrap_or_default();
}

/// A certificate for a user, asked on the coordinator's host with what only whoever is there can read; written into `out`.
///
/// # Errors
/// Why there is none.
pub(crate) async fn certify_user(
    make: MakeEnv,
    coordinator: &HostPort,
    dir: &Path,
    user: &str,
    out: &Path,
) -> anyhow::Result<()> {
    let path = dir.join(HOST_FILE);
    let text = private::read(&path, TOKEN_BYTES_MAX).map(Zeroizing::new).with_context(|| {
        format!("read {}: is this the coordinator's host and user, and does it run?", path.display())
    })?;
    let token: JoinToken = text.parse().with_context(|| path.display().to_string())?;
    let (env, key) = (pinned(make, token.authority)?, fresh_key()?);
    let who = (newcomer(&env, "dfs-node init-admin"), Some(Credentials::Host(token.secret.clone())));
    let request = EnrollRequest::User(EnrollUser { name: user.to_owned(), public_key: public(&key) });
    let enrolled = ask(&env, &coordinator.to_string(), who, request).await?;
    bundle::write_user(out, &key, &enrolled).with_context(|| format!("write {}", out.display()))
}

/// Tells this host a secret of a coordinator that starts.
///
/// # Errors
/// As the operating system.
pub(crate) fn tell_host(dir: &Path, authority: [u8; 32], secret: &Secret) -> std::io::Result<()> {
    private::make_secret_dir(dir)?;
    let token = JoinToken { authority, secret: secret.clone() };
    private::replace(&dir.join(HOST_FILE), &Zeroizing::new(format!("{}\n", token.reveal())))
}
