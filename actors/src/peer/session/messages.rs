//! What a session can be told.

/// What a session can be told.
#[derive(Debug)]
pub enum SessionMsg {
    /// Take no new requests; end with the last one open.
    Drain,
    /// Somebody else needs the place.
    MakeRoom,
    /// The peer was told so a moment ago.
    Leave,
    /// The connection has ended.
    Closed,
}
