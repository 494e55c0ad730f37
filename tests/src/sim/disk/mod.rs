//! A disk that keeps what POSIX promises and no more: what was not synced may be lost when its machine loses power, whole,
//! in part, or not at all, as the seed says.
//!
//! ```text
//!  process --write--> now --sync--> durable          contents, in blocks of 512 bytes
//!  process --rename-> now --sync--> durable          names, directory by directory
//!
//!  power off: of each file any blocks (512 bytes or 4 KiB at a time) that are not durable yet, and of each directory any
//!             names; the two halves of a rename stand or fall together, and where the new name is durable the old may stay
//! ```
//! A medium outlives the processes that use it. It is handed to each as a [`SimDisk`], which refuses everything once the
//! process is doomed, and which can doom it: before or after any of its changes.

mod content;
mod database;
mod file;
mod io;
mod medium;
mod mount;

pub(super) use medium::{Fault, Medium};
pub(super) use mount::SimDisk;
