//! How long the caller waits (gRPC over HTTP/2, "Timeout").

use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::problem::{Code, Problem};

/// When the caller of a request that came just now stops waiting, if it said so.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Instant>, Problem> {
    let Some(given) = headers.get("grpc-timeout") else { return Ok(None) };
    let timeout = given.to_str().ok().and_then(timeout).ok_or_else(|| {
        Problem::new(Code::BadQuery, "grpc-timeout is up to 8 digits and one of H, M, S, m, u, n")
    })?;
    // Who waits for centuries waits for good.
    Ok(Instant::now().checked_add(timeout))
}

fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let usable = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if usable { digits.parse().ok()? } else { return None };
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit_and_at_most_eight_digits() {
        let good = [
            ("1n", 1),
            ("2u", 2_000),
            ("3m", 3_000_000),
            ("4S", 4_000_000_000),
            ("00000001M", 60_000_000_000),
        ];
        for (text, nanos) in good {
            assert_eq!(timeout(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "S", "1", "1s", "1 S", "-1S", "+1S", "123456789S", "1é", "0x1S"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }

    #[test]
    fn a_call_without_one_waits_for_good() {
        let headers = |value: &'static str| {
            HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), value.parse().unwrap())])
        };
        assert_eq!(of(&HeaderMap::new()), Ok(None));
        assert!(of(&headers("0n")).expect("it is one").is_some_and(|deadline| deadline <= Instant::now()));
        assert_eq!(of(&headers("soon")).map_err(|problem| problem.code), Err(Code::BadQuery));
    }
}
