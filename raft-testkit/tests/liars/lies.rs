//! Twenty-five ways in which a journal may be broken, and the clause that must notice each.

/// What is wrong with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A write returns as soon as its bytes are handed over.
    AcksBeforeTheSync,
    /// The sync comes first, the bytes after it.
    SyncsBeforeTheWrite,
    /// A hard state without entries is written and not synced.
    HardStateAloneIsNotSynced,
    /// A hard state is synced when the next write comes.
    VoteIsSyncedLate,
    /// What a short write has left over is forgotten.
    ShortWriteIsTakenAsFull,
    /// Readers still find what was truncated.
    TruncatedStaysInTheIndex,
    /// A truncation without entries is not stored.
    TruncationIsForgotten,
    /// A truncation without entries leaves one more than it should.
    TruncatesOneTooFew,
    /// Entries overwrite what is in conflict with them, and leave what is behind.
    StaleTailStays,
    /// The first record that does not match its checksum is taken as the end.
    RotIsTakenAsTheEnd,
    /// A record that does not match its checksum is left out.
    BadRecordIsSkipped,
    /// Checksums are stored and not compared.
    ChecksumIsNotCompared,
    /// The checksum covers the data of the entries only.
    ChecksumWithoutHeader,
    /// Opening an empty place creates a journal there.
    OpenCreates,
    /// Nobody looks at the lock.
    SecondOpenerIsLetIn,
    /// A sync that failed is taken as one that did not.
    SyncErrorIsSwallowed,
    /// A sync that failed is done again.
    SyncIsRetried,
    /// The name of a new segment is not synced.
    NoDirectorySync,
    /// What does not fit a segment any more is not written to the next one.
    RotationLosesTheBorder,
    /// A purge removes the segment that holds the first entry to be kept.
    PurgeRemovesTooMuch,
    /// A segment that a purge had no time to remove is taken for damage.
    LeftOverSegmentIsDamage,
    /// Readers are given entries before they are synced.
    UnsyncedIsRead,
    /// Of the last purged entry only the index is stored.
    PurgedTermIsForgotten,
    /// The hard state of a dropped write is finished after a later one.
    OlderHardStateWins,
    /// A write joins the sync that an earlier one has started.
    JoinsAStartedSync,
}

/// Which clause must notice, and in which words: it may fail for another reason, or hang.
pub(crate) const TABLE: &[(Lie, &str, &str)] = &[
    (Lie::AcksBeforeTheSync, "j01_acknowledged_survives_a_crash", "the last log id"),
    (Lie::SyncsBeforeTheWrite, "j01_acknowledged_survives_a_crash", "the last log id"),
    (Lie::HardStateAloneIsNotSynced, "j01_vote_alone_survives_a_crash", "the hard state"),
    (Lie::VoteIsSyncedLate, "j01_acknowledged_survives_a_crash", "the hard state"),
    (Lie::ShortWriteIsTakenAsFull, "j15_every_size_comes_back", "the last log id"),
    (Lie::TruncatedStaysInTheIndex, "j03_truncated_is_never_seen_again", "reading beyond the end"),
    (Lie::TruncationIsForgotten, "j03_truncated_is_never_seen_again", "the last log id"),
    (Lie::TruncatesOneTooFew, "j03_truncated_is_never_seen_again", "reading beyond the end"),
    (Lie::StaleTailStays, "j03_shorter_tail_replaces_a_longer_one", "reading beyond the end"),
    (Lie::RotIsTakenAsTheEnd, "j10_damage_is_never_cut_silently", "all entries, as the verdict is Clean"),
    (Lie::BadRecordIsSkipped, "j16_flipped_bits_are_detected", "all entries, as the verdict is Clean"),
    (Lie::ChecksumIsNotCompared, "j16_flipped_bits_are_detected", "no entry behind 2.10"),
    (Lie::ChecksumWithoutHeader, "j16_flipped_bits_are_detected", "no entry behind 2.10"),
    (Lie::OpenCreates, "j12_open_never_creates", "expected: a refusal to open; seen: it was opened"),
    (
        Lie::SecondOpenerIsLetIn,
        "j11_second_opener_is_locked_out",
        "expected: a refusal to open; seen: it was opened",
    ),
    (Lie::SyncErrorIsSwallowed, "j08_failed_sync_poisons", "an error for the write whose sync failed"),
    (Lie::SyncIsRetried, "j08_failed_sync_is_not_retried", "syncs in the write whose sync failed"),
    (Lie::NoDirectorySync, "j01_long_log_survives_a_crash", "the last log id"),
    (Lie::RotationLosesTheBorder, "j01_long_log_survives_reopening", "the entries"),
    (Lie::PurgeRemovesTooMuch, "j06_purge_of_a_long_log_keeps_what_is_above", "the runs of terms"),
    (
        Lie::LeftOverSegmentIsDamage,
        "j06_crash_in_a_purge_keeps_what_is_above",
        "opening after the crash succeeds",
    ),
    (Lie::UnsyncedIsRead, "j05_unsynced_is_not_read", "reading what was not synced"),
    (Lie::PurgedTermIsForgotten, "j06_purged_is_compacted", "purged"),
    (Lie::OlderHardStateWins, "j13_dropped_hard_state_does_not_come_back", "the hard state"),
    (Lie::JoinsAStartedSync, "j13_write_after_a_dropped_one_is_durable", "the entries"),
];
