//! A value that many look at and some wait for: tokio's `watch`, but for the order in which those who wait are woken.
//!
//! tokio spreads waiters over eight lists by chance and wakes list by list, so that what several of them do next is not the
//! same twice. Here they are woken in the order in which they began to wait, and a run can be replayed from its seed. The
//! names and their meanings are tokio's.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

struct Shared<T> {
    value: RwLock<T>,
    /// Goes up with each change.
    version: AtomicU64,
    senders: AtomicUsize,
    changed: Notify,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// All senders are gone: the value will not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody is left who could change the value")]
pub struct Closed;

/// Changes the value. Clones change the same one.
pub struct Sender<T>(Arc<Shared<T>>);

/// Looks at the value, and waits for its changes.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// A value, as it is at first.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    /// A value that nobody looks at yet.
    #[must_use]
    pub fn new(value: T) -> Self {
        let (version, senders) = (AtomicU64::new(0), AtomicUsize::new(1));
        Self(Arc::new(Shared { value: RwLock::new(value), version, senders, changed: Notify::new() }))
    }

    /// A new receiver, which has seen the present value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: Arc::clone(&self.0), seen: self.0.version() }
    }

    /// The present value. While the guard is held nobody can change it: not across an await.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    /// Changes the value, whether or not anybody looks, and gives back the old one.
    pub fn send_replace(&self, value: T) -> T {
        let mut value = value;
        self.send_if_modified(|now| {
            std::mem::swap(now, &mut value);
            true
        });
        value
    }

    /// Lets `modify` change the value; it says whether it did. Says the same.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let mut now = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        let modified = modify(&mut now);
        if modified {
            self.0.version.fetch_add(1, Ordering::Release);
        }
        drop(now);
        if modified {
            self.0.changed.notify_waiters();
        }
        modified
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&*self.borrow()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&*self.borrow()).finish()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Receiver<T> {
    /// The present value. While the guard is held nobody can change it: not across an await.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    /// The present value, which counts as seen.
    pub fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version();
        value
    }

    /// Whether there is a value that this receiver has not seen.
    ///
    /// # Errors
    /// If all senders are gone.
    pub fn has_changed(&self) -> Result<bool, Closed> {
        match self.shared.senders.load(Ordering::Acquire) {
            0 => Err(Closed),
            _ => Ok(self.shared.version() != self.seen),
        }
    }

    /// Waits for a value that this receiver has not seen, which then counts as seen. Cancel safe.
    ///
    /// # Errors
    /// If there is none, and all senders are gone.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Begun before the look, so that no change is missed in between.
            let changed = self.shared.changed.notified();
            // Whether all are gone before what they said: what the last one said before it went is seen.
            let closed = self.shared.senders.load(Ordering::Acquire) == 0;
            let version = self.shared.version();
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if closed {
                return Err(Closed);
            }
            changed.await;
        }
    }

    /// Waits until `is_so` has held of the value; returns at once if it does. Cancel safe.
    ///
    /// # Errors
    /// If it does not, and all senders are gone.
    pub async fn wait_for(&mut self, mut is_so: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        while !is_so(&self.borrow_and_update()) {
            self.changed().await?;
        }
        Ok(())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        for _ in 0..20 {
            let (sender, receiver) = channel(0);
            let order = Arc::new(Mutex::new(Vec::new()));
            let waiting: Vec<_> = (0..16)
                .map(|n| {
                    let (mut receiver, order) = (receiver.clone(), Arc::clone(&order));
                    tokio::spawn(async move {
                        receiver.wait_for(|value| *value == 7).await.unwrap();
                        order.lock().unwrap().push(n);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            sender.send_replace(7);
            for task in waiting {
                task.await.unwrap();
            }
            assert_eq!(*order.lock().unwrap(), (0..16).collect::<Vec<_>>());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_word_is_heard_though_whoever_said_it_is_gone() {
        for round in 0..20_000 {
            let (sender, mut receiver) = channel(false);
            let saying = std::thread::spawn(move || {
                sender.send_replace(true);
            });
            assert_eq!(receiver.wait_for(|said| *said).await, Ok(()), "round {round}");
            saying.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_change_is_seen_once_and_the_end_is_told() {
        let (sender, mut receiver) = channel(1);
        assert_eq!(receiver.has_changed(), Ok(false));
        assert_eq!(sender.send_replace(2), 1);
        assert!(!sender.send_if_modified(|_| false));
        assert_eq!(receiver.has_changed(), Ok(true));
        receiver.changed().await.unwrap();
        assert_eq!((*receiver.borrow(), receiver.has_changed()), (2, Ok(false)));
        let other = sender.clone();
        drop(sender);
        assert_eq!(receiver.has_changed(), Ok(false), "there is another");
        let mut late = receiver.clone();
        let waiting = tokio::spawn(async move { late.changed().await });
        tokio::task::yield_now().await;
        other.send_replace(3);
        waiting.await.unwrap().unwrap();
        assert_eq!(receiver.wait_for(|value| *value == 3).await, Ok(()));
        drop(other);
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.wait_for(|value| *value == 4).await, Err(Closed));
        assert_eq!(receiver.wait_for(|value| *value == 3).await, Ok(()));
    }
}
