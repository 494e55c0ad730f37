//! TLS of a node: its certificate, its key and whom it trusts.
//!
//! ```text
//! an authority of an operator's own    three files, read at the start and again at SIGHUP
//! the cluster's authority              a coordinator signs for itself, anew at each start and once half of it is over;
//!                                      a datanode: a join token --once--> `identity.pem`, renewed by itself from then on
//! ```
//!
//! What came last and holds together counts for every connection from then on; connections that stand go on with what they began
//! with. Files that do not hold together (a new certificate beside the old key, for a moment) change nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use dfs_wire::identity::{Bearer, Identity, KeyDigest};
use dfs_wire::secret::Secret;
use dfs_wire::tls::{Tls, TlsError, TlsMaterial};

use crate::config::OwnCertificate;
use crate::private;

pub(crate) mod authority;
pub(crate) mod bundle;
pub(crate) mod enroll;
pub(crate) mod kek;
pub(crate) mod ready;

/// As much of a file as is read: a bundle of some hundred certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// TLS of a node, as it is now. Cheap to clone; all clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Security {
    now: Arc<ArcSwapOption<Tls>>,
    disbelief: Arc<ArcSwapOption<Disbelief>>,
}

impl Security {
    /// What counts for a connection that is made or taken now; `None` = there is no certificate (yet).
    pub fn current(&self) -> Option<Arc<Tls>> {
        self.now.load_full()
    }

    /// From now on this counts.
    pub(crate) fn adopt(&self, tls: Tls) {
        self.now.store(Some(Arc::new(tls)));
    }

    /// Reads the files of an operator's own authority, for the first time or again. Those that name somebody else than before are
    /// not taken: a node stays who it is.
    ///
    /// # Errors
    /// Which file is wrong, and how; what counted before counts on.
    pub fn read(&self, own: &OwnCertificate) -> anyhow::Result<()> {
        let new = load(own)?;
        if let Some(before) = self.current() {
            anyhow::ensure!(
                new.identity() == before.identity(),
                "the new certificate is that of {}, this is {}",
                shown(new.identity()),
                shown(before.identity()),
            );
            tracing::info!("certificate and key read again: they count for connections from now on");
        }
        self.adopt(new);
        Ok(())
    }

    /// Whether the certificate is that of `who`.
    ///
    /// # Errors
    /// Whose it is, and which names it has to have.
    pub(crate) fn must_be(&self, who: &Identity) -> anyhow::Result<()> {
        let now = self.current();
        let identity = now.as_ref().and_then(|tls| tls.identity());
        anyhow::ensure!(
            identity == Some(who),
            "security.certificate is that of {}, but this is {who}: its certificate has to have the names {}, and the extended key \
             usages serverAuth and clientAuth",
            shown(identity),
            who.dns_names().join(" and "),
        );
        Ok(())
    }

    /// Whom this node does not believe any more, whoever vouches for him: asked of everybody it connects to.
    pub(crate) fn disbelieve(&self, is_revoked: Disbelief) {
        self.disbelief.store(Some(Arc::new(is_revoked)));
    }

    /// Whether it believes whoever answered it.
    pub(crate) fn believes(&self, bearer: Option<&Bearer>) -> bool {
        let disbelief = self.disbelief.load();
        !bearer.is_some_and(|bearer| disbelief.as_ref().is_some_and(|is_revoked| is_revoked.0(&bearer.key)))
    }

    /// How long the certificate counts, and for how long it need not be renewed: half of its time. `None` without one.
    fn left(&self) -> Option<Left> {
        let (from, until) = self.current()?.validity_ms()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let to = |at: u64| Duration::from_millis(at).saturating_sub(now);
        Some(Left { renewal: to(from / 2 + until / 2), end: to(until) })
    }
}

/// Whether a key is not believed any more.
#[derive(Clone)]
pub(crate) struct Disbelief(pub(crate) Arc<dyn Fn(&KeyDigest) -> bool + Send + Sync>);

impl std::fmt::Debug for Disbelief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disbelief(..)")
    }
}

/// How long until a certificate is renewed, and until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    renewal: Duration,
    end: Duration,
}

/// How often the wall clock is looked at: it may be set, and machines sleep.
const LOOK: Duration = Duration::from_secs(600);
/// Renewals that fail are tried again after this, or sooner if little is left.
const RENEW_AGAIN: Duration = Duration::from_secs(3600);
/// A renewal is never tried more often.
const RENEW_OFTEN: Duration = Duration::from_secs(1);
/// Nor, when the certificate has ended, more often than this.
const RENEW_LATE: Duration = Duration::from_secs(60);

/// Renews a certificate for ever: after half of its time; if that fails, again and again, more often as less is left.
pub(crate) async fn keep_renewed<F>(security: Security, mut renew: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<Tls>>,
{
    while let Some(Left { renewal, .. }) = security.left() {
        if renewal > Duration::ZERO {
            tokio::time::sleep(renewal.clamp(RENEW_OFTEN, LOOK)).await;
            continue;
        }
        match renew().await {
            Ok(tls) => {
                security.adopt(tls);
                tracing::info!("certificate renewed");
                // Whatever its dates say.
                tokio::time::sleep(RENEW_OFTEN).await;
            }
            Err(error) => {
                let end = security.left().map_or(Duration::ZERO, |left| left.end);
                let (error, left_s) = (format!("{error:#}"), end.as_secs());
                tracing::warn!(error, left_s, "the certificate was not renewed");
                let pause =
                    if end.is_zero() { RENEW_LATE } else { (end / 8).clamp(RENEW_OFTEN, RENEW_AGAIN) };
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// The identity that a datanode was given, if it was.
#[derive(Debug)]
pub(crate) enum Given {
    /// There is none.
    Nothing,
    /// One that says that it is who it is.
    Own(Tls),
    /// One that is of no use to it, as this tells: it has ended, or is that of another, which its data directory was before it was emptied.
    Useless(String),
}

/// Reads the identity that lies in the directory.
///
/// # Errors
/// If it cannot be used: what is wrong, and what to do.
pub(crate) fn given(dir: &Path, who: &Identity) -> anyhow::Result<Given> {
    let help = || {
        format!(
            "use the identity in {}; to have another one made, move it away and name a join token (security.join_token_file)",
            dir.display()
        )
    };
    let Some(bundle) = bundle::read(dir).with_context(help)? else { return Ok(Given::Nothing) };
    let tls = match Tls::from_bundle(bundle.as_bytes()) {
        Err(TlsError::Ended(why)) => {
            return Ok(Given::Useless(format!("the identity in {}: {why}", dir.display())));
        }
        other => other.with_context(help)?,
    };
    if tls.identity() == Some(who) {
        return Ok(Given::Own(tls));
    }
    let whose = shown(tls.identity());
    Ok(Given::Useless(format!("the identity in {} is that of {whose}, but this is {who}", dir.display())))
}

/// A datanode that is nobody to the cluster, and has nothing to become somebody with.
#[derive(Debug, thiserror::Error)]
#[error(
    "this datanode has no certificate of a cluster in {} (security.directory): put a join token, which `dfsctl nodes token` makes, into \
     a file that only this user can read, and name it in security.join_token_file",
    directory.display()
)]
pub(crate) struct NoIdentity {
    /// Where it would be.
    pub(crate) directory: PathBuf,
}

/// 256 bits that nobody can guess, of the operating system's generator by way of `rand`'s.
pub(crate) fn fresh_secret() -> Secret {
    Secret::new(rand::random())
}

fn shown(identity: Option<&Identity>) -> String {
    identity.map_or_else(|| "nobody".to_owned(), ToString::to_string)
}

fn load(own: &OwnCertificate) -> anyhow::Result<Tls> {
    let read = |path: &Path, key: &str| {
        private::read(path, FILE_BYTES_MAX).with_context(|| format!("read {} ({key})", path.display()))
    };
    let ca = read(&own.ca, "security.ca")?;
    let certificate = read(&own.certificate, "security.certificate")?;
    private::must_be_ours(&own.key).with_context(|| format!("{} (security.key)", own.key.display()))?;
    let key = read(&own.key, "security.key")?;
    let material = TlsMaterial { ca: ca.as_bytes(), own: Some((certificate.as_bytes(), key.as_bytes())) };
    Tls::new(material).with_context(|| {
        format!("{}, {} and {}", own.ca.display(), own.certificate.display(), own.key.display())
    })
}
