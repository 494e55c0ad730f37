//! Configuration: defaults, then a YAML file, then the environment, then flags; checked as a whole.
//!
//! [`load`] turns a [`Source`] into a typed [`Config`] or into a [`ConfigError`] that names every problem with
//! the file, variable or flag it came from. Nothing here reads the environment by itself, so that tests need
//! not change it.

mod error;
mod keys;
mod layers;
mod live;
mod print;
mod raw;
#[cfg(test)]
mod tests;
mod typed;
mod validate;

use std::path::PathBuf;

pub use error::{ConfigError, Problem};
pub use keys::{KEYS, Key, Kind, SECTIONS, SHORT_ENV};
pub use live::{Live, Reloads};
pub use print::reference;
pub use typed::{
    AdminConfig, ChaosConfig, ClusterConfig, Config, CoordinatorConfig, HostPort, LogConfig, LogFormat,
    MemoryConfig, NetworkConfig, NodeConfig, OwnCertificate, Role, SecurityConfig, StorageConfig,
};

/// Everything that decides a configuration. Kept by the process, so that SIGHUP can read it again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The YAML file, if one was named.
    pub file: Option<PathBuf>,
    /// The environment, in a fixed order.
    pub env: Vec<(String, String)>,
    /// Flags as (flag, dotted key, value); later ones win.
    pub flags: Vec<(String, String, String)>,
}

impl Source {
    /// A source with nothing but a role: every other value is its default.
    #[cfg(test)]
    pub(crate) fn for_role(role: Role) -> Self {
        Self::default().set("node.role", role.as_str())
    }

    /// Adds a value as `--set key=value` would.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.flags.push(("--set".to_owned(), key.to_owned(), value.into()));
        self
    }
}

/// Reads and checks a configuration.
///
/// # Errors
/// Every problem found: an unreadable file, unknown keys, values out of range, rules between keys broken.
pub fn load(source: &Source) -> Result<Config, ConfigError> {
    validate::validate(&layers::Layers::read(source)?)
}

/// The merged configuration as YAML, each value with where it came from. Values are printed even where
/// [`load`] would refuse them, so that a mistake can be found.
///
/// # Errors
/// An unreadable file or unknown keys.
pub fn describe(source: &Source) -> Result<String, ConfigError> {
    Ok(print::print(&layers::Layers::read(source)?.named_well()?))
}

/// Every key with its value as text, to find out later what a reload would change.
///
/// # Errors
/// As [`describe`].
pub fn values(source: &Source) -> Result<Vec<(&'static Key, String)>, ConfigError> {
    let layers = layers::Layers::read(source)?.named_well()?;
    Ok(KEYS.iter().map(|key| (key, layers.text(&key.path()))).collect())
}
