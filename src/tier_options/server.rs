//! Where Redis is, as a URL says it.

#[cfg(feature = "redis-tls")]
use super::Tls;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Whom to ask for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Unix(PathBuf),
    One(Address),
    /// They know which server is the master of the service.
    Sentinels {
        addresses: Vec<Address>,
        service: String,
        username: Option<String>,
        password: Option<String>,
    },
    /// Some nodes: each knows which one has a slot.
    Cluster(Vec<Address>),
}

/// How bytes get there.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    Plain,
    #[cfg(feature = "redis-tls")]
    Tls(Tls),
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) place: Place,
    pub(crate) way: Way,
}

impl Place {
    /// Servers that are named.
    #[cfg(any(test, feature = "redis-tls"))]
    pub(crate) fn addresses(&self) -> &[Address] {
        match self {
            Place::Unix(_) => &[],
            Place::One(address) => std::slice::from_ref(address),
            Place::Sentinels { addresses, .. } | Place::Cluster(addresses) => addresses,
        }
    }
}

/// What a URL says.
pub(super) struct Said {
    pub(super) place: Place,
    pub(super) is_tls: bool,
    /// Of it user, password and database.
    pub(super) info: ConnectionInfo,
}

const SENTINEL_PORT: u16 = 26379;
const REDIS_PORT: u16 = 6379;

/// Reads a URL. No message shows it: it may hold a password.
pub(super) fn parse(url: &str) -> Result<Said, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if matches!(scheme, "rediss" | "rediss+sentinel" | "rediss-cluster") && rest.contains('#') {
        return Err("a connection that believes every server is not made".into());
    }
    match scheme {
        "redis+sentinel" | "rediss+sentinel" => parse_sentinels(rest, scheme.starts_with("rediss")),
        "redis-cluster" | "rediss-cluster" => parse_cluster(rest, scheme.starts_with("rediss")),
        "rediss" => parse_one(&format!("redis://{rest}"), true),
        _ => parse_one(url, false),
    }
}

fn parse_one(url: &str, is_tls: bool) -> Result<Said, String> {
    let info = url.into_connection_info().map_err(|e| e.to_string())?;
    let place = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Place::One(Address { host: host.clone(), port: *port }),
        ConnectionAddr::Unix(path) if !is_tls => Place::Unix(path.clone()),
        _ => return Err("neither a host nor a unix socket".into()),
    };
    Ok(Said { place, is_tls, info })
}

/// A URL of several hosts.
struct Many<'u> {
    user: &'u str,
    addresses: Vec<Address>,
    path: &'u str,
    query: &'u str,
}

fn parse_many(rest: &str, port: u16) -> Result<Many<'_>, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let addresses = hosts.split(',').map(|host| {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let url = if has_port { format!("redis://{host}") } else { format!("redis://{host}:{port}") };
        match parse_one(&url, false)?.place {
            Place::One(address) => Ok(address),
            _ => Err("not a host".into()),
        }
    });
    Ok(Many { user, addresses: addresses.collect::<Result<_, String>>()?, path, query })
}

/// Reads user, password and database as in the URL of one server.
fn login(user: &str, database: &str) -> Result<ConnectionInfo, String> {
    let at = if user.is_empty() { "" } else { "@" };
    format!("redis://{user}{at}host/{database}").into_connection_info().map_err(|e| e.to_string())
}

fn parse_sentinels(rest: &str, is_tls: bool) -> Result<Said, String> {
    let many = parse_many(rest, SENTINEL_PORT)?;
    let (service, database) = many.path.split_once('/').unwrap_or((many.path, ""));
    if service.is_empty() {
        return Err("the name of the service that the sentinels watch is lacking: …/SERVICE".into());
    }
    let mut of_sentinels = Vec::new();
    for pair in many.query.split('&').filter(|pair| !pair.is_empty()) {
        let is_known = ["sentinel_user=", "sentinel_pass="].iter().any(|name| pair.starts_with(name));
        match pair.strip_prefix("sentinel_").filter(|_| is_known) {
            Some(pair) => of_sentinels.push(pair),
            None => return Err("after ? come sentinel_user and sentinel_pass only".into()),
        }
    }
    // The names that the URL of a unix socket has.
    let sentinel = format!("redis+unix:///socket?{}", of_sentinels.join("&"));
    let sentinel = sentinel.into_connection_info().map_err(|e| e.to_string())?;
    let settings = sentinel.redis_settings();
    let place = Place::Sentinels {
        addresses: many.addresses,
        service: service.into(),
        username: settings.username().map(Into::into),
        password: settings.password().map(Into::into),
    };
    Ok(Said { place, is_tls, info: login(many.user, database)? })
}

fn parse_cluster(rest: &str, is_tls: bool) -> Result<Said, String> {
    let many = parse_many(rest, REDIS_PORT)?;
    if !many.query.is_empty() {
        return Err("the URL of a cluster has nothing after ?".into());
    }
    Ok(Said { place: Place::Cluster(many.addresses), is_tls, info: login(many.user, many.path)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    #[test]
    fn several_hosts_are_read_with_the_port_that_each_kind_has() {
        let said = parse(
            "redis+sentinel://u:p%40w@a,b:1,[::1],[::2]:3/main/4?sentinel_user=s&sentinel_pass=x%26sentinel_",
        )
        .unwrap();
        let addresses = vec![address("a", 26379), address("b", 1), address("::1", 26379), address("::2", 3)];
        let (username, password) = (Some("s".into()), Some("x&sentinel_".into()));
        let service = "main".to_string();
        assert_eq!(said.place, Place::Sentinels { addresses, service, username, password });
        let settings = said.info.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db(), said.is_tls),
            (Some("u"), Some("p@w"), 4, false)
        );
        let said = parse("rediss-cluster://:pw@a:7000,b").unwrap();
        assert_eq!(said.place, Place::Cluster(vec![address("a", 7000), address("b", 6379)]));
        assert_eq!((said.info.redis_settings().password(), said.is_tls), (Some("pw"), true));
        assert_eq!(format!("{} {}", address("::1", 5), address("h", 6)), "[::1]:5 h:6");
    }

    #[test]
    fn a_url_of_several_hosts_that_lacks_something_is_refused() {
        for url in [
            "redis+sentinel://a,b",
            "redis+sentinel://a,b/",
            "redis+sentinel://a,,b/main",
            "redis+sentinel://a/main/secret",
            "redis+sentinel://a/main?password=secret",
            "redis+sentinel://a/main?sentinel_other=secret",
            "rediss+sentinel://a/main#insecure",
            "redis-cluster://",
            "redis-cluster://a,secret:port",
            "redis-cluster://a?user=secret",
            "rediss-cluster://a#insecure",
        ] {
            let refused = parse(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
