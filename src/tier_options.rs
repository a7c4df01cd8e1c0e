//! How a store shares its entries through Redis.

mod encoder;
mod msgpack;
#[cfg(feature = "protobuf")]
mod protobuf;
mod server;
mod shards;
#[cfg(feature = "redis-tls")]
mod tls;

pub(crate) use encoder::encoder_named;
#[cfg(feature = "protobuf")]
pub(crate) use encoder::protobuf_named;
pub use encoder::{encoders, Encoder, EncoderError, Hashes, Numbers};
pub(crate) use server::{Address, Place, Server, Way};
pub(crate) use shards::{shard_of, Shard};
#[cfg(feature = "redis-tls")]
pub(crate) use tls::Tls;

use crate::error::{Error, Result};
use crate::limits::{KEY_BYTES_MAX, TIER_SHARDS_MAX};
use crate::tag::Tag;
#[cfg(feature = "redis-tls")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a local change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Writes {
    /// It is acknowledged at once and sent in the background, also after a crash or a month offline.
    Behind,
    /// The call returns when Redis has it, or with [`Error::Tier`] after the timeout; it stands locally then, and is still sent.
    Through,
    /// It is refused: this store only follows.
    Refused,
}

/// What becomes of copies of what others wrote while their changes cannot be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenDeaf {
    /// They are dropped, and none are kept until changes are heard again: reads ask Redis, or fail.
    Drop,
    /// They are served on, however old, and compared with Redis when changes are heard again.
    Keep,
}

/// Connection and behaviour of a store's tier, for [`Options::tier`](crate::Options::tier).
///
/// ```no_run
/// use kv::{Options, TierOptions, Writes};
/// let tier = TierOptions::new("redis://user:secret@cache.example:6379/2").prefix("app:").writes(Writes::Behind);
/// let db = Options::new().tier(tier).open("/var/lib/app/store")?;
/// # Ok::<(), kv::Error>(())
/// ```
#[derive(Clone)]
pub struct TierOptions {
    pub(crate) url: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: Option<i64>,
    pub(crate) prefix: Vec<u8>,
    pub(crate) shards: usize,
    pub(crate) writes: Writes,
    pub(crate) reads: bool,
    pub(crate) fresh: Option<WhenDeaf>,
    pub(crate) resync_every: Option<Duration>,
    pub(crate) unreachable_is_miss: bool,
    pub(crate) timeout: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) unsent_deletes_max: u64,
    pub(crate) encoder: Option<Arc<dyn Encoder>>,
    pub(crate) hashes: Option<Hashes>,
    pub(crate) codec: Tag,
    #[cfg(feature = "redis-tls")]
    tls: tls::TlsFiles,
}

impl std::fmt::Debug for TierOptions {
    // Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierOptions")
            .field("prefix", &String::from_utf8_lossy(&self.prefix))
            .field("writes", &self.writes)
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

impl TierOptions {
    /// A server, as `redis://[user:password@]host[:port][/database]` or `redis+unix:///path[?db=…&user=…&pass=…]`; the master of a
    /// service that sentinels watch, as `redis+sentinel://[user:password@]sentinel[:port],…/service[/database]`, and
    /// `?sentinel_user=…&sentinel_pass=…` where they ask who one is; or a cluster, some nodes of which are named, as
    /// `redis-cluster://[user:password@]node[:port],…`: then the prefix needs a hash tag, as `{app}:`, or the keys
    /// are divided into [`shards`](Self::shards). With `rediss` in place of
    /// `redis`: TLS (Cargo feature `redis-tls`). Reads fall through to Redis, writes are sent behind, within a second Redis has answered or failed, and keys have no prefix.
    /// Needs Redis 6.2 or newer.
    pub fn new(url: impl Into<String>) -> Self {
        TierOptions {
            url: url.into(),
            username: None,
            password: None,
            database: None,
            prefix: Vec::new(),
            shards: 1,
            writes: Writes::Behind,
            reads: true,
            fresh: None,
            resync_every: None,
            unreachable_is_miss: false,
            timeout: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5),
            unsent_deletes_max: 1_000_000,
            encoder: None,
            hashes: None,
            codec: Tag::RAW,
            #[cfg(feature = "redis-tls")]
            tls: tls::TlsFiles::default(),
        }
    }

    /// Certificates of the authorities that may vouch for a server of a `rediss://` URL, as a PEM file, in place of the system's.
    /// Read at open. Cargo feature `redis-tls`.
    #[cfg(feature = "redis-tls")]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(path.into());
        self
    }

    /// Certificate that says who this client is, with those that vouch for it, and its key, as PEM files. Read at open. Cargo
    /// feature `redis-tls`.
    #[cfg(feature = "redis-tls")]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.certificate = Some(certificate.into());
        self.tls.key = Some(key.into());
        self
    }

    /// Half of `client_certificate`, for options that come one by one.
    #[cfg(feature = "redis-tls")]
    pub(crate) fn certificate_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.certificate = Some(path.into());
        self
    }

    /// The other half.
    #[cfg(feature = "redis-tls")]
    pub(crate) fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.key = Some(path.into());
        self
    }

    /// As `new` takes it, for options that come one by one.
    pub(crate) fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// Takes `fresh` back.
    pub(crate) fn not_fresh(mut self) -> Self {
        self.fresh = None;
        self
    }

    /// User of the server's access list, in place of the URL's.
    pub fn username(mut self, name: impl Into<String>) -> Self {
        self.username = Some(name.into());
        self
    }

    /// Password, in place of the URL's.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Number of the database, in place of the URL's.
    pub fn database(mut self, number: i64) -> Self {
        self.database = Some(number);
        self
    }

    /// What stands before each key in Redis. Stores that share a prefix share their entries.
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Into how many parts the store's keys are divided, 1 (default) to 64: so the nodes of a cluster share them. With more than one a
    /// key stands in Redis as `{PREFIXN}KEY`, where N is its slot (`CLUSTER KEYSLOT KEY`) modulo this number. Each part costs two
    /// threads and connections, with `fresh` three, and fails by itself: a node that is down stops the parts that it has. All stores that
    /// share a prefix need the same number; a store that is opened with another one than before sends all that it holds.
    pub fn shards(mut self, count: usize) -> Self {
        self.shards = count;
        self
    }

    /// What becomes of local changes.
    pub fn writes(mut self, writes: Writes) -> Self {
        self.writes = writes;
        self
    }

    /// Whether a read that finds nothing asks Redis (default yes).
    pub fn reads(mut self, reads: bool) -> Self {
        self.reads = reads;
        self
    }

    /// Lets Redis tell of changes by others, so that copies of what they change are dropped within moments; and what to do with
    /// copies when that is interrupted. Without this (default) a copy stays until its time is over.
    pub fn fresh(mut self, when_deaf: WhenDeaf) -> Self {
        self.fresh = Some(when_deaf);
        self
    }

    /// With `fresh`: has everything that was sent or came from Redis compared with it so often, beside what Redis tells of. So copies
    /// are known to be old after this time, and what comparing takes, also where the server can tell nothing, or not all of it.
    pub fn resync_every(mut self, period: Duration) -> Self {
        self.resync_every = Some(period);
        self
    }

    /// Takes `resync_every` back.
    pub(crate) fn no_resync(mut self) -> Self {
        self.resync_every = None;
        self
    }

    /// Whether a read that would have asked a Redis that cannot be asked says "absent" instead of failing (default no).
    pub fn unreachable_is_miss(mut self, is_miss: bool) -> Self {
        self.unreachable_is_miss = is_miss;
        self
    }

    /// How long a read that falls through, a write through, and any answer of Redis may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Longest pause between attempts to reach Redis (default 5 s).
    pub fn backoff_max(mut self, pause: Duration) -> Self {
        self.backoff_max = pause;
        self
    }

    /// Of a store in memory: how many deletes and expiries may wait for Redis (default 1,000,000). While more do, changes give
    /// [`Error::Tier`]: a delete that was forgotten would let its key come back. Of several shards each has an equal share, and
    /// changes of its keys alone are refused.
    pub fn unsent_deletes_max(mut self, deletes: u64) -> Self {
        self.unsent_deletes_max = deletes;
        self
    }

    /// What stands in Redis for a value; by default the value itself. What the values of this store are then is the
    /// encoder's to say; a store that changes it must not share a prefix with what was written before.
    pub fn encoder(mut self, encoder: impl Encoder) -> Self {
        self.encoder = Some(Arc::new(encoder));
        self
    }

    /// A ready-made one, or none.
    pub(crate) fn encoder_or_raw(mut self, encoder: Option<Arc<dyn Encoder>>) -> Self {
        self.encoder = encoder;
        self
    }

    /// Lets what another client keeps as a hash be read as a value, without the encoder; by default that is an error. A change here
    /// replaces the hash by a string.
    pub fn hashes(mut self, hashes: Hashes) -> Self {
        self.hashes = Some(hashes);
        self
    }

    /// Takes `hashes` back.
    pub(crate) fn no_hashes(mut self) -> Self {
        self.hashes = None;
        self
    }

    /// Which codec wrote what comes from Redis, where only the values' bytes stand: a typed store of this codec reads them
    /// ([`Db::typed`](crate::Db::typed)). By default none: they are raw bytes. What this store wrote itself keeps its own.
    pub fn codec(mut self, codec: Tag) -> Self {
        self.codec = codec;
        self
    }

    /// How values of the store that are whole numbers are written.
    pub(crate) fn numbers(&self) -> Numbers {
        self.encoder.as_ref().map_or(Numbers::Decimal, |encoder| encoder.numbers())
    }

    /// Refuses what cannot work, and fills in what the URL says.
    pub(crate) fn check(&mut self) -> Result<Server> {
        let refuse = |reason: String| Error::InvalidOption { name: "tier".into(), reason };
        let said = server::parse(&self.url).map_err(refuse)?;
        let way = self.way(&said).map_err(refuse)?;
        let server = Server { place: said.place, way };
        let said = said.info.redis_settings();
        self.username = self.username.take().or(said.username().map(Into::into));
        self.password = self.password.take().or(said.password().map(Into::into));
        let database = self.database.unwrap_or(said.db());
        self.database = Some(database);
        if database < 0 {
            return Err(refuse(format!("database {database}: must be 0 or more")));
        }
        if matches!(server.place, Place::Cluster(_)) {
            if database != 0 {
                return Err(refuse(format!("database {database}: a cluster has only 0")));
            }
            if self.shards == 1 && shards::hash_tag(&self.prefix).is_none() {
                let reason =
                    "in a cluster the prefix needs a hash tag, as {app}:, or the store several shards";
                return Err(refuse(reason.into()));
            }
        }
        if self.username.is_some() && self.password.is_none() {
            return Err(refuse("a user without a password".into()));
        }
        if self.prefix.len() > KEY_BYTES_MAX {
            return Err(refuse(format!(
                "a prefix of {} bytes: the limit is {KEY_BYTES_MAX}",
                self.prefix.len()
            )));
        }
        if !(1..=TIER_SHARDS_MAX).contains(&self.shards) {
            return Err(refuse(format!("{} shards: 1 to {TIER_SHARDS_MAX}", self.shards)));
        }
        if self.shards > 1 && self.prefix.iter().any(|byte| b"{}".contains(byte)) {
            let reason = "a prefix with { or }: several shards have hash tags of their own";
            return Err(refuse(reason.into()));
        }
        if self.timeout.is_zero() || self.backoff_max.is_zero() {
            return Err(refuse("timeout and backoff_max must be more than zero".into()));
        }
        if self.resync_every.is_some_and(|period| period.is_zero() || self.fresh.is_none()) {
            return Err(refuse("resync_every must be more than zero, and needs fresh".into()));
        }
        Ok(server)
    }

    #[cfg(feature = "redis-tls")]
    fn way(&self, said: &server::Said) -> std::result::Result<Way, String> {
        if !said.is_tls {
            return match self.tls.is_given() {
                true => Err("certificates are for a rediss:// URL".into()),
                false => Ok(Way::Plain),
            };
        }
        let tls = Tls::new(&self.tls)?;
        said.place.addresses().iter().try_for_each(|address| tls.check(&address.host))?;
        Ok(Way::Tls(tls))
    }

    #[cfg(not(feature = "redis-tls"))]
    fn way(&self, said: &server::Said) -> std::result::Result<Way, String> {
        match said.is_tls {
            true => Err("this build connects without TLS only: see the feature redis-tls".into()),
            false => Ok(Way::Plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_server_database_and_user_and_options_go_before_it() {
        let mut tier = TierOptions::new("redis://alice:secret@cache:7000/3");
        let cache = Address { host: "cache".into(), port: 7000 };
        assert_eq!(tier.check().unwrap().place, Place::One(cache));
        assert_eq!(
            (tier.username.as_deref(), tier.password.as_deref(), tier.database),
            (Some("alice"), Some("secret"), Some(3))
        );
        let mut tier =
            TierOptions::new("redis+unix:///run/r.sock?db=1").database(4).username("bob").password("x");
        assert_eq!(tier.check().unwrap().place, Place::Unix("/run/r.sock".into()));
        assert_eq!((tier.username.as_deref(), tier.database), (Some("bob"), Some(4)));
    }

    #[test]
    fn what_cannot_work_is_refused_without_showing_the_password() {
        let tiers = [
            TierOptions::new("not a url secret"),
            TierOptions::new("rediss://u:secret@host/#insecure"),
            #[cfg(not(feature = "redis-tls"))]
            TierOptions::new("rediss://u:secret@host"),
            #[cfg(feature = "redis-tls")]
            TierOptions::new("rediss://u:secret@host").ca_file("/there is none"),
            #[cfg(feature = "redis-tls")]
            TierOptions::new("redis://u:secret@host").ca_file("/etc/hostname"),
            TierOptions::new("redis://host").database(-1),
            TierOptions::new("redis://host").username("u"),
            TierOptions::new("redis-cluster://u:secret@host").prefix("app:"),
            TierOptions::new("redis-cluster://u:secret@host").prefix("{app}:").shards(4),
            TierOptions::new("redis://u:secret@host").shards(0),
            TierOptions::new("redis://u:secret@host").shards(TIER_SHARDS_MAX + 1),
            TierOptions::new("redis-cluster://u:secret@host/1").prefix("{app}:"),
            TierOptions::new("redis+sentinel://u:secret@host"),
            TierOptions::new("redis://u:secret@host").timeout(Duration::ZERO),
            TierOptions::new("redis://u:secret@host").resync_every(Duration::from_secs(1)),
            TierOptions::new("redis://u:secret@host").fresh(WhenDeaf::Keep).resync_every(Duration::ZERO),
        ];
        for mut tier in tiers {
            let error = tier.check().unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { name, .. } if name == "tier"), "{error}");
            assert!(!format!("{error} {tier:?}").contains("secret"), "{error} {tier:?}");
        }
    }
}
