//! Times of files as they travel: signed nanoseconds since 1970.

use std::time::{Duration, SystemTime};

/// A local time as it travels; `None` if it lies beyond the years 1677 to 2262.
pub fn ns_of(time: SystemTime) -> Option<i64> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).ok(),
        Err(before) => i64::try_from(-i128::try_from(before.duration().as_nanos()).ok()?).ok(),
    }
}

/// The local time that a file gets.
pub fn local_time(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    let moved = match nanos < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_below_a_millisecond_come_back() {
        for nanos in [0, 1, -1, 999_999, -86_400_000_000_001, 1_700_000_000_123_456_789, i64::MIN, i64::MAX] {
            assert_eq!(ns_of(local_time(nanos)), Some(nanos));
        }
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(400 * 365 * 86_400);
        assert_eq!(ns_of(far), None);
    }
}
