//! What a node tells its operator: logs, metrics, and the admin port that serves health and metrics over HTTP.

mod actors;
mod admin;
mod healthcheck;
mod logging;
mod metrics;
mod port;

pub use actors::observe_actors;
pub use admin::{Admin, ClusterHealth, Readiness, serve};
pub use healthcheck::healthcheck;
pub use logging::{LogGuard, LogHandle, init_logging, warn_if_open};
pub use metrics::{Form, Labels, Metrics, Sample, SampleValue};
