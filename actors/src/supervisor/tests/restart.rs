//! What fails is started again, alone or with those that depend on it, and given up in the end.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_panic_restarts_that_actor_only_and_its_address_stays_valid() {
    let journal = Journal::default();
    let [a, b, c] = trio(&journal);
    let spec = SupervisorSpec::one_for_one(&clock(), "root").child(a.spec()).child(b.spec()).child(c.spec());
    let (_root, tree) = grow(spec).await;
    for subject in [&a, &b, &c] {
        subject.tell(Order::Add(7)).await;
    }
    b.upset(Order::Panic).await;
    // The same address: the question waits while the actor is down, and a new life answers.
    assert_eq!(b.sum().await, Ok(0), "state comes from the factory, not from the corpse");
    assert_eq!((a.sum().await, c.sum().await), (Ok(7), Ok(7)), "siblings keep their state");
    let row = tree.get("root/b").unwrap().stats;
    assert_eq!((row.state, row.restarts), (ActorState::Running, 1));
    assert_eq!(row.last_exit.as_deref(), Some("panicked: told to panic"));
    assert_eq!(tree.get("root").unwrap().stats.child_failures, 1);
    assert_eq!(tree.get("root/a").unwrap().stats.restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_restarts_the_later_siblings_in_order() {
    let journal = Journal::default();
    let [a, b, c] = trio(&journal);
    let spec = SupervisorSpec::rest_for_one(&clock(), "root").child(a.spec()).child(b.spec()).child(c.spec());
    let (_root, _tree) = grow(spec).await;
    assert_eq!(journal.take(), ["a up", "b up", "c up"]);
    a.tell(Order::Add(1)).await;
    b.upset(Order::Fail).await;
    assert_eq!(c.sum().await, Ok(0));
    assert_eq!(journal.take(), ["b gone", "c stops", "c gone", "b up", "c up"]);
    assert_eq!(a.sum().await, Ok(1), "the earlier sibling is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_tried_again_with_growing_waits() {
    let journal = Journal::default();
    let a = Subject::new("a", &journal);
    *a.args.screws.failing_starts.lock().unwrap() = 4;
    let began = tokio::time::Instant::now();
    let (_root, tree) = grow(SupervisorSpec::one_for_one(&clock(), "root").child(a.spec())).await;
    let took = began.elapsed();
    // 100 + 200 + 400 + 800 ms, each give or take a fifth.
    assert!(took > Duration::from_millis(1190) && took < Duration::from_millis(1810), "{took:?}");
    assert_eq!(tree.get("root/a").unwrap().stats.restarts, 4);
}

#[tokio::test(start_paused = true)]
async fn too_many_restarts_escalate_to_the_root_and_end_it_with_a_code() {
    let journal = Journal::default();
    let [a, b, c] = trio(&journal);
    let inner = SupervisorSpec::one_for_one(&clock(), "inner").child(b.spec()).child(c.spec());
    let outer = Intensity { max_restarts: 1, window: secs(600) };
    let spec =
        SupervisorSpec::one_for_one(&clock(), "root").intensity(outer).child(a.spec()).supervisor(inner);
    let (root, tree) = grow(spec).await;
    *c.args.screws.failing_starts.lock().unwrap() = u32::MAX;
    c.upset(Order::Fail).await;
    let exit = tokio::time::timeout(secs(3600), root.wait()).await.expect("it gives up");
    assert_eq!(exit.code(), 70);
    let Exit::Escalated(why) = exit else { panic!("not escalated: {exit:?}") };
    assert!(why.contains("inner") && why.contains("told to fail"), "the chain of reasons: {why}");
    assert_eq!(
        tree.get("root/inner").unwrap().stats.restarts,
        1,
        "the inner supervisor was tried again once"
    );
    let journal = journal.take();
    assert!(journal.contains(&"a stops".to_owned()), "siblings are stopped in order: {journal:?}");
    assert_eq!(a.sum().await, Err(AskError::Down));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_actor_is_killed_and_restarted() {
    let journal = Journal::default();
    let [a, b, _] = trio(&journal);
    let spec = SupervisorSpec::one_for_one(&clock(), "root")
        .child(a.spec().stuck_after(Some(secs(5))))
        .child(b.spec());
    let (_root, tree) = grow(spec).await;
    a.tell(Order::Sleep(secs(4))).await;
    tokio::time::sleep(secs(10)).await;
    assert_eq!(tree.get("root/a").unwrap().stats.restarts, 0, "slow is not stuck");
    assert_eq!(tree.get("root/a").unwrap().stats.slow, 1);
    a.tell(Order::Sleep(secs(100_000))).await;
    tokio::time::sleep(secs(3)).await;
    assert!(tree.get("root/a").unwrap().stats.busy_since.is_some(), "visible while it lasts");
    tokio::time::sleep(secs(5)).await;
    assert_eq!(a.sum().await, Ok(0));
    let row = tree.get("root/a").unwrap().stats;
    assert_eq!((row.stuck, row.restarts), (1, 1));
    assert!(row.last_exit.as_deref().unwrap().starts_with("killed: stuck in one handler"), "{row:?}");
    assert_eq!(tree.get("root/b").unwrap().stats.restarts, 0);
}

/// Waits for what happens on other threads.
async fn see(happened: impl Fn() -> bool) {
    let look = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(secs(60), look).await.expect("it happens");
}

/// On real threads, since what blocks one does not see a paused clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_left_of_a_dead_child_keeps_nobody_waiting_but_the_child() {
    let (journal, clock) = (Journal::default(), Arc::new(StoppedClock) as Arc<dyn Clock>);
    let [a, b, c] = ["a", "b", "c"].map(|name| Subject::by(&clock, name, &journal));
    let at_once = Backoff { base: Duration::ZERO, max: Duration::ZERO, reset_after: secs(60) };
    let [one, two] = [&a, &b].map(|subject| subject.spec().backoff(at_once));
    let spec = SupervisorSpec::one_for_one(&clock, "root").child(one).child(two);
    let (spec, nursery) = spec.with_nursery(2);
    let env = Env { clock: clock.clone(), ..Env::for_tests(11) };
    let (root, tree) = grow_in(env, spec).await;
    nursery.try_reserve().unwrap().start_spec(c.spec()).await.unwrap();
    let (begun, blocked) = std::sync::mpsc::channel();
    let (release, until) = std::sync::mpsc::channel();
    let (release_guest, guest_until) = std::sync::mpsc::channel();
    a.tell(Order::OwnBlock(begun.clone(), until)).await;
    c.tell(Order::OwnBlock(begun, guest_until)).await;
    // This is not a worker of the runtime: it may block.
    blocked.recv().and_then(|()| blocked.recv()).unwrap();
    for path in ["root/a", "root/c"] {
        assert_eq!(tree.strike(&StrikeTarget::Path(path.to_owned()), Strike::Kill), 1);
    }
    // The supervisor sees to others: it restarts one and admits another, at the very instant.
    b.tell(Order::Panic).await;
    let restarts = |path: &str| tree.get(path).unwrap().stats.restarts;
    see(|| restarts("root/b") == 1).await;
    assert_eq!(b.sum().await, Ok(0));
    let guest = nursery.start::<Probe>("guest", Subject::new("guest", &journal).args, 4).await.unwrap();
    assert_eq!(guest.ask(Order::Get, SOON).await, Ok(0));
    assert_eq!(restarts("root/a"), 0, "no second life beside the first one's task");
    assert_eq!(nursery.taken(), 2, "nor is there room for another in place of the dead guest");
    drop(release);
    see(|| restarts("root/a") == 1).await;
    assert_eq!(a.sum().await, Ok(0));
    drop(release_guest);
    assert!(nursery.reserve(SOON).await.is_ok());
    assert_eq!(root.shutdown().await, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_supervisor_that_was_killed_is_not_started_beside_what_is_left_of_its_children() {
    let (journal, clock) = (Journal::default(), Arc::new(StoppedClock) as Arc<dyn Clock>);
    let [a, b] = ["a", "b"].map(|name| Subject::by(&clock, name, &journal));
    let at_once = Backoff { base: Duration::ZERO, max: Duration::ZERO, reset_after: secs(60) };
    let inner = SupervisorSpec::one_for_one(&clock, "inner").child(a.spec().backoff(at_once));
    let spec = SupervisorSpec::one_for_one(&clock, "root").supervisor(inner).child(b.spec().backoff(at_once));
    let (root, tree) = grow_in(Env { clock: clock.clone(), ..Env::for_tests(11) }, spec).await;
    let (begun, blocked) = std::sync::mpsc::channel();
    let (release, until) = std::sync::mpsc::channel();
    a.tell(Order::OwnBlock(begun, until)).await;
    blocked.recv().unwrap();
    assert_eq!(tree.strike(&StrikeTarget::Path("root/inner".to_owned()), Strike::Kill), 1);
    let restarts = |path: &str| tree.get(path).unwrap().stats.restarts;
    // Twice, so that the one above has had all the time it needs.
    for time in 1..=2 {
        b.tell(Order::Panic).await;
        see(|| restarts("root/b") == time).await;
        assert_eq!(b.sum().await, Ok(0));
    }
    // Time stands still, so a restart that is decided stays one that waits for its moment.
    let waits = || tree.get("root/inner").unwrap().stats.state == ActorState::BackingOff;
    assert!(!waits(), "no second life beside the task");
    drop(release);
    see(waits).await;
    assert_eq!(root.shutdown().await, Exit::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_killed_and_tried_again() {
    let journal = Journal::default();
    let a = Subject::new("a", &journal);
    *a.args.screws.start_takes.lock().unwrap() = secs(1000);
    let tree = ActorTree::new("n");
    let spec = SupervisorSpec::one_for_one(&clock(), "root").child(a.spec().start_timeout(Some(secs(2))));
    let root = Root::start(Env::for_tests(1), tree.clone(), spec).await.unwrap();
    assert!(!root.ready(secs(3)).await);
    *a.args.screws.start_takes.lock().unwrap() = Duration::ZERO;
    assert!(root.ready(secs(5)).await);
    assert!(tree.get("root/a").unwrap().stats.restarts >= 1);
}

#[tokio::test(start_paused = true)]
async fn kinds_of_restart_are_obeyed() {
    let journal = Journal::default();
    let [a, b, c] = trio(&journal);
    let spec = SupervisorSpec::one_for_one(&clock(), "root")
        .child(a.spec().restart(Restart::Permanent))
        .child(b.spec().restart(Restart::Transient))
        .child(c.spec().restart(Restart::Temporary));
    let (_root, tree) = grow(spec).await;
    a.upset(Order::Stop).await;
    b.upset(Order::Stop).await;
    c.upset(Order::Panic).await;
    tokio::time::sleep(secs(5)).await;
    let state = |path| tree.get(path).unwrap().stats.state;
    assert_eq!(state("root/a"), ActorState::Running);
    assert_eq!(state("root/b"), ActorState::Stopped);
    assert_eq!(state("root/c"), ActorState::Failed);
    let began = tokio::time::Instant::now();
    assert_eq!((b.sum().await, c.sum().await), (Err(AskError::Down), Err(AskError::Down)));
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody will come: no reason to wait");
}
