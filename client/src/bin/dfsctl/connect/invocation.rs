//! What every command works with: the output, the endpoint, the client.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::connect::config_file::{self, ConfigFile};
use crate::connect::endpoint::{Endpoint, Said};
use crate::connect::identity;
use crate::output::Output;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use dfs_client::{Client, ClientConfig, ErrorKind, StatusCode};

/// How long to look for a coordinator unless the user says otherwise.
const CONNECT_DEFAULT: Duration = Duration::from_secs(5);

/// After so long it is said what is tried.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// No answer comes in less.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// Where and how to print.
    pub output: Output,
    /// Files of this machine that were begun to be written.
    pub begun: Begun,
    said: Said,
    timeout: Option<Duration>,
}

/// Files of this machine that a command began to write, for the last words of one that is interrupted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Begun(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Begun {
    /// Notes that a transfer to this target has begun.
    pub(crate) fn add(&self, target: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned());
    }

    /// Notes that one ended, well or not: its own words were said.
    pub(crate) fn remove(&self, target: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    /// Whether a later get can go on with what was fetched of one.
    pub(crate) fn has_left_something(&self) -> bool {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.iter().any(|target| dfs_client::is_resumable(target))
    }
}

impl Invocation {
    /// With what the command line says of the cluster, and after how long without success to give up.
    pub(crate) fn new(said: Said, timeout: Option<Duration>, output: Output) -> Self {
        Self { output, begun: Begun::default(), said, timeout }
    }

    /// The directory that the command line names of who the user is.
    pub(crate) fn identity(&self) -> Option<&Path> {
        self.said.identity.as_deref()
    }

    /// Where the cluster is.
    ///
    /// # Errors
    /// If an address somebody wrote is not one.
    pub(crate) fn endpoint(&self) -> Outcome<Endpoint> {
        let here = std::env::current_dir().unwrap_or_default();
        let env = |name: &str| std::env::var(name).ok();
        let config = || {
            config_file::path(env).map_or_else(|| Ok(ConfigFile::default()), |path| ConfigFile::read(&path))
        };
        Endpoint::resolve(&self.said, env, &here, config)
    }

    /// Connects to where the command line, the environment or a context says.
    ///
    /// # Errors
    /// If no coordinator answers.
    pub(crate) async fn client(&self) -> Outcome<Client> {
        self.client_with(|_| {}).await
    }

    /// Connects as an operator, for whom a busy coordinator has places left.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(crate) async fn operator(&self) -> Outcome<Client> {
        self.client_with(|config| config.operator = true).await
    }

    /// Connects, with changes to the configuration.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(crate) async fn client_with(&self, change: impl FnOnce(&mut ClientConfig)) -> Outcome<Client> {
        let endpoint = self.endpoint()?;
        let mut config = ClientConfig::new(endpoint.addresses.clone());
        config.tls = endpoint.identity.as_deref().map(identity::read).transpose()?;
        config.agent = concat!("dfsctl/", env!("CARGO_PKG_VERSION")).to_owned();
        config.retry.connect_budget = CONNECT_DEFAULT;
        if let Some(timeout) = self.timeout {
            config.give_up_after(timeout.max(TIMEOUT_MIN));
        }
        change(&mut config);
        match self.connect(&endpoint, config).await {
            Ok(client) => Ok(client),
            // One that is busy was reached, and says itself what to do.
            Err(error)
                if error.kind() == ErrorKind::Unavailable
                    && error.status_code() != Some(StatusCode::Busy) =>
            {
                let cause = innermost(&error);
                let message = format!(
                    "cannot reach the coordinator at {} ({}): {cause}",
                    endpoint.shown(),
                    endpoint.origin
                );
                let hint = "is it running? 'dfsctl dev up' starts a local cluster; --endpoint or DFS_ENDPOINT name another one";
                Err(Failure::new(Exit::Unavailable, "Unavailable", message).hint(hint))
            }
            Err(error) => {
                Err(Failure::from(error).context(format_args!("coordinator at {}", endpoint.shown())))
            }
        }
    }
}

impl Invocation {
    async fn connect(&self, endpoint: &Endpoint, config: ClientConfig) -> Result<Client, dfs_client::Error> {
        let connecting = Client::connect(config);
        tokio::pin!(connecting);
        if let Ok(outcome) = tokio::time::timeout(SILENCE_MAX, &mut connecting).await {
            return outcome;
        }
        self.output.note(format!(
            "trying to reach the coordinator at {} ({}) ...",
            endpoint.shown(),
            endpoint.origin
        ));
        connecting.await
    }
}

/// The cause that says most: the last of the chain.
fn innermost(error: &dfs_client::Error) -> String {
    let mut text = error.message().to_owned();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = match cause.downcast_ref::<std::io::Error>() {
            Some(io) => crate::output::failure::reason(io),
            None => match cause.downcast_ref::<dfs_client::Error>() {
                Some(error) => error.message().to_owned(),
                None => cause.to_string(),
            },
        };
        next = cause.source();
    }
    text
}
