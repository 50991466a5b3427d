//! RFC 3339 texts to microseconds.
//!
//! Promise: the form the API server writes, `2026-01-02T03:04:05.678901Z`, is read without a
//! general parser; every other RFC 3339 text is read too.
//!
//! Never: other notations of ISO 8601 are not taken for a time.

use jiff::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A time that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Microseconds since 1970-01-01T00:00:00Z, rounded down.
    pub(super) micros: i64,
    /// Whether the text says more than `micros` does: digits below the microsecond.
    pub(super) is_cut: bool,
}

/// Reads an RFC 3339 text; None when it is not one or no such time exists.
pub(super) fn moment(text: &str) -> Option<Moment> {
    if let Some(micros) = fixed_form(text.as_bytes()) {
        return Some(Moment { micros, is_cut: false });
    }
    if !has_rfc_3339_shape(text.as_bytes()) {
        return None;
    }
    let time: Timestamp = text.parse().ok()?;
    let nanos_of_second = i64::from(time.subsec_nanosecond());
    let micros = time.as_second().checked_mul(MICROS_PER_SECOND)?;
    let micros = micros.checked_add(nanos_of_second.div_euclid(1_000))?;
    let fraction_digits =
        text.bytes().skip_while(|b| *b != b'.').skip(1).take_while(u8::is_ascii_digit).count();
    Some(Moment { micros, is_cut: fraction_digits > 6 })
}

/// `YYYY-MM-DDTHH:MM:SSZ` with six digits of a fraction before the `Z`.
fn fixed_form(text: &[u8]) -> Option<i64> {
    let text: &[u8; 27] = text.try_into().ok()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        n0,
        n1,
        b':',
        s0,
        s1,
        b'.',
        fraction @ ..,
        b'Z',
    ] = text
    else {
        return None;
    };
    let year = number(&[*y0, *y1, *y2, *y3])?;
    let month = number(&[*m0, *m1])?;
    let day = number(&[*d0, *d1])?;
    let (hour, minute, second) = (number(&[*h0, *h1])?, number(&[*n0, *n1])?, number(&[*s0, *s1])?);
    let micros = number(fraction)?;
    // Leap seconds and days that do not exist are left to the general parser.
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds =
        days_since_1970(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    Some(seconds * MICROS_PER_SECOND + micros)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March, so
/// that the leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month < 3 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (months_since_march * 153 + 2) / 5 + day - 1;
    let leap_days =
        march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    march_year * 365 + leap_days + day_of_year - 719_468
}

/// Whether the text starts as `YYYY-MM-DDTHH:MM:SS` and holds nothing RFC 3339 does not know; the
/// general parser also takes week dates, time zone names and more.
fn has_rfc_3339_shape(text: &[u8]) -> bool {
    let shape = b"0000-00-00T00:00:00";
    let starts_so = text.len() > shape.len()
        && shape.iter().zip(text).all(|(expected, found)| match expected {
            b'0' => found.is_ascii_digit(),
            b'T' => matches!(found, b'T' | b't'),
            _ => found == expected,
        });
    let rest = text.get(shape.len()..).unwrap_or_default();
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| digits > 0).unwrap_or_default()
        }
        None => rest,
    };
    let zone_is_sound = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h0, h1, b':', m0, m1] => [h0, h1, m0, m1].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    };
    starts_so && zone_is_sound
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(moment(text).map(|m| m.micros), expected, "{text}");
    }

    #[test]
    fn reads_rfc_3339() {
        check("1970-01-01T00:00:00.000001Z", Some(1));
        check("1969-12-31T23:59:59.999999Z", Some(-1));
        check("2026-11-21T07:45:52.414739Z", Some(1_795_247_152_414_739));
        check("2026-11-21T07:45:52Z", Some(1_795_247_152_000_000));
        check("2026-11-21T09:45:52.414+02:00", Some(1_795_247_152_414_000));
        check("2026-11-21t07:45:52.414739z", Some(1_795_247_152_414_739));
        check("2024-02-29T00:00:00.000000Z", Some(1_709_164_800_000_000));
        check("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000));
        check("1969-12-31T23:59:59.9999999Z", Some(-1));
    }

    #[test]
    fn refuses_what_is_not() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-11-21T07:45:52",
            "2026-11-21 07:45:52Z",
            "2026-11-21T07:45:52.Z",
            "2026-11-21T07:45:52+0200",
            "2026-11-21T07:45:52+02:00[Europe/Berlin]",
            "2026-02-30T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-11-21T24:00:01.000000Z",
            "2026-11-21T07:45:52.41473xZ",
            "20261121T074552Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn digits_below_the_microsecond_are_told() {
        assert!(moment("2026-11-21T07:45:52.414739123Z").unwrap().is_cut);
        assert!(!moment("2026-11-21T07:45:52.414Z").unwrap().is_cut);
    }

    proptest! {
        #[test]
        fn the_fast_form_agrees_with_the_general_parser(
            micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000,
        ) {
            let time = Timestamp::from_microsecond(micros).unwrap();
            let text = format!("{time:.6}");
            prop_assert_eq!(text.len(), 27);
            prop_assert_eq!(fixed_form(text.as_bytes()), Some(micros));
        }
    }
}
