//! Which changes wait, and which of them are committed together.

use std::collections::VecDeque;

use dfs_wire::status::{Status, StatusCode};

use crate::budgets::WRITER_QUEUE_MAX;

/// Mutations of one group: bounds how long one commit may take, and what one failure may leave unknown.
pub const GROUP_MAX: usize = 128;

/// Changes `J` in the order in which they came. At most one group is being committed.
#[derive(Debug)]
pub(super) struct GroupQueue<J> {
    waiting: VecDeque<J>,
    committing: bool,
}

impl<J> Default for GroupQueue<J> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), committing: false }
    }
}

impl<J> GroupQueue<J> {
    /// Takes a change.
    ///
    /// # Errors
    /// Too many wait: the change comes back, with what its asker is told.
    pub(super) fn push(&mut self, job: J) -> Result<(), (J, Status)> {
        if self.waiting.len() >= WRITER_QUEUE_MAX {
            let text = format!("{WRITER_QUEUE_MAX} metadata changes are waiting; nothing was done");
            return Err((job, Status::new(StatusCode::Busy, text).retry_after_ms(100)));
        }
        self.waiting.push_back(job);
        Ok(())
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// The group that is to be committed now; `None` while there is one under way, or nothing waits.
    pub(super) fn next_group(&mut self) -> Option<Vec<J>> {
        if self.committing || self.waiting.is_empty() {
            return None;
        }
        self.committing = true;
        Some(self.waiting.drain(..self.waiting.len().min(GROUP_MAX)).collect())
    }

    /// The group under way has ended.
    pub(super) fn ended(&mut self) {
        self.committing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_of_what_came_meanwhile_in_order_and_one_at_a_time() {
        let mut queue = GroupQueue::default();
        assert_eq!(queue.next_group(), None);
        assert!(queue.push(0).is_ok());
        assert_eq!(queue.next_group(), Some(vec![0]));
        let more = 1..=WRITER_QUEUE_MAX;
        assert!(more.clone().all(|job| queue.push(job).is_ok()));
        assert_eq!(queue.push(0).unwrap_err().1.code, StatusCode::Busy);
        assert_eq!(queue.next_group(), None, "one is being committed");
        let mut done = Vec::new();
        while done.len() < WRITER_QUEUE_MAX {
            queue.ended();
            let group = queue.next_group().unwrap();
            assert!(group.len() <= GROUP_MAX);
            done.extend(group);
        }
        assert_eq!(done, more.collect::<Vec<_>>());
    }
}
