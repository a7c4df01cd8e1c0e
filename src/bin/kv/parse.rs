//! Values of arguments.

use crate::failure::Failure;
use kv::{Expiry, Sync};
use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit };
    let unit_ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
    let ms = number.parse::<u64>().ok().zip(unit_ms).and_then(|(number, ms)| number.checked_mul(ms));
    ms.map(Duration::from_millis).ok_or_else(|| "not a duration such as 500ms, 2s, 10m, 3h or 7d".into())
}

/// A duration that is not zero.
pub fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".into()),
        period => Ok(period),
    }
}

pub fn sync(text: &str) -> Result<Sync, String> {
    match text {
        "always" => Ok(Sync::Always),
        "never" => Ok(Sync::Never),
        _ => period(text).map(Sync::Every).map_err(|reason| format!("{reason}; nor always or never")),
    }
}

pub fn expiry(text: &str) -> Result<Expiry, String> {
    match text {
        "never" => Ok(Expiry::Never),
        _ => duration(text).map(Expiry::After).map_err(|reason| format!("{reason}; nor never")),
    }
}

/// An option and its value.
pub fn option(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    parts.map(|(name, value)| (name.into(), value.into())).ok_or_else(|| "not NAME=VALUE".into())
}

/// Bytes of a key or value that was given as text.
pub fn bytes(text: &str, is_hex: bool) -> Result<Vec<u8>, Failure> {
    if !is_hex {
        return Ok(text.as_bytes().to_vec());
    }
    let refuse = || Failure::refused(format!("{text:?} is not hexadecimal"));
    if text.len() % 2 != 0 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    (0..text.len()).step_by(2).map(|at| parse_byte(text.get(at..at + 2)).ok_or_else(refuse)).collect()
}

fn parse_byte(digits: Option<&str>) -> Option<u8> {
    u8::from_str_radix(digits?, 16).ok()
}
