//! The configuration as it is written: one serde struct per section, unknown fields denied, nothing checked yet.
//!
//! Values may come from YAML (with types) or from the environment and flags (always text), so each field has a
//! type that reads both.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

/// Bytes, as `8MiB` or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);
/// A time with its unit, such as `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);
/// A whole number; empty text is "not set".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);
/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);
/// Text; a bare number or boolean in YAML is taken for the text it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse::<bytesize::ByteSize>();
        parsed
            .map(|size| Self(size.as_u64()))
            .map_err(|_| format!("`{text}` is not a size; write it as `8MiB`"))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = humantime::parse_duration(text);
        parsed
            .map(Self)
            .map_err(|_| format!("`{text}` is not a time; write it with its unit, as `30s` or `15min`"))
    }
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|n| Self(Some(n))).map_err(|_| format!("`{text}` is not a whole number"))
    }
}

impl FromStr for Flag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "true" | "yes" | "on" | "1" => Ok(Self(true)),
            "false" | "no" | "off" | "0" => Ok(Self(false)),
            _ => Err(format!("`{text}` is neither `true` nor `false`")),
        }
    }
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// Reads any scalar as the text a user would have written for it, then parses that.
struct AsText<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for AsText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.trim().parse().map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        String::new().parse().map_err(E::custom)
    }
}

macro_rules! reads_any_scalar {
    ($($type:ty: $what:literal),* $(,)?) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(AsText($what, std::marker::PhantomData))
            }
        }
    )*};
}

reads_any_scalar!(Size: "a size", Time: "a time", Count: "a whole number", Flag: "true or false", Text: "text");

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    pub(crate) node: RawNode,
    pub(crate) coordinator: RawCoordinator,
    pub(crate) cluster: RawCluster,
    pub(crate) storage: RawStorage,
    pub(crate) memory: RawMemory,
    pub(crate) network: RawNetwork,
    pub(crate) admin: RawAdmin,
    pub(crate) security: RawSecurity,
    pub(crate) log: RawLog,
    pub(crate) chaos: RawChaos,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawNode {
    pub(crate) name: Text,
    pub(crate) role: Text,
    pub(crate) data_dir: PathBuf,
    pub(crate) zone: Text,
    pub(crate) listen_host: Text,
    pub(crate) listen_port: Count,
    pub(crate) advertise: Text,
    pub(crate) environment: Text,
    pub(crate) datanodes: Count,
    pub(crate) drain_timeout: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCoordinator {
    pub(crate) host: Text,
    pub(crate) port: Count,
    pub(crate) metadata_dir: PathBuf,
    pub(crate) give_up_epoch: Count,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCluster {
    pub(crate) chunk_size: Size,
    pub(crate) replication: Count,
    pub(crate) min_ack: Count,
    pub(crate) commit_timeout: Time,
    pub(crate) straggler_timeout: Time,
    pub(crate) trash_retention: Time,
    pub(crate) read_lease: Time,
    pub(crate) outcome_retention: Time,
    pub(crate) outcome_memory: Size,
    pub(crate) heartbeat_interval: Time,
    pub(crate) suspect_after: Time,
    pub(crate) down_after: Time,
    pub(crate) maintenance_grace: Time,
    pub(crate) repair_grace: Time,
    pub(crate) repair_max: Count,
    pub(crate) repair_bytes_per_second: Size,
    pub(crate) nodes_unasked_max: Count,
    pub(crate) grant_ttl: Time,
    pub(crate) orphan_grace: Time,
    pub(crate) inventory_interval: Time,
    pub(crate) gc_interval: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStorage {
    pub(crate) io_threads: Count,
    pub(crate) queue_depth: Count,
    pub(crate) direct_io: Text,
    pub(crate) read_mode: Text,
    pub(crate) reserve: Size,
    pub(crate) quarantine_retention: Time,
    pub(crate) mass_delete_percent: Count,
    pub(crate) scrub_period: Time,
    pub(crate) scrub_bytes_per_second: Size,
    pub(crate) group_commit_delay: Time,
    pub(crate) open_files_max: Count,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMemory {
    pub(crate) limit: Size,
    pub(crate) ingest_percent: Count,
    pub(crate) replica_percent: Count,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawNetwork {
    pub(crate) connections_max: Count,
    pub(crate) members_max: Count,
    pub(crate) operators_max: Count,
    pub(crate) handshake_timeout: Time,
    pub(crate) idle_timeout: Time,
    pub(crate) stream_idle_timeout: Time,
    pub(crate) prepare_timeout: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAdmin {
    pub(crate) host: Text,
    pub(crate) port: Count,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSecurity {
    pub(crate) mode: Text,
    pub(crate) directory: PathBuf,
    pub(crate) join_token_file: PathBuf,
    pub(crate) invite: Text,
    pub(crate) invitations: PathBuf,
    pub(crate) operator: PathBuf,
    pub(crate) certificate_lifetime: Time,
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLog {
    pub(crate) level: Text,
    pub(crate) format: Text,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawChaos {
    pub(crate) enabled: Flag,
    pub(crate) token: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_need_what_a_human_would_write() {
        assert_eq!("8MiB".parse(), Ok(Size(8 << 20)));
        assert_eq!("65536".parse(), Ok(Size(65_536)));
        assert_eq!("1.5GiB".parse(), Ok(Size(3 << 29)));
        assert!("8 potatoes".parse::<Size>().is_err());
        assert_eq!("15min".parse(), Ok(Time(Duration::from_secs(900))));
        assert!("30".parse::<Time>().is_err_and(|text| text.contains("unit")));
        assert!("yes".parse::<Flag>().is_ok() && "si".parse::<Flag>().is_err());
    }
}
