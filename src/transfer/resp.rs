//! Redis commands as `redis-cli --pipe` takes them and as an append-only file holds them: arrays of bulk strings, and inline
//! commands. The format: <https://redis.io/docs/latest/develop/reference/protocol-spec/>. What the commands do stands in
//! `commands.rs`.

use super::input::{too_long, Input, ITEM_BYTES_MAX};
use super::Stop;
use std::io::{BufRead, Write};

/// A command: its name and what it is given.
pub(super) type Command = Vec<Vec<u8>>;

/// Longest inline command, and most words of an array: those of Redis itself.
const INLINE_BYTES_MAX: u64 = 64 << 10;
const WORDS_MAX: u64 = 1 << 20;
/// Longest line that says a number.
const NUMBER_BYTES_MAX: u64 = 32;

fn cut() -> Stop {
    Stop::bad("the input ends within a command")
}

/// The next command; `None` at the end.
pub(super) fn read_command(input: &mut Input<'_, impl BufRead>) -> Result<Option<Command>, Stop> {
    loop {
        let is_first = input.position().offset == 0;
        match input.peek()? {
            None => return Ok(None),
            Some(b'*') => {
                let count = read_number(input)?;
                if count > 0 {
                    return read_words(input, count).map(Some);
                }
            }
            Some(_) => {
                let mut line = Vec::new();
                let bytes = input.read_to(b'\n', INLINE_BYTES_MAX, &mut line)?;
                if is_first && line.starts_with(b"REDIS") {
                    return Err(Stop::bad(
                        "an RDB file, or an append-only file that begins as one: set aof-use-rdb-preamble to no \
                         and let Redis write it anew (BGREWRITEAOF)",
                    ));
                }
                if line.pop() != Some(b'\n') {
                    return Err(if bytes == INLINE_BYTES_MAX { Stop::bad(too_long_inline()) } else { cut() });
                }
                // An append-only file with timestamps has them in lines of their own.
                if line.first() == Some(&b'#') {
                    continue;
                }
                let words = split(&line).ok_or_else(|| Stop::bad("quotes that do not match"))?;
                if !words.is_empty() {
                    return Ok(Some(words));
                }
            }
        }
    }
}

fn too_long_inline() -> String {
    format!("an inline command of more than {INLINE_BYTES_MAX} bytes")
}

/// What a line says behind its first byte.
fn read_number(input: &mut Input<'_, impl BufRead>) -> Result<u64, Stop> {
    let mut line = Vec::new();
    input.read_to(b'\n', NUMBER_BYTES_MAX, &mut line)?;
    let digits = line.strip_suffix(b"\r\n").and_then(|line| line.get(1..));
    let Some(digits) = digits else {
        return Err(if line.len() as u64 == NUMBER_BYTES_MAX {
            Stop::bad("a number that is too long")
        } else {
            cut()
        });
    };
    let number = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    let number = number.and_then(|text| text.parse().ok());
    number.ok_or_else(|| Stop::bad(format!("{:?} is no length", String::from_utf8_lossy(digits))))
}

fn read_words(input: &mut Input<'_, impl BufRead>, count: u64) -> Result<Command, Stop> {
    if count > WORDS_MAX {
        return Err(Stop::bad(format!("a command of {count} words: the limit is {WORDS_MAX}")));
    }
    let (mut words, mut left) = (Vec::new(), ITEM_BYTES_MAX);
    for _ in 0..count {
        match input.peek()? {
            Some(b'$') => {}
            Some(other) => {
                let other = char::from(other);
                return Err(Stop::bad(format!("{other:?} where a bulk string ($) must begin")));
            }
            None => return Err(cut()),
        }
        let bytes = read_number(input)?;
        left = left.checked_sub(bytes).ok_or_else(|| Stop::bad(too_long()))?;
        let (mut word, mut end) = (Vec::new(), Vec::new());
        if !input.read_bytes(bytes, &mut word)? || !input.read_bytes(2, &mut end)? {
            return Err(cut());
        }
        if end != b"\r\n" {
            return Err(Stop::bad(format!("a bulk string of {bytes} bytes that goes on")));
        }
        words.push(word);
    }
    Ok(words)
}

/// The words of an inline command, by the rules of `redis-cli`; `None` where quotes do not match.
fn split(line: &[u8]) -> Option<Command> {
    let (mut words, mut rest) = (Vec::new(), line.iter().copied().peekable());
    loop {
        while rest.next_if(u8::is_ascii_whitespace).is_some() {}
        if rest.peek().is_none() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some(byte) = rest.next_if(|byte| !byte.is_ascii_whitespace()) {
            let quote = match byte {
                b'"' | b'\'' => byte,
                _ => {
                    word.push(byte);
                    continue;
                }
            };
            loop {
                match rest.next()? {
                    byte if byte == quote => break,
                    b'\\' if quote == b'"' => word.push(escaped(&mut rest)?),
                    b'\\' if rest.next_if_eq(&b'\'').is_some() => word.push(b'\''),
                    byte => word.push(byte),
                }
            }
            // A closed quote ends the word.
            if rest.peek().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return None;
            }
        }
        words.push(word);
    }
}

/// What stands behind a backslash.
fn escaped(rest: &mut std::iter::Peekable<impl Iterator<Item = u8> + Clone>) -> Option<u8> {
    Some(match rest.next()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        b'x' => {
            let mut ahead = rest.clone();
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            match (digit(ahead.next()), digit(ahead.next())) {
                (Some(high), Some(low)) => {
                    *rest = ahead;
                    u8::try_from(high * 16 + low).ok()?
                }
                _ => b'x',
            }
        }
        other => other,
    })
}

/// Writes an entry as a SET.
pub(super) fn write_entry(
    to: &mut impl Write,
    key: &[u8],
    value: &[u8],
    expires_at_ms: Option<u64>,
) -> std::io::Result<()> {
    let at = expires_at_ms.map(|ms| ms.to_string());
    write!(to, "*{}\r\n", if at.is_some() { 5 } else { 3 })?;
    let mut word = |word: &[u8]| {
        write!(to, "${}\r\n", word.len())?;
        to.write_all(word)?;
        to.write_all(b"\r\n")
    };
    word(b"SET")?;
    word(key)?;
    word(value)?;
    if let Some(at) = at {
        word(b"PXAT")?;
        word(at.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn inline_commands_are_split_as_redis_does() {
        let split = |line: &str| super::split(line.as_bytes());
        let words = |words: &[&[u8]]| Some(words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
        assert_eq!(split(r#" SET  k "a b" "#), words(&[b"SET", b"k", b"a b"]));
        assert_eq!(split(r#"SET "\x00\xff\n\"" 'it\'s'"#), words(&[b"SET", b"\x00\xff\n\"", b"it's"]));
        assert_eq!(split(r#""\xg1" ''"#), words(&[b"xg1", b""]));
        assert_eq!(split("\r"), words(&[]));
        for bad in [r#"SET "k"#, r#"SET "a"b"#, "SET 'a"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
