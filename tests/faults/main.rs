//! P7: whatever call of the operating system fails, the call of the store that needed it says what and where, nothing that
//! was acknowledged is lost, and nothing hangs or panics.

#[path = "../common/mod.rs"]
mod common;
mod every_call;
mod places;
mod play;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::sync::Once;
use std::time::Duration;

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Panics of a store's own threads, which no caller sees.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Runs `case` in a thread of its own, and fails if it does not end or a thread of the store panics.
fn in_time<T: Send + 'static>(told: &str, case: impl FnOnce() -> T + Send + 'static) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("kv-")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
    let (done, ended) = sync_channel(1);
    let thread = std::thread::spawn(move || done.send(case()).unwrap());
    match ended.recv_timeout(PATIENCE) {
        Ok(result) => {
            assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{told}: a thread of the store panicked");
            result
        }
        Err(RecvTimeoutError::Timeout) => panic!("{told}: hangs"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => {
                eprintln!("{told}");
                std::panic::resume_unwind(panic)
            }
            Ok(()) => panic!("{told}: no result"),
        },
    }
}
