//! How findings speak.

use dfs_wire::message::admin::{HealthFinding, HealthLevel};
use dfs_wire::message::health::HEALTH_CODES;

/// A finding, of text that is borrowed where it can be.
pub(super) fn finding(code: &str, level: HealthLevel, message: String, hint: &str) -> HealthFinding {
    debug_assert!(HEALTH_CODES.contains(&code), "{code} is listed nowhere");
    HealthFinding::new(code, level, message, hint)
}

/// So many of something, as people say it.
pub(super) fn some(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// A span of time as people say it, to the largest unit that matters.
pub(super) fn span(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}
