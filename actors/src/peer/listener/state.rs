//! When failed accepts are worth a line in the log.

use std::time::Duration;

use crate::env::MonoTime;

/// Between two lines about failed accepts.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Failed accepts. They come ten a second while there are too few descriptors: a line a minute says enough.
#[derive(Debug, Default)]
pub(super) struct Failures {
    logged: Option<MonoTime>,
    count: u64,
}

impl Failures {
    /// Counts one. How many to log, if it is time for a line.
    pub(super) fn note(&mut self, now: MonoTime) -> Option<u64> {
        self.count += 1;
        let due = self.logged.is_none_or(|logged| now.since(logged) >= LOG_PAUSE);
        due.then(|| {
            self.logged = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_a_line_a_minute() {
        let mut failures = Failures::default();
        let at = |tenths: u64| MonoTime::from_micros(tenths * 100_000);
        let lines: Vec<_> = (0..=1_200).filter_map(|tenths| failures.note(at(tenths))).collect();
        assert_eq!(lines, [1, 600, 600]);
    }
}
