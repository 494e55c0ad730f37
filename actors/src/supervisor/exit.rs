//! How an actor ends: the one error it ends with, and what its supervisor is told.

use std::any::Any;

/// A boxed error from below.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an actor gave up. Every variant ends the actor; its supervisor decides what follows.
///
/// Errors that concern one request are answered to its sender and never become an `ActorError`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActorError {
    /// The actor cannot go on: `doing` says what it attempted.
    #[error("{doing}: {source}")]
    Fatal {
        /// What the actor was doing, such as "open the metadata database".
        doing: &'static str,
        /// The error it met.
        source: BoxError,
    },
    /// A handler panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// A task that the actor owns panicked.
    #[error("an owned task panicked: {0}")]
    TaskPanicked(String),
    /// A supervisor ran out of restarts for a child, or could not end it.
    #[error("child {child} cannot be kept running: {reason}")]
    Escalated {
        /// Name of the child.
        child: String,
        /// Its last exit, and the limit that was passed.
        reason: String,
    },
}

impl ActorError {
    /// Ends the actor because of `source`, met while `doing` something.
    pub fn fatal(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Fatal { doing, source: source.into() }
    }
}

/// How a child came to its end, as its supervisor is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitCause {
    /// It stopped by itself or was asked to: its `stop` ran to the end.
    Stopped,
    /// It returned an error or panicked; the text says which.
    Failed(String),
    /// It was killed: no `stop` ran.
    Killed,
}

/// The end of a child actor.
#[derive(Debug)]
pub struct ChildExit {
    pub(crate) id: ractor::ActorId,
    pub(crate) cause: ExitCause,
}

/// The text of a panic, if it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text").to_owned()
}
