//! The tree stops in order, within its limits.

use super::*;

#[tokio::test(start_paused = true)]
async fn children_stop_one_by_one_the_last_one_first() {
    let journal = Journal::default();
    let [a, b, c] = trio(&journal);
    let d = Subject::new("d", &journal);
    let inner = SupervisorSpec::one_for_one(&clock(), "inner").child(b.spec()).child(c.spec());
    let spec =
        SupervisorSpec::one_for_one(&clock(), "root").child(a.spec()).supervisor(inner).child(d.spec());
    let (root, tree) = grow(spec).await;
    assert_eq!(journal.take(), ["a up", "b up", "c up", "d up"]);
    // However long each takes: the next one begins when it has ended.
    *c.args.screws.stop_takes.lock().unwrap() = secs(3);
    assert_eq!(root.shutdown().await, Exit::Stopped);
    let order = ["d stops", "d gone", "c stops", "c gone", "b stops", "b gone", "a stops", "a gone"];
    assert_eq!(journal.take(), order);
    assert_eq!(root.wait().await.code(), 0);
    assert!(tree.snapshot().iter().all(|row| row.stats.state == ActorState::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_in_time_is_killed_and_the_others_stop_in_order() {
    let journal = Journal::default();
    let [a, b, c] = trio(&journal);
    let spec = SupervisorSpec::one_for_one(&clock(), "root")
        .child(a.spec())
        .child(b.spec().shutdown_timeout(secs(2)))
        .child(c.spec());
    let (root, tree) = grow(spec).await;
    journal.take();
    b.tell(Order::Sleep(secs(100_000))).await;
    let began = tokio::time::Instant::now();
    assert_eq!(root.shutdown().await, Exit::Stopped);
    assert_eq!(began.elapsed(), secs(2));
    assert_eq!(journal.take(), ["c stops", "c gone", "b gone", "a stops", "a gone"], "a kill skips stop");
    assert_eq!(tree.get("root/b").unwrap().stats.last_exit.as_deref(), Some("killed"));
}

#[tokio::test(start_paused = true)]
async fn a_tree_can_be_shut_down_while_a_child_is_backing_off() {
    let journal = Journal::default();
    let [a, b, _] = trio(&journal);
    let spec = SupervisorSpec::one_for_one(&clock(), "root").child(a.spec()).child(b.spec());
    let (root, tree) = grow(spec).await;
    b.upset(Order::Fail).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(tree.get("root/b").unwrap().stats.state, ActorState::BackingOff);
    assert_eq!(root.shutdown().await, Exit::Stopped);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(journal.take(), ["a up", "b up", "b gone", "a stops", "a gone"], "and nothing comes back");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_root_leaves_no_actor_behind() {
    let journal = Journal::default();
    let [a, b, _] = trio(&journal);
    let inner = SupervisorSpec::one_for_one(&clock(), "inner").child(b.spec());
    let (root, _tree) =
        grow(SupervisorSpec::one_for_one(&clock(), "root").child(a.spec()).supervisor(inner)).await;
    journal.take();
    drop(root);
    tokio::time::sleep(secs(1)).await;
    let mut gone = journal.take();
    gone.sort();
    assert_eq!(gone, ["a gone", "b gone"]);
}
