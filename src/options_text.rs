//! Options by name, for hosts and files that have only text.

use crate::error::{Error, Result};
#[cfg(feature = "redis")]
use crate::limits::TIER_SHARDS_MAX;
use crate::log::Sync;
use crate::options::{Compression, OpenMode, Options, Recover, WhenEdited, ZSTD_THRESHOLD_BYTES};
#[cfg(feature = "redis")]
use crate::tier_options::{encoder_named, Hashes, TierOptions, WhenDeaf, Writes};
#[cfg(feature = "protobuf")]
use crate::tier_options::{protobuf_named, EncoderError};
use std::str::FromStr;
use std::time::Duration;

/// Names that [`Options::set`] takes, each with the values it accepts. Those that begin with `tier_` need the feature `redis`.
pub const OPTIONS: [(&str, &str); 38] = [
    ("mode", "create, must_exist or read_only"),
    ("sync", "always, never, or a period such as 100ms, 2s, 1m"),
    ("segment_bytes", "a number of bytes"),
    ("value_bytes_max", "a number of bytes"),
    ("default_ttl", "none, or a time such as 500ms, 30s, 5m, 1h"),
    ("ttl_jitter_percent", "a number of percent, 0 to 100"),
    ("time_to_idle", "none, or a time such as 500ms, 30s, 5m, 1h"),
    ("max_entries", "none, or a number of entries"),
    ("max_bytes", "none, or a number of bytes"),
    ("compression", "off, zstd, zstd:LEVEL, zstd:LEVEL:THRESHOLD_BYTES, zstd-dictionary or zstd-dictionary:LEVEL"),
    ("recover", "strict or salvage"),
    ("listener_queue", "a number of events"),
    ("listener_replaced", "true or false"),
    ("background", "true or false"),
    ("ordered_index", "true or false"),
    ("json_mirror", "a path"),
    ("json_mirror_every", "a time of more than zero, such as 500ms, 2s"),
    ("json_mirror_edited", "refuse, load or overwrite"),
    (
        "tier_url",
        "redis[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE], redis[s]+sentinel://…HOST,HOST/SERVICE[/DATABASE], \
         redis[s]-cluster://…HOST,HOST or redis+unix:///PATH",
    ),
    ("tier_username", "a name"),
    ("tier_password", "a password"),
    ("tier_database", "a number, 0 or more"),
    ("tier_prefix", "text"),
    ("tier_ca_file", "a path"),
    ("tier_client_certificate", "a path"),
    ("tier_client_key", "a path"),
    ("tier_writes", "behind, through or refused"),
    ("tier_reads", "true or false"),
    ("tier_fresh", "none, drop or keep"),
    ("tier_unreachable_is_miss", "true or false"),
    ("tier_timeout", "a time of more than zero, such as 500ms, 2s"),
    ("tier_backoff_max", "a time of more than zero, such as 500ms, 2s"),
    ("tier_unsent_deletes_max", "a number of deletes"),
    ("tier_encoder", "raw, zstd, zstd:LEVEL, json-from-msgpack, msgpack-from-json, json-from-protobuf:FILE:MESSAGE or protobuf-from-json:FILE:MESSAGE"),
    ("tier_codec", "raw, json, msgpack, protobuf, postcard, text, gob, pickle, or a number from 64 to 254"),
    ("tier_hashes", "refused, json or msgpack"),
    ("tier_shards", "a number, 1 to 64"),
    ("tier_resync_every", "none, or a time of more than zero, such as 30s, 5m"),
];

/// Those that need the feature `redis-tls`.
const TLS_OPTIONS: [&str; 3] = ["tier_ca_file", "tier_client_certificate", "tier_client_key"];

/// Level that `zstd` without numbers means.
const ZSTD_LEVEL: i32 = 3;

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
        if cfg!(not(feature = "redis")) && known.starts_with("tier_") {
            return Err(Error::InvalidOption {
                name: (*known).into(),
                reason: "this build has no tier: libkv was compiled without its feature redis".into(),
            });
        }
        if cfg!(not(feature = "redis-tls")) && TLS_OPTIONS.contains(known) {
            return Err(Error::InvalidOption {
                name: (*known).into(),
                reason: "this build has no TLS: libkv was compiled without its feature redis-tls".into(),
            });
        }
        #[cfg(feature = "protobuf")]
        if let Some(encoder) = Some(value).filter(|_| *known == "tier_encoder").and_then(protobuf_named) {
            let refused = |error: EncoderError| Error::InvalidOption {
                name: (*known).into(),
                reason: error.to_string(),
            };
            let tier = self.tier_so_far().encoder_or_raw(Some(encoder.map_err(refused)?));
            return Ok(self.tier(tier));
        }
        // Any text is a URL, a name or a password for now, so none of them gets into a message.
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
            "ttl_jitter_percent" => self.ttl_jitter_percent(parse(value)?),
            "time_to_idle" => self.time_to_idle(match value {
                "none" => None,
                time => Some(duration(time)?),
            }),
            "max_entries" => self.max_entries(limit(value)?),
            "max_bytes" => self.max_bytes(limit(value)?),
            "compression" => self.compression(compression(value)?),
            "recover" => self.recover(match value {
                "strict" => Recover::Strict,
                "salvage" => Recover::Salvage,
                _ => return None,
            }),
            "listener_queue" => self.listener_queue(parse(value)?),
            "listener_replaced" => self.listener_replaced(parse(value)?),
            "background" => self.background(parse(value)?),
            "ordered_index" => self.ordered_index(parse(value)?),
            "json_mirror" => self.json_mirror(Some(value).filter(|path| !path.is_empty())?),
            "json_mirror_every" => self.json_mirror_every(period(value)?),
            "json_mirror_edited" => self.json_mirror_edited(match value {
                "refuse" => WhenEdited::Refuse,
                "load" => WhenEdited::Load,
                "overwrite" => WhenEdited::Overwrite,
                _ => return None,
            }),
            #[cfg(feature = "redis")]
            of_tier => {
                let tier = set_tier(self.tier_so_far(), of_tier.strip_prefix("tier_")?, value)?;
                self.tier(tier)
            }
            #[cfg(not(feature = "redis"))]
            _ => return None,
        })
    }

    /// The URL may come later than the rest; `open` refuses a tier that has none.
    #[cfg(feature = "redis")]
    fn tier_so_far(&self) -> TierOptions {
        self.tier.clone().unwrap_or_else(|| TierOptions::new(""))
    }

    /// An encoder of a host's.
    #[cfg(all(feature = "redis", feature = "ffi"))]
    pub(crate) fn tier_encoder(self, encoder: impl crate::Encoder) -> Options {
        let tier = self.tier_so_far().encoder(encoder);
        self.tier(tier)
    }
}

#[cfg(feature = "redis")]
fn set_tier(tier: TierOptions, name: &str, value: &str) -> Option<TierOptions> {
    Some(match name {
        "url" => tier.url(value),
        "username" => tier.username(value),
        "password" => tier.password(value),
        "database" => tier.database(parse(value).filter(|number| *number >= 0)?),
        "prefix" => tier.prefix(value),
        "shards" => tier.shards(parse(value).filter(|count| (1..=TIER_SHARDS_MAX).contains(count))?),
        "writes" => tier.writes(match value {
            "behind" => Writes::Behind,
            "through" => Writes::Through,
            "refused" => Writes::Refused,
            _ => return None,
        }),
        "reads" => tier.reads(parse(value)?),
        "fresh" => match value {
            "none" => tier.not_fresh(),
            "drop" => tier.fresh(WhenDeaf::Drop),
            "keep" => tier.fresh(WhenDeaf::Keep),
            _ => return None,
        },
        "unreachable_is_miss" => tier.unreachable_is_miss(parse(value)?),
        "timeout" => tier.timeout(period(value)?),
        "backoff_max" => tier.backoff_max(period(value)?),
        "encoder" => tier.encoder_or_raw(encoder_named(value)?),
        "codec" => tier.codec(parse(value)?),
        "resync_every" => match value {
            "none" => tier.no_resync(),
            every => tier.resync_every(period(every)?),
        },
        "hashes" => match value {
            "refused" => tier.no_hashes(),
            "json" => tier.hashes(Hashes::Json),
            "msgpack" => tier.hashes(Hashes::MessagePack),
            _ => return None,
        },
        "unsent_deletes_max" => tier.unsent_deletes_max(parse(value)?),
        #[cfg(feature = "redis-tls")]
        "ca_file" => tier.ca_file(value),
        #[cfg(feature = "redis-tls")]
        "client_certificate" => tier.certificate_file(value),
        #[cfg(feature = "redis-tls")]
        "client_key" => tier.key_file(value),
        _ => return None,
    })
}

/// A duration that is not zero.
fn period(text: &str) -> Option<Duration> {
    duration(text).filter(|period| !period.is_zero())
}

/// A number, or none.
fn limit(text: &str) -> Option<Option<u64>> {
    if text == "none" {
        return Some(None);
    }
    parse(text).map(Some)
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
    let name = parts.next();
    let level = parts.next().map_or(Some(ZSTD_LEVEL), parse)?;
    let compression = match name? {
        "zstd" => {
            let threshold_bytes = parts.next().map_or(Some(ZSTD_THRESHOLD_BYTES), parse)?;
            Compression::Zstd { level, threshold_bytes }
        }
        "zstd-dictionary" => Compression::ZstdDictionary { level },
        _ => return None,
    };
    parts.next().is_none().then_some(compression)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "redis")]
    use crate::tag::Tag;
    #[cfg(feature = "redis")]
    use crate::tier_options::Numbers;

    #[test]
    fn every_option_is_set_from_text() {
        let texts = [
            ("mode", "must_exist"),
            ("sync", "250ms"),
            ("segment_bytes", "65536"),
            ("value_bytes_max", "1000"),
            ("default_ttl", "2h"),
            ("ttl_jitter_percent", "20"),
            ("time_to_idle", "5m"),
            ("max_entries", "500"),
            ("max_bytes", "70000"),
            ("compression", "zstd:-3:100"),
            ("recover", "salvage"),
            ("listener_queue", "7"),
            ("listener_replaced", "true"),
            ("background", "false"),
            ("ordered_index", "true"),
            ("json_mirror", "/people.json"),
            ("json_mirror_every", "5s"),
            ("json_mirror_edited", "load"),
        ];
        let of_store = OPTIONS.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("tier_"));
        assert!(texts.iter().map(|(name, _)| *name).eq(of_store));
        let set = texts.iter().try_fold(Options::new(), |options, (name, value)| options.set(name, value));
        let set = set.unwrap();
        assert_eq!(set.mode, OpenMode::MustExist);
        assert_eq!(set.sync, Sync::Every(Duration::from_millis(250)));
        assert_eq!((set.segment_bytes, set.value_bytes_max), (65_536, 1_000));
        assert_eq!(set.default_ttl, Some(Duration::from_secs(7200)));
        assert_eq!((set.ttl_jitter_percent, set.time_to_idle), (20, Some(Duration::from_secs(300))));
        assert!(set.listener_replaced);
        assert_eq!((set.limits.entries, set.limits.bytes), (Some(500), Some(70_000)));
        assert_eq!(set.compression, Compression::Zstd { level: -3, threshold_bytes: 100 });
        let dictionary = |text| Options::new().set("compression", text).map(|set| set.compression);
        assert_eq!(dictionary("zstd-dictionary").ok(), Some(Compression::ZstdDictionary { level: 3 }));
        assert_eq!(dictionary("zstd-dictionary:9").ok(), Some(Compression::ZstdDictionary { level: 9 }));
        assert!(dictionary("zstd-dictionary:9:100").is_err());
        assert_eq!((set.recover, set.listener_queue, set.background), (Recover::Salvage, 7, false));
        assert!(set.ordered_index);
        assert_eq!(set.json_mirror.as_deref(), Some(std::path::Path::new("/people.json")));
        assert_eq!(set.json_mirror_every, Duration::from_secs(5));
        assert_eq!(set.json_mirror_edited, WhenEdited::Load);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_can() {
        let refused = |name: &str, value: &str| Options::new().set(name, value).unwrap_err().to_string();
        assert!(refused("snyc", "always").starts_with("option snyc: unknown; known are mode, sync,"));
        assert_eq!(refused("recover", "maybe"), "option recover: \"maybe\" is not strict or salvage");
        let is_built = |name: &str| match TLS_OPTIONS.contains(&name) {
            true => cfg!(feature = "redis-tls"),
            false => cfg!(feature = "redis"),
        };
        let is_text = |name: &str| name == "json_mirror" || is_built(name) && TEXTS_OF_TIER.contains(&name);
        for (name, _) in OPTIONS.into_iter().filter(|(name, _)| !is_text(name)) {
            for value in ["", " ", "-", "1x", "ms", "99999999999999999999s", "zstd:1:2:3", "zstd:"] {
                assert!(Options::new().set(name, value).is_err(), "{name} = {value:?}");
            }
        }
    }

    /// They take any text.
    const TEXTS_OF_TIER: [&str; 7] = [
        "tier_url",
        "tier_username",
        "tier_password",
        "tier_prefix",
        "tier_ca_file",
        "tier_client_certificate",
        "tier_client_key",
    ];

    #[cfg(not(feature = "redis"))]
    #[test]
    fn a_build_without_the_tier_refuses_each_of_its_options_by_name() {
        let of_tier: Vec<_> = OPTIONS.iter().filter(|(name, _)| name.starts_with("tier_")).collect();
        assert!(of_tier.len() > TEXTS_OF_TIER.len());
        for (name, _) in of_tier {
            let refused = Options::new().set(name, "secret").unwrap_err().to_string();
            assert!(refused.starts_with(&format!("option {name}: this build has no tier")), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn every_option_of_the_tier_is_set_from_text_in_any_order() {
        let texts = [
            ("tier_resync_every", "5m"),
            ("tier_shards", "4"),
            ("tier_hashes", "json"),
            ("tier_codec", "json"),
            ("tier_encoder", "json-from-msgpack"),
            ("tier_unsent_deletes_max", "7"),
            ("tier_backoff_max", "2s"),
            ("tier_timeout", "30ms"),
            ("tier_unreachable_is_miss", "true"),
            ("tier_fresh", "drop"),
            ("tier_reads", "false"),
            ("tier_writes", "through"),
            ("tier_prefix", "app:"),
            ("tier_database", "3"),
            ("tier_password", "secret"),
            ("tier_username", "alice"),
            ("tier_url", "redis://cache:7000"),
        ];
        let of_tier =
            OPTIONS.iter().rev().map(|(name, _)| *name).take_while(|name| name.starts_with("tier_"));
        let of_tier = of_tier.filter(|name| !TLS_OPTIONS.contains(name));
        assert!(texts.iter().map(|(name, _)| *name).eq(of_tier));
        let set = |texts: &[(&str, &str)]| {
            texts.iter().try_fold(Options::new(), |options, (name, value)| options.set(name, value)).unwrap()
        };
        let mut tier = set(&texts).tier.unwrap();
        let server = tier.check().unwrap();
        assert_eq!(
            server.place.addresses().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["cache:7000"]
        );
        assert_eq!((tier.username.as_deref(), tier.password.as_deref()), (Some("alice"), Some("secret")));
        assert_eq!((tier.database, &tier.prefix[..]), (Some(3), &b"app:"[..]));
        assert_eq!((tier.writes, tier.reads, tier.fresh), (Writes::Through, false, Some(WhenDeaf::Drop)));
        assert_eq!((tier.timeout, tier.backoff_max), (Duration::from_millis(30), Duration::from_secs(2)));
        assert_eq!((tier.unreachable_is_miss, tier.unsent_deletes_max, tier.codec), (true, 7, Tag::JSON));
        assert_eq!(tier.shards, 4);
        assert_eq!((tier.numbers(), tier.hashes), (Numbers::MessagePack, Some(Hashes::Json)));
        let raw = set(&[&texts[..], &[("tier_encoder", "raw"), ("tier_hashes", "refused")]].concat());
        let raw = raw.tier.unwrap();
        assert_eq!((raw.encoder.is_none(), raw.hashes), (true, None));
        assert_eq!(raw.resync_every, Some(Duration::from_secs(300)));
        let again =
            set(&[("tier_fresh", "keep"), ("tier_fresh", "none"), ("tier_writes", "behind")]).tier.unwrap();
        assert_eq!((again.fresh, again.writes), (None, Writes::Behind));
    }

    #[cfg(not(feature = "redis-tls"))]
    #[test]
    fn a_build_without_tls_refuses_each_of_its_options_by_name() {
        for name in TLS_OPTIONS {
            let refused = Options::new().set(name, "/file").unwrap_err().to_string();
            assert!(refused.starts_with(&format!("option {name}: this build has no ")), "{refused}");
        }
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn files_of_tls_are_named_where_they_are_lacking() {
        let open = |texts: &[(&str, &str)]| {
            let url = Options::new().set("tier_url", "rediss://127.0.0.1:1").unwrap();
            let set = texts.iter().try_fold(url, |options, (name, value)| options.set(name, value));
            set.unwrap().in_memory().map(drop).unwrap_err().to_string()
        };
        for name in ["tier_ca_file", "tier_client_certificate", "tier_client_key"] {
            let others = [("tier_client_certificate", "/nowhere/c"), ("tier_client_key", "/nowhere/k")];
            let given = others.into_iter().chain([(name, "/nowhere/file")]).collect::<Vec<_>>();
            let said = open(&given);
            assert!(said.starts_with("option tier: ") && said.contains("/nowhere/"), "{said}");
        }
        let alone = "option tier: a client certificate needs its key, and a key its certificate";
        assert_eq!(open(&[("tier_client_certificate", "/nowhere/c")]), alone);
        assert_eq!(open(&[("tier_client_key", "/nowhere/k")]), alone);
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_bad_option_of_the_tier_is_named_with_its_value_and_no_password_is_shown() {
        let refused = |name: &str, value: &str| Options::new().set(name, value).unwrap_err().to_string();
        assert_eq!(
            refused("tier_writes", "maybe"),
            "option tier_writes: \"maybe\" is not behind, through or refused"
        );
        for (name, value) in [
            ("tier_timeout", "0s"),
            ("tier_backoff_max", "0ms"),
            ("tier_database", "-1"),
            ("tier_shards", "0"),
            ("tier_shards", "65"),
        ] {
            let refused = refused(name, value);
            assert!(refused.starts_with(&format!("option {name}: \"{value}\" is not ")), "{refused}");
        }
        let open = |texts: &[(&str, &str)]| {
            let set =
                texts.iter().try_fold(Options::new(), |options, (name, value)| options.set(name, value));
            set.unwrap().in_memory().map(drop).unwrap_err().to_string()
        };
        assert_eq!(
            open(&[("tier_password", "secret")]),
            "option tier_url: lacking, and there are other options of a tier"
        );
        assert_eq!(
            open(&[("mode", "read_only"), ("tier_url", "redis://localhost")]),
            "option tier_url: a store that is opened to be read only has no tier"
        );
        for url in ["", "secret", "redis://u:secret@", "http://u:secret@host", "redis://u:secret@host/secret"]
        {
            let said = open(&[("tier_url", url)]);
            assert!(said.starts_with("option tier") && !said.contains("secret"), "{said}");
        }
    }
}
