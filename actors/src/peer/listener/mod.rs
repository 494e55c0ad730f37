//! The actor that owns a listening socket and starts a session for each connection, up to a bound.
//!
//! ```text
//! bound --first life--> accepting --a connection--> a session in the nursery, if there is room
//!   (a later life binds    ^  |
//!    the same address)     +--+ an accept failed: again after a pause, a line a minute
//! ```

mod actor;
mod bound;
mod messages;
mod state;

pub use actor::{Listener, ListenerArgs};
pub use bound::Bound;
pub use messages::ListenerMsg;
