//! What can be asked for.

use crate::parse;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the answer is no: the key is absent, the condition was not met, or verify found damage
  2  wrong usage: an unknown command or option, or an option value outside of its range
  3  the store or a file could not be read or written: locked, damaged, of another version, full, …
  4  the data was refused: a key or value that is too long, no number, a value of another codec, or a bad line of an import

On a terminal the output is for people; in a pipe it is raw. Errors are one line on stderr.
Durations: 500ms, 2s, 10m, 3h, 7d; a number without a unit is seconds.";

/// A libkv store from the command line.
#[derive(Debug, Parser)]
#[command(name = "kv", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the value of a key
    Get(Get),
    /// Set a key to a value
    Set(Set),
    /// Set a new key, which sorts behind those that this made before, and print it
    Add(Add),
    /// Change the value of a key in an editor, and its metadata
    Edit(Edit),
    /// Delete keys
    Del(Del),
    /// Add to the number that a key holds, and print the sum
    Incr(Incr),
    /// Print how long a key still has
    Ttl(Ttl),
    /// Let keys expire, or never
    Expire(Expire),
    /// Print entries, all or by prefix
    Scan(Scan),
    /// Set entries from NDJSON or a JSON object
    Import(Import),
    /// Write entries as NDJSON or a JSON object
    Export(Export),
    /// Print figures of a store
    Stats(Stats),
    /// Send what Redis does not have yet, and wait until it has
    Flush(Flush),
    /// Copy what Redis holds under keys of a pattern, and remove what it does not hold any more
    Preload(Preload),
    /// Check every record of a store without writing to it
    Verify(Verify),
    /// Rewrite the log so that it holds little but what lives
    Compact(Compact),
    /// Copy a store, as of one moment, into an empty directory
    Backup(Backup),
    /// Keep a store open, so that it expires and compacts by itself, and print its figures
    Watch(Watch),
    /// Measure set, get and delete in this process
    Bench(Bench),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Group)]
pub struct Text {
    /// Keys and values are hexadecimal, given and printed
    #[arg(long)]
    pub hex: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct Writing {
    /// When writes reach the disk: always (before the command goes on), never (when the system likes), or at the latest
    /// after a duration. Every mode survives the end of the process
    #[arg(long, value_name = "always|never|DURATION", default_value = "1s", value_parser = parse::sync)]
    pub sync: kv::Sync,
}

#[derive(Debug, Default, Group)]
pub struct Opening {
    /// Open the store with this option, by the name that it has in every host: compression=zstd-dictionary,
    /// json_mirror=people.json; may be given often
    #[arg(short, long = "option", value_name = "NAME=VALUE", value_parser = parse::option)]
    pub options: Vec<(String, String)>,
    #[command(flatten)]
    pub tier: Tier,
}

#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Redis tier")]
pub struct Tier {
    /// Share the store's entries through this Redis: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS,
    /// redis+unix:///PATH, redis+sentinel://…, redis-cluster://…. Other users of the machine can see a password that stands here
    #[arg(long, value_name = "URL")]
    pub tier_url: Option<String>,
    /// User, in place of the URL's
    #[arg(long, value_name = "NAME", requires = "tier_url")]
    pub tier_username: Option<String>,
    /// Password, in place of the URL's: what stands in this file, but for the end of its line
    #[arg(long, value_name = "FILE", requires = "tier_url")]
    pub tier_password_from: Option<PathBuf>,
    /// Database, in place of the URL's
    #[arg(long, value_name = "NUMBER", requires = "tier_url", allow_negative_numbers = true)]
    pub tier_database: Option<String>,
    /// What stands before each key in Redis; stores that share it share their entries
    #[arg(long, value_name = "TEXT", requires = "tier_url", allow_hyphen_values = true)]
    pub tier_prefix: Option<String>,
    /// Into how many parts the keys are divided, so that the nodes of a cluster share them [default: 1]
    #[arg(long, value_name = "NUMBER", requires = "tier_url")]
    pub tier_shards: Option<String>,
    /// Changes are sent behind, or wait until Redis has them, or are refused
    #[arg(long, requires = "tier_url", value_parser = ["behind", "through", "refused"])]
    pub tier_writes: Option<String>,
    /// Whether a read that finds nothing asks Redis
    #[arg(long, requires = "tier_url", value_parser = ["true", "false"])]
    pub tier_reads: Option<String>,
    /// Let Redis tell of changes by others, and drop or keep copies while it cannot
    #[arg(long, requires = "tier_url", value_parser = ["none", "drop", "keep"])]
    pub tier_fresh: Option<String>,
    /// Whether a key counts as absent when Redis cannot be asked
    #[arg(long, requires = "tier_url", value_parser = ["true", "false"])]
    pub tier_unreachable_is_miss: Option<String>,
    /// How long Redis may take to answer [default: 1s]
    #[arg(long, value_name = "DURATION", requires = "tier_url", value_parser = parse::period)]
    pub tier_timeout: Option<Duration>,
    /// Longest pause between attempts to reach Redis [default: 5s]
    #[arg(long, value_name = "DURATION", requires = "tier_url", value_parser = parse::period)]
    pub tier_backoff_max: Option<Duration>,
    /// With fresh: compare everything with Redis so often, for servers that cannot tell of changes
    #[arg(long, value_name = "DURATION", requires = "tier_fresh", value_parser = parse::period)]
    pub tier_resync_every: Option<Duration>,
    /// What stands in Redis for a value: raw, zstd, zstd:LEVEL, json-from-msgpack, msgpack-from-json, json-from-protobuf:FILE:MESSAGE or
    /// protobuf-from-json:FILE:MESSAGE
    #[arg(long, value_name = "NAME", requires = "tier_url")]
    pub tier_encoder: Option<String>,
    /// What the value becomes that another client keeps as a hash
    #[arg(long, requires = "tier_url", value_parser = ["refused", "json", "msgpack"])]
    pub tier_hashes: Option<String>,
    /// Which codec wrote what comes from Redis, as --codec of set
    #[arg(long, value_name = "NAME", requires = "tier_url")]
    pub tier_codec: Option<String>,
    /// Certificates of the authorities that may vouch for the server of a rediss:// URL, as PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "tier_url")]
    pub tier_ca_file: Option<String>,
    /// Certificate that says who this client is, as PEM
    #[arg(long, value_name = "FILE", requires = "tier_client_key")]
    pub tier_client_certificate: Option<String>,
    /// Its key, as PEM
    #[arg(long, value_name = "FILE", requires = "tier_client_certificate", requires = "tier_url")]
    pub tier_client_key: Option<String>,
}

#[derive(Debug, Group)]
pub struct Get {
    /// Directory of the store
    pub store: PathBuf,
    /// Key, as text
    pub key: String,
    /// Which codec must have written it: json, msgpack, protobuf, postcard, text, gob, pickle, or a number from 64 to 254
    #[arg(long, value_name = "NAME", default_value = "raw", hide_default_value = true)]
    pub codec: kv::Tag,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Set {
    /// Directory of the store; made if there is none
    pub store: PathBuf,
    /// Key, as text
    pub key: String,
    /// Value, as text; "-" reads it from stdin
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// Expires after this
    #[arg(long, value_name = "DURATION", value_parser = parse::period)]
    pub ttl: Option<Duration>,
    /// Which codec the value is of: json, msgpack, protobuf, postcard, text, gob, pickle, or a number from 64 to 254
    #[arg(long, value_name = "NAME", default_value = "raw", hide_default_value = true)]
    pub codec: kv::Tag,
    /// Only if the key has no value
    #[arg(long)]
    pub if_absent: bool,
    /// Only if the key holds this value, whose expiry it keeps; with --shared
    #[arg(long, value_name = "VALUE", requires = "shared", conflicts_with_all = ["if_absent", "ttl"])]
    #[arg(allow_hyphen_values = true)]
    pub if_value: Option<String>,
    /// Let Redis decide on the condition, for all that share the key
    #[arg(long, requires = "tier_url", conflicts_with = "codec")]
    pub shared: bool,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Add {
    /// Directory of the store; made if there is none
    pub store: PathBuf,
    /// Value, as text; "-" reads it from stdin
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// What the key begins with
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Base of its number, 2 to 62
    #[arg(long, default_value_t = 10)]
    pub base: u32,
    /// Digits of its number, 64 at most; 0: as many as the largest has
    #[arg(long, value_name = "DIGITS", default_value_t = 0)]
    pub width: usize,
    /// Which codec the value is of: json, msgpack, protobuf, postcard, text, gob, pickle, or a number from 64 to 254
    #[arg(long, value_name = "NAME", default_value = "raw", hide_default_value = true)]
    pub codec: kv::Tag,
    /// Expires after this
    #[arg(long, value_name = "DURATION", value_parser = parse::period)]
    pub ttl: Option<Duration>,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
#[command(
    after_help = "The editor is $VISUAL, $EDITOR or vi. What it leaves is committed when it ends well, \
    if it has changed; a line end that it adds to a value without one is left out."
)]
pub struct Edit {
    /// Directory of the store
    pub store: PathBuf,
    /// Key, as text
    pub key: String,
    /// Begin with an empty value where there is none
    #[arg(long)]
    pub create: bool,
    /// Set this of the entry's metadata; may be given often
    #[arg(long, value_name = "NAME=VALUE")]
    pub metadata: Vec<String>,
    /// Remove this of the entry's metadata; may be given often
    #[arg(long, value_name = "NAME")]
    pub no_metadata: Vec<String>,
    /// Expires after this; else as before
    #[arg(long, value_name = "DURATION", value_parser = parse::period)]
    pub ttl: Option<Duration>,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Keys {
    /// Keys, as text
    #[arg(value_name = "KEY", required_unless_present = "keys_from")]
    pub keys: Vec<String>,
    /// Take further keys from the lines of a file; "-" is stdin
    #[arg(long, value_name = "FILE")]
    pub keys_from: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub struct Del {
    /// Directory of the store
    pub store: PathBuf,
    #[command(flatten)]
    pub keys: Keys,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Incr {
    /// Directory of the store; made if there is none
    pub store: PathBuf,
    /// Key, as text; an absent one counts as 0
    pub key: String,
    /// What to add
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    pub by: i64,
    /// Which codec the number is of: json or text; without this the one that it has
    #[arg(long, value_name = "NAME", default_value = "raw", hide_default_value = true)]
    pub codec: kv::Tag,
    /// Let Redis add, so that each addition counts, of all that share the key
    #[arg(long, requires = "tier_url", conflicts_with = "codec")]
    pub shared: bool,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Ttl {
    /// Directory of the store
    pub store: PathBuf,
    /// Key, as text
    pub key: String,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Expire {
    /// Directory of the store
    pub store: PathBuf,
    /// After which time, or "never"
    #[arg(value_parser = parse::expiry)]
    pub ttl: kv::Expiry,
    #[command(flatten)]
    pub keys: Keys,
    #[command(flatten)]
    pub text: Text,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Selection {
    /// Only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Only this key and those behind it; implies --ordered
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub start: String,
    /// Only keys before this one; implies --ordered
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub end: String,
    /// At most so many entries
    #[arg(long, value_name = "ENTRIES")]
    pub limit: Option<usize>,
    /// Bytewise by key
    #[arg(long)]
    pub ordered: bool,
    /// Bytewise by key, the last first
    #[arg(long)]
    pub reverse: bool,
}

#[derive(Debug, Group)]
pub struct Scan {
    /// Directory of the store
    pub store: PathBuf,
    #[command(flatten)]
    pub selection: Selection,
    /// Print keys only
    #[arg(long, conflicts_with = "json")]
    pub keys: bool,
    #[command(flatten)]
    pub text: Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line: all bytes, with expiries
    Ndjson,
    /// One JSON object of keys and values: text only
    Json,
    /// A table whose first row names its columns: all bytes, with expiries
    Csv,
    /// Redis commands, as redis-cli --pipe takes them and append-only files hold them: all bytes, with expiries
    Resp,
}

#[derive(Debug, Group)]
pub struct Columns {
    /// Column of the keys in CSV
    #[arg(long, value_name = "NAME", default_value = "key")]
    pub key_column: String,
    /// Column of the values in CSV
    #[arg(long, value_name = "NAME", default_value = "value")]
    pub value_column: String,
}

#[derive(Debug, Group)]
pub struct Import {
    /// Directory of the store; made if there is none
    pub store: PathBuf,
    /// File to read; "-" is stdin
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Form of the input [default: json, csv or resp for files named *.json, *.csv, *.aof or *.resp, else ndjson]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub columns: Columns,
    /// Database of Redis whose commands are taken; those on others are skipped
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub database: u32,
    /// Skip and count Redis commands that are not on strings, instead of ending with the first
    #[arg(long)]
    pub skip_unknown: bool,
    /// Print one JSON line on stdout for each batch, as soon as it is acknowledged
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Export {
    /// Directory of the store
    pub store: PathBuf,
    /// File to write, replaced if it is there; "-" is stdout
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Form of the output [default: json, csv or resp for files named *.json, *.csv, *.aof or *.resp, else ndjson]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub columns: Columns,
    #[command(flatten)]
    pub selection: Selection,
    /// No progress on stderr
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Group)]
pub struct Stats {
    /// Directory of the store
    pub store: PathBuf,
    /// Print JSON
    #[arg(long, conflicts_with = "prometheus")]
    pub json: bool,
    /// Print the text format of Prometheus
    #[arg(long)]
    pub prometheus: bool,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Flush {
    /// Directory of the store
    pub store: PathBuf,
    /// For how long at most
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Preload {
    /// Directory of the store; made if there is none
    pub store: PathBuf,
    /// Which keys, without the tier's prefix: *, ?, [a-c], and \ before what is meant literally
    #[arg(default_value = "*", allow_hyphen_values = true)]
    pub pattern: String,
    /// Go on where an earlier preload came to
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub cursor: u64,
    /// Print one JSON line on stdout for each portion, and at the end
    #[arg(long)]
    pub json: bool,
    /// No progress on stderr
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Verify {
    /// Directory of the store
    pub store: PathBuf,
    /// Write what is intact into a new store in this directory, which must be empty or not exist
    #[arg(long, value_name = "OUT")]
    pub salvage: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct Compact {
    /// Directory of the store
    pub store: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Backup {
    /// Directory of the store
    pub store: PathBuf,
    /// Directory of the copy, which must be empty or not exist
    pub to: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
pub struct Watch {
    /// Directory of the store
    pub store: PathBuf,
    /// Time between two lines
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = parse::period)]
    pub every: Duration,
    /// End after this
    #[arg(long = "for", value_name = "DURATION", value_parser = parse::duration)]
    pub length: Option<Duration>,
    /// End once neither entries nor log have changed for this long
    #[arg(long, value_name = "DURATION", value_parser = parse::period)]
    pub until_idle: Option<Duration>,
    /// Print what changes, in place of the figures
    #[arg(long)]
    pub changes: bool,
    /// Only changes of keys that begin with this
    #[arg(long, requires = "changes", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Changes behind this version, also of an earlier run; 0: all that stands, and what follows. Without it: from now on
    #[arg(long, value_name = "VERSION", requires = "changes")]
    pub after: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Debug, Group)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    pub of: Option<BenchOf>,
    /// Directory for the store, which must be empty or not exist; without it the store is in memory
    pub store: Option<PathBuf>,
    /// Keys, of 16 bytes each
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub keys: u64,
    /// Length of the values
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    pub value_bytes: u32,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub writing: Writing,
}

#[derive(Debug, Subcommand)]
pub enum BenchOf {
    /// Replay a trace of accesses through a store in memory that may hold so much, and count what it found
    Trace(Trace),
}

#[derive(Debug, Group)]
pub struct Trace {
    /// The trace: key ids in the order of access, each 32 bits, little-endian; as it is, or compressed with zstd
    pub file: PathBuf,
    /// Entries that the store may hold
    #[arg(long, value_name = "ENTRIES")]
    pub max_entries: Option<u64>,
    /// Weight of keys and values that it may hold; a key is 4 bytes
    #[arg(long, value_name = "BYTES")]
    pub max_bytes: Option<u64>,
    /// Length of the values
    #[arg(long, value_name = "BYTES", default_value_t = 8, value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    pub value_bytes: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
