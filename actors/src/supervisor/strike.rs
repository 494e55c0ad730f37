//! What mischief may be ordered, and against whom. Compiled only with feature `chaos`.

use std::time::Duration;

/// What to do to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Panic in a handler, once the messages queued before it are handled.
    Panic,
    /// Kill at once, in the middle of a handler, without `stop`.
    Kill,
    /// Sit in one handler for so long.
    Pause(Duration),
    /// Take so much longer over each later message of this life; zero ends it.
    Delay(Duration),
}

/// Whom to strike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrikeTarget {
    /// The actor at this path.
    Path(String),
    /// All actors of this kind.
    Kind(String),
}
