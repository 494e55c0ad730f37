//! Tests of the restart policy: single decisions, then random histories against a naive model of the world.

use std::collections::BTreeSet;

use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Choice;

use super::super::rules::Backoff;
use super::*;

/// A jitter of nothing: 800 + 200 per mille.
const FAIR: u64 = 200;

fn rules(restart: Restart) -> Rules {
    Rules {
        restart,
        backoff: Backoff::DEFAULT,
        start_timeout: Some(Duration::from_secs(10)),
        shutdown_timeout: Duration::from_secs(5),
    }
}

fn failed() -> ExitCause {
    ExitCause::Failed("broken".to_owned())
}

/// A policy with a world around it that does at once what it is told, unless the test says otherwise.
struct World {
    policy: RestartPolicy,
    now: MonoTime,
    lives: Vec<u64>,
    /// Living children.
    alive: BTreeSet<usize>,
    /// Dead children of which something still runs.
    dying: BTreeSet<usize>,
    timers: Vec<(MonoTime, usize, u64)>,
    log: Vec<Action>,
    escalated: bool,
}

impl World {
    fn new(strategy: Strategy, intensity: Intensity, kinds: &[Restart]) -> Self {
        let policy = RestartPolicy::new(strategy, intensity, kinds.iter().map(|kind| rules(*kind)));
        let lives = vec![0; kinds.len()];
        let (now, alive, timers, log) = (MonoTime::ZERO, BTreeSet::new(), Vec::new(), Vec::new());
        let dying = BTreeSet::new();
        let mut world = Self { policy, now, lives, alive, dying, timers, log, escalated: false };
        world.feed(Event::Begin);
        world
    }

    fn feed(&mut self, event: Event) -> Vec<Action> {
        let actions = self.policy.on(&event, self.now, FAIR);
        assert!(!self.escalated || actions.is_empty(), "acts after it gave up: {actions:?}");
        for action in &actions {
            match *action {
                Action::Start { child, life } => {
                    assert!(self.alive.insert(child), "started {child} twice");
                    assert!(!self.dying.contains(&child), "started {child} beside what is left of it");
                    assert_eq!(life, self.lives[child] + 1, "lives count by one");
                    self.lives[child] = life;
                }
                Action::Stop(child) | Action::Kill(child) => {
                    assert!(self.alive.contains(&child), "ends {child}, which is dead");
                }
                Action::Arm { child, timer, after } => self.timers.push((self.now + after, child, timer)),
                Action::Escalate { .. } => self.escalated = true,
                Action::BackOff { .. } | Action::Ended(_) | Action::AllUp => {}
            }
        }
        self.log.extend(actions.iter().cloned());
        actions
    }

    fn ready(&mut self, child: usize) -> Vec<Action> {
        self.feed(Event::Ready { child, life: self.lives[child] })
    }

    fn exit(&mut self, child: usize, cause: ExitCause) -> Vec<Action> {
        assert!(self.alive.remove(&child), "{child} is not alive");
        self.feed(Event::Exited { child, cause, gone: true })
    }

    /// It ends, and something of it goes on.
    fn linger(&mut self, child: usize, cause: ExitCause) -> Vec<Action> {
        assert!(self.alive.remove(&child), "{child} is not alive");
        self.dying.insert(child);
        self.feed(Event::Exited { child, cause, gone: false })
    }

    fn gone(&mut self, child: usize) -> Vec<Action> {
        assert!(self.dying.remove(&child), "{child} does not linger");
        self.feed(Event::Gone { child, life: self.lives[child] })
    }

    /// Lets time pass to the next timer and fires it.
    fn next_timer(&mut self) -> Vec<Action> {
        let Some(at) = (0..self.timers.len()).min_by_key(|at| self.timers[*at]) else { return Vec::new() };
        let (when, child, timer) = self.timers.remove(at);
        self.now = self.now.max(when);
        self.feed(Event::Timer { child, timer })
    }

    fn all_up(mut self) -> Self {
        for child in 0..self.lives.len() {
            self.ready(child);
        }
        self.timers.clear();
        self
    }
}

fn starts(actions: &[Action]) -> Vec<usize> {
    actions
        .iter()
        .filter_map(|action| if let Action::Start { child, .. } = action { Some(*child) } else { None })
        .collect()
}

const GENEROUS: Intensity = Intensity { max_restarts: 1000, window: Duration::from_secs(60) };

#[test]
fn children_start_one_after_the_other_in_order() {
    for strategy in [Strategy::OneForOne, Strategy::RestForOne] {
        let mut world = World::new(strategy, GENEROUS, &[Restart::Permanent; 3]);
        assert_eq!(starts(&world.log), [0]);
        assert_eq!(starts(&world.ready(0)), [1]);
        assert_eq!(starts(&world.ready(1)), [2]);
        assert_eq!(world.ready(2), [Action::AllUp]);
    }
}

#[test]
fn a_failed_start_holds_up_those_after_it_and_counts_as_a_restart() {
    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent; 2]);
    let actions = world.exit(0, failed());
    assert!(matches!(
        actions[..],
        [Action::BackOff { child: 0, streak: 1, .. }, Action::Arm { child: 0, .. }]
    ));
    world.timers.retain(|(when, ..)| *when < MonoTime::ZERO + Duration::from_secs(1));
    assert_eq!(starts(&world.next_timer()), [0]);
    assert_eq!(starts(&world.ready(0)), [1]);
}

#[test]
fn one_for_one_leaves_the_siblings_alone() {
    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent; 3]).all_up();
    let actions = world.exit(0, failed());
    assert!(!actions.iter().any(|action| matches!(action, Action::Stop(_) | Action::Kill(_))));
    // A sibling that fails meanwhile does not wait for the first.
    world.exit(2, failed());
    assert_eq!(starts(&world.next_timer()), [0]);
    assert_eq!(starts(&world.next_timer()), [2]);
}

#[test]
fn rest_for_one_stops_later_siblings_in_reverse_and_starts_them_in_order() {
    let mut world = World::new(Strategy::RestForOne, GENEROUS, &[Restart::Permanent; 4]).all_up();
    assert!(world.exit(1, failed()).contains(&Action::Stop(3)), "the last one is stopped first");
    assert!(!world.log.contains(&Action::Stop(2)), "one at a time");
    // The backoff is over before the siblings are down: the child still waits for them.
    assert_eq!(starts(&world.next_timer()), [] as [usize; 0]);
    assert!(world.exit(3, ExitCause::Stopped).contains(&Action::Stop(2)));
    assert_eq!(starts(&world.exit(2, ExitCause::Stopped)), [1]);
    assert_eq!(starts(&world.ready(1)), [2]);
    assert_eq!(starts(&world.ready(2)), [3]);
    assert!(!world.log.contains(&Action::Stop(0)), "the earlier one is left alone");
}

#[test]
fn a_sibling_that_does_not_stop_is_killed_and_one_that_survives_that_escalates() {
    let mut world = World::new(Strategy::RestForOne, GENEROUS, &[Restart::Permanent; 2]).all_up();
    assert!(world.exit(0, failed()).contains(&Action::Stop(1)));
    world.next_timer();
    assert!(world.next_timer().contains(&Action::Kill(1)));
    assert_eq!(world.next_timer(), [Action::Escalate { child: 1, limit: Limit::Unkillable }]);
}

#[test]
fn restart_kinds_decide_who_comes_back() {
    let comes_back = |kind, cause| {
        let mut world = World::new(Strategy::OneForOne, GENEROUS, &[kind]).all_up();
        let actions = world.exit(0, cause);
        let ended = actions.contains(&Action::Ended(0));
        let again = actions.iter().any(|action| matches!(action, Action::BackOff { .. }));
        assert_ne!(ended, again);
        again
    };
    for cause in [ExitCause::Stopped, failed(), ExitCause::Killed] {
        assert!(comes_back(Restart::Permanent, cause.clone()));
        assert_eq!(comes_back(Restart::Transient, cause.clone()), cause != ExitCause::Stopped);
        assert!(!comes_back(Restart::Temporary, cause));
    }
}

#[test]
fn one_restart_too_many_within_the_window_escalates() {
    let limit = Intensity { max_restarts: 2, window: Duration::from_secs(10) };
    let mut world = World::new(Strategy::OneForOne, limit, &[Restart::Permanent]).all_up();
    let mut fail_after = |pause: u64| {
        world.now = world.now + Duration::from_secs(pause);
        let last = world.exit(0, failed());
        if !world.escalated {
            while starts(&world.next_timer()).is_empty() {}
            world.ready(0);
            world.timers.clear();
        }
        last
    };
    for pause in [1, 1, 20, 1] {
        fail_after(pause);
    }
    assert_eq!(fail_after(1), [Action::Escalate { child: 0, limit: Limit::Restarts(limit) }]);
}

#[test]
fn backoff_doubles_to_its_maximum_and_is_forgotten_after_a_quiet_time() {
    let backoff = Backoff::DEFAULT;
    let waits: Vec<_> = (1..=12).map(|streak| backoff.delay(streak, FAIR).as_millis()).collect();
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]);
    assert_eq!(backoff.delay(u32::MAX, u64::MAX), backoff.delay(40, u64::MAX));

    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent]).all_up();
    let mut streak_after = |up: Duration| {
        world.now = world.now + up;
        let actions = world.exit(0, failed());
        while starts(&world.next_timer()).is_empty() {}
        world.ready(0);
        world.timers.clear();
        match actions.first() {
            Some(Action::BackOff { streak, .. }) => *streak,
            other => panic!("no backoff but {other:?}"),
        }
    };
    assert_eq!(streak_after(Duration::from_secs(1)), 1);
    assert_eq!(streak_after(Duration::from_secs(59)), 2);
    assert_eq!(streak_after(Duration::from_secs(60)), 1);
}

#[test]
fn a_stuck_child_is_killed_and_its_restart_counts() {
    let limit = Intensity { max_restarts: 0, window: Duration::from_secs(10) };
    let mut world = World::new(Strategy::OneForOne, limit, &[Restart::Permanent]).all_up();
    assert!(world.feed(Event::Stuck { child: 0, life: 0 }).is_empty(), "an old life");
    assert_eq!(world.feed(Event::Stuck { child: 0, life: 1 })[0], Action::Kill(0));
    assert!(world.feed(Event::Stuck { child: 0, life: 1 }).is_empty(), "once is enough");
    assert!(matches!(world.exit(0, ExitCause::Killed)[..], [Action::Escalate { .. }]));
}

#[test]
fn a_start_that_takes_too_long_is_killed() {
    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent]);
    assert_eq!(world.next_timer()[0], Action::Kill(0));
    assert!(matches!(world.exit(0, ExitCause::Killed)[..], [Action::BackOff { .. }, Action::Arm { .. }]));
}

#[test]
fn what_is_left_of_a_child_is_waited_for_and_the_siblings_go_on_meanwhile() {
    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent; 2]).all_up();
    assert!(matches!(world.linger(0, failed())[..], [Action::Arm { child: 0, after: KILL_GRACE, .. }]));
    assert!(matches!(world.exit(1, failed())[0], Action::BackOff { child: 1, .. }));
    assert_eq!(starts(&world.next_timer()), [1], "it does not wait for its sibling");
    assert!(world.feed(Event::Gone { child: 0, life: 0 }).is_empty(), "an old life");
    assert!(matches!(world.gone(0)[..], [Action::BackOff { child: 0, streak: 1, .. }, Action::Arm { .. }]));
}

#[test]
fn what_is_left_of_a_child_for_too_long_escalates() {
    let gives_up = [Action::Escalate { child: 0, limit: Limit::Unkillable }];
    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent]).all_up();
    world.linger(0, failed());
    assert_eq!(world.next_timer(), gives_up);

    // A killed one has the time from its kill on, not as much again after its end.
    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent]).all_up();
    world.feed(Event::Stuck { child: 0, life: 1 });
    assert_eq!(world.linger(0, ExitCause::Killed), []);
    assert_eq!(world.next_timer(), gives_up);
}

#[test]
fn rest_for_one_stops_and_starts_nobody_beside_what_is_left_of_a_later_sibling() {
    let mut world = World::new(Strategy::RestForOne, GENEROUS, &[Restart::Permanent; 3]).all_up();
    world.exit(0, failed());
    assert_eq!(starts(&world.next_timer()), [] as [usize; 0]);
    assert!(!world.linger(2, ExitCause::Stopped).contains(&Action::Stop(1)), "one at a time");
    assert!(world.gone(2).contains(&Action::Stop(1)));
    world.linger(1, ExitCause::Stopped);
    assert_eq!(starts(&world.gone(1)), [0]);
}

#[test]
fn stale_events_change_nothing() {
    let mut world = World::new(Strategy::OneForOne, GENEROUS, &[Restart::Permanent]);
    let started = world.timers.clone();
    world.exit(0, failed());
    assert!(
        world.feed(Event::Timer { child: 0, timer: started[0].2 }).is_empty(),
        "the timer of a dead life"
    );
    assert!(world.feed(Event::Ready { child: 0, life: 1 }).is_empty(), "a message that its death overtook");
    assert!(world.feed(Event::Exited { child: 7, cause: failed(), gone: true }).is_empty(), "no such child");
}

/// One step of a random history; which child it hits is a number modulo those it can hit.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ready(usize),
    Fail(usize),
    Stop(usize),
    Killed(usize),
    Linger(usize),
    Gone(usize),
    Stuck(usize),
    Timer,
    Wait(u64),
}

fn step() -> impl Choice<Value = Step> {
    prop_oneof![
        4 => any::<usize>().prop_map(Step::Ready),
        2 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::Stop),
        1 => any::<usize>().prop_map(Step::Killed),
        1 => any::<usize>().prop_map(Step::Linger),
        2 => any::<usize>().prop_map(Step::Gone),
        1 => any::<usize>().prop_map(Step::Stuck),
        4 => Just(Step::Timer),
        1 => (0..30_000u64).prop_map(Step::Wait),
    ]
}

fn kind() -> impl Choice<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

impl World {
    fn pick(&self, number: usize) -> Option<usize> {
        Self::pick_of(&self.alive, number)
    }

    fn pick_of(children: &BTreeSet<usize>, number: usize) -> Option<usize> {
        children.iter().nth(number.checked_rem(children.len())?).copied()
    }

    fn apply(&mut self, step: Step) -> Vec<Action> {
        let acted = match step {
            Step::Ready(n) => self.pick(n).map(|child| self.ready(child)),
            Step::Fail(n) => self.pick(n).map(|child| self.exit(child, failed())),
            Step::Stop(n) => self.pick(n).map(|child| self.exit(child, ExitCause::Stopped)),
            Step::Killed(n) => self.pick(n).map(|child| self.exit(child, ExitCause::Killed)),
            Step::Linger(n) => self.pick(n).map(|child| self.linger(child, failed())),
            Step::Gone(n) => Self::pick_of(&self.dying, n).map(|child| self.gone(child)),
            Step::Stuck(n) => {
                self.pick(n).map(|child| self.feed(Event::Stuck { child, life: self.lives[child] }))
            }
            Step::Timer => Some(self.next_timer()),
            Step::Wait(ms) => {
                self.now = self.now + Duration::from_millis(ms);
                None
            }
        };
        acted.unwrap_or_default()
    }

    /// Lets everything that can come up come up.
    fn calm_down(&mut self) {
        for _ in 0..10_000 {
            while let Some(child) = Self::pick_of(&self.dying, 0) {
                self.gone(child);
            }
            let due: Vec<_> = self.alive.iter().copied().collect();
            for child in due {
                match self.policy.children[child].phase {
                    ChildPhase::Starting { .. } => drop(self.ready(child)),
                    ChildPhase::Stopping { .. } => drop(self.exit(child, ExitCause::Stopped)),
                    ChildPhase::Killing { .. } => drop(self.exit(child, ExitCause::Killed)),
                    _ => {}
                }
            }
            if self.policy.children.iter().all(Child::settled) || self.escalated {
                return;
            }
            self.next_timer();
        }
        panic!("never settles: {:?}", self.policy);
    }
}

proptest! {
    /// Whatever happens: no child runs twice, none is ended twice, the dead stay silent (all asserted in `feed`); later
    /// siblings never start beside a missing earlier one; and when the failures end, every permanent child is up.
    #[test]
    fn any_history_keeps_order_and_settles(
        rest in any::<bool>(),
        kinds in prop::collection::vec(kind(), 1..6),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let strategy = if rest { Strategy::RestForOne } else { Strategy::OneForOne };
        let mut world = World::new(strategy, GENEROUS, &kinds);
        for step in steps {
            let actions = world.apply(step);
            if rest {
                for child in starts(&actions) {
                    prop_assert!(world.policy.children[..child].iter().all(Child::settled));
                    prop_assert!(!world.alive.iter().chain(&world.dying).any(|other| *other > child));
                }
            }
            let stopping = world.policy.children.iter().filter(|c| matches!(c.phase, ChildPhase::Stopping { .. })).count();
            prop_assert!(stopping <= 1, "one at a time");
        }
        world.calm_down();
        let up = |at: usize| world.policy.children[at].phase == ChildPhase::Running;
        let all_up = kinds.iter().enumerate().all(|(at, kind)| *kind != Restart::Permanent || up(at));
        prop_assert!(world.escalated || all_up);
    }

    /// The supervisor gives up exactly when a naive count of failures in the window says so, or a kill did not work.
    #[test]
    fn it_gives_up_exactly_at_the_limit(
        max in 0..6u32,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let intensity = Intensity { max_restarts: max, window: Duration::from_secs(20) };
        let mut world = World::new(Strategy::OneForOne, intensity, &[Restart::Permanent; 3]);
        let mut failures: Vec<MonoTime> = Vec::new();
        for step in steps {
            let actions = world.apply(step);
            let counted = actions.iter().filter(|action| matches!(
                action,
                Action::BackOff { .. } | Action::Escalate { limit: Limit::Restarts(_), .. }
            )).count();
            failures.extend(std::iter::repeat_n(world.now, counted));
            let recent = failures.iter().filter(|then| world.now.since(**then) < intensity.window).count();
            let gave_up = actions.iter().any(|a| matches!(a, Action::Escalate { limit: Limit::Restarts(_), .. }));
            prop_assert_eq!(gave_up, counted > 0 && recent > max as usize);
        }
    }

    /// Jitter stays within a fifth, and below the maximum.
    #[test]
    fn jitter_stays_within_a_fifth(streak in 1..100u32, dice in any::<u64>()) {
        let (fair, delay) = (Backoff::DEFAULT.delay(streak, FAIR), Backoff::DEFAULT.delay(streak, dice));
        prop_assert!(delay >= fair.mul_f64(0.79) && delay <= fair.mul_f64(1.21) && delay <= Backoff::DEFAULT.max);
    }
}
