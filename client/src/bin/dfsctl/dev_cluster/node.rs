//! One node of a development cluster, as it is written down.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::{Process, RunState};

/// One node of a development cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevNode {
    /// `coordinator`, `datanode-1`, ...
    pub name: String,
    /// `coordinator` or `datanode`.
    pub role: String,
    /// Where it listens.
    pub address: String,
    /// Where its health and metrics are, by HTTP.
    pub admin_address: String,
    /// What it owns.
    pub data_dir: PathBuf,
    pub log: PathBuf,
    /// The process that was started last, if any.
    pub process: Option<Process>,
}

impl DevNode {
    /// How its process is now.
    pub(crate) fn state(&self) -> RunState {
        self.process.as_ref().map_or(RunState::Stopped, Process::state)
    }

    /// Where its keys lie: where its program puts them if nobody says, beside its data.
    pub(crate) fn keys(&self) -> PathBuf {
        let mut name = self.data_dir.file_name().unwrap_or_default().to_owned();
        name.push(".keys");
        self.data_dir.with_file_name(name)
    }

    /// Its process, if there is one now.
    pub(crate) fn alive(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.state() != RunState::Stopped)
    }

    /// Itself, with other places for what it owns and for its log.
    pub(super) fn placed(self, place: impl Fn(&Path) -> PathBuf) -> Self {
        Self { data_dir: place(&self.data_dir), log: place(&self.log), ..self }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A coordinator that never ran.
    pub(in crate::dev_cluster) fn coordinator(dir: &Path) -> DevNode {
        DevNode {
            name: "coordinator".into(),
            role: "coordinator".into(),
            address: "127.0.0.1:1".into(),
            admin_address: "127.0.0.1:2".into(),
            data_dir: dir.join("coordinator"),
            log: dir.join("logs/coordinator.log"),
            process: None,
        }
    }
}
