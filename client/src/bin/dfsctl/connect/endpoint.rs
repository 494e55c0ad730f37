//! Where the cluster is: the first of the flag, the environment, a development cluster nearby, and the default.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::connect::config_file::{Cluster, ConfigFile};
use crate::dev_cluster::state::ClusterState;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;

/// Port of a coordinator when none is said.
pub(crate) const PORT_DEFAULT: u16 = 8080;

/// Where an endpoint was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndpointOrigin {
    /// `--endpoint`.
    Flag,
    /// A path on the command line that names it.
    Argument,
    /// A context that was named: `--context` or DFS_CONTEXT.
    Named(String),
    /// The current context.
    Current(String),
    /// The variable DFS_ENDPOINT.
    Endpoint,
    /// COORDINATOR_HOST and COORDINATOR_PORT.
    Coordinator,
    /// The state of a development cluster in this directory or one above.
    Dev(String),
    /// Nothing was said.
    Default,
}

impl fmt::Display for EndpointOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("from --endpoint"),
            Self::Argument => f.write_str("as it is written"),
            Self::Named(name) => write!(f, "of the context '{}'", plain(name)),
            Self::Current(name) => write!(f, "of the current context, '{}'", plain(name)),
            Self::Endpoint => f.write_str("from DFS_ENDPOINT"),
            Self::Coordinator => f.write_str("from COORDINATOR_HOST and COORDINATOR_PORT"),
            Self::Dev(dir) => write!(f, "of the development cluster in {}", plain(dir)),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// The coordinators to talk to, and how they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host:port` of each.
    pub addresses: Vec<String>,
    /// How they were found.
    pub origin: EndpointOrigin,
    /// The directory that says who the user is there; `None` = connections are plain.
    pub identity: Option<PathBuf>,
}

/// What the command line says of the cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// `--endpoint`.
    pub endpoint: Option<String>,
    /// `--context`.
    pub context: Option<String>,
    /// `--identity`.
    pub identity: Option<PathBuf>,
}

impl Endpoint {
    /// Finds the cluster: the first that is said. The nearer to the command, the sooner it counts.
    ///
    /// # Errors
    /// If an address that somebody wrote is not one, or a context is not known.
    pub(crate) fn resolve(
        said: &Said,
        env: impl Fn(&str) -> Option<String>,
        here: &Path,
        config: impl Fn() -> Outcome<ConfigFile>,
    ) -> Outcome<Self> {
        let own = said.identity.clone();
        let own = own.or_else(|| env("DFS_IDENTITY").filter(|dir| !dir.is_empty()).map(PathBuf::from));
        let found = Self::found(said, env, here, &config)?;
        // An address alone, as of `--endpoint`: whoever knows the same one by another way knows who the user is there.
        let known = || known_at(&found.addresses, here, &config);
        Ok(Self { identity: own.or(found.identity).or_else(known), ..found })
    }

    /// As [`Self::resolve`]; who the user is, only as a context says it.
    fn found(
        said: &Said,
        env: impl Fn(&str) -> Option<String>,
        here: &Path,
        config: impl Fn() -> Outcome<ConfigFile>,
    ) -> Outcome<Self> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let named = |name: &str| Self::of(config()?.cluster(name)?, EndpointOrigin::Named(name.to_owned()));
        if let Some(text) = &said.endpoint {
            return Self::parse(text, EndpointOrigin::Flag);
        }
        if let Some(name) = &said.context {
            return named(name);
        }
        if let Some(text) = env("DFS_ENDPOINT") {
            return Self::parse(&text, EndpointOrigin::Endpoint);
        }
        if let Some(name) = env("DFS_CONTEXT") {
            return named(&name);
        }
        let (host, port) = (env("COORDINATOR_HOST"), env("COORDINATOR_PORT"));
        if host.is_some() || port.is_some() {
            let host = host.unwrap_or_else(|| "localhost".to_owned());
            let text = match port {
                Some(port) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
                Some(port) => format!("{host}:{port}"),
                None => host,
            };
            return Self::parse(&text, EndpointOrigin::Coordinator);
        }
        match ClusterState::nearest(here)? {
            Some((dir, state)) => match state.coordinator() {
                Some(node) => {
                    if state.is_there() {
                        state.must_be_in_place()?;
                    }
                    let found = Self::parse(&node.address, EndpointOrigin::Dev(dir.display().to_string()))?;
                    Ok(Self { identity: dev_identity(&state), ..found })
                }
                None => Self::parse("localhost", EndpointOrigin::Default),
            },
            None => {
                let config = config()?;
                match &config.current {
                    Some(name) => Self::of(config.cluster(name)?, EndpointOrigin::Current(name.clone())),
                    None => Self::parse("localhost", EndpointOrigin::Default),
                }
            }
        }
    }

    /// Checks addresses that somebody wrote.
    ///
    /// # Errors
    /// If they are none.
    pub(crate) fn check(text: &str) -> Outcome {
        Self::parse(text, EndpointOrigin::Argument).map(drop)
    }

    fn of(cluster: &Cluster, origin: EndpointOrigin) -> Outcome<Self> {
        let found = Self::parse(&cluster.endpoint, origin)?;
        Ok(Self { identity: cluster.identity.clone(), ..found })
    }

    /// Reads one or several addresses with commas between; the port may be left out.
    fn parse(text: &str, origin: EndpointOrigin) -> Outcome<Self> {
        let mut addresses = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let address = part.strip_prefix("dfs://").unwrap_or(part).trim_end_matches('/');
            match with_port(address) {
                Some(address) => addresses.push(address),
                None => return Err(bad_address(part, &origin)),
            }
        }
        match addresses.is_empty() {
            true => Err(bad_address(text, &origin)),
            false => Ok(Self { addresses, origin, identity: None }),
        }
    }

    /// For messages: the addresses.
    pub(crate) fn shown(&self) -> String {
        plain(&self.addresses.join(","))
    }
}

/// The identity of whoever uses a development cluster, if it has been made.
fn dev_identity(state: &ClusterState) -> Option<PathBuf> {
    Some(state.admin_dir()).filter(|dir| state.is_secured() && dir.is_dir())
}

/// Who the user is at these addresses, by what a development cluster nearby or a context says. What cannot be read says nothing: it
/// is not what was asked for.
fn known_at(addresses: &[String], here: &Path, config: impl Fn() -> Outcome<ConfigFile>) -> Option<PathBuf> {
    let same = |text: &str| {
        let local = |address: &str| address.replace("localhost:", "127.0.0.1:");
        let parsed = Endpoint::parse(text, EndpointOrigin::Argument).ok();
        parsed.is_some_and(|known| {
            known.addresses.iter().map(|a| local(a)).eq(addresses.iter().map(|a| local(a)))
        })
    };
    let dev = ClusterState::nearest(here).ok().flatten().map(|(_, state)| state);
    if let Some(state) = dev.filter(|state| same(&state.endpoint())) {
        return dev_identity(&state);
    }
    let contexts = config().ok()?.contexts;
    contexts.into_values().find(|context| context.identity.is_some() && same(&context.endpoint))?.identity
}

fn bad_address(text: &str, origin: &EndpointOrigin) -> Failure {
    let message = format!("'{}' ({origin}) is not an address", plain(text));
    let exit = if matches!(origin, EndpointOrigin::Flag | EndpointOrigin::Argument) {
        Exit::Usage
    } else {
        Exit::Config
    };
    Failure::new(exit, "BadEndpoint", message).hint("write it as HOST:PORT, for example localhost:8080")
}

/// `host:port`, with the default port if there is none.
fn with_port(address: &str) -> Option<String> {
    let legal =
        |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    let port_of = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = if rest.is_empty() { PORT_DEFAULT } else { port_of(rest.strip_prefix(':')?)? };
        return Some(format!("[{host}]:{port}"));
    }
    match address.split_once(':') {
        None => legal(address).then(|| format!("{address}:{PORT_DEFAULT}")),
        Some((_, rest)) if rest.contains(':') => {
            let host: std::net::Ipv6Addr = address.parse().ok()?;
            Some(format!("[{host}]:{PORT_DEFAULT}"))
        }
        Some((host, port)) => {
            let port = port_of(port)?;
            legal(host).then(|| format!("{host}:{port}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flag: Option<&str>, env: &[(&str, &str)], here: &Path) -> Outcome<Endpoint> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let config = || {
            let cluster = |endpoint: &str| Cluster { endpoint: endpoint.to_owned(), identity: None };
            let contexts = [("near", "n:1"), ("far", "f:2")].map(|(name, to)| (name.to_owned(), cluster(to)));
            Ok(ConfigFile { current: Some("far".to_owned()), contexts: contexts.into_iter().collect() })
        };
        let said = match flag {
            Some(text) if text.starts_with('@') => {
                Said { context: text.strip_prefix('@').map(str::to_owned), ..Said::default() }
            }
            endpoint => Said { endpoint: endpoint.map(str::to_owned), ..Said::default() },
        };
        Endpoint::resolve(&said, env, here, config)
    }

    #[test]
    fn the_flag_wins_then_the_environment_then_the_default() {
        // Where no development cluster is above, whatever was tried out in the temporary directory.
        let here = Path::new("/");
        let all = [("DFS_ENDPOINT", "e:1"), ("COORDINATOR_HOST", "c"), ("COORDINATOR_PORT", "2")];
        let first = |flag, env: &[_]| resolve(flag, env, here).unwrap().addresses.join(",");
        assert_eq!(first(Some("f:3"), &all), "f:3");
        assert_eq!(first(None, &all), "e:1");
        assert_eq!(first(None, all.get(1..).unwrap()), "c:2");
        assert_eq!(first(None, &[("COORDINATOR_PORT", "9")]), "localhost:9");
        assert_eq!(first(None, &[("COORDINATOR_HOST", "::1"), ("COORDINATOR_PORT", "9")]), "[::1]:9");
        assert_eq!(first(None, &[("DFS_ENDPOINT", "")]), "f:2", "the current context");
        assert_eq!(first(Some("@near"), &all), "n:1");
        assert_eq!(first(None, &[("DFS_CONTEXT", "near"), ("COORDINATOR_HOST", "c")]), "n:1");
        let none = Endpoint::resolve(&Said::default(), |_| None, here, || Ok(ConfigFile::default())).unwrap();
        assert_eq!(
            (none.addresses.join(","), none.origin),
            ("localhost:8080".to_owned(), EndpointOrigin::Default)
        );
        assert_eq!(resolve(Some("@none"), &[], here).unwrap_err().code, "NoSuchContext");
        assert_eq!(first(Some("a, b:7,dfs://c:1/"), &[]), "a:8080,b:7,c:1");
    }

    #[test]
    fn a_wrong_address_names_where_it_came_from() {
        let here = Path::new("/");
        for bad in ["", ",", "a:b", "a:0", "a:99999", "http://a:1", "[::1", "[x]:1", "a b:1", ":80"] {
            let failure = resolve(Some(bad), &[], here).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
        }
        let failure = resolve(None, &[("DFS_ENDPOINT", "a:b")], here).unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Config, "'a:b' (from DFS_ENDPOINT) is not an address")
        );
    }
}
