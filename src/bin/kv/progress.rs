//! A bar on stderr, where stderr is a terminal; otherwise nothing.

use indicatif::{ProgressBar, ProgressStyle};

const OF_KNOWN_LENGTH: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
const OF_UNKNOWN_LENGTH: &str = "{msg} {spinner} {bytes} {bytes_per_sec} {elapsed}";
#[cfg(feature = "redis")]
const OF_KEYS: &str = "{msg} {spinner} {human_pos} keys, {per_sec}, {elapsed}";

pub fn bar(name: &'static str, total_bytes: Option<u64>, is_quiet: bool) -> ProgressBar {
    let (bar, template) = match total_bytes {
        Some(bytes) => (ProgressBar::new(bytes), OF_KNOWN_LENGTH),
        None => (ProgressBar::new_spinner(), OF_UNKNOWN_LENGTH),
    };
    styled(bar, template, name, is_quiet)
}

/// Of keys, whose number nobody knows before.
#[cfg(feature = "redis")]
pub fn keys(name: &'static str, is_quiet: bool) -> ProgressBar {
    styled(ProgressBar::new_spinner(), OF_KEYS, name, is_quiet)
}

fn styled(bar: ProgressBar, template: &str, name: &'static str, is_quiet: bool) -> ProgressBar {
    if is_quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(name)
}
