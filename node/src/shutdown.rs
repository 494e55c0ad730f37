//! How a node ends and how it is told: SIGTERM and SIGINT drain, a second one stops, SIGHUP reloads.
//!
//! ```text
//! Running --drain()--> Draining --stop(), second signal, or drain_timeout--> Stopping
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures_util::future::OptionFuture;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Where a node stands in its life. The order is the order in which it passes them; it never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes work, new work too.
    Running,
    /// Finishes what it has, takes nothing new, is not ready.
    Draining,
    /// Ends now, with whatever is unfinished.
    Stopping,
}

/// A handle on the phase of a node. Cheap to clone; all clones are the same node.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    code: Arc<AtomicU8>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A node that runs.
    pub fn new() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Running)), code: Arc::default() }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Asks the node to finish what it has. Does nothing to one that is further on.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends the node: called when nothing is left to finish, or when patience is over.
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Ends the node, which nobody asked for from outside: the process is to exit with this code.
    pub fn stop_with(&self, code: u8) {
        self.code.store(code, Ordering::Relaxed);
        self.stop();
    }

    /// The code to exit with: 0 unless the node had to end.
    pub fn code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }

    /// Waits until the node drains or stops. Cancel safety: nothing is lost.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the node stops. Cancel safety: nothing is lost.
    pub async fn stopping(&self) {
        self.reached(Phase::Stopping).await;
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let further = *phase < to;
            *phase = (*phase).max(to);
            further
        });
    }

    async fn reached(&self, wanted: Phase) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so the channel cannot close.
        let _ = phase.wait_for(|phase| *phase >= wanted).await;
    }
}

/// The signals a node obeys. Made before anything else is started: from then on no signal is lost, and as
/// process 1 of a container it has no default handlers to fall back on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers. Must be called within a runtime.
    ///
    /// # Errors
    /// The operating system refused a handler.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Obeys signals until the node stops. `drain_timeout` and `reload` are called when they are needed, so that
    /// a reload changes the patience of a later drain.
    pub async fn obey<F: Future<Output = ()>>(
        mut self,
        shutdown: Shutdown,
        drain_timeout: impl Fn() -> Duration,
        mut reload: impl FnMut() -> F,
    ) {
        // One at a time. It may wait for a disk for ever: the other signals are obeyed meanwhile.
        let mut reloading = None;
        while shutdown.phase() == Phase::Running {
            tokio::select! {
                biased;
                () = shutdown.draining() => {}
                _ = self.terminate.recv() => shutdown.drain(),
                _ = self.interrupt.recv() => shutdown.drain(),
                Some(()) = OptionFuture::from(reloading.as_mut()) => reloading = None,
                _ = self.hangup.recv(), if reloading.is_none() => reloading = Some(Box::pin(reload())),
            }
        }
        // What never began to serve, or ended by itself, has nothing to drain.
        if shutdown.phase() == Phase::Stopping {
            return;
        }
        let patience = drain_timeout();
        tracing::info!(seconds = patience.as_secs_f64(), "draining; a second signal stops at once");
        tokio::select! {
            biased;
            () = shutdown.stopping() => {}
            _ = self.terminate.recv() => tracing::warn!("second signal, stopping at once"),
            _ = self.interrupt.recv() => tracing::warn!("second signal, stopping at once"),
            () = tokio::time::sleep(patience) => tracing::warn!("work was left when the time to drain was over"),
        }
        shutdown.stop();
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{self, Signal as Os};

    use super::*;

    fn send(signal: Os) {
        process::kill_process(process::getpid(), signal).expect("a signal to ourselves");
    }

    #[tokio::test]
    async fn phases_only_move_forward() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.draining().await }
        });
        shutdown.stop();
        shutdown.drain();
        waiting.await.expect("stopping is beyond draining");
        assert_eq!(shutdown.phase(), Phase::Stopping);
    }

    // One test for all signals: they go to the whole process, so tests that send them cannot run side by side.
    #[tokio::test]
    async fn hangup_reloads_terminate_drains_and_a_second_one_stops() {
        let shutdown = Shutdown::new();
        let reloads = watch::Sender::new(0);
        let counted = reloads.clone();
        let signals = Signals::install().expect("handlers");
        let obeying = tokio::spawn(signals.obey(
            shutdown.clone(),
            || Duration::from_secs(60),
            move || {
                counted.send_modify(|n| *n += 1);
                std::future::ready(())
            },
        ));
        send(Os::HUP);
        reloads.subscribe().wait_for(|n| *n == 1).await.expect("reloaded");
        assert_eq!(shutdown.phase(), Phase::Running);
        send(Os::TERM);
        shutdown.draining().await;
        assert_eq!(shutdown.phase(), Phase::Draining);
        send(Os::TERM);
        shutdown.stopping().await;
        obeying.await.expect("it ends");

        let stuck = Shutdown::new();
        let signals = Signals::install().expect("handlers");
        let reading = reloads.clone();
        let obeying = tokio::spawn(signals.obey(
            stuck.clone(),
            || Duration::ZERO,
            move || {
                reading.send_modify(|n| *n += 1);
                std::future::pending()
            },
        ));
        send(Os::HUP);
        reloads.subscribe().wait_for(|n| *n == 2).await.expect("it reads");
        send(Os::TERM);
        let ends = tokio::time::timeout(Duration::from_secs(20), obeying).await;
        ends.expect("the other signals are obeyed").expect("it ends, whatever the disk does");
        assert_eq!(stuck.phase(), Phase::Stopping);

        let impatient = Shutdown::new();
        let signals = Signals::install().expect("handlers");
        let obeying =
            tokio::spawn(signals.obey(impatient.clone(), || Duration::from_millis(20), async || {}));
        impatient.drain();
        obeying.await.expect("it ends");
        assert_eq!(impatient.phase(), Phase::Stopping);
    }
}
