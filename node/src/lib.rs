//! Mechanism and composition of a dfs node: configuration, listeners, stores, telemetry, and the roles that tie
//! them to the actors. See `node/docs/ARCHITECTURE.md`.

pub mod cli;
pub mod config;
pub mod descriptors;
pub mod env;
mod inspect;
pub mod metadata;
mod private;
pub mod process;
pub mod roles;
pub mod security;
pub mod shutdown;
pub mod store;
pub mod telemetry;
