//! Progress bars: on a terminal only, and never when a machine reads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;
use crate::output::text::{rate, size};
use dfs_client::ProgressFn;

/// The progress of a command that moves files.
#[derive(Clone)]
pub(crate) struct TransferBar {
    bar: Option<ProgressBar>,
    begun: Instant,
}

impl TransferBar {
    /// Draws a bar, if anybody can see it. `total` is the number of bytes, if known.
    pub(crate) fn new(output: &Output, total: Option<u64>) -> Self {
        let seen = output.terminal && !output.quiet && output.is_table();
        let bar = seen.then(|| match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
            )),
            None => ProgressBar::new_spinner()
                .with_style(style("{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}")),
        });
        Self { bar, begun: Instant::now() }
    }

    /// What the SDK calls while it moves one file.
    pub(crate) fn of_file(&self) -> Option<ProgressFn> {
        let bar = self.bar.clone()?;
        let seen = AtomicU64::new(0);
        Some(Arc::new(move |progress: dfs_client::Progress| {
            let before = seen.swap(progress.bytes, Ordering::Relaxed);
            match progress.bytes.checked_sub(before) {
                Some(more) => bar.inc(more),
                // A chunk has to be sent again.
                None => bar.set_position(bar.position().saturating_sub(before - progress.bytes)),
            }
        }))
    }

    /// Shows how many files are done.
    pub(crate) fn files(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{done}/{total}"));
        }
    }

    /// Lets `print` write to the terminal without the bar in its way.
    pub(crate) fn pause(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away; gives the seconds since the beginning and the last words: bytes, time and rate.
    pub(crate) fn finish(&self, bytes: u64) -> (f64, String) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let elapsed = self.begun.elapsed();
        let seconds = elapsed.as_secs_f64();
        (seconds, format!("{} in {seconds:.2} s, {}", size(bytes), rate(bytes, elapsed)))
    }
}

/// How far a job is that goes on by itself.
pub(crate) struct JobBar(Option<ProgressBar>);

impl JobBar {
    /// Draws a bar, if anybody can see it.
    pub(crate) fn new(output: &Output) -> Self {
        let seen = output.terminal && !output.quiet && output.is_table();
        let template = "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        Self(seen.then(|| ProgressBar::new(0).with_style(style(template))))
    }

    /// Shows so many bytes of so many.
    pub(crate) fn show(&self, done: u64, total: u64, about: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(about.to_owned());
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants: that they are well-formed is a test's business.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl fmt::Debug for TransferBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransferBar").field("seen", &self.bar.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Color, Format};

    fn output(format: Format, quiet: bool) -> Output {
        Output { terminal: true, ..Output::new(format, Color::Never, quiet, 0) }
    }

    #[test]
    fn no_bar_where_a_machine_reads_or_quiet_is_wanted() {
        assert!(TransferBar::new(&output(Format::Json, false), None).bar.is_none());
        assert!(TransferBar::new(&output(Format::Table, true), None).bar.is_none());
        let blind = Output { terminal: false, ..output(Format::Table, false) };
        assert!(TransferBar::new(&blind, Some(1)).of_file().is_none());
    }

    #[test]
    fn bytes_that_are_sent_again_are_taken_back() {
        let progress = TransferBar::new(&output(Format::Table, false), Some(100));
        let tell = progress.of_file().unwrap();
        for bytes in [40, 60, 20] {
            tell(dfs_client::Progress { bytes, ..dfs_client::Progress::default() });
        }
        assert_eq!(progress.bar.as_ref().map(ProgressBar::position), Some(20));
        assert!(progress.finish(20).1.starts_with("20 B in "));
    }
}
