//! When to dial, which calls wait for the connection, and what becomes of them.
//!
//! ```text
//! down --call--> dialing --a coordinator answers--> up      (what waited is sent, in order)
//!  ^                \--nobody, or another role--> down      (what waited is refused with the reason)
//!  \--------------- the connection drains or ends --------/ (seen when the next call comes)
//!  \--- LATE_MAX calls in a row without any answer -------/ (it is closed: the other side may be deaf on it)
//! ```
//!
//! Invariants: at most one dial at a time; at most `max` calls wait; a call that was taken is sent or refused, once.

use dfs_wire::status::{Status, StatusCode};

/// So many calls in a row without an answer, and the connection is given up. A bit that flips in the length of a frame leaves the other
/// side waiting for the rest of it, and its own signs of life go on meanwhile.
const LATE_MAX: u32 = 2;

/// What becomes of a call that found no connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait<C> {
    /// It waits; a dial is to be started.
    Dial,
    /// It waits for the dial under way.
    Dialing,
    /// Too many wait.
    Refused(C, Status),
}

/// The calls that wait for a connection, `C` each.
#[derive(Debug)]
pub(super) struct ControlState<C> {
    max: usize,
    waiting: Vec<C>,
    dialing: bool,
    /// The number of the connection there is, or was last.
    connection: u64,
    /// Calls on it that had no answer, since one had.
    late: u32,
}

impl<C> ControlState<C> {
    /// Nothing waits; at most `max` calls will.
    pub(super) fn new(max: usize) -> Self {
        Self { max, waiting: Vec::new(), dialing: false, connection: 0, late: 0 }
    }

    /// A call has come while there is no connection that takes requests.
    pub(super) fn wait(&mut self, call: C) -> Wait<C> {
        if self.waiting.len() >= self.max {
            let text = "too many calls wait for a connection to the coordinator";
            return Wait::Refused(call, Status::new(StatusCode::Busy, text));
        }
        self.waiting.push(call);
        match std::mem::replace(&mut self.dialing, true) {
            true => Wait::Dialing,
            false => Wait::Dial,
        }
    }

    /// The dial has ended, one way or the other: these have waited for it, in order.
    pub(super) fn dial_ended(&mut self) -> Vec<C> {
        self.dialing = false;
        std::mem::take(&mut self.waiting)
    }

    /// The coordinator was reached: the number of the connection.
    pub(super) fn connected(&mut self) -> u64 {
        (self.connection, self.late) = (self.connection + 1, 0);
        self.connection
    }

    /// The number of the connection there is.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    /// A call on a connection has ended. Whether that connection is to be given up.
    pub(super) fn ended(&mut self, connection: u64, answered: bool) -> bool {
        if connection != self.connection {
            return false;
        }
        self.late = if answered { 0 } else { self.late + 1 };
        self.late >= LATE_MAX
    }
}

/// Whether who answers at `address` is who was called.
///
/// # Errors
/// `Unavailable` for any other role.
pub(super) fn expect_coordinator(role: &str, address: &str) -> Result<(), Status> {
    match role {
        "coordinator" => Ok(()),
        _ => {
            let text = format!("a {role} answers at {address} where the coordinator was expected");
            Err(Status::new(StatusCode::Unavailable, text)
                .hint("check coordinator.host and coordinator.port"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dial_serves_all_calls_that_wait_in_order() {
        let mut state = ControlState::new(3);
        assert_eq!([state.wait(1), state.wait(2)], [Wait::Dial, Wait::Dialing]);
        assert_eq!(state.dial_ended(), [1, 2]);
        assert_eq!(state.dial_ended(), [] as [i32; 0], "none is sent twice");
    }

    #[test]
    fn after_a_dial_in_vain_the_next_call_dials_again() {
        let mut state = ControlState::new(3);
        state.wait(1);
        state.dial_ended();
        assert_eq!(state.wait(2), Wait::Dial);
    }

    #[test]
    fn a_connection_on_which_nothing_is_answered_is_given_up_and_one_that_is_only_slow_is_not() {
        let mut state = ControlState::<i32>::new(3);
        let first = state.connected();
        let ends = [false, true, false, true, false].map(|answered| state.ended(first, answered));
        assert_eq!(ends, [false; 5], "each second one is answered");
        assert!(state.ended(first, false));
        let second = state.connected();
        assert!(!state.ended(first, false), "that one is gone");
        assert_eq!((state.connection(), state.ended(second, false)), (second, false));
    }

    #[test]
    fn another_role_at_the_address_is_named() {
        assert_eq!(expect_coordinator("coordinator", "c:7400"), Ok(()));
        let why = expect_coordinator("datanode", "c:7400").expect_err("refused").to_string();
        assert!(why.contains("a datanode answers at c:7400"), "{why}");
    }

    #[test]
    fn the_queue_is_bounded_and_a_refused_call_comes_back() {
        let mut state = ControlState::new(1);
        state.wait(1);
        assert!(matches!(state.wait(2), Wait::Refused(2, why) if why.code == StatusCode::Busy));
    }
}
