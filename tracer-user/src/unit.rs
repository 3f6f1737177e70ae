//! Numbers with their units, short.

use std::time::Duration;

/// Bytes in at most six columns: `0 B`, `9999 B`, `11.0 K`, `250 K`, `1.5 M`; powers of 1000.
#[must_use]
pub fn bytes(n: u64) -> String {
    if n < 1_000 {
        return format!("{n} B");
    }
    let mut scaled = n;
    for unit in ["K", "M", "G", "T", "P"] {
        if scaled < 99_950 {
            return format!(
                "{}.{} {unit}",
                (scaled + 50) / 1_000,
                (scaled + 50) % 1_000 / 100
            );
        }
        if scaled < 999_500 {
            return format!("{} {unit}", (scaled + 500) / 1_000);
        }
        scaled /= 1_000;
    }
    format!("{} E", scaled / 1_000)
}

/// A number with thousands separators.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration in at most eight columns: `12 us`, `4.2 ms`, `1.50 s`, `2 m 05 s`.
#[must_use]
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..100_000_000 => format!("{:.1} ms", Duration::from_nanos(ns).as_secs_f64() * 1e3),
        100_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..60_000_000_000 => format!("{:.2} s", Duration::from_nanos(ns).as_secs_f64()),
        _ => {
            let seconds = ns / 1_000_000_000;
            match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
                (0, minutes, seconds) => format!("{minutes} m {seconds:02} s"),
                (hours, minutes, _) => format!("{hours} h {minutes:02} m"),
            }
        }
    }
}

/// A number with its noun: `1 stream`, `2 streams`.
#[must_use]
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A number with its noun and thousands separators: `1 stream`, `2,345 streams`.
#[must_use]
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_fit_into_six_columns() {
        for (n, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 K"),
            (11_011, "11.0 K"),
            (99_949, "99.9 K"),
            (99_950, "100 K"),
            (250_008, "250 K"),
            (999_499, "999 K"),
            (999_500, "1.0 M"),
            (10_000_000, "10.0 M"),
        ] {
            assert_eq!(bytes(n), want, "{n}");
        }
        let mut n: u64 = 1;
        while let Some(next) = n.checked_mul(7) {
            assert!(bytes(n).len() <= 6, "{n}: {}", bytes(n));
            n = next;
        }
        assert!(bytes(u64::MAX).len() <= 6, "{}", bytes(u64::MAX));
    }

    #[test]
    fn durations_fit_into_eight_columns() {
        for (ns, want) in [
            (0, "0 us"),
            (999_999, "999 us"),
            (4_212_000, "4.2 ms"),
            (99_999_999, "100.0 ms"),
            (250_000_000, "250 ms"),
            (1_500_000_000, "1.50 s"),
            (125_000_000_000, "2 m 05 s"),
            (7_500_000_000_000, "2 h 05 m"),
        ] {
            assert_eq!(duration(ns), want, "{ns}");
            assert!(want.len() <= 8);
        }
    }
}
