//! Clusters that are broken on purpose, under load: what a scenario is, how it runs, and whether all held.
//!
//! ```text
//!  compose/scenarios/*.yaml --> Scenario --> run: a ground (where the cluster is), a load (what clients do),
//!                                            a schedule (what is done to it), a watch (what status says), an audit (the last look)
//!                                             |
//!                                             v
//!                                  what was seen --> judge --> Report --> table, JSON
//! ```

mod audit;
mod compose;
mod fault;
mod ground;
mod judge;
mod load;
mod local;
mod report;
mod run;
mod scenario;
mod schedule;
mod units;
mod watch;

/// What the nodes of a scenario want to hear of whoever strikes their actors.
pub const CHAOS_TOKEN: &str = "struck on purpose";

pub use fault::{Deed, Fault, Way, Whom};
pub use report::{Acknowledged, Latencies, Latency, Operations, Report, Whole, table};
pub use run::{Place, run};
pub use scenario::{Checks, Load, Mix, Recovery, Refused, Scenario, Topology};
pub use units::{Size, Span};
