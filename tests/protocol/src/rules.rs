//! Each rule of docs/design.md that the model can express, with the switches that take it out.

macro_rules! breaks {
    (
        caught { $($name:ident, $rule:literal, $scenario:literal, $wrong:literal;)* }
        idle { $($idle:ident, $of:literal, $within:literal, $without:literal;)* }
    ) => {
        /// A rule taken out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Break { $($name,)* $($idle),* }

        /// Every one: the rule, the scenario that has to notice, and what is wrong.
        pub const BREAKS: &[(Break, &str, &str, &str)] = &[$((Break::$name, $rule, $scenario, $wrong)),*];

        /// What the model shows to be idle in the engine as built: without it every state of the scenario keeps the promises.
        pub const IDLE: &[(Break, &str, &str, &str)] = &[$((Break::$idle, $of, $within, $without)),*];
    };
}

breaks! {
    caught {
        PublishedOverNewer, "I1, I2", "two writers", "A blind write replaces a record of a higher LSN";
        LoserCallsItselfOverwritten, "I2", "put against increment", "A blind write that meets a higher LSN calls itself overwritten";
        AcknowledgedPending, "I2", "two writers", "A write is acknowledged while its record is pending";
        PendingReplayed, "I2", "put against increment", "Recovery counts pending records";
        AbortedReplayed, "I2", "put against increment", "Recovery counts aborted records";
        ConditionNotRepeated, "I3", "put against increment", "A conditional write that lost tries again on what it saw first";
        MovedMeansSameLsn, "I3", "persist, reader, compaction", "A conditional write takes a record that expired meanwhile for one that moved";
        ReaderLeavesPending, "I4", "put and read", "A reader answers from a pending record without committing it";
        FailedConditionLeavesPending, "I4", "put against add", "A condition fails on a pending record without committing it";
        MaskLeavesAtOnce, "I5", "deletes and puts", "A tombstone leaves the index without a grace period";
        MaskRemovedUnseen, "I5", "deletes and puts", "Mask removal does not look whether the address is still the mask's";
        ExpiredNotTagged, "I5", "persist, reader, compaction", "A reader calls an expired record absent without tagging it";
        EvictedWithoutMask, "I5", "eviction", "An eviction takes the entry out of the index and leaves no tombstone";
        MasksDroppedEarly, "I6", "mask beside an older segment", "A mask is dropped though an older segment stays";
        ExpiredDropped, "I6", "expired over an older value", "An expired record that left the index is dropped without a mask";
        ExpiredDroppedInIndex, "I6", "expired over an older value", "An expired record is dropped though the index leads to it";
        MaskCopiedAsPut, "I6", "mask beside an older segment", "A mask is copied as a put without its value";
        StayingVictimForgotten, "I6", "two victims, one stays", "A victim goes although one that stays needs the masks left out of it";
        VictimsLeaveOneByOne, "I8", "two victims, one stays", "The victims of one compaction leave in a manifest each";
        UnreadThoughItHides, "I6", "mask beside an older segment", "A victim in which nothing lives goes unread though its masks hide something";
        BornAtTheEnd, "I6", "deletes in a small log", "An output is born where the log ends when it is made";
        OutputsNotCounted, "I6", "outputs that are not listed", "Outputs that could not be listed do not count as older segments";
        ClearDroppedEarly, "I6, I14", "clear, then compaction", "A clear is dropped though an older segment stays";
        CopyGetsNewLsn, "I7", "overwrite against compaction", "A copy gets an LSN of its own";
        CopyStored, "I7", "overwrite against compaction", "A copy is published by a plain store";
        OutputsNotSynced, "I8", "overwrite against compaction", "Outputs are listed before they are on disk";
        LogNotSynced, "I8", "overwrite against compaction", "Victims go before the log that outdates them is on disk";
        UnlinkedBeforeListing, "I8", "overwrite against compaction", "Victims are removed before a manifest without them is durable";
        UnmappedAtOnce, "I8", "reader against compaction", "Victims are unmapped without a grace period";
        VictimsWithoutGrace, "I9", "deletes in a small log", "Victims are taken without waiting for writers below the compaction's start";
        GuardAfterReservation, "I5, I9", "deletes and puts", "A writer takes its guard after it has reserved";
        SyncPastUnresolved, "I10", "synced writer beside another", "A sync is said to cover records that are not decided";
        ReleasedByOlderSync, "I10", "synced writer beside another", "A writer is released by a sync that began before its record was committed";
        SealedBeforeSynced, "I10", "rolls, seals, synced writers", "A segment is listed as sealed before it is on disk";
        SealedOutOfOrder, "I10", "rolls, seals, synced writers", "A segment is sealed before an older one is";
        PadNotWaitedFor, "I10", "large records one after another", "The resolved point passes a pad that is not written";
        LastReadWins, "I11", "deletes in a small log", "Recovery takes the record read last, not that of the highest LSN";
        HolesEndTheLog, "I12", "two writers", "Recovery stops at a hole of a process that died";
        PowerLossAsDeath, "I12", "synced writer beside another", "A log under which power was lost is read as that of a process that died";
        CutInOneSegment, "I12", "rolls, seals, synced writers", "A hole after power loss ends its segment, not the log";
        GapIsAHole, "I12", "small records after a roll", "A segment's end without room for a pad counts as a hole";
        ResyncIntoBatch, "I12, I13", "batch beside puts", "Members of a frame that is not whole count on their own";
        MembersWithoutFrame, "I13", "batch beside puts", "Members are committed one by one";
        MembersBeforeCommit, "I13", "batch beside puts", "Members are published before their frame is committed";
        LostMemberForgotten, "I13", "batch against increment", "A member that meets a newer record is not appended again";
        ClearWithoutGrace, "I14", "clear against a put", "Clear walks the index without waiting for writers below it";
        ClearTakesNewer, "I14", "clear against a put", "Clear removes entries above its LSN without a tombstone";
        ClearNotReplayed, "I14", "clear against a put", "Recovery forgets a clear";
        ClearWithoutRecord, "I14", "clear against a put", "Clear leaves no record in the log";
        DeadlineNotStored, "I15", "expired, clock back", "An expiry is acted on before its time is on record";
        WritesBeforeListing, "I17", "two power losses", "An open accepts writes before its manifest is durable";
        OldTailReused, "I17", "reopened after a hole", "An open appends to the old tail";
        SealedInPlace, "I17", "holes in two segments", "Recovery seals the segment with the hole in place, and later ones after it";
        LsnsUsedAgain, "I17", "reopened after a hole", "A fresh tail begins at an LSN that was used";
        SurvivorsNotSynced, "I17", "reopened after a hole", "Recovery lists outputs that are not on disk";
        RecoveryDropsMasks, "I17", "recovered tombstone", "Recovery copies no masks";
        VictimsOfAnOpenCountAsGone, "I6, I17", "tidied at open", "Recovery drops masks that hide something in a victim which then stays";
        OldSegmentsGoFirst, "I17", "reopened after a hole", "Recovery removes the old segments before its manifest is durable";
        ManifestWrittenOver, "I17", "two power losses", "Recovery's manifest is written over the only one that is surely on disk";
        ManifestInPlace, "manifest", "rolls, seals, synced writers", "Both generations are written to one file";
        RecordsBeforeListing, "manifest", "rolls, seals, synced writers", "A segment takes records before a durable manifest lists it";
        RollLeavesOpen, "roll", "large records one after another", "A small record still fits a segment that a large one did not fit";
        SealedWhileActive, "L1", "a full segment stays active", "A full segment is sealed while it is the active one";
        BackupPastResolved, "backup", "backup", "A backup takes records that are not decided, and what follows them";
    }
    idle {
        BatchesNotCounted, "I9", "batch in a small log, compactions", "A segment in which a batch is publishing is a victim like others: the batch holds its guard, and the grace period waits for that";
        LateCopyDropped, "I7", "small log, two writers, compactions", "A copy that lost does not stay: victims wait until what won is on disk (I8)";
    }
}

/// The rules that are taken out of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broken(u128);

impl Broken {
    pub fn one(this: Break) -> Broken {
        Broken(1 << this as u8)
    }
    pub fn is_sound(self) -> bool {
        self.0 == 0
    }
    pub fn has(self, this: Break) -> bool {
        self.0 >> this as u8 & 1 == 1
    }
}

const _: () = assert!(BREAKS.len() + IDLE.len() <= 128);
