//! Tasks and timers live and die with their actor; temporary children are bounded; trees do not meet.

use super::*;

async fn alone(subject: &Subject) -> (Root, ActorTree) {
    grow(SupervisorSpec::one_for_one(&clock(), "root").child(subject.spec())).await
}

#[tokio::test(start_paused = true)]
async fn owned_tasks_are_gone_before_the_next_life_begins() {
    let journal = Journal::default();
    let a = Subject::new("a", &journal);
    let (_root, tree) = alone(&a).await;
    a.tell(Order::OwnTask).await;
    assert_eq!(a.sum().await, Ok(0));
    assert_eq!(tree.get("root/a").unwrap().stats.tasks, 1);
    a.upset(Order::Panic).await;
    assert_eq!(a.sum().await, Ok(0));
    assert_eq!(journal.take(), ["a up", "task gone", "a gone", "a up"]);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_task_fails_its_actor() {
    let a = Subject::new("a", &Journal::default());
    let (_root, tree) = alone(&a).await;
    a.tell(Order::OwnPanic).await;
    tokio::time::sleep(secs(1)).await;
    let row = tree.get("root/a").unwrap().stats;
    assert_eq!(row.restarts, 1);
    assert_eq!(row.last_exit.as_deref(), Some("an owned task panicked: task told to panic"));
}

#[tokio::test(start_paused = true)]
async fn timers_fire_repeat_and_can_be_cancelled_and_die_with_the_actor() {
    let journal = Journal::default();
    let a = Subject::new("a", &journal);
    let (_root, _tree) = alone(&a).await;
    a.tell(Order::Timers).await;
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    assert_eq!(journal.take(), ["a up", "again", "again", "once"]);
    a.upset(Order::Panic).await;
    tokio::time::sleep(secs(60)).await;
    assert_eq!(journal.take(), ["a gone", "a up"], "the new life has no timers of the old one");
}

#[tokio::test(start_paused = true)]
async fn a_timer_cancelled_after_it_expired_is_not_delivered_either() {
    let journal = Journal::default();
    let a = Subject::new("a", &journal);
    let (_root, _tree) = alone(&a).await;
    a.tell(Order::Arm).await;
    a.tell(Order::Sleep(secs(10))).await;
    a.tell(Order::Disarm).await;
    tokio::time::sleep(secs(20)).await;
    assert_eq!(
        journal.take(),
        ["a up"],
        "it expired while the actor was busy, and was cancelled before its turn"
    );
}

#[tokio::test(start_paused = true)]
async fn an_alarm_replaces_the_one_before_and_rings_once() {
    let journal = Journal::default();
    let a = Subject::new("a", &journal);
    let (_root, _tree) = alone(&a).await;
    a.tell(Order::WakeAfter(Some(secs(10)), "late")).await;
    a.tell(Order::WakeAfter(Some(secs(5)), "early")).await;
    a.tell(Order::WakeAfter(Some(secs(5)), "the same instant changes nothing")).await;
    tokio::time::sleep(secs(30)).await;
    assert_eq!(journal.take(), ["a up", "early"]);
    a.tell(Order::WakeAfter(Some(secs(5)), "again")).await;
    tokio::time::sleep(secs(6)).await;
    assert_eq!(journal.take(), ["again"], "it rang, so the next one is a new one");
    a.tell(Order::WakeAfter(Some(secs(5)), "called off")).await;
    a.tell(Order::WakeAfter(None, "nothing")).await;
    tokio::time::sleep(secs(30)).await;
    assert_eq!(journal.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_tick_never_queues_up_behind_a_slow_handler() {
    let journal = Journal::default();
    let a = Subject::new("a", &journal);
    let (_root, _tree) = alone(&a).await;
    a.tell(Order::Timers).await;
    a.tell(Order::Sleep(secs(25))).await;
    tokio::time::sleep(secs(26)).await;
    let again = journal.take().iter().filter(|what| *what == "again").count();
    assert_eq!(again, 1, "six periods have passed");
}

#[tokio::test(start_paused = true)]
async fn a_nursery_bounds_its_children_and_forgets_those_that_end() {
    let journal = Journal::default();
    let (spec, nursery) = SupervisorSpec::one_for_one(&clock(), "root").with_nursery(2);
    let (root, tree) = grow(spec).await;
    let args = |name| Subject::new(name, &journal).args;
    let first = nursery.start::<Probe>("guest", args("one"), 4).await.unwrap();
    let second = nursery.start::<Probe>("guest", args("two"), 4).await.unwrap();
    let third = nursery.start::<Probe>("guest", args("three"), 4).await;
    assert_eq!(third.map(|_| ()), Err(NurseryError::Full { max: 2 }));
    assert_eq!((first.ask(Order::Get, SOON).await, second.ask(Order::Get, SOON).await), (Ok(0), Ok(0)));
    let paths: Vec<_> = tree.snapshot().into_iter().map(|row| row.path).collect();
    assert_eq!(paths, ["root", "root/guest", "root/guest.2"], "names that are taken get a number");

    first.try_send(Order::Panic).unwrap();
    assert!(nursery.reserve(SOON).await.is_ok(), "room again once it has ended");
    assert_eq!(first.ask(Order::Get, secs(100)).await, Err(AskError::Down), "never restarted");
    assert_eq!((tree.count("probe"), nursery.taken()), (1, 1));
    journal.take();
    root.shutdown().await;
    assert_eq!(journal.take(), ["two stops", "two gone"]);
    assert_eq!(nursery.taken(), 0);
    assert_eq!(nursery.start::<Probe>("late", args("late"), 4).await.map(|_| ()), Err(NurseryError::Down));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_temporary_child_is_killed() {
    let (spec, nursery) = SupervisorSpec::one_for_one(&clock(), "root").with_nursery(2);
    let (_root, tree) = grow(spec).await;
    let guest = Subject::new("guest", &Journal::default());
    nursery.try_reserve().unwrap().start_spec(guest.spec().stuck_after(Some(secs(5)))).await.unwrap();
    guest.tell(Order::Sleep(secs(100_000))).await;
    assert_eq!(guest.addr.ask(Order::Get, secs(60)).await, Err(AskError::Dead));
    assert_eq!((tree.count("probe"), nursery.taken()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn several_trees_run_in_one_process() {
    let journal = Journal::default();
    let (one, two) = (Subject::new("a", &journal), Subject::new("a", &journal));
    let (root_one, tree_one) = alone(&one).await;
    let (_root_two, tree_two) = alone(&two).await;
    one.tell(Order::Add(1)).await;
    two.upset(Order::Panic).await;
    assert_eq!((one.sum().await, two.sum().await), (Ok(1), Ok(0)));
    let restarts = |tree: &ActorTree| tree.get("root/a").unwrap().stats.restarts;
    assert_eq!((restarts(&tree_one), restarts(&tree_two)), (0, 1));
    assert_eq!(root_one.shutdown().await, Exit::Stopped);
    assert_eq!(two.sum().await, Ok(0), "the other tree goes on");
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_tells_who_is_who() {
    let journal = Journal::default();
    let [a, b, c] = trio(&journal);
    let inner = SupervisorSpec::rest_for_one(&clock(), "disks").child(c.spec());
    let spec =
        SupervisorSpec::one_for_one(&clock(), "root").child(b.spec()).child(a.spec()).supervisor(inner);
    let (_root, tree) = grow(spec).await;
    let rows: Vec<_> = tree.snapshot().into_iter().map(|row| (row.path, row.kind, row.parent)).collect();
    let expected = [
        ("root", "supervisor", None),
        ("root/a", "probe", Some("root")),
        ("root/b", "probe", Some("root")),
        ("root/disks", "supervisor", Some("root")),
        ("root/disks/c", "probe", Some("root/disks")),
    ];
    assert_eq!(rows, expected.map(|(path, kind, parent)| (path.to_owned(), kind, parent.map(str::to_owned))));
    assert!(tree.snapshot().iter().all(|row| row.stats.state == ActorState::Running));
}
