//! `std::sync::atomic`, where another thread may run before each access. Laid out as the real ones, so that they can stand in
//! mapped memory; shuttle's own cannot.

pub use std::sync::atomic::{compiler_fence, fence, Ordering};

use std::time::Duration;

/// Another thread may run now.
fn switch() {
    // shuttle's way to say so: time plays no part.
    shuttle::thread::sleep(Duration::ZERO);
}

macro_rules! atomics {
    ($($name:ident $(<$of:ident>)? = $value:ty;)*) => {$(
        #[doc = "As the real one."]
        #[repr(transparent)]
        #[derive(Debug)]
        pub struct $name$(<$of>)?(std::sync::atomic::$name$(<$of>)?);

        impl$(<$of>)? Default for $name$(<$of>)? {
            fn default() -> Self {
                Self(Default::default())
            }
        }

        impl$(<$of>)? $name$(<$of>)? {
            pub const fn new(value: $value) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }

            /// # Safety
            /// As for the real one.
            pub unsafe fn from_ptr<'a>(place: *mut $value) -> &'a Self {
                // SAFETY: the caller's promise, and the same layout.
                unsafe { &*place.cast() }
            }

            pub fn load(&self, order: Ordering) -> $value {
                switch();
                self.0.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                switch();
                self.0.store(value, order);
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                switch();
                self.0.swap(value, order)
            }

            #[allow(clippy::missing_errors_doc)] // As the real one.
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                switch();
                self.0.compare_exchange(from, to, success, failure)
            }

            #[allow(clippy::missing_errors_doc)] // As the real one.
            pub fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                // Never fails without a reason: then a seed would not determine what it does.
                self.compare_exchange(from, to, success, failure)
            }

            #[allow(clippy::missing_errors_doc)] // As the real one.
            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(fetch);
                while let Some(next) = update(seen) {
                    match self.compare_exchange(seen, next, set, fetch) {
                        Ok(before) => return Ok(before),
                        Err(now) => seen = now,
                    }
                }
                Err(seen)
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }
        }
    )*};
}

macro_rules! arithmetic {
    ($($name:ident = $value:ty: $($change:ident)*;)*) => {$(
        impl $name {
            $(
                pub fn $change(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.$change(value, order)
                }
            )*
        }
    )*};
}

atomics! {
    AtomicBool = bool;
    AtomicU8 = u8;
    AtomicU16 = u16;
    AtomicU32 = u32;
    AtomicU64 = u64;
    AtomicI64 = i64;
    AtomicUsize = usize;
    AtomicPtr<T> = *mut T;
}

arithmetic! {
    AtomicBool = bool: fetch_and fetch_or fetch_xor;
    AtomicU8 = u8: fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max fetch_min;
    AtomicU16 = u16: fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max fetch_min;
    AtomicU32 = u32: fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max fetch_min;
    AtomicU64 = u64: fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max fetch_min;
    AtomicI64 = i64: fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max fetch_min;
    AtomicUsize = usize: fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max fetch_min;
}
