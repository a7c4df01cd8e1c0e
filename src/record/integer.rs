//! Values that are decimal numbers.

use crate::error::{Error, Result};

/// A value, 0 without one, and `delta`.
pub(crate) fn sum(value: Option<&[u8]>, delta: i64) -> Result<i64> {
    let value = value.map_or(Ok(0), |value| {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
        number.ok_or(Error::NotAnInteger { len: value.len() })
    })?;
    value.checked_add(delta).ok_or(Error::Overflow { value, delta })
}
