//! Timestamps of presence. Invariant: what comes out is RFC 3339 in UTC (XEP-0082), and a time that exists.

/// Digits kept of a fraction of a second.
const FRACTION_DIGITS_MAX: usize = 9;

/// A timestamp of RFC 3339 in UTC, as XEP-0203 §4 wants it; `None` if the text is none. A leap second is none: xs:dateTime
/// has no place for it.
pub(super) fn utc(text: &str) -> Option<String> {
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', 't'])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let days = days_of(date)?;
    let [hour, minute, second] = numbers(clock, b':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction_of(rest)?;
    let minutes = i64::from(hour * 60 + minute) - offset_of(zone)?;
    let days = days + minutes.div_euclid(24 * 60);
    let minutes = minutes.rem_euclid(24 * 60);
    let (year, month, day) = date_of(days);
    if !(1..=9999).contains(&year) {
        return None;
    }
    let (hour, minute) = (minutes / 60, minutes % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"))
}

/// The fraction with its point, cut to what is kept, and what follows it.
fn fraction_of(rest: &str) -> Option<(&str, &str)> {
    let Some(after) = rest.strip_prefix('.') else { return Some(("", rest)) };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    Some((rest.get(..=digits.min(FRACTION_DIGITS_MAX))?, after.get(digits..)?))
}

/// Minutes east of UTC.
fn offset_of(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, clock) = zone.split_at_checked(1)?;
    let [hours, minutes] = numbers(clock, b':', [2, 2])?;
    let offset = i64::from(hours * 60 + minutes);
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        "+" => Some(offset),
        "-" => Some(-offset),
        _ => None,
    }
}

/// Numbers of fixed widths with a mark between them, and nothing else.
fn numbers<const N: usize>(text: &str, mark: u8, widths: [usize; N]) -> Option<[u32; N]> {
    let mut found = [0; N];
    let mut parts = text.split(char::from(mark));
    for (number, width) in found.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Days since 1970-01-01 in the Gregorian calendar.
fn days_of(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > length_of(year, month) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last; 400 of them are 146,097 days.
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * i64::from((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

fn length_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The date of a day.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_utc() {
        for (text, expected) in [
            ("2026-11-22T21:02:03Z", "2026-11-22T21:02:03Z"),
            ("2026-11-22t21:02:03.5z", "2026-11-22T21:02:03.5Z"),
            ("2001-10-27T16:49:29+09:00", "2001-10-27T07:49:29Z"),
            ("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00Z"),
            ("2000-01-01T00:10:00+00:20", "1999-12-31T23:50:00Z"),
            ("1969-12-31T23:59:59.1234567890Z", "1969-12-31T23:59:59.123456789Z"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T21:02:03",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00Zx",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "２026-01-01T00:00:00Z",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
    }

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for days in (-719_162..2_932_896).step_by(37) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(&format!("{year:04}-{month:02}-{day:02}")), Some(days));
        }
    }
}
