//! The client: one handle to a cluster, shared by clones.

use std::sync::Arc;

use dfs_wire::id::{ClusterId, OpId};
use dfs_wire::status::StatusCode;

use crate::config::ClientConfig;
use crate::env::{Connector, Env};
use crate::error::Error;
use crate::memory::MemoryBound;
use crate::pace::Pace;
use crate::pool::Pool;
use crate::rpc::Rpc;
use crate::waits::Waits;

/// A handle to a cluster. Clones share its connections and its memory bound; the last one closes them.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) env: Env,
    pub(crate) pool: Pool,
    pub(crate) rpc: Rpc,
    /// Memory of uploads. Apart from that of downloads, so that a file piped from one to the other cannot stall.
    pub(crate) upload_memory: MemoryBound,
    /// Memory of downloads.
    pub(crate) download_memory: MemoryBound,
    /// How many uploads the line can keep alive.
    pub(crate) upload_pace: Pace,
    /// How many downloads.
    pub(crate) download_pace: Pace,
    /// How long reads waited lately.
    pub(crate) waits: Waits,
}

impl Client {
    /// Connects to the first of the configured coordinators that answers. To be called within a tokio runtime, which
    /// then runs the client's connections.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), dfs_client::Error> {
    /// use dfs_client::{Client, ClientConfig};
    ///
    /// let client = Client::connect(ClientConfig::new(["127.0.0.1:8080"])).await?;
    /// println!("cluster {:?}", client.cluster());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Unavailable` if none answers within [`crate::RetryPolicy::connect_budget`], `VersionMismatch` if one answers in
    /// another version, `InvalidArgument` if an endpoint is malformed.
    pub async fn connect(config: ClientConfig) -> Result<Self, Error> {
        let env = Env::system(config.tls.clone());
        Self::connect_in(config, env).await
    }

    /// As [`Self::connect`], over something else than TCP, which has to secure itself.
    ///
    /// # Errors
    /// As [`Self::connect`]; `InvalidArgument` with [`ClientConfig::tls`], which would not be used.
    pub async fn connect_with(config: ClientConfig, connector: Arc<dyn Connector>) -> Result<Self, Error> {
        if config.tls.is_some() {
            let text = "the connector that was given does not use the TLS of the configuration";
            return Err(Error::new(StatusCode::InvalidArgument, text)
                .with_hint("secure its streams, and leave `tls` out"));
        }
        Self::connect_in(config, Env { connector, ..Env::system(None) }).await
    }

    /// As [`Self::connect`], in a world of the caller's choice.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_in(config: ClientConfig, env: Env) -> Result<Self, Error> {
        let slabs = config.slabs_per_direction();
        let (upload_memory, download_memory) = (MemoryBound::new(slabs), MemoryBound::new(slabs));
        let pool = Pool::new(&config, env.clone(), download_memory.clone());
        let rpc = Rpc::new(&config, pool.clone())?;
        rpc.connect().await?;
        let (upload_pace, download_pace) = (Pace::default(), Pace::default());
        let waits = Waits::default();
        let inner = Inner {
            config,
            env,
            pool,
            rpc,
            upload_memory,
            download_memory,
            upload_pace,
            download_pace,
            waits,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The cluster that answered; `None` if the coordinator has none yet.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.inner.pool.cluster()
    }

    /// A new identity for a mutation, to be able to repeat it: however often it is sent, it is done at most once. Make it just
    /// before its first use; how long a repeat learns the first outcome is counted from here.
    pub fn new_op(&self) -> OpId {
        self.inner.rpc.new_op()
    }

    /// What the client was configured with.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.cluster())
            .field("endpoints", &self.inner.config.endpoints)
            .finish_non_exhaustive()
    }
}
