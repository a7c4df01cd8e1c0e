//! Sorting as far as somebody asks.

use std::cmp::Ordering;

/// So many items are sorted first when nobody says how many are wanted.
const PORTION: usize = 1024;

/// Items that are given in order. A portion is selected and sorted when it is reached, each twice the one before: to give `k` of
/// `n` items takes about `n + k log k` steps, and all of them `n log n`.
#[derive(Debug)]
pub(crate) struct Sorted<T> {
    items: Vec<T>,
    given: usize,
    sorted: usize,
    portion: usize,
}

impl<T: Default> Sorted<T> {
    /// At most `wanted` items will be asked for, as far as is known.
    pub(crate) fn new(items: Vec<T>, wanted: Option<usize>) -> Sorted<T> {
        Sorted { items, given: 0, sorted: 0, portion: wanted.unwrap_or(PORTION).max(1) }
    }

    /// The next item by `compare`, which is the same in every call.
    pub(crate) fn next(&mut self, mut compare: impl FnMut(&T, &T) -> Ordering) -> Option<T> {
        if self.given == self.sorted {
            let rest = self.items.get_mut(self.sorted..)?;
            let count = self.portion.min(rest.len());
            if count < rest.len() {
                rest.select_nth_unstable_by(count, &mut compare);
            }
            rest.get_mut(..count)?.sort_unstable_by(&mut compare);
            self.sorted += count;
            self.portion = self.portion.saturating_mul(2);
        }
        let item = self.items.get_mut(self.given)?;
        self.given += 1;
        Some(std::mem::take(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_order_whatever_number_was_wanted() {
        let items: Vec<u32> = (0..5000).map(|n: u32| n.wrapping_mul(2_654_435_761) % 4000).collect();
        let mut expected = items.clone();
        expected.sort_unstable();
        for wanted in [None, Some(0), Some(1), Some(7), Some(4999), Some(5000), Some(usize::MAX)] {
            let mut sorted = Sorted::new(items.clone(), wanted);
            let given: Vec<u32> = std::iter::from_fn(|| sorted.next(u32::cmp)).collect();
            assert_eq!(given, expected, "{wanted:?}");
        }
        assert_eq!(Sorted::<u32>::new(Vec::new(), None).next(u32::cmp), None);
    }
}
