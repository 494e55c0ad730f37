//! One actor for each chunk that is being written here: the streaming session.
//!
//! ```text
//!                    +-> disk writer --- commit ---------------> local copy durable
//! link -> receiver --+-> forward to replica 1 -- its receipt --> copy durable      } actor: straggler rule, answer
//!          (sha, crc) +-> forward to replica 2 -- its receipt --> copy durable
//! ```
//!
//! What is asked for is one [`WriteOrder`] from the request to the disk, on a primary and on a replica.
//!
//! The bytes flow through tasks that the actor owns; the actor sees a few events for each chunk and decides:
//!
//! ```text
//! Receiving --end matches--> Sealing --all copies settled, or straggler limit--> Answered
//!     \--peer gone, bad bytes, disk failed or mute, standstill--> Failed (tasks aborted, temporary file removed)
//! ```
//!
//! Credit is end to end: the client may send only into slabs reserved for this stream, and a slab is free again when
//! the disk and every live replica are done with it. A replica that stands still is cut, so that it costs one upload
//! a bounded time and bounded memory; the answer says which copy is missing. A slow line is no standstill:
//! bytes that move on a connection, whole frames or not, are life, of the client and of a replica, for a bounded time. This node's own disk has a limit,
//! too: an fsync that never returns fails the upload, and what the hung write holds stays accounted for.

mod actor;
mod messages;
mod order;
mod pipeline;
mod state;
mod turns;

pub use actor::{Streaming, StreamingArgs};
pub use messages::StreamingMsg;
pub use order::{Admitted, Origin, WriteOrder};
pub use state::UploadLimits;
pub use turns::{Turn, Turns};
