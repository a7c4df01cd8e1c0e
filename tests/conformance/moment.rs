//! Values of a type that each host has.

use crate::words::{bytes, ok};
use kv::{Codec, Db, Error, Json, MessagePack, Protobuf};

/// A value that each host has a type for: google.protobuf.Timestamp, or an object with its fields.
#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize, prost::Message)]
struct Moment {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Sets a moment, or reads one where there is none to set.
fn moment<C: Codec<Moment> + Default>(db: &Db, key: &str, set: Option<Moment>) -> Result<String, Error> {
    let moments = db.typed::<Moment, C>();
    match set {
        Some(moment) => moments.set(&bytes(key), &moment).map(ok),
        None => Ok(match moments.get(&bytes(key))? {
            Some(moment) => format!("{} {}", moment.seconds, moment.nanos),
            None => "absent".to_owned(),
        }),
    }
}

pub fn moment_of(codec: &str, db: &Db, key: &str, set: Option<(i64, i32)>) -> Result<String, Error> {
    let set = set.map(|(seconds, nanos)| Moment { seconds, nanos });
    match codec {
        "json" => moment::<Json>(db, key, set),
        "msgpack" => moment::<MessagePack>(db, key, set),
        "protobuf" => moment::<Protobuf>(db, key, set),
        _ => panic!("no moment is written by {codec}"),
    }
}
