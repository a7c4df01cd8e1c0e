//! Comparing keys.

/// As `==`, without a call, around which a read would have to put by all that it has at hand.
#[inline(always)]
pub(crate) fn is_same_key(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (Some(end_a), Some(end_b)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) else {
        return a.iter().zip(b).all(|(a, b)| a == b);
    };
    let (mut rest_a, mut rest_b) = (a, b);
    // What is left in the end are eight bytes or fewer, which the last chunk covers.
    while rest_a.len() > 8 {
        let (Some((a, after_a)), Some((b, after_b))) =
            (rest_a.split_first_chunk::<8>(), rest_b.split_first_chunk::<8>())
        else {
            return false;
        };
        if a != b {
            return false;
        }
        (rest_a, rest_b) = (after_a, after_b);
    }
    end_a == end_b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_when_all_their_bytes_are() {
        let key: Vec<u8> = (0..70).collect();
        for len in 0..key.len() {
            let one = &key[..len];
            assert!(is_same_key(one, &key.clone()[..len]), "{len} bytes");
            assert!(
                !is_same_key(one, &key[..len + 1]) && !is_same_key(&key[..len + 1], one),
                "{len} bytes and one more"
            );
            for at in 0..len {
                let mut other = one.to_vec();
                other[at] ^= 1 << (at % 8);
                assert!(!is_same_key(one, &other), "byte {at} of {len}");
            }
        }
    }
}
