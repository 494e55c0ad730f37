//! Jobs: long work that operators ask for, how far it is, and how it ends.
//!
//! ```text
//!  operator --begin, pause, resume, cancel--> state --what changed--> metadata (a row a job), then the answer
//!                                               |
//!                 nodes to empty, copies to move |          copies that are left, from census and rows
//!                                               v                         |
//!                              wishes --> repair copies, drops       progress, the end
//! ```
//!
//! A job moves no byte itself: it wishes, and repair obeys when nothing is endangered. So a job that ends in the middle
//! (a coordinator that dies, an operator who cancels it) leaves each chunk with all its copies, and one that goes on does not
//! repeat what is done: what it looks at is how things are. `state` has the jobs and their lives, without the world;
//! `drain` says what is in the way of
//! emptying a node, `balance` chooses what goes where so that all are about as full.

mod actor;
mod balance;
mod drain;
mod messages;
mod replication;
mod state;
mod words;

pub(super) use actor::{Jobs, JobsArgs};
pub(super) use balance::{Flow, fills, flows, why_apart};
pub(super) use drain::{DrainLook, takers};
pub(super) use messages::{AskedJob, JobsMsg};
