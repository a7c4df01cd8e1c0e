//! How the keys of a store are divided, where its tier has several shards: each under a prefix with a hash tag of its own, so in a slot
//! of its own where Redis is a cluster.

/// One of the shards of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) number: usize,
    pub(crate) count: usize,
}

impl Shard {
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        shard_of(key, self.count) == self.number
    }

    /// What stands before each of its keys in Redis, by the prefix of the store's options.
    pub(crate) fn prefix(&self, of_all: &[u8]) -> Vec<u8> {
        match self.count {
            0 | 1 => of_all.to_vec(),
            _ => [b"{", of_all, self.number.to_string().as_bytes(), b"}"].concat(),
        }
    }
}

/// Number of the shard that has a key. Others that read and write the store's keys compute it too: it stays as it is.
#[inline]
pub(crate) fn shard_of(key: &[u8], count: usize) -> usize {
    match count {
        0 | 1 => 0,
        _ => usize::from(slot(key)) % count,
    }
}

/// The slot of a name in a cluster, as `CLUSTER KEYSLOT` says it.
fn slot(name: &[u8]) -> u16 {
    crc16(hash_tag(name).unwrap_or(name)) % (1 << 14)
}

/// What of a name says which slot it is in, if that is not all of it.
pub(super) fn hash_tag(name: &[u8]) -> Option<&[u8]> {
    let open = name.iter().position(|byte| *byte == b'{')?;
    let tag = name.get(open + 1..)?;
    let len = tag.iter().position(|byte| *byte == b'}')?;
    tag.get(..len).filter(|tag| !tag.is_empty())
}

/// The CRC that Redis takes: that of XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = (at as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tag_is_what_a_cluster_takes_for_one() {
        for (name, expected) in [
            ("{app}:", Some("app")),
            ("a{b}c{", Some("b")),
            ("app:", None),
            ("{}x{a}", None),
            ("{app", None),
            ("", None),
        ] {
            assert_eq!(hash_tag(name.as_bytes()), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn a_key_is_in_the_shard_that_its_slot_says() {
        // As redis-cli's CLUSTER KEYSLOT says them.
        for (key, expected) in [("123456789", 0x31c3), ("foo", 12182), ("a{foo}b", 12182), ("", 0)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
            assert_eq!(shard_of(key.as_bytes(), 7), usize::from(expected) % 7);
            assert_eq!(shard_of(key.as_bytes(), 1), 0);
        }
        let mut counts = [0; 8];
        for n in 0..8000 {
            counts[shard_of(format!("user:{n}").as_bytes(), 8)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    /// Slots are given to nodes in stretches, so this is what spreads shards over them.
    #[test]
    fn each_quarter_of_the_slots_has_as_many_of_four_or_eight_shards() {
        for prefix in ["", "app:", "x", "a long prefix/"] {
            for count in [4, 8] {
                let mut quarters = [0; 4];
                for number in 0..count {
                    let prefix = Shard { number, count }.prefix(prefix.as_bytes());
                    quarters[usize::from(slot(&prefix)) / (1 << 12)] += 1;
                }
                assert_eq!(quarters, [count / 4; 4], "{prefix} {count}");
            }
        }
        assert_eq!(Shard { number: 3, count: 4 }.prefix(b"app:"), b"{app:3}");
        assert_eq!(Shard { number: 0, count: 1 }.prefix(b"app:"), b"app:");
    }
}
