//! Records: their bytes, and nothing about files.
//!
//! ```text
//!  0 u32 crc       CRC-32 keyed with the segment's salt
//!  4 u8  kind      5 u8 flags    6 u8 codec    7 u8 state
//!  8 u16 key_len  10 u16 dictionary, 0 = none   12 u32 value_len
//! 16 u64 lsn      24 u64 expire_at_ms
//! 32 key, value, zeros to the next multiple of 8
//! ```
//!
//! The first eight bytes are one word. It is written last, in one atomic store, and the state changes
//! through the same word: whoever sees a word that is not zero sees the whole record.
//! The checksum covers everything but itself, the state and the zeros at the end; that of a pad covers
//! its header only, since what lies behind it was never written.

mod checksum;
mod decode;
mod dictionary;
mod encode;
mod integer;
mod key;
mod layout;
mod live;
mod metadata;
mod value;

pub(crate) use checksum::{heads_crc, Seed};
pub(crate) use decode::{decode, decode_head, Fault, Record};
pub(crate) use dictionary::{train, Dictionary, DICTIONARY_VALUE_BYTES_MAX};
pub(crate) use encode::{encode_onto, fill_body, frame_body, Draft};
pub(crate) use integer::sum;
pub(crate) use key::is_same_key;
pub(crate) use layout::{
    flags, record_bytes, Kind, State, Word, ALIGN_BYTES, DICTIONARY_AT, EXPIRE_AT, HEADER_BYTES, KEY_LEN_AT,
    LSN_AT, VALUE_LEN_AT, WORD_BYTES,
};
pub(crate) use live::LiveWord;
pub use metadata::Metadata;
pub(crate) use metadata::{append_metadata, check_metadata, metadata_bytes, metadata_part, read_metadata};
#[cfg(all(feature = "redis", feature = "zstd"))]
pub(crate) use value::unframe;
pub(crate) use value::{compress, restore};
