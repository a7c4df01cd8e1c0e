//! A run of keys in bytewise order.

use std::ops::Bound;

/// Keys between two bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Keys that begin with `prefix`, from `start` on, and before `end` unless that is empty.
    pub(crate) fn new(prefix: &[u8], start: &[u8], end: &[u8]) -> KeyRange {
        let ends = [after(prefix), (!end.is_empty()).then(|| end.to_vec())];
        KeyRange {
            from: Bound::Included(prefix.max(start).to_vec()),
            to: ends.into_iter().flatten().min().map_or(Bound::Unbounded, Bound::Excluded),
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let begins = match &self.from {
            Bound::Included(from) => key >= &from[..],
            Bound::Excluded(from) => key > &from[..],
            Bound::Unbounded => true,
        };
        begins
            && match &self.to {
                Bound::Excluded(to) => key < &to[..],
                Bound::Included(to) => key <= &to[..],
                Bound::Unbounded => true,
            }
    }

    /// Whether it can hold no key.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from), Bound::Excluded(to)) => from >= to,
            (Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
            _ => false,
        }
    }

    /// Leaves out `key` and what comes before it.
    pub(crate) fn begin_after(&mut self, key: &[u8]) {
        self.from = Bound::Excluded(key.to_vec());
    }

    /// Leaves out `key` and what comes after it.
    pub(crate) fn end_before(&mut self, key: &[u8]) {
        self.to = Bound::Excluded(key.to_vec());
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(|key| &key[..]), self.to.as_ref().map(|key| &key[..]))
    }
}

/// The first key behind all that begin with `prefix`; `None` when there is none.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut key = prefix.get(..=last)?.to_vec();
    *key.last_mut()? += 1;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_begins_with_its_prefix_and_lies_between_its_ends() {
        let keys: [&[u8]; 9] =
            [b"", b"a", b"a\0", b"ab", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff\0"];
        let texts: [&[u8]; 7] = [b"", b"a", b"a\xff", b"ab", b"b", b"\xff", b"\xff\xff"];
        for prefix in texts {
            for start in texts {
                for end in texts {
                    let range = KeyRange::new(prefix, start, end);
                    for key in keys {
                        let is_meant =
                            key.starts_with(prefix) && key >= start && (end.is_empty() || key < end);
                        assert_eq!(range.contains(key), is_meant, "{prefix:?} {start:?} {end:?} {key:?}");
                        assert!(!is_meant || !range.is_empty());
                    }
                }
            }
        }
    }
}
