//! Switches that take a mechanism out, so that a test can show that the suite notices. Without the feature `testing`
//! every switch reads as off and the code behind it is gone.

/// One mechanism to take out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Fault {
    /// I2: a blind write that meets a higher LSN calls itself overwritten.
    BlindWriteCallsItselfOverwritten,
    /// I6: masks are dropped although an older version of their key may stand elsewhere.
    TombstonesDroppedEarly,
    /// I6: an expired record that left the index is dropped without a mask.
    ExpiredDroppedWithoutMask,
    /// I8: victims are unlinked before the log that outdates them is synced and the manifest written.
    UnlinkBeforeSync,
    /// I8: victims are unmapped at once.
    NoGraceBeforeUnmap,
    /// I12: recovery stops at the first hole of a store whose process died.
    NoResyncOverHoles,
    /// I9: victims are taken without waiting for writers below the compaction's start.
    VictimsWithoutGrace,
    /// I14: clear walks the index without waiting for writers below it.
    ClearWithoutGrace,
    /// I17: an old tail is appended to after a crash.
    OldTailReused,
    /// I5: an expired record found by a reader is not tagged.
    ExpiredNotTagged,
}

/// A set of faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults(u16);

impl Faults {
    /// Adds one.
    pub fn with(self, fault: Fault) -> Faults {
        Faults(self.0 | 1 << fault as u8)
    }

    /// Whether a mechanism is taken out.
    #[inline]
    pub fn has(self, fault: Fault) -> bool {
        cfg!(any(test, feature = "testing")) && self.0 & (1 << fault as u8) != 0
    }
}
