//! Logs: one line per event on standard error, as text or JSON, in UTC, with a level that can be changed.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, layer::SubscriberExt as _, reload};

use crate::config::{HostPort, LogConfig, LogFormat};

/// Changes the level of a running process.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
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
}

/// Sets the process-wide log up. Called once, by the binary; tests that need logs set up their own.
///
/// # Errors
/// A level that cannot be parsed, or a second call.
pub fn init_logging(config: &LogConfig) -> Result<LogHandle, String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| error.to_string())?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = match config.format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            fmt::layer().with_writer(std::io::stderr).with_ansi(colour).boxed()
        }
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    let subscriber = Registry::default().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogHandle { filter: handle })
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

/// Warns where a port is open to other machines. Until authentication exists, whoever reaches it is trusted.
pub fn warn_if_open(what: &str, listen: &HostPort) {
    if !listen.is_loopback() {
        tracing::warn!(
            %listen,
            "{what} accepts connections from other machines, and authentication is not built yet: anyone who reaches \
             this port can read, change and delete everything; keep it inside a trusted network"
        );
    }
}
