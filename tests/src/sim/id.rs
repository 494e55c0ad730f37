//! The names of hosts.

use std::fmt;

/// Which host: `co` is the coordinator's, `d1`, `d2` and so on are the datanodes', `c1`, `c2` and so on the clients'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u16);

impl HostId {
    /// The coordinator's.
    pub const COORDINATOR: Self = Self(0);
    /// Not a host: the world itself, which lets faults happen.
    pub const WORLD: Self = Self(u16::MAX);
    const CLIENTS: u16 = 100;

    /// The datanode `number`, from 1.
    pub const fn datanode(number: u16) -> Self {
        Self(number)
    }

    /// The client `number`, from 1.
    pub const fn client(number: u16) -> Self {
        Self(Self::CLIENTS + number)
    }

    /// Whether a client's program runs there.
    pub const fn is_client(self) -> bool {
        self.0 > Self::CLIENTS
    }

    /// Its number among those of its kind, from 1; 0 is the coordinator's.
    pub(super) const fn number(self) -> u16 {
        if self.is_client() { self.0 - Self::CLIENTS } else { self.0 }
    }

    /// The address at which its node listens.
    pub(super) fn address(self) -> String {
        match self {
            Self::COORDINATOR => "10.0.0.1:8080".to_owned(),
            Self(number) => format!("10.0.1.{number}:8081"),
        }
    }

    /// The host that is called so.
    pub(super) fn named(name: &str) -> Option<Self> {
        let number = |from: &str| from.parse::<u16>().ok().filter(|n| (1..Self::CLIENTS).contains(n));
        match name.split_at_checked(1)? {
            ("c", "o") => Some(Self::COORDINATOR),
            ("d", rest) => number(rest).map(Self::datanode),
            ("c", rest) => number(rest).map(Self::client),
            _ => None,
        }
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::COORDINATOR => "co".to_owned(),
            Self::WORLD => "world".to_owned(),
            Self(number) if number > Self::CLIENTS => format!("c{}", number - Self::CLIENTS),
            Self(number) => format!("d{number}"),
        };
        f.pad(&text)
    }
}
