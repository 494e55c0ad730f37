//! A medium in the hands of a process: it can die of every change it makes.

use std::io;
use std::path::Path;
use std::sync::MutexGuard;

use rustix::io::Errno;

use super::medium::{Medium, State, errno};
use crate::sim::fate::Place;
use crate::sim::host::{Birth, now_us};
use crate::sim::trace::What;

/// A medium in the hands of a process. Clones are the same one.
#[derive(Clone)]
pub(in crate::sim) struct SimDisk {
    pub(super) medium: Medium,
    pub(super) birth: Birth,
}

impl Medium {
    /// The disk as a process sees it.
    pub(in crate::sim) fn mount(&self, birth: &Birth) -> SimDisk {
        self.lock().locks.clear();
        SimDisk { medium: self.clone(), birth: birth.clone() }
    }
}

impl SimDisk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.medium.lock()
    }

    /// Makes a change, unless the process dies before it.
    pub(super) fn change<T>(
        &self,
        what: &'static str,
        path: &Path,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.alive()?;
        let (number, crash) = self.birth.doom.fate.step(Place::Disk);
        if let Some(crash) = crash.filter(|crash| !crash.after) {
            self.birth.doom.strike(crash);
            return Err(errno(Errno::IO));
        }
        let host = self.birth.host;
        self.medium.trace.step(now_us(), host, (Place::Disk, number), |namer| namer.disk(host, what, path));
        self.medium.trace.note(now_us(), self.birth.host, What::Disk(what, path.display().to_string()));
        let changed = change(&mut self.state());
        crash.into_iter().for_each(|crash| self.birth.doom.strike(crash));
        changed
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        match self.birth.doom.is_sealed() {
            true => Err(errno(Errno::IO)),
            false => Ok(()),
        }
    }

    /// Runs a job once the disk has time for it. What is left of it when the process dies is gone with it.
    pub(in crate::sim) fn work(&self, job: Box<dyn FnOnce() + Send>) {
        let (disk, delay) = (self.clone(), self.medium.delay());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            loop {
                let answers = disk.medium.answers.notified();
                if !disk.state().hangs {
                    break;
                }
                answers.await;
            }
            if disk.alive().is_ok() {
                job();
            }
        });
    }
}
