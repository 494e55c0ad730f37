//! The emptying of the quarantine, running, in virtual time.

use super::*;
use crate::datanode::fakes::{Rig, key};

#[tokio::test(start_paused = true)]
async fn the_quarantine_is_emptied_at_the_interval_and_after_a_panic() {
    let rig = Rig::start(0..3).await;
    rig.store.quarantine(vec![key(1)]).await;
    rig.pass(200).await;
    let retention = QuarantineConfig::default().retention;
    assert!(rig.store.quarantined.lock().unwrap().is_empty());
    let before = rig.store.purges.lock().unwrap().clone();
    assert!((3..=4).contains(&before.len()) && before.iter().all(|age| *age == retention), "{before:?}");
    rig.panic("quarantine").await;
    let after = rig.store.purges.lock().unwrap().len();
    assert!(after > before.len(), "a new life begins with a round");
}
