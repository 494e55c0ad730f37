//! A bad sample for each ban of `.clippy.toml`: an expectation that clippy does not fulfil is a warning, and a warning
//! fails the build. Tidy sees to it that no ban is without its sample. Nothing here does what it names.

use std::convert::identity;
use std::future::Ready;

use ractor::{ActorRef, RpcReplyPort};

/// Names things that clippy must refuse.
macro_rules! refused {
    ($lint:path: $($sample:expr),* $(,)?) => {
        $({
            #[expect($lint, reason = "a bad sample")]
            let _sample = $sample;
        })*
    };
}

#[test]
fn methods_are_refused() {
    refused! { clippy::disallowed_methods:
        tokio::task::block_in_place::<fn(), ()>,
        std::process::exit,
        std::mem::forget::<u8>,
        std::time::Instant::now,
        std::time::SystemTime::now,
        tokio::time::Instant::now,
        tokio::time::sleep,
        tokio::time::sleep_until,
        tokio::time::timeout::<Ready<()>>,
        tokio::time::timeout_at::<Ready<()>>,
        tokio::time::interval,
        tokio::time::interval_at,
        tokio::spawn::<Ready<()>>,
        tokio::task::spawn_local::<Ready<()>>,
        tokio::task::spawn_blocking::<fn(), ()>,
        tokio::runtime::Handle::spawn::<Ready<()>>,
        tokio::runtime::Handle::spawn_blocking::<fn(), ()>,
        tokio::runtime::Handle::block_on::<Ready<()>>,
        std::thread::sleep,
        std::thread::park,
        std::thread::spawn::<fn(), ()>,
        || std::thread::scope(|_| ()),
    }
}

#[test]
fn types_are_refused() {
    refused! { clippy::disallowed_types:
        None::<std::time::Instant>,
        None::<std::time::SystemTime>,
        None::<std::collections::HashMap<u8, u8>>,
        None::<std::collections::HashSet<u8>>,
        None::<tokio::sync::watch::Sender<u8>>,
        None::<tokio::sync::watch::Receiver<u8>>,
        None::<std::sync::Condvar>,
        None::<std::sync::Barrier>,
        None::<std::sync::mpsc::Receiver<u8>>,
    }
}

#[test]
fn macros_are_refused() {
    refused! { clippy::disallowed_macros:
        async |actor: ActorRef<RpcReplyPort<()>>| ractor::call!(actor, identity).is_ok(),
        async |actor: ActorRef<RpcReplyPort<()>>| ractor::call_t!(actor, identity, 1).is_ok(),
    }
}
