//! Numbers for people.

use std::time::Duration;

/// A count with three significant digits and a letter: 950, 13.9k, 1.58M.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// A whole number, with its thousands apart: 950, 13,900.
pub fn whole(value: usize) -> String {
    let digits = value.to_string();
    let n = digits.len();
    let comma = |i: usize| if i > 0 && (n - i).is_multiple_of(3) { "," } else { "" };
    digits.chars().enumerate().map(|(i, digit)| format!("{}{digit}", comma(i))).collect()
}

/// A size: 512 B, 13.6 MiB.
pub fn bytes(value: usize) -> String {
    let text = scaled(value as f64, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"]);
    text.replace(".00 B", " B").replace(".0 B", " B")
}

/// A size of files: as [`bytes`].
pub fn bytes_of_file(value: u64) -> String {
    bytes(usize::try_from(value).unwrap_or(usize::MAX))
}

/// A rate of arithmetic: 182 GFLOP/s.
pub fn flops_per_s(value: f64) -> String {
    format!("{}FLOP/s", scaled(value, 1000.0, &[" ", " k", " M", " G", " T", " P"]))
}

/// An amount of arithmetic: 3.1 TFLOP.
pub fn flops(value: f64) -> String {
    format!("{}FLOP", scaled(value, 1000.0, &[" ", " k", " M", " G", " T", " P", " E"]))
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut scale = 0;
    let mut value = value;
    // 999.5 and above would round to four digits.
    while value.abs() >= base * 0.9995 && scale + 1 < units.len() {
        value /= base;
        scale += 1;
    }
    let digits = match value.abs() {
        _ if scale == 0 && value.fract() == 0.0 => 0,
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        _ => 2,
    };
    fixed(value, digits) + units[scale]
}

/// A number with this many digits behind the point, and never -0.
pub fn fixed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
        _ => text,
    }
}

/// A duration: 8.4 s, 3 min 20 s, 2 h 05 min.
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let check = |value, expected: &str| assert_eq!(count(value), expected);
        check(0.0, "0");
        check(950.0, "950");
        check(999.6, "1.00k");
        check(13_900.0, "13.9k");
        check(1_577_000.0, "1.58M");
        check(0.25, "0.25");
        check(-0.0, "0");
        check(-0.001, "0.00");
    }

    #[test]
    fn thousands_stand_apart() {
        for (value, expected) in [(0, "0"), (950, "950"), (1024, "1,024"), (13_900, "13,900"), (1_234_567, "1,234,567")]
        {
            assert_eq!(whole(value), expected);
        }
    }

    #[test]
    fn nothing_has_no_sign() {
        assert_eq!([fixed(-0.004, 2), fixed(-0.006, 2), fixed(-0.0, 0)], ["0.00", "-0.01", "0"]);
    }

    #[test]
    fn sizes_and_durations() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(14_260_633), "13.6 MiB");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(duration(Duration::from_millis(8_400)), "8.4 s");
        assert_eq!(duration(Duration::from_secs(7_500)), "2 h 05 min");
        assert_eq!(flops_per_s(182e9), "182 GFLOP/s");
    }
}
