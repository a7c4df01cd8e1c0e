//! CSV as of RFC 4180: rows of fields between commas; a field with a comma, a quote or a line break stands in quotes, and
//! quotes in it are doubled. The first row names the columns.
//!
//! Read by hand and not by the crate `csv`: that takes a quote that is never closed, and text behind a closed one, for data, and
//! both are what a file that was cut or put together wrongly looks like.

use super::input::{too_long, Input, ITEM_BYTES_MAX};
use super::{Row, Stop, TransferOptions};
use crate::texts::Text;
use base64::prelude::{Engine, BASE64_STANDARD};
use std::io::{BufRead, Write};

/// Most fields of a row: empty ones cost memory too.
const FIELDS_MAX: usize = 1 << 16;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Which column holds what.
pub(super) struct Columns {
    count: usize,
    key: usize,
    value: usize,
    expires_at_ms: Option<usize>,
    ttl_ms: Option<usize>,
    base64: Option<usize>,
}

impl Columns {
    /// Those that the first row names. Columns of other names are not looked at.
    pub(super) fn of(names: &[Vec<u8>], options: &TransferOptions<'_>) -> Result<Columns, Stop> {
        let find = |name: &str| {
            let mut found = names.iter().enumerate().filter(|(_, column)| *column == name.as_bytes());
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => Err(Stop::bad(format!("two columns are named {name:?}"))),
                (found, _) => Ok(found.map(|(at, _)| at)),
            }
        };
        let must = |name: &str| find(name)?.ok_or_else(|| Stop::bad(format!("no column is named {name:?}")));
        Ok(Columns {
            count: names.len(),
            key: must(&options.key_column)?,
            value: must(&options.value_column)?,
            expires_at_ms: find("expires_at_ms")?,
            ttl_ms: find("ttl_ms")?,
            base64: find("base64")?,
        })
    }

    /// The entry of a row; `None` for an empty line.
    pub(super) fn entry(&self, fields: &mut [Vec<u8>]) -> Result<Option<Row>, Stop> {
        if matches!(fields, [field] if field.is_empty()) && self.count > 1 {
            return Ok(None);
        }
        if fields.len() != self.count {
            let found = fields.len();
            return Err(Stop::bad(format!("{found} fields, where the first row has {}", self.count)));
        }
        let mut field = |at: usize| fields.get_mut(at).map(std::mem::take).unwrap_or_default();
        let mut number = |at: Option<usize>, name: &str| -> Result<Option<u64>, Stop> {
            let bytes = at.map(&mut field).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(None);
            }
            let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
            let shown = || String::from_utf8_lossy(&bytes).into_owned();
            number
                .map(Some)
                .ok_or_else(|| Stop::bad(format!("{name}: {:?} is no number of milliseconds", shown())))
        };
        let (expires_at_ms, ttl_ms) =
            (number(self.expires_at_ms, "expires_at_ms")?, number(self.ttl_ms, "ttl_ms")?);
        if expires_at_ms.is_some() && ttl_ms.is_some() {
            return Err(Stop::bad("both expires_at_ms and ttl_ms"));
        }
        let base64 = self.base64.map(&mut field).unwrap_or_default();
        let (is_key, is_value) = match &base64[..] {
            b"" => (false, false),
            b"key" => (true, false),
            b"value" => (false, true),
            b"key value" => (true, true),
            other => {
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(Stop::bad(format!("base64: {other:?} is not key, value or key value")));
            }
        };
        let mut bytes = |at: usize, is_base64: bool, name: &str| match is_base64 {
            true => BASE64_STANDARD.decode(field(at)).map_err(|e| Stop::bad(format!("{name}: {e}"))),
            false => Ok(field(at)),
        };
        let key = bytes(self.key, is_key, "key")?;
        let value = bytes(self.value, is_value, "value")?;
        Ok(Some(Row { key, value, expires_at_ms, ttl_ms }))
    }
}

/// Reads the fields of the next row; whether there was one.
pub(super) fn read_row(input: &mut Input<'_, impl BufRead>, fields: &mut Vec<Vec<u8>>) -> Result<bool, Stop> {
    fields.clear();
    if input.position().offset == 0 {
        let mut mark = Vec::new();
        if input.peek()? == BYTE_ORDER_MARK.first().copied() {
            input.read_bytes(BYTE_ORDER_MARK.len() as u64, &mut mark)?;
            if mark != BYTE_ORDER_MARK {
                return Err(Stop::bad("begins with bytes that are not UTF-8"));
            }
        }
    }
    if input.peek()?.is_none() {
        return Ok(false);
    }
    let mut left = ITEM_BYTES_MAX;
    loop {
        if fields.len() == FIELDS_MAX {
            return Err(Stop::bad(format!("a row of more than {FIELDS_MAX} fields")));
        }
        let mut field = Vec::new();
        let end = match input.peek()? {
            Some(b'"') => read_quoted(input, &mut left, &mut field)?,
            _ => read_bare(input, &mut left, &mut field)?,
        };
        fields.push(field);
        if end == End::Row {
            return Ok(true);
        }
    }
}

/// What a field ends.
#[derive(PartialEq)]
enum End {
    Field,
    Row,
}

/// Takes from the bytes that the row may still have.
fn spend(left: &mut u64, bytes: u64) -> Result<(), Stop> {
    *left = left.checked_sub(bytes).filter(|left| *left > 0).ok_or_else(|| Stop::bad(too_long()))?;
    Ok(())
}

fn read_bare(input: &mut Input<'_, impl BufRead>, left: &mut u64, field: &mut Vec<u8>) -> Result<End, Stop> {
    loop {
        let bytes = input.buffered()?;
        let stop = bytes.iter().position(|byte| matches!(byte, b',' | b'\n' | b'"'));
        let len = stop.unwrap_or(bytes.len());
        field.extend(bytes.iter().take(len));
        let (at_end, found) = (bytes.is_empty(), stop.and_then(|stop| bytes.get(stop)).copied());
        spend(left, len as u64)?;
        input.consume(len + usize::from(matches!(found, Some(b',' | b'\n'))));
        match found {
            Some(b',') => return Ok(End::Field),
            Some(b'\n') => {
                if field.last() == Some(&b'\r') {
                    field.pop();
                }
                return Ok(End::Row);
            }
            Some(_) => return Err(Stop::bad("a quote in a field that does not begin with one")),
            None if at_end => return Ok(End::Row),
            None => {}
        }
    }
}

fn read_quoted(
    input: &mut Input<'_, impl BufRead>,
    left: &mut u64,
    field: &mut Vec<u8>,
) -> Result<End, Stop> {
    input.consume(1);
    loop {
        spend(left, input.read_to(b'"', *left, field)?)?;
        if field.pop() != Some(b'"') {
            return Err(Stop::bad("a quote that is never closed"));
        }
        let mut end = Vec::new();
        return match input.peek()? {
            // Two are one.
            Some(b'"') => {
                field.push(b'"');
                input.consume(1);
                continue;
            }
            Some(b',') => {
                input.consume(1);
                Ok(End::Field)
            }
            None => Ok(End::Row),
            Some(_) => match input.read_to(b'\n', 2, &mut end).map(|_| &end[..])? {
                b"\n" | b"\r\n" => Ok(End::Row),
                _ => Err(Stop::bad("text behind a quoted field")),
            },
        };
    }
}

/// Writes the row that names the columns.
pub(super) fn write_names(to: &mut impl Write, options: &TransferOptions<'_>) -> std::io::Result<()> {
    write_field(to, options.key_column.as_bytes())?;
    to.write_all(b",")?;
    write_field(to, options.value_column.as_bytes())?;
    to.write_all(b",expires_at_ms,base64\r\n")
}

/// Writes an entry as a row.
pub(super) fn write_entry(
    to: &mut impl Write,
    key: Text,
    value: Text,
    expires_at_ms: Option<u64>,
) -> std::io::Result<()> {
    let base64 = match (&key, &value) {
        (Text::Plain(_), Text::Plain(_)) => "",
        (Text::Base64(_), Text::Plain(_)) => "key",
        (Text::Plain(_), Text::Base64(_)) => "value",
        (Text::Base64(_), Text::Base64(_)) => "key value",
    };
    write_field(to, key.as_bytes())?;
    to.write_all(b",")?;
    write_field(to, value.as_bytes())?;
    match expires_at_ms {
        Some(ms) => write!(to, ",{ms},{base64}\r\n"),
        None => write!(to, ",,{base64}\r\n"),
    }
}

fn write_field(to: &mut impl Write, field: &[u8]) -> std::io::Result<()> {
    if !field.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        return to.write_all(field);
    }
    to.write_all(b"\"")?;
    for (at, piece) in field.split(|byte| *byte == b'"').enumerate() {
        if at > 0 {
            to.write_all(b"\"\"")?;
        }
        to.write_all(piece)?;
    }
    to.write_all(b"\"")
}
