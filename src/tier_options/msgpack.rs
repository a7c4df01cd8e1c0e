//! MessagePack, as far as it says what JSON says (<https://github.com/msgpack/msgpack/blob/master/spec.md>).

use serde_json::{Map, Number, Value};

/// Arrays and maps in each other: as many as `serde_json` reads.
const DEPTH_MAX: usize = 127;
/// Values, lists, maps and keys in one value: what it takes in memory while it is read is many times its bytes, some hundred at
/// worst.
const PARTS_MAX: usize = 1 << 20;
const TOO_MANY_PARTS: &str = "more than 1,048,576 parts";

/// As `read`, of JSON.
pub(super) fn from_json(text: &[u8]) -> Result<Value, String> {
    // Each part but the first stands behind one of these; those inside of strings are counted too.
    let parts = text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    if parts > PARTS_MAX {
        return Err(format!("JSON of {TOO_MANY_PARTS}"));
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// One value, and nothing after it. Keys that appear twice, bytes, extensions and numbers that JSON does not have are refused.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { bytes, at: 0, parts: 0 };
    let value = reader.value(0)?;
    match bytes.len() - reader.at {
        0 => Ok(value),
        left => Err(format!("no MessagePack: {left} bytes after the value")),
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    parts: usize,
}

impl<'b> Reader<'b> {
    fn fault(&self, what: &str) -> String {
        format!("no MessagePack that JSON can say: {what} at byte {}", self.at)
    }

    fn take(&mut self, len: usize) -> Result<&'b [u8], String> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.fault("an end too early"))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.fault("an end too early"))
    }

    /// A big-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn len(&mut self, bytes: usize) -> Result<usize, String> {
        Ok(self.number(bytes)? as usize)
    }

    fn text(&mut self, len: usize) -> Result<String, String> {
        let text = self.take(len)?;
        String::from_utf8(text.to_vec()).map_err(|_| self.fault("a string that is no UTF-8"))
    }

    fn float(&self, number: f64) -> Result<Value, String> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| self.fault("a number without digits"))
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(self.fault(TOO_MANY_PARTS));
        }
        let [tag] = self.array()?;
        if depth >= DEPTH_MAX && matches!(tag, 0x80..=0x9f | 0xdc..=0xdf) {
            return Err(self.fault("too many arrays in each other"));
        }
        Ok(match tag {
            0x00..=0x7f => tag.into(),
            0xe0..=0xff => (tag as i8).into(),
            0x80..=0x8f => self.map(usize::from(tag & 0x0f), depth)?,
            0x90..=0x9f => self.list(usize::from(tag & 0x0f), depth)?,
            0xa0..=0xbf => self.text(usize::from(tag & 0x1f))?.into(),
            0xc0 => Value::Null,
            0xc2 => false.into(),
            0xc3 => true.into(),
            0xca => {
                let number = f32::from_be_bytes(self.array()?);
                self.float(number.into())?
            }
            0xcb => {
                let number = f64::from_be_bytes(self.array()?);
                self.float(number)?
            }
            0xcc..=0xcf => self.number(1 << (tag - 0xcc))?.into(),
            0xd0 => i8::from_be_bytes(self.array()?).into(),
            0xd1 => i16::from_be_bytes(self.array()?).into(),
            0xd2 => i32::from_be_bytes(self.array()?).into(),
            0xd3 => i64::from_be_bytes(self.array()?).into(),
            0xd9..=0xdb => {
                let len = self.len(1 << (tag - 0xd9))?;
                self.text(len)?.into()
            }
            0xdc | 0xdd => {
                let len = self.len(2 << (tag - 0xdc))?;
                self.list(len, depth)?
            }
            0xde | 0xdf => {
                let len = self.len(2 << (tag - 0xde))?;
                self.map(len, depth)?
            }
            0xc4..=0xc6 => return Err(self.fault("bytes")),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(self.fault("an extension")),
        })
    }

    // Each element takes a byte, so what is claimed beyond what is there ends soon.
    fn list(&mut self, len: usize, depth: usize) -> Result<Value, String> {
        let mut list = Vec::new();
        for _ in 0..len {
            list.push(self.value(depth + 1)?);
        }
        Ok(list.into())
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value, String> {
        let mut map = Map::new();
        for _ in 0..len {
            let Value::String(key) = self.value(depth + 1)? else {
                return Err(self.fault("a key that is no string"));
            };
            if map.insert(key, self.value(depth + 1)?).is_some() {
                return Err(self.fault("a key that was there before"));
            }
        }
        Ok(map.into())
    }
}

/// The shortest form of each part.
pub(super) fn write(value: &Value) -> Vec<u8> {
    let mut to = Vec::new();
    write_value(&mut to, value);
    to
}

fn write_value(to: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => to.push(0xc0),
        Value::Bool(is) => to.push(0xc2 + u8::from(*is)),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => match number {
                0..=0x7f => to.push(number as u8),
                _ => write_sized(to, number, [0xcc, 0xcd, 0xce, 0xcf]),
            },
            (None, Some(number)) => write_negative(to, number),
            _ => {
                to.push(0xcb);
                to.extend(number.as_f64().unwrap_or(0.0).to_be_bytes());
            }
        },
        Value::String(text) => write_text(to, text),
        Value::Array(list) => {
            write_len(to, list.len(), 0x90, 0xdc);
            list.iter().for_each(|value| write_value(to, value));
        }
        Value::Object(map) => {
            write_len(to, map.len(), 0x80, 0xde);
            for (key, value) in map {
                write_text(to, key);
                write_value(to, value);
            }
        }
    }
}

/// A number behind the tag for its size: 1, 2, 4 or 8 bytes.
fn write_sized(to: &mut Vec<u8>, number: u64, tags: [u8; 4]) {
    let size = match number {
        0..=0xff => 0,
        0x100..=0xffff => 1,
        0x1_0000..=0xffff_ffff => 2,
        _ => 3,
    };
    to.push(tags[size]);
    to.extend(&number.to_be_bytes()[8 - (1 << size)..]);
}

fn write_negative(to: &mut Vec<u8>, number: i64) {
    match number {
        -32.. => to.push(number as u8),
        -0x80.. => to.extend([0xd0, number as u8]),
        -0x8000.. => {
            to.push(0xd1);
            to.extend((number as i16).to_be_bytes());
        }
        -0x8000_0000.. => {
            to.push(0xd2);
            to.extend((number as i32).to_be_bytes());
        }
        _ => {
            to.push(0xd3);
            to.extend(number.to_be_bytes());
        }
    }
}

/// How many elements follow: up to 15 in the tag itself.
fn write_len(to: &mut Vec<u8>, len: usize, short_tag: u8, tag: u8) {
    match len {
        0..=15 => to.push(short_tag | len as u8),
        16..=0xffff => {
            to.push(tag);
            to.extend((len as u16).to_be_bytes());
        }
        _ => {
            to.push(tag + 1);
            // A value of more elements has more bytes than a value may.
            to.extend((len as u32).to_be_bytes());
        }
    }
}

fn write_text(to: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..=31 => to.push(0xa0 | len as u8),
        len => write_sized(to, len as u64, [0xd9, 0xda, 0xdb, 0xdb]),
    }
    to.extend(text.as_bytes());
}

/// A map of strings; what is no UTF-8 becomes bytes.
pub(super) fn write_fields(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut to = Vec::new();
    write_len(&mut to, fields.len(), 0x80, 0xde);
    for bytes in fields.iter().flat_map(|(name, value)| [name, value]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => write_text(&mut to, text),
            Err(_) => {
                write_sized(&mut to, bytes.len() as u64, [0xc4, 0xc5, 0xc6, 0xc6]);
                to.extend(bytes);
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn each_form_of_the_specification_is_read() {
        let forms: [(&[u8], Value); 24] = [
            (b"\x07", json!(7)),
            (b"\xff", json!(-1)),
            (b"\xc0", json!(null)),
            (b"\xc2", json!(false)),
            (b"\xc3", json!(true)),
            (b"\xcc\xff", json!(255)),
            (b"\xcd\xff\xff", json!(65535)),
            (b"\xce\xff\xff\xff\xff", json!(4294967295u32)),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", json!(u64::MAX)),
            (b"\xd0\x80", json!(-128)),
            (b"\xd1\x80\x00", json!(-32768)),
            (b"\xd2\x80\x00\x00\x00", json!(i32::MIN)),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", json!(i64::MIN)),
            (b"\xca\x3f\x00\x00\x00", json!(0.5)),
            (b"\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00", json!(0.5)),
            (b"\xa1x", json!("x")),
            (b"\xd9\x01x", json!("x")),
            (b"\xda\x00\x01x", json!("x")),
            (b"\xdb\x00\x00\x00\x01x", json!("x")),
            (b"\x92\x01\x90", json!([1, []])),
            (b"\xdc\x00\x01\x01", json!([1])),
            (b"\xdd\x00\x00\x00\x01\x01", json!([1])),
            (b"\xde\x00\x01\xa1k\x80", json!({"k": {}})),
            (b"\xdf\x00\x00\x00\x01\xa1k\xa0", json!({"k": ""})),
        ];
        for (bytes, value) in forms {
            assert_eq!(read(bytes), Ok(value), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_none_or_what_json_cannot_say_is_refused() {
        let nested = [0x91].repeat(200_000);
        let refused: [&[u8]; 15] = [
            b"",
            b"\xc1",
            b"\x01\x02",
            b"\xa2x",
            b"\xa1\xff",
            b"\xc4\x01x",
            b"\xd4\x01x",
            b"\xc7\x00\x01",
            b"\x81\x01\x02",
            b"\x82\xa1k\x01\xa1k\x02",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff\xa1k\x01",
            b"\xdb\xff\xff\xff\xff",
            b"\xca\x7f\xc0\x00\x00",
            &nested,
        ];
        for bytes in refused {
            assert!(read(bytes).is_err(), "{:x?}", &bytes[..bytes.len().min(20)]);
        }
    }

    #[test]
    fn what_is_nested_too_deep_for_json_is_no_value_either() {
        for (depth, is_read) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            let nested = [[0x91].repeat(depth - 1), vec![0x90]].concat();
            let json = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(
                (read(&nested).is_ok(), from_json(json.as_bytes()).is_ok()),
                (is_read, is_read),
                "{depth}"
            );
        }
    }

    #[test]
    fn a_value_of_too_many_parts_is_refused_before_it_takes_memory() {
        let list = |parts: u32| [&[0xdd][..], &parts.to_be_bytes(), &vec![1; parts as usize]].concat();
        assert!(read(&list(1000)).is_ok());
        assert!(read(&list(PARTS_MAX as u32)).is_err());
        let json = |parts: usize| format!("[1{}]", ",1".repeat(parts));
        assert!(from_json(json(1000).as_bytes()).is_ok());
        assert!(from_json(json(PARTS_MAX).as_bytes()).is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-40000i64..70000).prop_map(Value::from),
            any::<f64>().prop_filter("digits", |number| number.is_finite()).prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
            (0usize..70_000).prop_map(|len| "x".repeat(len).into()),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::vec(("[a-z]{0,40}", inner), 0..20)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_also_by_way_of_json(value in values()) {
            let bytes = write(&value);
            prop_assert_eq!(&read(&bytes).unwrap(), &value);
            let text = serde_json::to_vec(&value).unwrap();
            let again: Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(write(&again), bytes);
        }

        #[test]
        fn hostile_bytes_end_in_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = read(&bytes) {
                prop_assert_eq!(read(&write(&value)).unwrap(), value);
            }
        }
    }
}
