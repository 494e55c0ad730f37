//! What is left of a life of an actor: its state, every task it owns and, of a supervisor, all that of its children.
//!
//! An abort and a kill work at the next await. What blocks a thread outlives them, and a second life beside it could not
//! be safe: so whoever starts the next one asks first whether the last one is gone.

use std::sync::Arc;

use crate::watch;

/// Held by everything that belongs to one life.
#[derive(Clone)]
pub(crate) struct Alive {
    /// Dropping the last one is the word.
    _held: watch::Sender<()>,
    /// The life of the supervisor: it is not gone while a child is not.
    _above: Option<Arc<Alive>>,
}

/// Tells when everything that belonged to one life is gone. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remains(watch::Receiver<()>);

impl Alive {
    /// For a new life that nobody is above.
    pub(crate) fn begin() -> (Self, Remains) {
        Self::below(None)
    }

    /// For a new life below this one.
    pub(crate) fn begin_below(&self) -> (Self, Remains) {
        Self::below(Some(Arc::new(self.clone())))
    }

    fn below(above: Option<Arc<Self>>) -> (Self, Remains) {
        let (alive, remains) = watch::channel(());
        (Self { _held: alive, _above: above }, Remains(remains))
    }

    /// Runs `work` as a part of this life.
    pub(crate) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let done = work.await;
        drop(self);
        done
    }
}

impl Remains {
    /// Whether nothing is left.
    pub(crate) fn are_gone(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Completes when nothing is left. Cancel safe. It has no deadline: the caller does.
    pub(crate) async fn gone(mut self) {
        // Nothing is ever sent: it fails when the last holder is gone.
        while self.0.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_life_is_gone_with_the_last_that_belongs_to_it() {
        let (alive, remains) = Alive::begin();
        let task = tokio::spawn(alive.clone().during(std::future::pending::<()>()));
        drop(alive);
        assert!(!remains.are_gone());
        assert!(tokio::time::timeout(Duration::from_secs(9), remains.clone().gone()).await.is_err());
        task.abort();
        remains.clone().gone().await;
        assert!(remains.are_gone());
    }

    #[test]
    fn a_life_is_not_gone_before_those_below_it() {
        let (above, remains) = Alive::begin();
        let (child, of_child) = above.begin_below();
        drop(above);
        assert!(!remains.are_gone() && !of_child.are_gone());
        drop(child);
        assert!(remains.are_gone() && of_child.are_gone());
    }
}
