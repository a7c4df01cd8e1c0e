//! Waiting for those who may still hold what they have read.

use super::Store;
use crate::reclaim::Grace;
use crate::testing::Point;
use std::time::Duration;

impl Store {
    /// Waits until every guard that is held now has been dropped; `false` if the store closes first.
    pub(crate) fn wait_grace(&self) -> bool {
        self.wait_grace_unless(|| self.log.is_closing())
    }

    /// As `wait_grace`; `false` if `ends` says so first.
    pub(crate) fn wait_grace_unless(&self, ends: impl Fn() -> bool) -> bool {
        let mut grace = Grace::begin();
        self.wait_until(|| grace.is_over(), ends)
    }

    /// Waits until every writer that holds a guard now has published what it has reserved; `false` if the store closes first.
    /// Pins are not waited for.
    pub(crate) fn wait_for_writers(&self) -> bool {
        let mut grace = Grace::begin_for_writers();
        self.wait_until(|| grace.is_over(), || self.log.is_closing())
    }

    /// Asks again and again, ever less often; `false` if `ends` says so first.
    pub(crate) fn wait_until(&self, mut is_over: impl FnMut() -> bool, ends: impl Fn() -> bool) -> bool {
        let mut pause_us = 20;
        while !is_over() {
            if ends() {
                return false;
            }
            self.options.hooks.at(Point::Waiting);
            std::thread::sleep(Duration::from_micros(pause_us));
            pause_us = (pause_us * 2).min(2_000);
        }
        true
    }
}
