//! Mischief reaches actors by path and by kind, and the tree recovers from it.

use super::*;

#[tokio::test(start_paused = true)]
async fn actors_are_struck_by_path_and_by_kind_and_come_back() {
    let journal = Journal::default();
    let [a, b, _] = trio(&journal);
    let (_root, tree) =
        grow(SupervisorSpec::one_for_one(&clock(), "root").child(a.spec()).child(b.spec())).await;
    journal.take();
    assert_eq!(tree.strike(&StrikeTarget::Path("root/a".into()), Strike::Panic), 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(a.sum().await, Ok(0));
    assert_eq!(journal.take(), ["a gone", "a up"]);

    assert_eq!(tree.strike(&StrikeTarget::Kind("probe".into()), Strike::Kill), 2);
    tokio::time::sleep(secs(1)).await;
    assert_eq!((a.sum().await, b.sum().await), (Ok(0), Ok(0)));
    let row = tree.get("root/b").unwrap().stats;
    assert_eq!((row.restarts, row.last_exit.as_deref()), (1, Some("killed")));
    assert_eq!(tree.strike(&StrikeTarget::Path("root/nobody".into()), Strike::Kill), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_looks_like_a_handler_that_does_not_end() {
    let a = Subject::new("a", &Journal::default());
    let spec = SupervisorSpec::one_for_one(&clock(), "root").child(a.spec().stuck_after(Some(secs(10))));
    let (_root, tree) = grow(spec).await;
    assert_eq!(tree.strike(&StrikeTarget::Kind("probe".into()), Strike::Pause(secs(5))), 1);
    let began = tokio::time::Instant::now();
    assert_eq!(a.addr.ask(Order::Get, secs(60)).await, Ok(0));
    assert_eq!(began.elapsed(), secs(5));
    assert_eq!(tree.strike(&StrikeTarget::Kind("probe".into()), Strike::Pause(secs(100_000))), 1);
    tokio::time::sleep(secs(15)).await;
    assert_eq!(tree.get("root/a").unwrap().stats.stuck, 1);
    assert_eq!(a.sum().await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_delay_slows_every_message_until_it_is_lifted() {
    let a = Subject::new("a", &Journal::default());
    let (_root, tree) = grow(SupervisorSpec::one_for_one(&clock(), "root").child(a.spec())).await;
    let target = StrikeTarget::Path("root/a".into());
    let took = async || {
        let began = tokio::time::Instant::now();
        assert_eq!(a.addr.ask(Order::Get, secs(60)).await, Ok(0));
        began.elapsed()
    };
    assert_eq!(tree.strike(&target, Strike::Delay(secs(2))), 1);
    assert_eq!((took().await, took().await), (secs(2), secs(2)));
    assert_eq!(tree.strike(&target, Strike::Delay(Duration::ZERO)), 1);
    assert_eq!(took().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn killing_a_supervisor_restarts_everything_under_it() {
    let journal = Journal::default();
    let [a, b, _] = trio(&journal);
    let inner = SupervisorSpec::one_for_one(&clock(), "inner").child(b.spec());
    let (_root, tree) =
        grow(SupervisorSpec::one_for_one(&clock(), "root").child(a.spec()).supervisor(inner)).await;
    a.tell(Order::Add(3)).await;
    b.tell(Order::Add(3)).await;
    assert_eq!((a.sum().await, b.sum().await), (Ok(3), Ok(3)));
    assert_eq!(tree.strike(&StrikeTarget::Path("root/inner".into()), Strike::Kill), 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((a.sum().await, b.sum().await), (Ok(3), Ok(0)), "the address of the grandchild is still good");
    assert_eq!(tree.get("root/inner").unwrap().stats.restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn temporary_children_die_with_their_supervisor_and_make_room() {
    let (inner, nursery) = SupervisorSpec::one_for_one(&clock(), "sessions").with_nursery(1);
    let (_root, tree) = grow(SupervisorSpec::one_for_one(&clock(), "root").supervisor(inner)).await;
    let args = Subject::new("guest", &Journal::default()).args;
    let guest = nursery.start::<Probe>("guest", args.clone(), 4).await.unwrap();
    assert_eq!(guest.ask(Order::Get, SOON).await, Ok(0));
    assert_eq!(tree.strike(&StrikeTarget::Path("root/sessions".into()), Strike::Kill), 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(guest.ask(Order::Get, secs(1000)).await, Err(AskError::Down));
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody will ever live there again");
    assert_eq!((tree.count("probe"), nursery.taken()), (0, 0));
    assert!(
        nursery.start::<Probe>("guest", args, 4).await.is_ok(),
        "the next life of the supervisor takes guests"
    );
}
