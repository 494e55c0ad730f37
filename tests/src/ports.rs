//! Free ports that stay the node's own: a node that was killed must find its port free when it comes back, so they are
//! taken from below the range the system gives to outgoing connections.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{Mutex, PoisonError},
};

use crate::rng::Rng;

const RANGE: std::ops::Range<u64> = 12_000..32_000;

/// A port on loopback that nobody listens on and that this process gives out once.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut rng = Rng::from_entropy();
    loop {
        let port = u16::try_from(RANGE.start + rng.below(RANGE.end - RANGE.start)).expect("a port");
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free && GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}
