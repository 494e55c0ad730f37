//! Findings as they are shown: with their age, and whether anybody wants to hear of them.

use dfs_wire::message::admin::{HealthFinding, HealthLevel};

use crate::coordinator::metadata::model::records::HealthBook;

/// Says of each finding how long it has been there, and for how long operators want to hear nothing of it.
pub(in crate::coordinator) fn annotate(findings: &mut [HealthFinding], book: &HealthBook, now_ms: u64) {
    for finding in findings {
        let key = (finding.code.clone(), finding.subject.clone());
        let stands = book.standing.get(&key);
        finding.age_ms = stands.map_or(0, |stands| now_ms.saturating_sub(stands.since_ms));
        let all = (key.0.clone(), String::new());
        let mutes = [&key, &all].into_iter().filter_map(|key| book.mutes.get(key));
        // What cannot be read or written is never called well.
        let left = mutes.filter(|_| finding.level < HealthLevel::Error);
        finding.muted_ms = left.map(|mute| mute.until_ms.saturating_sub(now_ms)).max().unwrap_or(0);
    }
}
