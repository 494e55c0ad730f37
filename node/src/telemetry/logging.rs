//! Logs: one line per event on standard error, as text or JSON, in UTC, with a level that can be changed.
//!
//! Where standard error leads is not ours to know: to a file on a disk that does not answer, to a pipe that nobody reads. So
//! a thread of its own writes the lines, from a bounded queue, and nobody who logs waits for it. Lines for which
//! there is no room are lost, and counted.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, layer::SubscriberExt as _, reload};

use crate::config::{HostPort, LogConfig, LogFormat};

/// Lines that wait to be written.
const LINES_MAX: usize = 8192;

/// Changes the level of a running process.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    lost: ErrorCounter,
}

/// Keeps the log going; when it is dropped what waits is written, for a moment at most.
pub struct LogGuard {
    _writing: WorkerGuard,
}

impl LogHandle {
    /// Replaces the filter.
    ///
    /// # Errors
    /// Text that says why the directives were refused; the old filter stays.
    pub fn set_level(&self, directives: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(directives).map_err(|error| error.to_string())?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }

    /// Lines that were lost because standard error took them too slowly.
    pub fn lines_lost(&self) -> u64 {
        u64::try_from(self.lost.dropped_lines()).unwrap_or(u64::MAX)
    }
}

fn queue(to: impl std::io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .lossy(true)
        .thread_name("dfs-log")
        .finish(to)
}

/// Sets the process-wide log up. Called once, by the binary; tests that need logs set up their own.
///
/// # Errors
/// A level that cannot be parsed, or a second call.
pub fn init_logging(config: &LogConfig) -> Result<(LogHandle, LogGuard), String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| error.to_string())?;
    let (filter, handle) = reload::Layer::new(filter);
    let (writer, writing) = queue(std::io::stderr());
    let lost = writer.error_counter();
    let lines = match config.format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            fmt::layer().with_writer(writer).with_ansi(colour).boxed()
        }
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(writer).boxed()
        }
    };
    let subscriber = Registry::default().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok((LogHandle { filter: handle, lost }, LogGuard { _writing: writing }))
}

/// Panics become log lines with the fields of the span they happened in. The actor's supervisor then says what it did.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(reason = message, location, %backtrace, "panic")
        }
        _ => tracing::error!(reason = message, location, "panic"),
    }
}

/// Warns where a port that is not secured is open to other machines: whoever reaches it is trusted.
pub fn warn_if_open(what: &str, listen: &HostPort) {
    if !listen.is_loopback() {
        tracing::warn!(
            %listen,
            "{what} accepts connections from other machines and is not secured: whoever reaches it is believed; keep it inside a \
             trusted network, and secure the nodes' ports (security.mode)"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    /// A pipe that nobody reads.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _never = self.0.recv_timeout(Duration::from_secs(60));
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_log_that_nobody_reads_and_the_lost_lines_are_counted() {
        let (unstick, stuck) = channel();
        let (mut writer, guard) = queue(Stuck(stuck));
        let lost = writer.error_counter();
        let (done, ended) = channel();
        std::thread::spawn(move || {
            (0..LINES_MAX + 100).for_each(|_| writer.write_all(b"a line\n").expect("taken or lost"));
            done.send(())
        });
        ended.recv_timeout(Duration::from_secs(20)).expect("whoever logs waits for the log");
        assert!((98..=100).contains(&lost.dropped_lines()), "{}", lost.dropped_lines());
        drop(unstick);
        drop(guard);
    }
}
