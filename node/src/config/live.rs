//! The configuration of a running node, which SIGHUP reads again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Config, ConfigError, Source, load, values};

/// The current configuration. Cheap to clone; all clones see the same one.
#[derive(Clone, Debug)]
pub struct Live {
    current: Arc<watch::Sender<Arc<Config>>>,
    // What is in force, by key: a fixed key keeps the value the process started with.
    in_force: Arc<Mutex<Vec<String>>>,
    source: Arc<Source>,
    reloads: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    applied: AtomicU64,
    refused: AtomicU64,
}

/// How often a process was told to reload, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloads {
    /// A new configuration was put into force.
    pub applied: u64,
    /// Something was wrong with it, and the old one stayed.
    pub refused: u64,
}

impl Live {
    /// Loads the configuration a process starts with.
    ///
    /// # Errors
    /// As [`load`].
    pub fn start(source: Source) -> Result<Self, ConfigError> {
        let config = load(&source)?;
        let in_force = values(&source)?.into_iter().map(|(_, text)| text).collect();
        Ok(Self {
            current: Arc::new(watch::Sender::new(Arc::new(config))),
            in_force: Arc::new(Mutex::new(in_force)),
            source: Arc::new(source),
            reloads: Arc::default(),
        })
    }

    /// The configuration in force now. Hold it for one decision, not for ever.
    pub fn current(&self) -> Arc<Config> {
        self.current.borrow().clone()
    }

    /// A receiver that is woken by each reload that changed something.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Reads all layers again and puts every key that can change into force, all together. `set_level` is given
    /// the new log level; if it refuses, or if anything is wrong with the new configuration, the old one stays.
    /// Logs and counts what it did.
    pub fn reload(&self, set_level: impl FnOnce(&str) -> Result<(), String>) {
        let outcome = self.reread(set_level);
        let counter = if outcome.is_ok() { &self.reloads.applied } else { &self.reloads.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(restart) if restart.is_empty() => tracing::info!("configuration reloaded"),
            Ok(restart) => {
                tracing::warn!(
                    keys = restart.join(", "),
                    "configuration reloaded, but these keys need a restart"
                );
            }
            Err(reason) => tracing::error!(reason, "configuration not reloaded, the old one stays"),
        }
    }

    /// How often [`Self::reload`] did what.
    pub fn reloads(&self) -> Reloads {
        Reloads {
            applied: self.reloads.applied.load(Ordering::Relaxed),
            refused: self.reloads.refused.load(Ordering::Relaxed),
        }
    }

    fn reread(&self, set_level: impl FnOnce(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
        let new = load(&self.source).map_err(|error| error.to_string())?;
        let texts = values(&self.source).map_err(|error| error.to_string())?;
        set_level(&new.log.level)?;
        let mut restart = Vec::new();
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        for ((key, text), old) in texts.into_iter().zip(in_force.iter_mut()) {
            if key.live {
                *old = text;
            } else if *old != text {
                restart.push(key.path());
            }
        }
        self.current.send_if_modified(|current| {
            let merged = current.with_live(&new);
            let changed = merged != **current;
            *current = Arc::new(merged);
            changed
        });
        Ok(restart)
    }
}

impl Config {
    /// This configuration with the keys that SIGHUP applies taken from another one. Exactly those that the table
    /// of keys marks as live; a test compares the two.
    fn with_live(&self, new: &Self) -> Self {
        let mut merged = self.clone();
        merged.node.drain_timeout = new.node.drain_timeout;
        merged.network.handshake_timeout = new.network.handshake_timeout;
        merged.network.idle_timeout = new.network.idle_timeout;
        merged.network.stream_idle_timeout = new.network.stream_idle_timeout;
        merged.network.prepare_timeout = new.network.prepare_timeout;
        merged.log.level.clone_from(&new.log.level);
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, Kind, Role};

    /// Another valid value for a key.
    fn other(path: &str, kind: Kind) -> &'static str {
        match (path, kind) {
            ("log.level", _) => "debug",
            (_, Kind::Time(..)) => "11s",
            (_, Kind::Count(..)) => "5",
            _ => panic!("{path} has no other value in this test"),
        }
    }

    #[test]
    fn a_reload_applies_the_keys_that_are_marked_so_and_names_the_others() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("node.yaml");
        std::fs::write(&file, "log:\n  level: info\n").expect("written");
        let live =
            Live::start(Source { file: Some(file.clone()), ..Source::for_role(Role::All) }).expect("valid");
        for key in KEYS.iter().filter(|key| key.live) {
            let before = live.current();
            let value = other(&key.path(), key.kind);
            std::fs::write(&file, format!("{}:\n  {}: {value}\n", key.section, key.name)).expect("written");
            assert_eq!(live.reread(|_| Ok(())), Ok(vec![]));
            assert_ne!(before, live.current(), "{} is marked live, but is not applied", key.path());
        }
        let before = live.current();
        std::fs::write(&file, "cluster:\n  replication: 4\nlog:\n  level: warn\n").expect("written");
        assert_eq!(live.reread(|_| Ok(())), Ok(vec!["cluster.replication".to_owned()]));
        assert_eq!((live.current().cluster.replication, live.current().log.level.as_str()), (3, "warn"));
        assert_ne!(before, live.current());
    }

    #[test]
    fn a_bad_file_or_a_refused_level_changes_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("node.yaml");
        std::fs::write(&file, "").expect("written");
        let live =
            Live::start(Source { file: Some(file.clone()), ..Source::for_role(Role::All) }).expect("valid");
        let before = live.current();
        std::fs::write(&file, "network:\n  idle_timeout: 11s\n  no_such: 1\n").expect("written");
        assert!(live.reread(|_| Ok(())).is_err_and(|text| text.contains("no_such")));
        std::fs::write(&file, "network:\n  idle_timeout: 11s\n").expect("written");
        assert!(live.reread(|_| Err("no".to_owned())).is_err());
        assert_eq!(before, live.current());
    }
}
