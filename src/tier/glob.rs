//! Patterns as Redis reads them: `*`, `?`, `[a-c]`, `[^x]`, and a backslash before what is meant literally.

/// One place of a pattern that stands for one byte: where the next one begins, and whether it stands for `byte`.
fn place(pattern: &[u8], at: usize, byte: u8) -> (usize, bool) {
    match pattern.get(at..) {
        Some([b'?', ..]) => (at + 1, true),
        Some([b'[', ..]) => class(pattern, at + 1, byte),
        Some([b'\\', literal, ..]) => (at + 2, *literal == byte),
        Some([literal, ..]) => (at + 1, *literal == byte),
        _ => (at, false),
    }
}

/// The inside of brackets; what has no end is closed by the pattern's.
fn class(pattern: &[u8], at: usize, byte: u8) -> (usize, bool) {
    let is_negated = pattern.get(at) == Some(&b'^');
    let mut at = at + usize::from(is_negated);
    let mut is_in = false;
    loop {
        at += match pattern.get(at..) {
            Some([b'\\', literal, ..]) => {
                is_in |= *literal == byte;
                2
            }
            Some([b']', ..]) => return (at + 1, is_in != is_negated),
            Some([first, b'-', last, ..]) => {
                is_in |= (*first.min(last)..=*first.max(last)).contains(&byte);
                3
            }
            Some([literal, ..]) => {
                is_in |= *literal == byte;
                1
            }
            _ => return (at, is_in != is_negated),
        };
    }
}

/// Whether all of `text` is what the pattern stands for. Costs at most the product of the lengths.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut done) = (0, 0);
    // Behind the last star, and how much of the text it was taken to stand for.
    let mut star = None;
    while let Some(byte) = text.get(done) {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, done));
            continue;
        }
        let (next, is_match) = place(pattern, at, *byte);
        if is_match {
            (at, done) = (next, done + 1);
        } else if let Some((behind, taken)) = star {
            (at, done) = (behind, taken + 1);
            star = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// A pattern that stands for `text` alone.
pub(super) fn literal(text: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(text.len());
    for byte in text {
        if b"*?[]\\^-".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_what_they_do_in_redis() {
        let yes = [
            ("", ""),
            ("*", ""),
            ("a*c", "abbc"),
            ("a**", "a"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("\\*", "*"),
            ("[\\]]", "]"),
            ("a*b*c", "aXbXbXc"),
            ("[a", "a"),
        ];
        let no =
            [("", "a"), ("a", ""), ("a*c", "abcd"), ("h?llo", "hllo"), ("h[^e]llo", "hello"), ("\\*", "x")];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        let all: Vec<u8> = (0..=255).collect();
        assert!(matches(&literal(&all), &all));
        // Exponential where stars are tried in each other.
        assert!(!matches(&b"a*".repeat(1000), &b"a".repeat(60_000)[..999]));
    }
}
