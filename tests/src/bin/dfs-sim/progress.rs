//! How far it is: a bar on a terminal, else a line now and then.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// The progress of many runs.
pub(crate) struct Progress {
    total: u64,
    begun: Instant,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        let (total, begun) = (total as u64, Instant::now());
        let seen = total > 1 && std::io::stderr().is_terminal();
        let bar = seen.then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {msg}, {eta} left");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { total, begun, bar, said: begun }
    }

    /// So many are done.
    pub(crate) fn step(&mut self, done: u64, failed: u64) {
        let rate = format!("{:.1} a second, {failed} failed", self.rate(done));
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(rate);
            }
            None if self.said.elapsed() >= LINE_EVERY => {
                self.said = Instant::now();
                eprintln!("{done} of {} runs, {rate}", self.total);
            }
            None => {}
        }
    }

    /// Lets `print` write without the bar in its way.
    pub(crate) fn pause(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(crate) fn rate(&self, done: u64) -> f64 {
        done as f64 / self.seconds().max(0.001)
    }
}
