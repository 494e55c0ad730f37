//! Actors and their supervision.
//!
//! ```text
//!   Root ── Supervisor ──┬── Supervisor ── ...
//!     │       │          ├── Host<B>    an actor: behaviour, tasks, timers, counters
//!     │       │          └── Nursery    bounded, temporary children: sessions
//!     │       └ policy   pure: who is started, restarted, stopped, killed, and when to give up
//!     └ Exit             the root gave up: the process ends with a code
//!
//!   Addr ──▶ slot ──▶ the actor that lives there now          ActorTree ──▶ counters of every slot
//! ```
//!
//! - An actor implements [`Behaviour`]. It must own state and need independent failure or time; else it is a task, a
//!   struct or a function.
//! - An [`Addr`] is made before the actor and stays valid across restarts. Its mailbox is bounded, and an
//!   [`ask`](Addr::ask) always ends: with the answer, or with an error that tells whether the question took effect.
//! - Failure: an error returned, a panic (in a handler or in an owned task), a kill, or a handler that does not end
//!   (`stuck_after`). All of them count the same, and end in a restart by the policy (pure: `policy.rs`) or in escalation.
//! - Owned tasks and timers are gone before a failed actor's successor starts. Only a kill aborts them without waiting,
//!   at their next await: hence disk work is handed to a pool that finishes or undoes it.
//! - Nothing here is global to the process: several nodes, each with its [`ActorTree`], run side by side.
//!
//! # How to write an actor
//! ```
//! use std::time::Duration;
//! use dfs_actors::env::Env;
//! use dfs_actors::supervisor::{
//!     ActorError, ActorTree, Addr, Behaviour, ChildSpec, Ctx, Exit, Reply, Restart, Root, SupervisorSpec,
//! };
//!
//! enum TallyMsg {
//!     Add(u64),
//!     Total(Reply<u64>),
//!     Loaded(u64), // the result of an owned task
//! }
//!
//! #[derive(Clone)] // used again at each restart, so it holds addresses and settings, never state
//! struct TallyArgs {
//!     initial: u64,
//! }
//!
//! struct Tally {
//!     total: u64,
//! }
//!
//! impl Behaviour for Tally {
//!     type Msg = TallyMsg;
//!     type Args = TallyArgs;
//!     const KIND: &'static str = "tally";
//!
//!     async fn start(args: TallyArgs, ctx: &mut Ctx<TallyMsg>) -> Result<Self, ActorError> {
//!         // Slow work never runs in a handler: it is a task, and comes back as a message.
//!         ctx.spawn_then(async move { args.initial }, TallyMsg::Loaded);
//!         ctx.set_tick(Duration::from_secs(1));
//!         Ok(Self { total: 0 })
//!     }
//!
//!     async fn handle(&mut self, msg: TallyMsg, _ctx: &mut Ctx<TallyMsg>) -> Result<(), ActorError> {
//!         match msg {
//!             TallyMsg::Add(n) | TallyMsg::Loaded(n) => self.total += n,
//!             // What goes wrong with one request goes into its reply; `Err` ends the actor.
//!             TallyMsg::Total(reply) => reply.send(self.total),
//!         }
//!         Ok(())
//!     }
//!
//!     async fn tick(&mut self, ctx: &mut Ctx<TallyMsg>) -> Result<(), ActorError> {
//!         ctx.set_credits(self.total);
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let env = Env::for_tests(1);
//! let tally = Addr::new(&env.clock, 64); // at most 64 messages queued or being handled
//! let spec = SupervisorSpec::one_for_one(&env.clock, "root")
//!     .child(ChildSpec::new::<Tally>("tally", &tally, TallyArgs { initial: 40 }).restart(Restart::Permanent));
//! let tree = ActorTree::new("node-1");
//! let root = Root::start(env, tree.clone(), spec).await?;
//!
//! tally.send(TallyMsg::Add(2), Duration::from_secs(1)).await?;
//! assert!(tally.ask(TallyMsg::Total, Duration::from_secs(1)).await? >= 2);
//! assert_eq!(tree.get("root/tally").map(|row| row.kind), Some("tally"));
//! assert_eq!(root.shutdown().await, Exit::Stopped);
//! # Ok(())
//! # }
//! ```

mod actor;
mod addr;
mod behaviour;
#[cfg(any(test, feature = "chaos"))]
mod chaos;
mod child;
mod context;
mod envelope;
mod exit;
mod first_life;
mod host;
mod messages;
mod nursery;
mod policy;
mod remains;
mod root;
mod rules;
mod spec;
mod stats;
#[cfg(any(test, feature = "chaos"))]
mod strike;
mod tasks;
#[cfg(test)]
mod tests;
mod tree;

pub use actor::Supervisor;
pub use addr::{Addr, AskError, Reply, SendError};
pub use behaviour::Behaviour;
pub use child::{ChildSpec, SHUTDOWN_TIMEOUT, START_TIMEOUT, STUCK_AFTER};
pub use context::Ctx;
pub use envelope::TimerId;
pub use exit::{ActorError, BoxError, ChildExit, ExitCause};
pub use first_life::FirstLife;
pub use host::SLOW_HANDLER;
pub use messages::SupervisorMsg;
pub use nursery::{ADMIT_TIMEOUT, Berth, Nursery, NurseryError};
pub use root::{Exit, Root};
pub use rules::{Backoff, Intensity, KILL_GRACE, Restart, Strategy};
pub use spec::SupervisorSpec;
pub use stats::{ActorState, StatsSnapshot};
#[cfg(any(test, feature = "chaos"))]
pub use strike::{Strike, StrikeTarget};
pub use tasks::Tasks;
pub use tree::{ActorRow, ActorTree};
