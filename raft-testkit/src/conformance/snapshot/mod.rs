//! S1 to S5 of [`SnapshotStore`].
//!
//! A backend crate implements [`SnapshotBackend`] for its store and writes
//! [`snapshot_conformance!`](crate::snapshot_conformance) in one of its tests. [`CLAUSES`] lists what is
//! then run; [`names`] has the same as an index.

mod table;

mod damage;
mod partial;
mod replace;
mod stream;
mod visible;

mod pieces;

use async_trait::async_trait;
use raft_core::backend::{SnapshotError, SnapshotStore};

use super::Unsupported;

pub use table::{CLAUSES, names, run};

/// What a backend author provides so that the suite can test a store of snapshots.
///
/// The first two are needed. The others provoke faults; a backend that leaves one out answers
/// [`Unsupported`] and skips the clauses that need it, each with a written reason.
#[async_trait]
pub trait SnapshotBackend: Send + Sync {
    /// Where one store is kept, such as a temporary folder. Outlives the stores that are opened there,
    /// and is removed when it is dropped.
    type Place: Send + Sync;

    /// A new place with nothing in it.
    fn place(&self) -> Self::Place;

    /// Opens the store that is there; an empty one if there is none.
    ///
    /// # Errors
    /// [`SnapshotError`]
    async fn open(&self, place: &Self::Place) -> Result<Box<dyn SnapshotStore>, SnapshotError>;

    /// Ends a store as if the machine had lost power: what is not synced is gone. Its writers and readers
    /// were dropped before. Afterwards it is opened again.
    ///
    /// # Errors
    /// [`Unsupported`]
    async fn crash(&self, _place: &Self::Place, _store: Box<dyn SnapshotStore>) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    /// How many bytes are stored, all together. Asked while no store is open there.
    ///
    /// # Errors
    /// [`Unsupported`]
    fn stored_bytes(&self, _place: &Self::Place) -> Result<u64, Unsupported> {
        Err(Unsupported)
    }

    /// Flips bit `bit` (0 to 7) of stored byte `at`, while no store is open there. Twice is as if never.
    ///
    /// # Errors
    /// [`Unsupported`]
    fn flip_bit(&self, _place: &Self::Place, _at: u64, _bit: u8) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    /// The next sync of a store that is open there fails with an I/O error.
    ///
    /// # Errors
    /// [`Unsupported`]
    fn fail_next_sync(&self, _place: &Self::Place) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    /// From now on there is no more space (`true`), or enough again (`false`).
    ///
    /// # Errors
    /// [`Unsupported`]
    fn set_full(&self, _place: &Self::Place, _full: bool) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    /// The most that this process had ever allocated at once, in bytes, where the test binary counts it
    /// (as `cap` does).
    ///
    /// # Errors
    /// [`Unsupported`]: then skip `s03_memory_stays_bounded` with a reason.
    fn peak_bytes(&self) -> Result<u64, Unsupported> {
        Err(Unsupported)
    }
}

/// The snapshot conformance suite: expands to one `#[test]` per clause.
///
/// ```
/// use async_trait::async_trait;
/// use raft_core::backend::{SnapshotError, SnapshotStore};
/// use raft_testkit::conformance::snapshot::SnapshotBackend;
/// use raft_testkit::memory::{MemorySnapshotDisk, MemorySnapshots};
///
/// struct Mine;
///
/// #[async_trait]
/// impl SnapshotBackend for Mine {
///     type Place = MemorySnapshotDisk;
///
///     fn place(&self) -> MemorySnapshotDisk {
///         MemorySnapshotDisk::new()
///     }
///
///     async fn open(&self, place: &MemorySnapshotDisk) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
///         Ok(Box::new(MemorySnapshots::open(place)))
///     }
/// }
///
/// raft_testkit::snapshot_conformance! {
///     backend: Mine,
///     skip: {
///         s01_finished_survives_a_crash => "nothing is ever unsynced in this example",
///         s01_failed_sync_is_not_finished => "this disk has no sync that could fail",
///         s02_half_received_does_not_pile_up => "nobody counts the bytes",
///         s02_crash_in_the_middle_serves_nothing => "nothing is ever unsynced in this example",
///         s03_memory_stays_bounded => "this disk is the memory",
///         s04_old_one_outlives_a_crash_of_the_new => "nothing is ever unsynced in this example",
///         s04_no_space_keeps_the_old => "this disk is never full",
///         s05_flipped_bits_are_detected => "nobody flips bits",
///     },
/// }
/// # fn main() {}
/// ```
///
/// `backend` is evaluated once for each test. A name in `skip` that is no clause does not compile. Where a
/// clause is run and shows less than it says, as the backend cannot provoke all of it, it stands in `partly`, a
/// third list after `skip`: the report then says so, with the reason.
#[macro_export]
macro_rules! snapshot_conformance {
    (backend: $backend:expr $(,)?) => {
        $crate::snapshot_conformance! { backend: $backend, skip: {} }
    };
    (backend: $backend:expr, skip: { $($skip:ident => $reason:expr),* $(,)? } $(,)?) => {
        $crate::snapshot_conformance! { backend: $backend, skip: { $($skip => $reason),* }, partly: {} }
    };
    (
        backend: $backend:expr,
        skip: { $($skip:ident => $reason:expr),* $(,)? },
        partly: { $($partly:ident => $less:expr),* $(,)? } $(,)?
    ) => {
        const SNAPSHOT_SUBJECT: $crate::conformance::Subject = $crate::conformance::Subject {
            suite: "snapshot",
            backend: concat!(env!("CARGO_PKG_NAME"), " / ", module_path!()),
            partly: &[$(($crate::conformance::snapshot::names::$partly, $less)),*],
        };
        const SNAPSHOT_SKIPS: &[(&str, &str)] =
            &[$(($crate::conformance::snapshot::names::$skip, $reason)),*];
        #[test]
        fn s00_clauses_are_run() {
            $crate::conformance::check_suite($crate::conformance::snapshot::CLAUSES, SNAPSHOT_SKIPS);
            $crate::conformance::check_suite($crate::conformance::snapshot::CLAUSES, SNAPSHOT_SUBJECT.partly);
        }
        $crate::__snapshot_clauses! { __snapshot_tests { $backend } }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __snapshot_tests {
    ({ $backend:expr } $($name:ident $module:ident $sentence:literal)*) => {
        $(
            #[doc = $sentence]
            #[test]
            fn $name() {
                $crate::conformance::run_test(SNAPSHOT_SUBJECT, stringify!($name), SNAPSHOT_SKIPS, || async {
                    $crate::conformance::snapshot::run(&$backend, stringify!($name)).await
                });
            }
        )*
    };
}
