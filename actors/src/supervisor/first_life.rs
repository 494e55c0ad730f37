//! What only the first life of an actor is given.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::exit::ActorError;

/// Something in the arguments of an actor that there is once: a connection, a socket, memory. Arguments are cloned for
/// each life; all clones share this, and the first to take it has it.
pub struct FirstLife<T>(Arc<Mutex<Option<T>>>);

impl<T> FirstLife<T> {
    /// To be taken once.
    pub fn new(thing: T) -> Self {
        Self(Arc::new(Mutex::new(Some(thing))))
    }

    /// Takes it; `None` if an earlier life has.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes it, for an actor that has one life only.
    ///
    /// # Errors
    /// An earlier life has: this one cannot be. `doing` says what it needed it for.
    pub fn claim(&self, doing: &'static str) -> Result<T, ActorError> {
        self.take().ok_or_else(|| ActorError::fatal(doing, "this actor has one life only"))
    }
}

impl<T> Clone for FirstLife<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for FirstLife<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstLife").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_life_finds_it_gone() {
        let (first, second) = (FirstLife::new(7), FirstLife::new(8));
        let again = first.clone();
        assert_eq!((first.take(), again.take(), second.claim("count").ok()), (Some(7), None, Some(8)));
        assert_eq!(second.claim("count").unwrap_err().to_string(), "count: this actor has one life only");
    }
}
