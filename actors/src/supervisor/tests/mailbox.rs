//! Mailboxes are bounded, and every question ends.

use super::*;

/// Restarts as often as a test may need.
const PATIENT: Intensity = Intensity { max_restarts: 100, ..Intensity::DEFAULT };

async fn alone(subject: &Subject) -> (Root, ActorTree) {
    grow(SupervisorSpec::one_for_one(&clock(), "root").child(subject.spec())).await
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_for_queue_and_work_together() {
    let a = Subject::new("a", &Journal::default());
    let (_root, tree) = alone(&a).await;
    a.tell(Order::Sleep(secs(20))).await;
    let sent = (0..100).filter(|_| a.addr.try_send(Order::Add(1)).is_ok()).count();
    assert_eq!(sent, 7, "one of eight places is taken by the message in hand");
    assert_eq!(a.addr.try_send(Order::Add(1)), Err(SendError::Busy));
    assert_eq!(a.addr.send(Order::Add(1), secs(5)).await, Err(SendError::Busy));
    assert_eq!(a.sum().await, Err(AskError::Busy));
    assert_eq!(tree.get("root/a").unwrap().stats.depth, 8);
    // Who waits long enough gets in.
    assert_eq!(a.addr.send(Order::Add(1), secs(60)).await, Ok(()));
    assert_eq!(a.sum().await, Ok(8));
    let row = tree.get("root/a").unwrap().stats;
    assert_eq!((row.depth, row.depth_max, row.capacity), (0, 8, 8));
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_with_a_timeout() {
    let a = Subject::new("a", &Journal::default());
    let (_root, _tree) = alone(&a).await;
    let began = tokio::time::Instant::now();
    assert_eq!(a.addr.ask(Order::Hold, secs(3)).await, Err(AskError::Timeout));
    assert_eq!(began.elapsed(), secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_at_once_when_the_actor_dies() {
    let a = Subject::new("a", &Journal::default());
    let (_root, tree) = alone(&a).await;
    // One question in the actor's hands, one in its queue behind the order to panic.
    let (addr, other) = (a.addr.clone(), a.addr.clone());
    let held = tokio::spawn(async move { addr.ask(Order::Hold, secs(100)).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    a.tell(Order::Sleep(secs(1))).await;
    a.tell(Order::Panic).await;
    let queued = tokio::spawn(async move { other.ask(Order::Get, secs(100)).await });
    let began = tokio::time::Instant::now();
    assert_eq!(held.await.unwrap(), Err(AskError::Dead));
    assert_eq!(queued.await.unwrap(), Err(AskError::Dead));
    assert!(began.elapsed() <= secs(1), "{:?}", began.elapsed());
    assert_eq!(a.sum().await, Ok(0));
    assert_eq!(tree.get("root/a").unwrap().stats.depth, 0, "the places of dropped messages are free again");
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_when_it_is_dropped_unanswered_and_when_nobody_is_there() {
    let a = Subject::new("a", &Journal::default());
    assert_eq!(a.sum().await, Err(AskError::Down), "not started");
    assert_eq!(a.addr.try_send(Order::Add(1)), Err(SendError::Down));
    let (root, _tree) = alone(&a).await;
    assert_eq!(a.addr.ask(Order::Snub, secs(3)).await, Err(AskError::Dead));
    assert!(AskError::Down.had_no_effect() && !AskError::Dead.had_no_effect());
    root.shutdown().await;
    assert_eq!(a.sum().await, Err(AskError::Down));
    assert_eq!(a.addr.try_send(Order::Add(1)), Err(SendError::Down));
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_an_actor_that_is_being_restarted_but_not_for_ever() {
    let a = Subject::new("a", &Journal::default());
    let spec = SupervisorSpec::one_for_one(&clock(), "root").intensity(PATIENT).child(a.spec());
    let (_root, tree) = grow(spec).await;
    *a.args.screws.failing_starts.lock().unwrap() = 3;
    a.upset(Order::Fail).await;
    assert_eq!(a.addr.ask(Order::Get, Duration::from_millis(500)).await, Err(AskError::Down));
    assert_eq!(tree.get("root/a").unwrap().stats.state, ActorState::BackingOff);
    assert_eq!(a.addr.ask(Order::Get, secs(10)).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_actor_is_told_at_once_when_it_will_not_come() {
    let a = Subject::new("a", &Journal::default());
    let (root, _tree) = alone(&a).await;
    *a.args.screws.failing_starts.lock().unwrap() = 1;
    a.upset(Order::Fail).await;
    let addr = a.addr.clone();
    let asked = tokio::spawn(async move { addr.ask(Order::Get, secs(1000)).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = tokio::time::Instant::now();
    root.shutdown().await;
    assert_eq!(asked.await.unwrap(), Err(AskError::Down));
    assert!(began.elapsed() < secs(1));
}
