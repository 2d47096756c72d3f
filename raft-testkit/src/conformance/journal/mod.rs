//! J1 to J18 of [`Journal`].
//!
//! A backend crate implements [`JournalBackend`] for its journal and writes
//! [`journal_conformance!`](crate::journal_conformance) in one of its tests. [`CLAUSES`] lists what is
//! then run; [`names`] has the same as an index.

mod table;

mod bytes;
mod cancel;
mod damage;
mod durable;
mod faults;
mod gaps;
mod history;
mod identity;
mod kill;
mod purge;
mod reading;
mod truncate;

mod pair;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use raft_core::backend::{Journal, OpenError};
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::Membership;

use super::Unsupported;

#[doc(hidden)]
pub use kill::{child, with_child};
pub use table::{CLAUSES, names, run};

/// Whose journal is created or opened.
///
/// # Examples
/// ```
/// use raft_core::ids::{ClusterId, GroupId, NodeId};
/// use raft_testkit::conformance::journal::Owner;
///
/// // The suite opens what it created under another name, which must be refused (J12).
/// let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
/// let stranger = Owner { cluster: ClusterId(2), ..owner };
/// assert_ne!(stranger, owner);
/// assert_eq!((stranger.group, stranger.node), (owner.group, owner.node));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
}

/// What a backend author provides so that the suite can test a journal.
///
/// The first three are needed. The others provoke faults; a backend that leaves one out answers
/// [`Unsupported`] and skips the clauses that need it, each with a written reason.
///
/// The in-memory journal of this crate, with all the faults that it can offer:
///
/// ```
#[doc = include_str!("example.rs")]
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use raft_testkit::conformance::journal::run;
///
/// assert_eq!(run(&Mine, "j04_gap_is_refused").await, Ok(()));
/// # }
/// ```
#[async_trait]
pub trait JournalBackend: Send + Sync {
    /// Where one journal is stored, such as a temporary folder. Outlives the journals that are opened
    /// there, and is removed when it is dropped.
    type Place: Send + Sync;

    /// A new place with nothing in it.
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// // Two places are two journals: what is created in one is not in the other.
    /// let (one, other) = (Mine.place(), Mine.place());
    /// drop(Mine.create(&one, owner, None).await?);
    /// assert!(Mine.open(&one, owner).await.is_ok());
    /// assert!(matches!(Mine.open(&other, owner).await, Err(OpenError::NotInitialised)));
    /// # Ok(())
    /// # }
    /// ```
    fn place(&self) -> Self::Place;

    /// Creates a journal there. `initial` becomes entry 0.1.
    ///
    /// # Errors
    /// [`OpenError`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # let members = Membership::of_voters([Member::new(NodeId(1), "a"), Member::new(NodeId(2), "b")])?;
    /// # use raft_core::ids::LogId;
    /// let place = Mine.place();
    /// let mut journal = Mine.create(&place, owner, Some(&members)).await?;
    /// assert_eq!(journal.load().await?.last, LogId::new(0, 1));
    /// drop(journal);
    /// assert!(matches!(Mine.create(&place, owner, None).await, Err(OpenError::AlreadyExists)));
    /// # Ok(())
    /// # }
    /// ```
    async fn create(
        &self,
        place: &Self::Place,
        owner: Owner,
        initial: Option<&Membership>,
    ) -> Result<Box<dyn Journal>, OpenError>;

    /// Opens the journal that is there.
    ///
    /// # Errors
    /// [`OpenError`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// let place = Mine.place();
    /// let mut journal = Mine.create(&place, owner, None).await?;
    /// let created = journal.load().await?.identity;
    /// drop(journal);
    /// // The same store, in its next incarnation.
    /// let opened = Mine.open(&place, owner).await?.load().await?.identity;
    /// assert_eq!(opened.store, created.store);
    /// assert_eq!(opened.incarnation.number, created.incarnation.number + 1);
    /// # Ok(())
    /// # }
    /// ```
    async fn open(&self, place: &Self::Place, owner: Owner) -> Result<Box<dyn Journal>, OpenError>;

    /// Ends a journal as if power was lost: it must not finish or flush anything, and of its files nothing is
    /// left but what was synced, names and bytes. A copy of what a process would read is not enough: with it no
    /// clause can see that a sync is missing. Where nothing better can be had, name the clauses in `partly`.
    /// Afterwards the journal is opened again.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # use raft_core::backend::{HardState, JournalWrite};
    /// # use raft_core::ids::Term;
    /// let place = Mine.place();
    /// let mut journal = Mine.create(&place, owner, None).await?;
    /// let mut write = JournalWrite::default();
    /// write.hard_state = Some(HardState { term: Term(7), ..HardState::default() });
    /// journal.write(write).await?;
    /// Mine.crash(&place, journal).await.unwrap();
    /// // What was acknowledged is there (J1).
    /// assert_eq!(Mine.open(&place, owner).await?.load().await?.hard_state.term, Term(7));
    /// # Ok(())
    /// # }
    /// ```
    async fn crash(&self, _place: &Self::Place, _journal: Box<dyn Journal>) -> Result<(), Unsupported> {
        Err(Unsupported("JournalBackend::crash"))
    }

    /// How many stored bytes [`flip_bit`](Self::flip_bit) can reach. Asked while no journal is open
    /// there.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # let members = Membership::of_voters([Member::new(NodeId(1), "a"), Member::new(NodeId(2), "b")])?;
    /// let place = Mine.place();
    /// drop(Mine.create(&place, owner, Some(&members)).await?);
    /// // There is something to flip, up to the last byte.
    /// let bytes = Mine.stored_bytes(&place).unwrap();
    /// assert!(bytes > 0);
    /// Mine.flip_bit(&place, bytes - 1, 0).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    fn stored_bytes(&self, _place: &Self::Place) -> Result<u64, Unsupported> {
        Err(Unsupported("JournalBackend::stored_bytes"))
    }

    /// Flips bit `bit` (0 to 7) of stored byte `at`, while no journal is open there. Twice is as if
    /// never.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # let members = Membership::of_voters([Member::new(NodeId(1), "a"), Member::new(NodeId(2), "b")])?;
    /// let place = Mine.place();
    /// drop(Mine.create(&place, owner, Some(&members)).await?);
    /// let before = Mine.contents(&place).unwrap();
    /// Mine.flip_bit(&place, 3, 5).unwrap();
    /// assert_eq!(Mine.contents(&place).unwrap()[3], before[3] ^ 1 << 5);
    /// Mine.flip_bit(&place, 3, 5).unwrap();
    /// assert_eq!(Mine.contents(&place).unwrap(), before);
    /// # Ok(())
    /// # }
    /// ```
    fn flip_bit(&self, _place: &Self::Place, _at: u64, _bit: u8) -> Result<(), Unsupported> {
        Err(Unsupported("JournalBackend::flip_bit"))
    }

    /// All bytes that are stored there, what opening has put aside as damaged among them, in an order that stays
    /// the same while nothing is changed. Asked while no journal is open there.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # let members = Membership::of_voters([Member::new(NodeId(1), "a"), Member::new(NodeId(2), "b")])?;
    /// let place = Mine.place();
    /// drop(Mine.create(&place, owner, Some(&members)).await?);
    /// Mine.flip_bit(&place, 0, 0).unwrap();
    /// let damaged = Mine.contents(&place).unwrap();
    /// // Opening cuts the damaged entry from the log, and keeps it for whoever repairs it (J10).
    /// drop(Mine.open(&place, owner).await?);
    /// assert_eq!(Mine.contents(&place).unwrap(), damaged);
    /// # Ok(())
    /// # }
    /// ```
    fn contents(&self, _place: &Self::Place) -> Result<Vec<u8>, Unsupported> {
        Err(Unsupported("JournalBackend::contents"))
    }

    /// The next sync of a journal that is open there fails with an I/O error.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # use raft_core::backend::JournalWrite;
    /// let place = Mine.place();
    /// let mut journal = Mine.create(&place, owner, None).await?;
    /// Mine.fail_next_sync(&place).unwrap();
    /// assert!(matches!(journal.write(JournalWrite::default()).await, Err(JournalError::Io { .. })));
    /// // After that the journal takes nothing more (J8).
    /// let again = journal.write(JournalWrite::default()).await;
    /// assert!(matches!(again, Err(JournalError::Poisoned { .. })));
    /// # Ok(())
    /// # }
    /// ```
    fn fail_next_sync(&self, _place: &Self::Place) -> Result<(), Unsupported> {
        Err(Unsupported("JournalBackend::fail_next_sync"))
    }

    /// How many syncs the journals there have asked for so far, those that failed among them. Files that are
    /// only being made ready, and hold nothing yet, need not be counted.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # use raft_core::backend::JournalWrite;
    /// let place = Mine.place();
    /// let mut journal = Mine.create(&place, owner, None).await?;
    /// Mine.fail_next_sync(&place).unwrap();
    /// assert!(journal.write(JournalWrite::default()).await.is_err());
    /// let syncs = Mine.syncs(&place).unwrap();
    /// assert!(journal.write(JournalWrite::default()).await.is_err());
    /// // Whoever tries a failed sync again may be told that it went well: this one does not try.
    /// assert_eq!(Mine.syncs(&place).unwrap(), syncs);
    /// # Ok(())
    /// # }
    /// ```
    fn syncs(&self, _place: &Self::Place) -> Result<u64, Unsupported> {
        Err(Unsupported("JournalBackend::syncs"))
    }

    /// By which path another process finds this place, with [`place_at`](Self::place_at). That process opens
    /// the journal there and is killed.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Memory ends with its process, so the clause that kills one is skipped by name.
    /// assert_eq!(Mine.path(&Mine.place()), Err(Unsupported("JournalBackend::path")));
    /// # Ok(())
    /// # }
    /// ```
    fn path(&self, _place: &Self::Place) -> Result<PathBuf, Unsupported> {
        Err(Unsupported("JournalBackend::path"))
    }

    /// The place that [`path`](Self::path) has named, which belongs to another process: it is not removed
    /// when it is dropped.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # use std::path::{Path, PathBuf};
    /// # use raft_core::backend::{Journal, OpenError};
    /// # use raft_core::membership::Membership;
    /// # use raft_testkit::conformance::{Unsupported, journal::{JournalBackend, Owner}};
    /// # use tempfile::TempDir;
    /// /// A folder, and who removes it in the end.
    /// struct Place(PathBuf, Option<TempDir>);
    /// # struct Files;
    ///
    /// # #[async_trait::async_trait]
    /// impl JournalBackend for Files {
    /// #     type Place = Place;
    /// #     fn place(&self) -> Place {
    /// #         let folder = TempDir::new().unwrap();
    /// #         Place(folder.path().into(), Some(folder))
    /// #     }
    /// #     async fn create(
    /// #         &self, _: &Place, _: Owner, _: Option<&Membership>,
    /// #     ) -> Result<Box<dyn Journal>, OpenError> {
    /// #         Err(OpenError::AlreadyExists)
    /// #     }
    /// #     async fn open(&self, _: &Place, _: Owner) -> Result<Box<dyn Journal>, OpenError> {
    /// #         Err(OpenError::NotInitialised)
    /// #     }
    ///     fn path(&self, place: &Place) -> Result<PathBuf, Unsupported> {
    ///         Ok(place.0.clone())
    ///     }
    ///     fn place_at(&self, path: &Path) -> Result<Place, Unsupported> {
    ///         Ok(Place(path.into(), None))
    ///     }
    ///     // ...
    /// }
    ///
    /// let place = Files.place();
    /// drop(Files.place_at(&Files.path(&place).unwrap()));
    /// assert!(place.0.exists(), "whoever only borrows a place does not remove it");
    /// ```
    fn place_at(&self, _path: &Path) -> Result<Self::Place, Unsupported> {
        Err(Unsupported("JournalBackend::place_at"))
    }

    /// From now on there is no space for entries (`true`), or enough again (`false`).
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/journal/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// # use raft_core::membership::Member;
    /// # let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    /// # use raft_core::backend::JournalWrite;
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::LogId;
    /// let place = Mine.place();
    /// let mut journal = Mine.create(&place, owner, None).await?;
    /// let mut write = JournalWrite::default();
    /// let (id, data) = (LogId::new(1, 1), "x".into());
    /// write.entries = [Entry { id, kind: EntryKind::Commands, data }].into();
    /// Mine.set_full(&place, true).unwrap();
    /// assert!(matches!(journal.write(write.clone()).await, Err(JournalError::NoSpace { .. })));
    /// // The journal is not harmed: it goes on once there is space (J9).
    /// Mine.set_full(&place, false).unwrap();
    /// assert_eq!(journal.write(write).await, Ok(()));
    /// # Ok(())
    /// # }
    /// ```
    fn set_full(&self, _place: &Self::Place, _full: bool) -> Result<(), Unsupported> {
        Err(Unsupported("JournalBackend::set_full"))
    }
}

/// The journal conformance suite: expands to one `#[test]` per clause.
///
/// ```
/// use async_trait::async_trait;
/// use raft_core::backend::{Journal, OpenError};
/// use raft_core::membership::Membership;
/// use raft_testkit::conformance::journal::{JournalBackend, Owner};
/// use raft_testkit::memory::{MemoryDisk, MemoryJournal};
///
/// struct Mine;
///
/// #[async_trait]
/// impl JournalBackend for Mine {
///     type Place = MemoryDisk;
///
///     fn place(&self) -> MemoryDisk {
///         MemoryDisk::new()
///     }
///
///     async fn create(
///         &self,
///         place: &MemoryDisk,
///         owner: Owner,
///         initial: Option<&Membership>,
///     ) -> Result<Box<dyn Journal>, OpenError> {
///         let journal = MemoryJournal::create(place, owner.cluster, owner.group, owner.node, initial)?;
///         Ok(Box::new(journal))
///     }
///
///     async fn open(&self, place: &MemoryDisk, owner: Owner) -> Result<Box<dyn Journal>, OpenError> {
///         let journal = MemoryJournal::open(place, owner.cluster, owner.group, owner.node)?;
///         Ok(Box::new(journal))
///     }
/// }
///
/// raft_testkit::journal_conformance! {
///     backend: Mine,
///     skip: {
///         j01_acknowledged_survives_a_crash => "crash is not offered yet",
///         j01_acknowledged_survives_a_kill => "this disk ends with its process",
///         j01_long_log_survives_a_crash => "crash is not offered yet",
///         j01_vote_alone_survives_a_crash => "crash is not offered yet",
///         j02_unfinished_write_is_a_prefix => "crash is not offered yet",
///         j05_unsynced_is_not_read => "fail_next_sync is not offered yet",
///         j06_crash_in_a_purge_keeps_what_is_above => "crash is not offered yet",
///         j08_failed_sync_is_not_retried => "fail_next_sync is not offered yet",
///         j08_failed_sync_poisons => "fail_next_sync is not offered yet",
///         j09_no_space_is_typed => "set_full is not offered yet",
///         j09_what_found_no_space_can_be_written_later => "set_full is not offered yet",
///         j10_damage_is_never_cut_silently => "damage is not offered yet",
///         j10_damage_puts_on_probation => "damage is not offered yet",
///         j10_damaged_bytes_are_kept => "damage is not offered yet",
///         j10_single_voter_is_refused => "damage is not offered yet",
///         j13_write_after_a_dropped_one_is_durable => "crash is not offered yet",
///         j16_flipped_bits_are_detected => "damage is not offered yet",
///         j17_damaged_store_keeps_or_refuses_the_vote => "damage is not offered yet",
///         j18_purged_damage_is_of_no_consequence => "damage is not offered yet",
///         j18_what_was_verified_reads_back => "damage is not offered yet",
///     },
/// }
/// # fn main() {}
/// ```
///
/// `backend` is evaluated once for each test. A name in `skip` that is no clause does not compile. What is skipped is not
/// held: the test runner counts it as ignored too, with its reason, in a module of its own (`skipped_journal_clauses`).
/// These twenty are all that need a fault ([which needs which](crate::guide::skips)); `raft-testkit/tests/minimal.rs` is this example as a test. Where a
/// clause is run and shows less than it says, as the backend cannot provoke all of it, it stands in `partly`, a
/// third list after `skip`: the report then says so, with the reason.
#[macro_export]
macro_rules! journal_conformance {
    (backend: $backend:expr $(,)?) => {
        $crate::journal_conformance! { backend: $backend, skip: {} }
    };
    (backend: $backend:expr, skip: { $($skip:ident => $reason:literal),* $(,)? } $(,)?) => {
        $crate::journal_conformance! { backend: $backend, skip: { $($skip => $reason),* }, partly: {} }
    };
    (
        backend: $backend:expr,
        skip: { $($skip:ident => $reason:literal),* $(,)? },
        partly: { $($partly:ident => $less:expr),* $(,)? } $(,)?
    ) => {
        const JOURNAL_SUBJECT: $crate::conformance::Subject = $crate::conformance::Subject {
            suite: "journal",
            backend: concat!(env!("CARGO_PKG_NAME"), " / ", module_path!()),
            partly: &[$(($crate::conformance::journal::names::$partly, $less)),*],
        };
        const JOURNAL_SKIPS: &[(&str, &str)] =
            &[$(($crate::conformance::journal::names::$skip, $reason)),*];
        #[test]
        fn j00_clauses_are_run() {
            $crate::conformance::check_suite($crate::conformance::journal::CLAUSES, JOURNAL_SKIPS);
            $crate::conformance::check_suite($crate::conformance::journal::CLAUSES, JOURNAL_SUBJECT.partly);
        }
        /// No test of its own: the program of a process that a clause starts and kills.
        #[test]
        fn j00_child_that_is_killed() {
            $crate::conformance::journal::child(&$backend);
        }
        $crate::__journal_clauses! { __journal_tests { $backend } }
        /// What is skipped, for the test runner to count and to name.
        mod skipped_journal_clauses {
            $(
                #[test]
                #[ignore = $reason]
                fn $skip() {
                    eprintln!("skipped: {}", $reason);
                }
            )*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __journal_tests {
    ({ $backend:expr } $($name:ident $module:ident $sentence:literal)*) => {
        $(
            #[doc = $sentence]
            #[test]
            fn $name() {
                $crate::conformance::run_test(JOURNAL_SUBJECT, stringify!($name), JOURNAL_SKIPS, || async {
                    let backend = $backend;
                    let run = $crate::conformance::journal::run(&backend, stringify!($name));
                    let child = concat!(module_path!(), "::j00_child_that_is_killed");
                    $crate::conformance::journal::with_child(child, run).await
                });
            }
        )*
    };
}
