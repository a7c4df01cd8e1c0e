//! Addresses of hosts. The system looks a name up for as long as it likes, so a thread of its own waits for that, which knows the name
//! and nothing of the store: whoever asked goes on when the time is over, or the store ends, and what comes later is dropped.

use super::conn::{next_look, Failure};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

type Found = Result<Vec<SocketAddr>, Failure>;

/// Who looks a name up.
type LookUp = fn(&str) -> Found;

/// Names that are being looked up: at most one thread each, however many ask, and however often.
pub(super) struct Names {
    look_up: LookUp,
    under_way: Arc<Mutex<HashMap<String, Arc<Answer>>>>,
}

/// What whoever asks waits for.
#[derive(Default)]
struct Answer {
    found: Mutex<Option<Found>>,
    come: Condvar,
}

impl Default for Names {
    fn default() -> Self {
        Names { look_up: |name| Ok((name, 0).to_socket_addrs()?.collect()), under_way: Arc::default() }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    /// The addresses of a host, by `until`. Costs a thread, unless the host is an address.
    pub(super) fn addresses(&self, host: &str, port: u16, until: Instant, stopping: &AtomicBool) -> Found {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let answer = self.ask(host)?;
        let mut found = locked(&answer.found);
        loop {
            if let Some(found) = &*found {
                let mut addresses = found.clone()?;
                addresses.iter_mut().for_each(|address| address.set_port(port));
                return Ok(addresses);
            }
            let wait = next_look(until, stopping)
                .map_err(|error| Failure::new(format!("look up {host}: {}", Failure::from(error).reason)))?;
            found = answer.come.wait_timeout(found, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask(&self, host: &str) -> Result<Arc<Answer>, Failure> {
        let mut under_way = locked(&self.under_way);
        if let Some(answer) = under_way.get(host) {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::<Answer>::default();
        let (look_up, name) = (self.look_up, host.to_string());
        let (names, to) = (Arc::clone(&self.under_way), Arc::clone(&answer));
        std::thread::Builder::new().name("kv-tier-name".into()).spawn(move || {
            let found = look_up(&name);
            // Before the answer: who asks once it is known asks anew.
            locked(&names).remove(&name);
            *locked(&to.found) = Some(found);
            to.come.notify_all();
        })?;
        under_way.insert(host.into(), Arc::clone(&answer));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn names(look_up: LookUp) -> Names {
        Names { look_up, ..Names::default() }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_name_is_looked_up_and_an_address_is_not() {
        let running = AtomicBool::new(false);
        let found = Names::default().addresses("localhost", 6379, later(), &running).unwrap();
        assert!(!found.is_empty() && found.iter().all(|at| at.ip().is_loopback() && at.port() == 6379));
        let never = names(|name| panic!("{name} is an address"));
        for host in ["127.0.0.1", "::1"] {
            let found = never.addresses(host, 1, later(), &running).unwrap();
            assert_eq!(found, [(host.parse::<IpAddr>().unwrap(), 1).into()]);
        }
        let none = names(|name| Err(Failure::new(format!("nobody knows {name}"))));
        let failed = none.addresses("nowhere", 1, later(), &running).unwrap_err();
        assert_eq!(failed.reason, "nobody knows nowhere");
    }

    #[test]
    fn a_lookup_that_hangs_is_one_thread_and_is_waited_for_until_the_deadline_or_the_end_of_the_store() {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        static HANGS: Mutex<()> = Mutex::new(());
        let hanging = names(|_| {
            BEGUN.fetch_add(1, Ordering::SeqCst);
            drop(locked(&HANGS));
            Ok(vec![([127, 0, 0, 1], 0).into()])
        });
        let (running, ended) = (AtomicBool::new(false), AtomicBool::new(true));
        let held = locked(&HANGS);
        for _ in 0..3 {
            let soon = Instant::now() + Duration::from_millis(20);
            let late = hanging.addresses("host", 1, soon, &running).unwrap_err();
            assert!(late.reason.contains("look up host: no answer in time"), "{late:?}");
        }
        let closed = hanging.addresses("host", 1, later(), &ended).unwrap_err();
        assert!(closed.reason.contains("closed"), "{closed:?}");
        drop(held);
        let found = hanging.addresses("host", 7, later(), &running).unwrap();
        assert_eq!(found, [([127, 0, 0, 1], 7).into()]);
        let begun = BEGUN.load(Ordering::SeqCst);
        assert!((1..=2).contains(&begun), "looked up {begun} times");
        assert!(locked(&hanging.under_way).is_empty());
    }
}
