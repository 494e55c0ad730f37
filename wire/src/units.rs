//! Amounts as people read them: the same in what nodes say and in what `dfsctl` prints.

/// Bytes in binary units with three digits that matter: `0 B`, `512 B`, `1.50 KiB`, `12.0 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"KiB");
    while value >= 1000.0 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = next;
    }
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_that_matter() {
        let sizes = [0, 1, 1023, 1024, 1536, 10 * 1024, 1023 * 1024, 5 << 30, u64::MAX].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1 B", "1023 B", "1.00 KiB", "1.50 KiB", "10.0 KiB", "1.00 MiB", "5.00 GiB", "16.0 EiB"]
        );
    }
}
