//! Keys that the store makes up.

use super::Db;
use crate::error::{Error, Result};
use crate::limits::KEY_BYTES_MAX;

/// Digits in the order of their bytes, so that keys sort as their numbers. Up to base 36 letters are lower case.
const DIGITS_36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const DIGITS_62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// As many as base 2 needs for any number.
const WIDTH_MAX: usize = 64;

/// How generated keys look: a prefix, and a number in digits of a base, at a fixed width.
///
/// ```
/// let db = kv::Db::in_memory()?;
/// let options = kv::KeyOptions::new().prefix(b"job:").base(36).width(8);
/// let (first, second) = (db.generate_key(&options)?, db.generate_key(&options)?);
/// assert!(first.len() == 12 && first.starts_with(b"job:") && first < second);
/// # Ok::<(), kv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOptions {
    prefix: Vec<u8>,
    base: u32,
    width: usize,
}

impl Default for KeyOptions {
    fn default() -> Self {
        KeyOptions::new()
    }
}

impl KeyOptions {
    /// No prefix, decimal digits, as wide as any number will ever need.
    pub fn new() -> Self {
        KeyOptions { prefix: Vec::new(), base: 10, width: 0 }
    }

    /// What stands before the number.
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Base of the digits, 2 to 62: `0-9a-z` up to 36, `0-9A-Za-z` above.
    pub fn base(mut self, base: u32) -> Self {
        self.base = base;
        self
    }

    /// Digits of the number, 64 at most; 0: as many as the largest number of this base has. Numbers grow by one for each 32 bytes that
    /// the log takes, so eight decimal digits last for 3.2 GB.
    pub fn width(mut self, digits: usize) -> Self {
        self.width = digits;
        self
    }

    fn check(&self) -> Result<()> {
        let refuse =
            |name: &'static str, reason: String| Err(Error::InvalidOption { name: name.into(), reason });
        if !(2..=62).contains(&self.base) {
            return refuse("key_base", format!("{}: must be 2 to 62", self.base));
        }
        if self.width > WIDTH_MAX {
            return refuse("key_width", format!("{} digits: must be at most {WIDTH_MAX}", self.width));
        }
        let len = self.prefix.len() + WIDTH_MAX;
        if len > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong { len, max: KEY_BYTES_MAX });
        }
        Ok(())
    }

    /// The key of a number.
    fn key(&self, number: u64) -> Result<Vec<u8>> {
        let alphabet = if self.base <= 36 { DIGITS_36 } else { DIGITS_62 };
        let digits = digits(number, self.base, alphabet);
        let width = match self.width {
            0 => digits_of_any(self.base),
            width if width < digits.len() => {
                let (base, needed) = (self.base, digits.len());
                let reason =
                    format!("the next key needs {needed} digits of base {base}, and {width} are given");
                return Err(Error::InvalidOption { name: "key_width".into(), reason });
            }
            width => width,
        };
        let mut key = self.prefix.clone();
        key.resize(self.prefix.len() + width - digits.len(), b'0');
        key.extend(digits.iter().rev());
        Ok(key)
    }
}

/// The lowest digit first.
fn digits(mut number: u64, base: u32, alphabet: &[u8]) -> Vec<u8> {
    let mut digits = Vec::new();
    loop {
        digits.extend(alphabet.get((number % u64::from(base)) as usize));
        number /= u64::from(base);
        if number == 0 {
            return digits;
        }
    }
}

fn digits_of_any(base: u32) -> usize {
    // Numbers are LSNs counted in headers of 32 bytes.
    digits(u64::MAX / 32, base, DIGITS_62).len()
}

impl Db {
    /// A key that this store has never given before and that sorts, bytewise, after all that it gave with the same options: also
    /// across reopens, the death of the process and the loss of power, in any sync mode. Nothing is stored under it. Costs 32 bytes of
    /// the log.
    ///
    /// It is made from a position of this store's own log. A copy of the store (a backup, a salvaged or imported one) does not know what
    /// the other gives afterwards, and a store that was salvaged or imported begins anew; so whether a key has a value is for
    /// [`Db::create_generated_and_lock`] or [`Db::add`] to find out.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a base out of range, and for a width that the next number does not fit; [`Error::KeyTooLong`]; as
    /// [`Db::set`].
    pub fn generate_key(&self, options: &KeyOptions) -> Result<Vec<u8>> {
        options.check()?;
        options.key(self.writable_store([])?.next_number()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_in_every_base() {
        let numbers = [0, 1, 9, 10, 35, 36, 61, 62, 63, 4095, 1 << 20, u64::MAX / 32 - 1, u64::MAX / 32];
        for base in 2..=62 {
            let options = KeyOptions::new().prefix("p").base(base);
            let keys: Vec<_> = numbers.iter().map(|number| options.key(*number).unwrap()).collect();
            assert!(keys.is_sorted_by(|a, b| a < b && a.len() == b.len()), "base {base}: {keys:?}");
        }
        let key = |base, number| KeyOptions::new().base(base).width(3).key(number).unwrap();
        assert_eq!(
            (key(10, 42), key(16, 255), key(62, 61)),
            (b"042".to_vec(), b"0ff".to_vec(), b"00z".to_vec())
        );
    }
}
