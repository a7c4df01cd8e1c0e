//! Encoders between protobuf messages and JSON, by the messages' descriptors.

use super::encoder::{Encoder, EncoderError};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, Value};

/// A descriptor set may be that long; that of all of Google's APIs is a tenth.
const SET_BYTES_MAX: u64 = 64 << 20;

/// What a message of one type is as protobuf and as JSON (the canonical mapping of protobuf's documentation, keys in their order,
/// no white space).
#[derive(Debug, Clone)]
struct Type(MessageDescriptor);

impl Type {
    fn new(descriptor_set: &[u8], message: &str) -> Result<Type, EncoderError> {
        let pool = DescriptorPool::decode(descriptor_set)?;
        let found = pool.get_message_by_name(message);
        found.map(Type).ok_or_else(|| format!("the descriptors have no message {message}").into())
    }

    fn read(file: &str, message: &str) -> Result<Type, EncoderError> {
        use std::io::Read;
        let mut set = Vec::new();
        let of_file = |error: std::io::Error| format!("{file}: {error}");
        std::fs::File::open(file)
            .and_then(|file| file.take(SET_BYTES_MAX + 1).read_to_end(&mut set))
            .map_err(of_file)?;
        if set.len() as u64 > SET_BYTES_MAX {
            return Err(format!("{file}: longer than {SET_BYTES_MAX} bytes").into());
        }
        Type::new(&set, message).map_err(|error| format!("{file}: {error}").into())
    }

    fn to_json(&self, message: &[u8]) -> Result<Vec<u8>, EncoderError> {
        let message = DynamicMessage::decode(self.0.clone(), message)?;
        check_known(&message)?;
        // By way of a value, whose maps are sorted: those of a message come in any order.
        Ok(serde_json::to_vec(&serde_json::to_value(&message)?)?)
    }

    fn to_protobuf(&self, json: &[u8]) -> Result<Vec<u8>, EncoderError> {
        let mut text = serde_json::Deserializer::from_slice(json);
        let message = DynamicMessage::deserialize(self.0.clone(), &mut text)?;
        text.end()?;
        Ok(message.encode_to_vec())
    }
}

/// Fails for a message with a field that its type does not have: JSON could not hold it, and it would be lost on the way.
fn check_known(message: &DynamicMessage) -> Result<(), EncoderError> {
    if let Some(field) = message.unknown_fields().next() {
        let name = message.descriptor().full_name().to_owned();
        return Err(format!("{name} has no field {}", field.number()).into());
    }
    message.fields().try_for_each(|(_, value)| check_value(value))
}

fn check_value(value: &Value) -> Result<(), EncoderError> {
    match value {
        Value::Message(message) => check_known(message),
        Value::List(values) => values.iter().try_for_each(check_value),
        Value::Map(values) => values.values().try_for_each(check_value),
        _ => Ok(()),
    }
}

macro_rules! encoder {
    ($(#[$doc:meta])* $name:ident, $encode:ident, $decode:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(Type);

        impl $name {
            /// For the message of that full name (`package.Message`), as a set of descriptors says: what `protoc
            /// --include_imports --descriptor_set_out=FILE` writes.
            ///
            /// # Errors
            /// The bytes are no set of descriptors, or it has no such message.
            pub fn new(descriptor_set: &[u8], message: &str) -> Result<Self, EncoderError> {
                Type::new(descriptor_set, message).map($name)
            }

            pub(crate) fn read(file: &str, message: &str) -> Result<Self, EncoderError> {
                Type::read(file, message).map($name)
            }
        }

        impl Encoder for $name {
            fn encode(&self, _key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
                self.0.$encode(value)
            }

            fn decode(&self, _key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
                self.0.$decode(string)
            }
        }
    };
}

encoder! {
    /// The store holds protobuf messages of one type, Redis JSON that other clients read. A message with fields that the type does
    /// not have is not sent; a value by default and none are one where the type does not tell them apart.
    JsonFromProtobuf, to_json, to_protobuf
}

encoder! {
    /// The store holds JSON, Redis protobuf messages of one type. As [`JsonFromProtobuf`] the other way round. Of a message with map
    /// fields what a re-sync compares may stand in another order: then the copy here is read anew.
    ProtobufFromJson, to_protobuf, to_json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Options};

    /// What protoc makes of `person.proto`, which stands beside it.
    const DESCRIPTORS: &[u8] = include_bytes!("../../tests/tier/proto/person.binpb");

    const AL: &[u8] = b"\x0a\x02Al\x10\x07\x22\x04\x0a\x02Bo\x2a\x01\xff";
    const AL_JSON: &[u8] = br#"{"friends":[{"name":"Bo"}],"id":"7","name":"Al","photo":"/w=="}"#;

    #[test]
    fn messages_are_json_as_protobuf_maps_it_and_come_back_the_same() {
        let json = JsonFromProtobuf::new(DESCRIPTORS, "app.Person").unwrap();
        assert_eq!(json.encode(b"", AL).unwrap(), AL_JSON);
        assert_eq!(json.decode(b"", AL_JSON, 100).unwrap(), AL);
        assert_eq!(
            json.decode(
                b"",
                br#" {"name": "Al", "id": 7, "friends": [{"name": "Bo"}], "photo": "/w"} "#,
                100
            )
            .unwrap(),
            AL
        );
        let protobuf = ProtobufFromJson::new(DESCRIPTORS, "app.Person").unwrap();
        assert_eq!(protobuf.encode(b"", AL_JSON).unwrap(), AL);
        assert_eq!(protobuf.decode(b"", AL, 100).unwrap(), AL_JSON);
        assert_eq!(json.encode(b"", b"").unwrap(), b"{}");
    }

    #[test]
    fn a_map_is_written_in_the_order_of_its_keys() {
        let json = JsonFromProtobuf::new(DESCRIPTORS, "app.Person").unwrap();
        let text = br#"{"marks":{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}}"#;
        for _ in 0..8 {
            let message = json.decode(b"", text, 1000).unwrap();
            assert_eq!(json.encode(b"", &message).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_such_message_or_would_lose_a_field_is_refused() {
        let json = JsonFromProtobuf::new(DESCRIPTORS, "app.Person").unwrap();
        // A field 9, in the message and in a friend's.
        for unknown in [&b"\x48\x01"[..], b"\x22\x02\x48\x01"] {
            let refused = json.encode(b"", unknown).unwrap_err().to_string();
            assert_eq!(refused, "app.Person has no field 9");
        }
        for no_message in [&b"\x0a"[..], b"\x0a\x05Al", b"\xff", b"\x08\x01", b"{}"] {
            assert!(json.encode(b"", no_message).is_err(), "{no_message:?}");
        }
        for no_json in [&b""[..], b"[]", b"{\"name\":7}", b"{\"nick\":\"A\"}", b"{} 1", b"{\"id\":\"x\"}"] {
            assert!(json.decode(b"", no_json, 100).is_err(), "{no_json:?}");
        }
        let deep = br#"{"friends":["#.repeat(100_000);
        assert!(json.decode(b"", &deep, 100).is_err());
        assert!(json.encode(b"", &b"\x22\x80\x80\x80\x01".repeat(100_000)).is_err());
        assert!(JsonFromProtobuf::new(DESCRIPTORS, "app.Nobody")
            .unwrap_err()
            .to_string()
            .contains("app.Nobody"));
        for cut in 1..DESCRIPTORS.len() {
            assert!(JsonFromProtobuf::new(&DESCRIPTORS[..cut], "app.Person").is_err(), "{cut} bytes");
        }
    }

    #[test]
    fn the_option_names_file_and_message_and_says_what_is_wrong_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("per:son.binpb");
        std::fs::write(&file, DESCRIPTORS).unwrap();
        let file = file.to_str().unwrap();
        let set = |text: String| Options::new().set("tier_encoder", &text);
        for name in ["json-from-protobuf", "protobuf-from-json"] {
            assert!(set(format!("{name}:{file}:app.Person")).unwrap().tier.unwrap().encoder.is_some());
            for (text, part) in [
                (
                    format!("{name}:{file}:app.Nobody"),
                    "per:son.binpb: the descriptors have no message app.Nobody",
                ),
                (format!("{name}:{file}x:app.Person"), "per:son.binpbx: No such file"),
                (format!("{name}:{}:app.Person", dir.path().display()), "directory"),
                (format!("{name}:person"), "is not raw, zstd"),
            ] {
                let Err(error @ Error::InvalidOption { .. }) = set(text) else { panic!("{part}: taken") };
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }
}
