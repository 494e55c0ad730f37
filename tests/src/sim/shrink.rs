//! From a plan that fails to the shortest one that still does: delta debugging (Zeller and Hildebrandt, 2002) over its faults,
//! then fewer operations, clients and datanodes, then earlier and rounder times.
//!
//! Whatever is left out changes everything that comes after it, so a shorter plan may fail no more though it could: where a
//! plan cannot be shortened with its own seed, others are tried.

use super::faults::Planned;
use super::plan::{Life, Plan};

/// Other seeds that are tried for a plan that does not fail with its own.
const OTHER_SEEDS: u64 = 4;

/// Looks for a shorter plan, and asks `fails` about no more than `runs_max` of them. `fails` is true if what goes wrong is of
/// the same [`kind`] as before.
pub fn shrink(plan: &Plan, runs_max: u32, fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut search = Search { shortest: plan.clone(), left: runs_max, fails };
    loop {
        let before = search.shortest.clone();
        search.fewer_faults();
        search.smaller();
        search.earlier();
        if search.shortest == before && !search.with_another_seed() {
            return search.shortest;
        }
    }
}

/// What kind of thing went wrong: its words, without numbers, names of hosts, and what is told in detail, and the codes
/// that are named there.
pub fn kind(wrong: &[String]) -> String {
    let first = wrong.first().and_then(|first| first.lines().next()).unwrap_or_default();
    let told = first.split(['{', '[', '(', ';']).next().unwrap_or_default();
    let has_digit = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let words = told.split_whitespace().map(|word| if has_digit(word) { "#" } else { word });
    let detail = first[told.len()..].split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words.chain(detail.filter(|word| word.contains('_') && word.len() > 3)).collect::<Vec<_>>().join(" ")
}

struct Search<F> {
    shortest: Plan,
    left: u32,
    fails: F,
}

impl<F: FnMut(&Plan) -> bool> Search<F> {
    /// Takes a plan that still fails for the shortest so far.
    fn accepts(&mut self, candidate: Plan) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        let fails = (self.fails)(&candidate);
        if fails {
            self.shortest = candidate;
        }
        fails
    }

    fn accepts_faults(&mut self, faults: Vec<Planned>) -> bool {
        self.shortest.clone().with(faults).is_ok_and(|candidate| self.accepts(candidate))
    }

    /// Leaves out parts of the list, large ones first.
    fn fewer_faults(&mut self) {
        let mut part = self.shortest.faults.len();
        while part > 0 {
            let mut at = 0;
            while at < self.shortest.faults.len() {
                if !self.accepts_faults(without(&self.shortest.faults, at, part)) {
                    at += part;
                }
            }
            part /= 2;
        }
    }

    fn smaller(&mut self) {
        // The script has its own size.
        if self.shortest.life != Life::Random {
            return;
        }
        let Plan { ops, clients, nodes, .. } = self.shortest;
        self.least(ops, |plan, ops| Plan { ops, ..plan });
        self.least(u32::from(clients), |plan, clients| Plan { clients: clients as u16, ..plan });
        self.least(u32::from(nodes), |plan, nodes| Plan { nodes: nodes as u16, ..plan });
    }

    /// Steps down from `value`, by less and less.
    fn least(&mut self, mut value: u32, with: impl Fn(Plan, u32) -> Plan) {
        let mut step = value / 2;
        while step > 0 {
            let candidate = with(self.shortest.clone(), value - step);
            let faults = candidate.faults.clone();
            match candidate.with(faults).is_ok_and(|candidate| self.accepts(candidate)) {
                true => {
                    value -= step;
                    step = step.min(value / 2);
                }
                false => step /= 2,
            }
        }
    }

    fn earlier(&mut self) {
        for at in 0..self.shortest.faults.len() {
            let due = self.shortest.faults[at].at_ms;
            for at_ms in [0, due / 2, due - due % 1_000, due - due % 100].into_iter().filter(|at| *at < due) {
                let mut faults = self.shortest.faults.clone();
                faults[at].at_ms = at_ms;
                if self.accepts_faults(faults) {
                    break;
                }
            }
        }
    }

    /// Leaves out a single fault, and begins with another seed.
    fn with_another_seed(&mut self) -> bool {
        let Plan { seed, faults, .. } = self.shortest.clone();
        (0..faults.len()).any(|at| {
            let fewer = without(&faults, at, 1);
            (1..=OTHER_SEEDS).any(|more| {
                let candidate = Plan { seed: seed.wrapping_add(more), ..self.shortest.clone() };
                candidate.with(fewer.clone()).is_ok_and(|candidate| self.accepts(candidate))
            })
        })
    }
}

fn without(faults: &[Planned], at: usize, count: usize) -> Vec<Planned> {
    let (before, rest) = faults.split_at(at);
    before.iter().chain(rest.iter().skip(count)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "cargo sim --seed 1 --nodes 9 --clients 7 --ops 40 --faults '0.501 kill d2; 1.234 copy d1; 2 copy d2; \
        3.210 start d2; 4 part d3 co; 9.876 swap d1; 11.115 join d3 co; 12.345 swap d2; 14 rot d8; 15 cut d1 c6'";

    fn has(plan: &Plan, fault: &str) -> bool {
        plan.faults.iter().any(|planned| planned.fault.to_string() == fault)
    }

    #[test]
    fn what_is_not_needed_to_fail_is_left_out() {
        let long: Plan = LONG.parse().unwrap();
        let fails = |plan: &Plan| {
            ["copy d2", "swap d2"].into_iter().all(|fault| has(plan, fault))
                && plan.ops > 2
                && plan.clients > 1
        };
        let shortest = shrink(&long, 1_000, fails);
        assert_eq!(
            shortest.to_string(),
            "cargo sim --seed 1 --nodes 3 --clients 2 --ops 3 --faults '0.000 copy d2; 0.000 swap d2'"
        );
    }

    #[test]
    fn a_plan_that_fails_by_chance_fails_with_another_seed() {
        let long: Plan = LONG.parse().unwrap();
        let fails =
            |plan: &Plan| has(plan, "rot d8") && (plan.faults.len() > 4 || plan.seed.is_multiple_of(3));
        let shortest = shrink(&long, 1_000, fails);
        assert!(fails(&shortest), "{shortest}");
        assert_eq!(shortest.faults.len(), 1, "{shortest}");
    }

    #[test]
    fn no_more_plans_are_run_than_may_be() {
        let (mut runs, long) = (0, LONG.parse().unwrap());
        let shortest = shrink(&long, 17, |_| {
            runs += 1;
            false
        });
        assert_eq!((runs, shortest), (17, long));
        assert_eq!(shrink(&LONG.parse().unwrap(), 10_000, |_| true).faults, []);
    }

    #[test]
    fn the_kind_of_a_failure_is_in_its_words_alone() {
        let kind = |text: &str| kind(&[text.to_owned()]);
        assert_eq!(
            kind("p1: LOST: no copy of chunk 3f-0 is good: [Copy]"),
            kind("p3: LOST: no copy of chunk 4e-2 is good: []")
        );
        assert_ne!(kind("p1: LOST: no copy"), kind("p1: cannot be read"));
        assert_eq!(kind("240 s after all faults: 1 orphans on d1"), "# s after all faults: # orphans on #");
        let found = |code: &str| format!("60 s later: [HealthFinding {{ code: {code:?}, level: Error }}]");
        assert_eq!(kind(&found("CHUNKS_LOST")), "# s later: CHUNKS_LOST");
    }
}
