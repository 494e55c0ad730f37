//! TLS of a process: its certificate, its key and whom it trusts, read from files, and read again at SIGHUP.
//!
//! What is read last and holds together counts for every connection from then on; connections that stand go on with
//! what they began with. Files that do not hold together (a new certificate beside the old key, for a moment) change
//! nothing.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use dfs_actors::peer::gate::Gate;
use dfs_wire::identity::Identity;
use dfs_wire::tls::{Tls, TlsMaterial};

use crate::config::SecurityConfig;
use crate::private;

/// As much of a file as is read: a bundle of some hundred certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// TLS of a process, as it is now. Cheap to clone; all clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Security {
    now: Arc<ArcSwapOption<Tls>>,
}

impl Security {
    /// Reads the files that the configuration names; without any, connections are plain.
    ///
    /// # Errors
    /// Which file is wrong, and how.
    pub fn start(config: &SecurityConfig) -> anyhow::Result<Self> {
        let tls = match config.mode {
            Gate::Off => None,
            Gate::Permissive | Gate::Required => Some(Arc::new(load(config)?)),
        };
        Ok(Self { now: Arc::new(ArcSwapOption::from(tls)) })
    }

    /// What counts for a connection that is made or taken now; `None` = it is plain.
    pub fn current(&self) -> Option<Arc<Tls>> {
        self.now.load_full()
    }

    /// Reads the files again. One that names somebody else than before is not taken: a node stays who it is.
    ///
    /// # Errors
    /// As [`Self::start`]; what counted before counts on.
    pub fn reload(&self, config: &SecurityConfig) -> anyhow::Result<()> {
        let Some(before) = self.current() else { return Ok(()) };
        let new = load(config)?;
        anyhow::ensure!(
            new.identity() == before.identity(),
            "the new certificate is that of {}, this is {}",
            shown(new.identity()),
            shown(before.identity()),
        );
        self.now.store(Some(Arc::new(new)));
        tracing::info!("certificate and key read again: they count for connections from now on");
        Ok(())
    }

    /// Whether the certificate is that of `who`; where connections are plain, it need not be anybody's.
    ///
    /// # Errors
    /// Whose it is, and which names it has to have.
    pub fn must_be(&self, who: &Identity) -> anyhow::Result<()> {
        let Some(tls) = self.current() else { return Ok(()) };
        anyhow::ensure!(
            tls.identity() == Some(who),
            "security.certificate is that of {}, but this is {who}: its certificate has to have the names {}, and the extended key \
             usages serverAuth and clientAuth",
            shown(tls.identity()),
            who.dns_names().join(" and "),
        );
        Ok(())
    }
}

fn shown(identity: Option<&Identity>) -> String {
    identity.map_or_else(|| "nobody".to_owned(), ToString::to_string)
}

fn load(config: &SecurityConfig) -> anyhow::Result<Tls> {
    let read = |path: &Path, key: &str| {
        private::read(path, FILE_BYTES_MAX).with_context(|| format!("read {} ({key})", path.display()))
    };
    let ca = read(&config.ca, "security.ca")?;
    let certificate = read(&config.certificate, "security.certificate")?;
    private::must_be_ours(&config.key).with_context(|| format!("{} (security.key)", config.key.display()))?;
    let key = read(&config.key, "security.key")?;
    let own = Some((certificate.as_bytes(), key.as_bytes()));
    Tls::new(TlsMaterial { ca: ca.as_bytes(), own }).with_context(|| {
        format!("{}, {} and {}", config.ca.display(), config.certificate.display(), config.key.display())
    })
}
