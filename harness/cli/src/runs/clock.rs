//! Points in time as records write them. Microseconds since 1970, in the proleptic Gregorian calendar, UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// Now, or what `SOURCE_DATE_EPOCH` (seconds) says instead, for results that can be reproduced byte by byte.
pub fn now() -> i64 {
    let stated = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<i64>().ok());
    if let Some(seconds) = stated {
        return seconds.clamp(0, 253_402_300_799) * 1_000_000;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// `20261121T104332.123456Z`: sorts as time does, and may stand in a file's name.
pub fn stamp(microseconds: i64) -> String {
    let (year, month, day) = civil(microseconds.div_euclid(MICROSECONDS_PER_DAY));
    let within = microseconds.rem_euclid(MICROSECONDS_PER_DAY);
    let (seconds, fraction) = (within / 1_000_000, within % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{fraction:06}Z")
}

/// `2026-11-21T10:43:32Z`: as people and JSON Schema's `date-time` write it.
pub fn date_time(microseconds: i64) -> String {
    let stamp = stamp(microseconds);
    let part = |from: usize, to: usize| &stamp[from..to];
    let date = format!("{}-{}-{}", part(0, 4), part(4, 6), part(6, 8));
    format!("{date}T{}:{}:{}Z", part(9, 11), part(11, 13), part(13, 15))
}

/// The time of a [`stamp`], if `text` starts with one.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 23 && bytes[8] == b'T' && bytes[15] == b'.' && bytes[22] == b'Z';
    let number = |from: usize, to: usize| {
        let digits = shape.then(|| text.get(from..to)).flatten()?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok()).flatten()
    };
    let days = days(number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let seconds = number(9, 11)? * 3600 + number(11, 13)? * 60 + number(13, 15)?;
    Some(days * MICROSECONDS_PER_DAY + seconds * 1_000_000 + number(16, 22)?)
}

/// Year, month, day of a number of days since 1970-01-01. Eras of 400 years start on 1 March.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march = days + 719_468;
    let (era, of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(stamp(0), "19700101T000000.000000Z");
        assert_eq!(stamp(951_782_400_000_001), "20000229T000000.000001Z");
        assert_eq!(date_time(1_795_257_812_123_456), "2026-11-21T10:43:32Z");
        assert_eq!(stamp(4_102_444_799_999_999), "20991231T235959.999999Z");
    }

    #[test]
    fn every_day_comes_back_and_in_order() {
        let days = (0..60_000).map(|day| day * MICROSECONDS_PER_DAY + 86_399_999_999);
        let stamps: Vec<String> = days.clone().map(stamp).collect();
        assert!(stamps.windows(2).all(|two| two[0] < two[1]));
        assert!(days.zip(&stamps).all(|(time, stamp)| parse(stamp) == Some(time)));
        assert_eq!(parse("notes.json"), None);
        assert_eq!(parse("20261121T104332.12345éZ"), None);
    }
}
