//! Free ports on the loopback address.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

/// How far from the wanted port to look.
const SEARCH: u16 = 400;

/// Hands out ports that nobody listens on, each once.
#[derive(Debug, Default)]
pub struct Ports {
    given: BTreeSet<u16>,
}

impl Ports {
    /// Never hands out these.
    pub fn without(taken: impl IntoIterator<Item = u16>) -> Self {
        Self { given: taken.into_iter().collect() }
    }

    /// `wanted`, or the next free one after it; `None` if there is none nearby.
    pub fn next(&mut self, wanted: u16) -> Option<u16> {
        let port = (wanted..wanted.saturating_add(SEARCH))
            .find(|&port| !self.given.contains(&port) && is_free(port))?;
        self.given.insert(port);
        Some(port)
    }
}

/// Whether nobody listens on `port` of the loopback address.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_ports_are_passed_over_and_none_is_given_twice() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let mut ports = Ports::default();
        let (first, second) = (ports.next(taken).unwrap(), ports.next(taken).unwrap());
        assert!(taken < first && first < second);
        assert_ne!(Ports::without([second]).next(second), Some(second));
    }
}
