//! Children that come and go while their supervisor runs: sessions, one-off jobs. Bounded in number, never restarted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::addr::{Addr, AskError};
use super::behaviour::Behaviour;
use super::child::ChildSpec;
use super::messages::SupervisorMsg;
use super::rules::Restart;

/// How long a supervisor may take to admit a child.
pub const ADMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a child was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NurseryError {
    /// As many as allowed are there already.
    #[error("no more than {max} children may run at once")]
    Full {
        /// Children that may run at once.
        max: usize,
    },
    /// The supervisor is not running, or did not answer.
    #[error("the supervisor is not running")]
    Down,
}

impl From<AskError> for NurseryError {
    fn from(_: AskError) -> Self {
        Self::Down
    }
}

/// Starts children under a running supervisor. Cheap to clone, valid across restarts of the supervisor; its children
/// are not.
#[derive(Debug, Clone)]
pub struct Nursery {
    pub(crate) addr: Addr<SupervisorMsg>,
    pub(crate) berths: Arc<Semaphore>,
    pub(crate) max: usize,
}

/// Room for one child, held until that child has ended. Take it before whatever the child is for is accepted.
#[derive(Debug)]
pub struct Berth {
    addr: Addr<SupervisorMsg>,
    permit: OwnedSemaphorePermit,
}

impl Nursery {
    /// How many children may run at once.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many run, start or have room reserved.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.max.saturating_sub(self.berths.available_permits())
    }

    /// Takes room for a child, if there is any.
    ///
    /// # Errors
    /// [`NurseryError::Full`].
    pub fn try_reserve(&self) -> Result<Berth, NurseryError> {
        let permit = Arc::clone(&self.berths).try_acquire_owned();
        let permit = permit.map_err(|_| NurseryError::Full { max: self.max })?;
        Ok(Berth { addr: self.addr.clone(), permit })
    }

    /// Waits up to `timeout` for room for a child. First come, first served. Cancel safety: takes nothing if dropped.
    ///
    /// # Errors
    /// [`NurseryError::Full`].
    pub async fn reserve(&self, timeout: Duration) -> Result<Berth, NurseryError> {
        let room = Arc::clone(&self.berths).acquire_owned();
        match self.addr.slot.clock.timeout(timeout, room).await {
            Ok(Ok(permit)) => Ok(Berth { addr: self.addr.clone(), permit }),
            _ => Err(NurseryError::Full { max: self.max }),
        }
    }

    /// Starts a child if there is room: [`Nursery::try_reserve`], then [`Berth::start`].
    ///
    /// # Errors
    /// [`NurseryError`].
    pub async fn start<B: Behaviour>(
        &self,
        name: &str,
        args: B::Args,
        mailbox: usize,
    ) -> Result<Addr<B::Msg>, NurseryError> {
        self.try_reserve()?.start::<B>(name, args, mailbox).await
    }
}

impl Berth {
    /// Starts a child here and returns its address without waiting for it to be ready. A number is appended to a name
    /// that is taken.
    ///
    /// # Errors
    /// [`NurseryError::Down`].
    pub async fn start<B: Behaviour>(
        self,
        name: &str,
        args: B::Args,
        mailbox: usize,
    ) -> Result<Addr<B::Msg>, NurseryError> {
        let addr = Addr::new(&self.addr.slot.clock, mailbox);
        self.start_spec(ChildSpec::new::<B>(name, &addr, args)).await?;
        Ok(addr)
    }

    /// Starts the child that `spec` describes, whose limits for starting, stopping and being stuck count; it is never
    /// restarted.
    ///
    /// # Errors
    /// [`NurseryError::Down`].
    pub async fn start_spec(self, spec: ChildSpec) -> Result<(), NurseryError> {
        let (spec, berth) = (Box::new(spec.restart(Restart::Temporary)), self.permit);
        let admitted =
            self.addr.ask(|reply| SupervisorMsg::Admit { spec, berth, reply }, ADMIT_TIMEOUT).await?;
        if admitted { Ok(()) } else { Err(NurseryError::Down) }
    }
}
