//! What a supervisor is told to run: its children in start order, and the rules for each.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::addr::Addr;
use super::child::{ChildSpec, SHUTDOWN_TIMEOUT};
use super::messages::SupervisorMsg;
use super::nursery::Nursery;
use super::rules::{Intensity, KILL_GRACE, Strategy};
use crate::budgets::SUPERVISOR_MAILBOX;
use crate::env::Clock;

/// A supervisor and all it runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SupervisorSpec {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) has_nursery: bool,
    pub(crate) addr: Addr<SupervisorMsg>,
}

impl SupervisorSpec {
    fn new(clock: &Arc<dyn Clock>, name: impl Into<String>, strategy: Strategy) -> Self {
        Self {
            name: name.into().replace('/', "-"),
            strategy,
            intensity: Intensity::DEFAULT,
            children: Vec::new(),
            has_nursery: false,
            addr: Addr::new(clock, SUPERVISOR_MAILBOX),
        }
    }

    /// A supervisor whose children fail independently of each other.
    #[must_use]
    pub fn one_for_one(clock: &Arc<dyn Clock>, name: impl Into<String>) -> Self {
        Self::new(clock, name, Strategy::OneForOne)
    }

    /// A supervisor whose later children depend on the earlier ones, and restart with them.
    #[must_use]
    pub fn rest_for_one(clock: &Arc<dyn Clock>, name: impl Into<String>) -> Self {
        Self::new(clock, name, Strategy::RestForOne)
    }

    /// How many restarts it performs before it gives up.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Adds a child, started after those added before and stopped before them.
    ///
    /// # Panics
    /// If a child of that name is there already: both would show up at one path.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        assert!(
            self.children.iter().all(|other| other.name != child.name),
            "two children named {}",
            child.name
        );
        self.children.push(child);
        self
    }

    /// Lets up to `max` children be started while it runs, through the [`Nursery`] returned.
    #[must_use]
    pub fn with_nursery(mut self, max: usize) -> (Self, Nursery) {
        self.has_nursery = true;
        let nursery = Nursery { addr: self.addr.clone(), berths: Arc::new(Semaphore::new(max)), max };
        (self, nursery)
    }

    /// The longest that stopping everything under it can take.
    #[must_use]
    pub fn shutdown_budget(&self) -> Duration {
        let nursery = if self.has_nursery { SHUTDOWN_TIMEOUT + KILL_GRACE } else { Duration::ZERO };
        let children = self.children.iter().map(|child| child.rules.shutdown_timeout + KILL_GRACE);
        children.fold(nursery + Duration::from_secs(1), Duration::saturating_add)
    }
}
