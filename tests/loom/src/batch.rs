//! A batch against the compactor (I9, I13): its frame is committed before its members are published, so one that was not
//! published yet is not dead.

use crate::check;
use crate::store::Store;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

const VALUE: u64 = 7;

struct Scene {
    store: Store,
    /// Batches that are publishing, as a segment counts them.
    publishing: AtomicU64,
    /// The segment that the batch stands in was compacted away.
    is_gone: AtomicBool,
}

fn batch_against_compaction(is_counted: bool) {
    let apply = move |scene: &Scene| {
        if is_counted {
            scene.publishing.fetch_add(1, Ordering::AcqRel);
        }
        scene.store.publish_committed(VALUE);
        if is_counted {
            scene.publishing.fetch_sub(1, Ordering::Release);
        }
    };
    let compact = |scene: &Scene| {
        // Only what is full is compacted: the record is there.
        if scene.store.is_filled(Store::FIRST) && scene.publishing.load(Ordering::Acquire) == 0 {
            scene.store.relocate(Store::FIRST);
            scene.is_gone.store(true, Ordering::SeqCst);
        }
    };
    let judge = |scene: &Scene| {
        assert_eq!(scene.store.look(0).live.map(|body| body.value), Some(VALUE));
        let leads_there = scene.store.leads_to(Store::FIRST);
        assert!(!(scene.is_gone.load(Ordering::SeqCst) && leads_there), "a member was taken for dead");
    };
    let state =
        || Scene { store: Store::new(None), publishing: AtomicU64::new(0), is_gone: AtomicBool::default() };
    check(3, state, vec![Box::new(apply), Box::new(compact)], judge);
}

#[test]
fn a_batch_that_is_publishing_keeps_its_segment() {
    batch_against_compaction(true);
}

#[test]
#[should_panic(expected = "a member was taken for dead")]
fn a_batch_must_be_counted_while_it_publishes() {
    batch_against_compaction(false);
}
