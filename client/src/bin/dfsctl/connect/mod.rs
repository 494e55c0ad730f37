//! Where the cluster is, and the way there: flags, environment, configuration file, the client.

pub(crate) mod config_file;
pub(crate) mod endpoint;
pub(crate) mod environment;
pub(crate) mod identity;
pub(crate) mod invocation;
pub(crate) mod node;
