//! The scrub: a datanode reads all it has again and again, so that what rots at rest is found before it is needed.
//!
//! ```text
//!   Resting --period over, or asked for--> Reading --the last chunk of the round--> Resting
//!                                          |     ^
//!                                          +-----+ one chunk: every CRC, the SHA-256; then a pause
//! ```
//! A round reads the chunks that were there when it began, in the order of their ids, which is that of their age; what is written
//! meanwhile was just checked, and is the next round's. Its cursor is kept on the disk, so that a restart goes on where the
//! life before was.
//!
//! What is found bad is reported like what a reader finds bad, and stays where it is: the coordinator has it made anew, and orders
//! it away once another good copy is there. Doubted copies, which were bad or could not be read, are read again now and then
//! until they are good or gone: so no report is lost with a restart, and an error that passes condemns nothing.

mod actor;
mod cursor;
mod messages;
mod pace;
mod state;

pub use actor::{Scrub, ScrubArgs};
pub use cursor::{CursorStore, DOUBTED_MAX, ScrubCursor};
pub use messages::ScrubMsg;
pub use state::ScrubConfig;
