//! Options by name, for hosts and files that have only text.

use crate::error::{Error, Result};
use crate::log::Sync;
use crate::options::{Compression, OpenMode, Options, Recover};
use std::str::FromStr;
use std::time::Duration;

/// Names that [`Options::set`] takes, each with the values it accepts.
pub const OPTIONS: [(&str, &str); 9] = [
    ("mode", "create, must_exist or read_only"),
    ("sync", "always, never, or a period such as 100ms, 2s, 1m"),
    ("segment_bytes", "a number of bytes"),
    ("value_bytes_max", "a number of bytes"),
    ("default_ttl", "none, or a time such as 500ms, 30s, 5m, 1h"),
    ("compression", "off, zstd, zstd:LEVEL or zstd:LEVEL:THRESHOLD_BYTES"),
    ("recover", "strict or salvage"),
    ("listener_queue", "a number of events"),
    ("background", "true or false"),
];

/// What `zstd` without numbers means.
const ZSTD_LEVEL: i32 = 3;
const ZSTD_THRESHOLD_BYTES: usize = 256;

impl Options {
    /// Sets an option by its name, from text. Names and values are those of [`OPTIONS`]; values out of range are refused when
    /// the store is opened.
    ///
    /// ```
    /// let options = kv::Options::new().set("sync", "100ms")?.set("default_ttl", "1h")?;
    /// assert!(options.clone().set("snyc", "100ms").is_err());
    /// # Ok::<(), kv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`] with what is accepted, for an unknown name or a value that cannot be read.
    pub fn set(self, name: &str, value: &str) -> Result<Options> {
        let Some((known, accepted)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
            let names = OPTIONS.map(|(known, _)| known).join(", ");
            return Err(Error::InvalidOption {
                name: name.to_owned().into(),
                reason: format!("unknown; known are {names}"),
            });
        };
        self.set_known(known, value).ok_or_else(|| Error::InvalidOption {
            name: (*known).into(),
            reason: format!("{value:?} is not {accepted}"),
        })
    }

    fn set_known(self, name: &str, value: &str) -> Option<Options> {
        Some(match name {
            "mode" => self.mode(match value {
                "create" => OpenMode::Create,
                "must_exist" => OpenMode::MustExist,
                "read_only" => OpenMode::ReadOnly,
                _ => return None,
            }),
            "sync" => self.sync(match value {
                "always" => Sync::Always,
                "never" => Sync::Never,
                period => Sync::Every(duration(period)?),
            }),
            "segment_bytes" => self.segment_bytes(parse(value)?),
            "value_bytes_max" => self.value_bytes_max(parse(value)?),
            "default_ttl" => self.default_ttl(match value {
                "none" => None,
                ttl => Some(duration(ttl)?),
            }),
            "compression" => self.compression(compression(value)?),
            "recover" => self.recover(match value {
                "strict" => Recover::Strict,
                "salvage" => Recover::Salvage,
                _ => return None,
            }),
            "listener_queue" => self.listener_queue(parse(value)?),
            "background" => self.background(parse(value)?),
            _ => return None,
        })
    }
}

fn parse<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A whole number and its unit.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    parse::<u64>(count)?.checked_mul(unit_ms).map(Duration::from_millis)
}

fn compression(text: &str) -> Option<Compression> {
    if text == "off" {
        return Some(Compression::Off);
    }
    let mut parts = text.split(':');
    if parts.next() != Some("zstd") {
        return None;
    }
    let level = parts.next().map_or(Some(ZSTD_LEVEL), parse)?;
    let threshold_bytes = parts.next().map_or(Some(ZSTD_THRESHOLD_BYTES), parse)?;
    parts.next().is_none().then_some(Compression::Zstd { level, threshold_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_set_from_text() {
        let texts = [
            ("mode", "must_exist"),
            ("sync", "250ms"),
            ("segment_bytes", "65536"),
            ("value_bytes_max", "1000"),
            ("default_ttl", "2h"),
            ("compression", "zstd:-3:100"),
            ("recover", "salvage"),
            ("listener_queue", "7"),
            ("background", "false"),
        ];
        assert_eq!(texts.map(|(name, _)| name), OPTIONS.map(|(name, _)| name));
        let set = texts.iter().try_fold(Options::new(), |options, (name, value)| options.set(name, value));
        let set = set.unwrap();
        assert_eq!(set.mode, OpenMode::MustExist);
        assert_eq!(set.sync, Sync::Every(Duration::from_millis(250)));
        assert_eq!((set.segment_bytes, set.value_bytes_max), (65_536, 1_000));
        assert_eq!(set.default_ttl, Some(Duration::from_secs(7200)));
        assert_eq!(set.compression, Compression::Zstd { level: -3, threshold_bytes: 100 });
        assert_eq!((set.recover, set.listener_queue, set.background), (Recover::Salvage, 7, false));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_can() {
        let refused = |name: &str, value: &str| Options::new().set(name, value).unwrap_err().to_string();
        assert!(refused("snyc", "always").starts_with("option snyc: unknown; known are mode, sync,"));
        assert_eq!(refused("recover", "maybe"), "option recover: \"maybe\" is not strict or salvage");
        for (name, _) in OPTIONS {
            for value in ["", " ", "-", "1x", "ms", "99999999999999999999s", "zstd:1:2:3", "zstd:"] {
                assert!(Options::new().set(name, value).is_err(), "{name} = {value:?}");
            }
        }
    }
}
