//! The dfs SDK: store and read files of a dfs cluster, safely and fast.
//!
//! ```no_run
//! # async fn example() -> Result<(), dfs_client::Error> {
//! use dfs_client::{Client, ClientConfig, GetOptions, PutOptions, PutSource};
//!
//! let client = Client::connect(ClientConfig::new(["127.0.0.1:8080"])).await?;
//! let path = "/backups/2026-11-22.tar".parse()?;
//! let options = PutOptions::new().parents(true);
//! let put = client.put(PutSource::path("backup.tar"), &path, options).await?;
//! println!("{} bytes, version {}", put.stat.size, put.stat.version);
//! client.get_to_path(&path, "restored.tar".as_ref(), GetOptions::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Whole programs are in `client/examples`: storing and fetching, listing, reading at a place.
//!
//! What holds for every operation:
//! - a put is visible, whole and durable when it returns success, and not visible at all when it fails definitely;
//! - a read returns exactly the stored bytes or an error: every byte is checked before it is delivered;
//! - futures may be dropped at any point: what was begun is given up and reclaimed;
//! - every wait has a deadline, retries have a budget, file data in memory has a bound ([`ClientConfig`]);
//! - mutations carry an operation id: however often one is sent, it happens at most once.

mod backoff;
mod builders;
mod checksum;
mod client;
mod config;
mod copy;
mod digest;
mod env;
mod error;
mod get;
mod health;
mod identity;
mod inspect;
mod jobs;
mod local;
mod memory;
mod namespace;
mod options;
mod pace;
mod patience;
mod pool;
mod progress;
mod put;
mod rpc;
mod times;
mod trust;
mod verify;
mod waits;

pub use client::Client;
pub use config::{COORDINATOR_PORT_DEFAULT, ClientConfig, RetryPolicy, Timeouts};
pub use env::{BoxReader, BoxWriter, ConnectFuture, Connector, Env, Rng, TcpConnector, tune_socket};
pub use error::{Error, ErrorKind};
pub use get::{FileReader, is_resumable};
pub use identity::{IdentityError, read_identity};
pub use local::safe_local_path;
pub use namespace::ListPages;
pub use options::{
    BadCopy, Checksum, ChunkCheck, CopyCheck, CopyOptions, DegradedChunk, DeleteOptions, GetOptions,
    GetOutcome, MkdirOptions, PutOptions, PutOutcome, PutSource, RenameOptions, TrashTarget, Usage,
    VerifyReport,
};
pub use progress::{Progress, ProgressFn};
pub use times::{local_time, ns_of};

/// The protocol's types that this API speaks in.
pub use dfs_wire::{
    id::{ChunkId, ClusterId, InodeId, NodeId, OpId, VersionId},
    message::{admin, job, metadata},
    path::DfsPath,
    status::StatusCode,
    tls::{Tls, TlsError, TlsMaterial},
};
