//! The tier: its options, what is sent to it, and its figures.

use crate::args::{Flush, Tier};
use crate::failure::{Failure, Outcome};
use crate::{show, store};
use kv::{Db, Expiry, OpenMode, Options, Sync};
use std::time::Duration;

/// How long Redis may take where no option says it.
const TIMEOUT: Duration = Duration::from_secs(1);

impl Tier {
    pub fn is_asked_for(&self) -> bool {
        self.tier_url.is_some()
    }

    /// The options that were given, by the names that they have in every host.
    pub fn set(&self, options: Options) -> Result<Options, Failure> {
        let ms = |period: Option<Duration>| period.map(|period| format!("{}ms", period.as_millis()));
        let given = [
            ("tier_url", self.tier_url.clone()),
            ("tier_username", self.tier_username.clone()),
            ("tier_password", self.password()?),
            ("tier_database", self.tier_database.clone()),
            ("tier_prefix", self.tier_prefix.clone()),
            ("tier_shards", self.tier_shards.clone()),
            ("tier_writes", self.tier_writes.clone()),
            ("tier_reads", self.tier_reads.clone()),
            ("tier_fresh", self.tier_fresh.clone()),
            ("tier_unreachable_is_miss", self.tier_unreachable_is_miss.clone()),
            ("tier_timeout", ms(self.tier_timeout)),
            ("tier_backoff_max", ms(self.tier_backoff_max)),
            ("tier_resync_every", ms(self.tier_resync_every)),
            ("tier_encoder", self.tier_encoder.clone()),
            ("tier_hashes", self.tier_hashes.clone()),
            ("tier_codec", self.tier_codec.clone()),
            ("tier_ca_file", self.tier_ca_file.clone()),
            ("tier_client_certificate", self.tier_client_certificate.clone()),
            ("tier_client_key", self.tier_client_key.clone()),
        ];
        given.into_iter().try_fold(options, |options, (name, value)| match value {
            Some(value) => Ok(options.set(name, &value)?),
            None => Ok(options),
        })
    }

    fn password(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.tier_password_from else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|e| Failure::file("read", file, &e))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
    }
}

/// Waits until Redis has what a command changed, for as long as it may take to answer. What it does not have then stays.
pub fn send(db: &Db, tier: &Tier) {
    if let Err(error) = flush(db, tier.tier_timeout.unwrap_or(TIMEOUT)) {
        eprintln!(
            "kv: note: {error}: what is not sent goes when the store is open with its tier again (kv flush)"
        );
    }
}

pub fn flush_store(args: &Flush) -> Result<Outcome, Failure> {
    if !args.opening.has_tier() {
        return Err(Failure::usage("flush needs --tier-url"));
    }
    let at = |error| Failure::at(&args.store, error);
    let db = store::open_to_write(&args.store, OpenMode::MustExist, Sync::Never, &args.opening)?;
    let flushed = flush(&db, args.timeout).map_err(at);
    if args.json {
        show::line(&json(&db).map_err(at)?)?;
    }
    let sent_keys =
        figures(&db).map_err(at)?.iter().find(|(name, _)| name == "tier_sent_keys").map(|(_, n)| *n);
    db.close().map_err(at)?;
    flushed?;
    let sent_keys = sent_keys.unwrap_or_default();
    if show::is_for_people() && !args.json {
        show::line(&format!("{} keys sent", show::grouped(sent_keys)))?;
    } else if !args.json {
        show::line(&sent_keys.to_string())?;
    }
    Ok(Outcome::Done)
}

#[cfg(feature = "redis")]
pub fn add_shared(db: &Db, key: &[u8], value: &[u8], expiry: Expiry) -> kv::Result<bool> {
    db.add_shared(key, value, expiry)
}

#[cfg(feature = "redis")]
pub fn swap_shared(db: &Db, key: &[u8], expected: &[u8], value: &[u8]) -> kv::Result<bool> {
    db.compare_and_swap_shared(key, Some(expected), value)
}

#[cfg(feature = "redis")]
pub fn increment_shared(db: &Db, key: &[u8], delta: i64) -> kv::Result<i64> {
    db.increment_shared(key, delta)
}

#[cfg(feature = "redis")]
fn flush(db: &Db, timeout: Duration) -> kv::Result<()> {
    db.flush(timeout)
}

#[cfg(feature = "redis")]
fn json(db: &Db) -> kv::Result<String> {
    Ok(db.tier_stats()?.map_or_else(|| "null".into(), |stats| stats.to_json()))
}

/// None without a tier.
#[cfg(feature = "redis")]
pub fn figures(db: &Db) -> kv::Result<Vec<(String, u64)>> {
    let figures = db.tier_stats()?.map_or_else(Vec::new, |stats| stats.figures());
    Ok(figures.into_iter().map(|(name, _, value)| (format!("tier_{name}"), value)).collect())
}

#[cfg(feature = "redis")]
pub fn prometheus(db: &Db) -> kv::Result<String> {
    Ok(db.tier_stats()?.map_or_else(String::new, |stats| stats.to_prometheus()))
}

// A build without the tier has no store with one: its options are refused.

#[cfg(not(feature = "redis"))]
fn none<T>() -> kv::Result<T> {
    Err(kv::Error::InvalidOption { name: "tier_url".into(), reason: "this build has no tier".into() })
}

#[cfg(not(feature = "redis"))]
pub fn add_shared(_db: &Db, _key: &[u8], _value: &[u8], _expiry: Expiry) -> kv::Result<bool> {
    none()
}

#[cfg(not(feature = "redis"))]
pub fn swap_shared(_db: &Db, _key: &[u8], _expected: &[u8], _value: &[u8]) -> kv::Result<bool> {
    none()
}

#[cfg(not(feature = "redis"))]
pub fn increment_shared(_db: &Db, _key: &[u8], _delta: i64) -> kv::Result<i64> {
    none()
}

#[cfg(not(feature = "redis"))]
fn flush(_db: &Db, _timeout: Duration) -> kv::Result<()> {
    Ok(())
}

#[cfg(not(feature = "redis"))]
fn json(_db: &Db) -> kv::Result<String> {
    Ok("null".into())
}

#[cfg(not(feature = "redis"))]
pub fn figures(_db: &Db) -> kv::Result<Vec<(String, u64)>> {
    Ok(Vec::new())
}

#[cfg(not(feature = "redis"))]
pub fn prometheus(_db: &Db) -> kv::Result<String> {
    Ok(String::new())
}
