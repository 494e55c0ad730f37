//! The user's configuration file: named clusters ("contexts") and which of them is the current one.
//!
//! `$XDG_CONFIG_HOME/dfs/config.yaml`, else `~/.config/dfs/config.yaml`:
//!
//! ```yaml
//! current: prod
//! contexts:
//!   prod:
//!     endpoint: dfs-1.example.org:8080,dfs-2.example.org:8080
//!     identity: /etc/dfs/identity          # only of a cluster that is secured
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// The context that is used unless another is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The contexts by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Cluster>,
}

/// Where a cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Its coordinators, `host:port` with commas between.
    pub endpoint: String,
    /// The directory that says who the user is there, if the cluster is secured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
}

/// Where the file is; `None` if there is neither XDG_CONFIG_HOME nor HOME.
pub(crate) fn path(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // As the XDG specification has it, a relative one does not count.
    let base = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("dfs/config.yaml"))
}

impl ConfigFile {
    /// Reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// If it cannot be read or says something unknown.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(e) => return Err(Failure::local("read", path, &e)),
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml_ng::from_str(&text).map_err(|e| {
            let message = format!("'{}' is not a configuration of dfsctl: {e}", path.display());
            Failure::new(Exit::Config, "BadConfig", message)
                .hint("mend it, or remove it and add the contexts again with 'dfsctl context add'")
        })
    }

    /// Writes the file, whole or not at all, for its owner alone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Outcome {
        let failed = |e: io::Error| Failure::local("write", path, &e);
        let text = serde_yaml_ng::to_string(self).map_err(|e| failed(io::Error::other(e)))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(|e| Failure::local("make the directory", dir, &e))?;
        // A link that somebody keeps his settings behind stays one.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let temporary = target.with_extension(format!("yaml.{}.tmp", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &target)
        };
        write().map_err(failed)
    }

    /// The cluster that a context names.
    ///
    /// # Errors
    /// If there is no such context: the message names those there are.
    pub(crate) fn cluster(&self, name: &str) -> Outcome<&Cluster> {
        match self.contexts.get(name) {
            Some(cluster) => Ok(cluster),
            None => {
                let names: Vec<_> = self.contexts.keys().map(|name| plain(name)).collect();
                let hint = match names.is_empty() {
                    true => "there are none yet: 'dfsctl context add NAME HOST:PORT' makes one".to_owned(),
                    false => format!("the contexts are {}", names.join(", ")),
                };
                let message = format!("there is no context '{}'", plain(name));
                Err(Failure::new(Exit::NotFound, "NoSuchContext", message).hint(hint))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_xdg_says() {
        let at = |vars: &[(&str, &str)]| {
            path(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(at(&[("XDG_CONFIG_HOME", "/c"), ("HOME", "/h")]), Some("/c/dfs/config.yaml".into()));
        assert_eq!(
            at(&[("XDG_CONFIG_HOME", "rel"), ("HOME", "/h")]),
            Some("/h/.config/dfs/config.yaml".into())
        );
        assert_eq!(at(&[("HOME", "")]), None);
    }

    #[test]
    fn what_is_written_is_read_and_what_is_unknown_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dfs/config.yaml");
        assert_eq!(ConfigFile::read(&path).unwrap(), ConfigFile::default());
        let cluster = Cluster { endpoint: "a:1,b:2".to_owned(), identity: Some("/i".into()) };
        let file = ConfigFile {
            current: Some("x".to_owned()),
            contexts: BTreeMap::from([("x".to_owned(), cluster)]),
        };
        file.write(&path).unwrap();
        assert_eq!(ConfigFile::read(&path).unwrap(), file);
        assert_eq!(file.cluster("x").unwrap().endpoint, "a:1,b:2");
        assert_eq!(file.cluster("y").unwrap_err().hint, "the contexts are x");
        for wrong in ["contexts: 7", "context: {}", "contexts: {x: {endpont: a}}", "]"] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(ConfigFile::read(&path).unwrap_err().exit, Exit::Config, "{wrong}");
        }
    }
}
