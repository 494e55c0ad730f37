//! Tasks that may outlive the request that began them, but not their owner.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The owner of some tasks: dropped, it ends them all. Tasks of an actor belong to its [`Ctx`](super::Ctx) instead.
#[derive(Debug, Default)]
pub struct Tasks {
    set: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// Begins `task` at once. What it comes to arrives in the future returned, which may be dropped: the task goes on.
    /// `None` if it panicked, or was ended with its owner. How many there may be is up to the caller.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Option<T>> {
        let (tell, told) = oneshot::channel();
        let mut set = self.lock();
        while set.try_join_next().is_some() {}
        set.spawn(async move {
            // Nobody waits for it any more: it was done for its own sake.
            drop(tell.send(task.await));
        });
        Box::pin(async move { told.await.ok() })
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_task_outlives_whoever_waits_for_it_but_not_its_owner() {
        let tasks = Tasks::default();
        let (ran, alive) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(()));
        let (tell, held) = (ran.clone(), alive.clone());
        drop(tasks.spawn(async move {
            tell.add_permits(1);
            std::future::pending::<()>().await;
            drop(held);
        }));
        ran.acquire().await.unwrap().forget();
        assert_eq!(tasks.spawn(async { 7 }).await, Some(7));
        assert_eq!(Arc::strong_count(&alive), 2);
        let aborted = tasks.spawn(std::future::pending::<()>());
        drop(tasks);
        assert_eq!(aborted.await, None);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
