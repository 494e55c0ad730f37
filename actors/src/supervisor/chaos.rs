//! How mischief reaches an actor, and what it does there. Compiled only with feature `chaos`.

use std::time::Duration;

use ractor::ActorRef;

use super::envelope::Envelope;
use super::strike::Strike;
use crate::env::Clock;

/// Reaches an actor whatever its message type; tells whether it was still there.
pub(crate) struct Lever(Box<dyn Fn(Strike) -> bool + Send + Sync>);

impl Lever {
    pub(crate) fn on<M: Send + 'static>(actor: &ActorRef<Envelope<M>>) -> Self {
        let actor = actor.clone();
        Self(Box::new(move |strike| {
            if strike == Strike::Kill {
                let alive = actor.get_status() < ractor::ActorStatus::Stopping;
                actor.kill();
                return alive;
            }
            actor.cast(Envelope::Chaos(strike)).is_ok()
        }))
    }

    pub(crate) fn pull(&self, strike: Strike) -> bool {
        (self.0)(strike)
    }
}

/// The delay in force in one life of an actor.
#[derive(Default)]
pub(crate) struct Weather {
    delay: Duration,
}

impl Weather {
    /// How long to wait before `envelope` is handled. A new delay counts from the next one on.
    pub(crate) fn before<M>(&mut self, envelope: &Envelope<M>) -> Duration {
        match envelope {
            Envelope::Chaos(Strike::Delay(delay)) => {
                self.delay = *delay;
                Duration::ZERO
            }
            _ => self.delay,
        }
    }
}

/// Carries out a strike inside a handler.
///
/// # Panics
/// If ordered to.
pub(crate) async fn suffer(strike: Strike, clock: &dyn Clock) {
    match strike {
        Strike::Panic => panic!("chaos ordered this panic"),
        Strike::Pause(span) => clock.sleep(span).await,
        // A kill goes through ractor's signal port, a delay was noted before the handler began.
        Strike::Kill | Strike::Delay(_) => {}
    }
}
