//! Plays sessions.

use super::player::Player;
use super::sequence::{End, When};
use kv::{CreateOptions, Error, Session, Tag, Wait};

impl Player {
    /// Locks a key, edits its value, and ends as `end` says. Until then everybody sees what was there.
    pub(super) fn edit(&mut self, key: &[u8], value: &[u8], end: End) {
        let before = self.oracle.get(key).cloned();
        let options = CreateOptions::new().allow_existing(true).initial("initial");
        let mut session = self.db.create_and_lock(key, Wait::No, options).unwrap().unwrap();
        let found =
            (session.version(), session.value().to_vec(), session.metadata().clone(), session.codec());
        let expected = match before {
            Some(held) => (held.version, held.value, held.metadata, held.codec),
            None => (0, b"initial".to_vec(), kv::Metadata::new(), Tag::RAW),
        };
        assert_eq!(found, expected, "operation {}", self.at);
        let refused = self.db.get_and_lock(key, Wait::No);
        assert!(matches!(refused, Err(Error::KeyLocked)), "operation {}: {refused:?}", self.at);
        *session.value_mut() = value.to_vec();
        self.check(key);
        match end {
            End::Rollback => session.rollback(),
            End::Commit(names) => {
                for name in 0..names {
                    session.metadata_mut().insert(format!("name-{name}"), vec![name; usize::from(name)]);
                }
                self.commit(session);
            }
            End::Delete => {
                session.delete_on_commit(true);
                assert_eq!(session.commit().unwrap(), 0, "operation {}", self.at);
                self.oracle.remove(key);
            }
            End::Conflict { removes, again } => {
                if removes {
                    self.db.delete(key).unwrap();
                    self.oracle.remove(key);
                } else {
                    self.db.set(key, b"by somebody else").unwrap();
                    let deadline_ms = self.deadline_ms(When::Default, None);
                    self.put_unversioned(key, b"by somebody else", deadline_ms);
                }
                // What was absent, and is so again, has not changed: removed, or evicted at once.
                self.follow_evictions();
                if self.oracle.get(key).map_or(0, |held| held.version) == found.0 {
                    self.commit(session);
                } else {
                    let failed = session.commit_or_keep().unwrap_err();
                    assert!(matches!(failed.error, Error::Conflict), "operation {}: {failed}", self.at);
                    let mut session = failed.session;
                    self.check(key);
                    if again {
                        session.reload().unwrap();
                        *session.value_mut() = value.to_vec();
                        self.commit(session);
                    }
                }
            }
        }
        self.check(key);
    }

    fn commit(&mut self, session: Session) {
        let (key, value, metadata) =
            (session.key().to_vec(), session.value().to_vec(), session.metadata().clone());
        let codec = session.codec();
        let kept_ms = self.oracle.get(&key).map(|held| held.deadline_ms);
        let version = session.commit().unwrap();
        let deadline_ms = self.deadline_ms(When::Keep, kept_ms);
        self.oracle.put(&key, &value, deadline_ms, version);
        self.oracle.annotate(&key, metadata, codec);
    }
}
