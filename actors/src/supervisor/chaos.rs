//! Mischief on order: panic, kill, pause or slow down actors by path or kind. Compiled only with feature `chaos`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::ActorRef;

use super::behaviour::{ActorError, Behaviour};
use super::host::{Envelope, Life};
use super::tree::ActorTree;
use crate::env::Env;

/// What to do to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Panic in a handler, once the messages queued before it are handled.
    Panic,
    /// Kill at once, in the middle of a handler, without `stop`.
    Kill,
    /// Sit in one handler for so long.
    Pause(Duration),
    /// Take so much longer over each later message of this life; zero ends it.
    Delay(Duration),
}

/// Whom to strike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The actor at this path.
    Path(String),
    /// All actors of this kind.
    Kind(String),
}

impl ActorTree {
    /// Strikes every actor that `target` names and tells how many that were.
    #[must_use]
    pub fn strike(&self, target: &Target, strike: Strike) -> usize {
        let victims = self.select(|path, kind| match target {
            Target::Path(wanted) => path == wanted,
            Target::Kind(wanted) => kind == wanted,
        });
        tracing::warn!(node = self.node(), ?target, ?strike, victims = victims.len(), "chaos strikes");
        victims.iter().filter(|victim| (victim.lever.0)(strike)).count()
    }
}

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
}

impl<B: Behaviour> Life<B> {
    /// Notes a new delay, or serves the one in force.
    pub(crate) fn weather(mut self: Box<Self>, envelope: &Envelope<B::Msg>) -> BoxFuture<'static, Box<Self>> {
        let wait = match envelope {
            Envelope::Chaos(Strike::Delay(delay)) => {
                self.delay = *delay;
                Duration::ZERO
            }
            _ => self.delay,
        };
        Box::pin(async move {
            if !wait.is_zero() {
                self.ctx.env().clock.sleep(wait).await;
            }
            self
        })
    }
}

/// Carries out a strike inside a handler.
///
/// # Panics
/// If ordered to.
pub(crate) async fn suffer(strike: Strike, env: &Env) -> Result<(), ActorError> {
    match strike {
        Strike::Panic => panic!("chaos ordered this panic"),
        Strike::Pause(span) => env.clock.sleep(span).await,
        // A kill goes through ractor's signal port, a delay was noted before the handler began.
        Strike::Kill | Strike::Delay(_) => {}
    }
    Ok(())
}
