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
///
/// The in-memory store of this crate, with all the faults that it can offer:
///
/// ```
#[doc = include_str!("example.rs")]
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use raft_testkit::conformance::snapshot::run;
///
/// assert_eq!(run(&Mine, "s01_unfinished_is_invisible").await, Ok(()));
/// # }
/// ```
#[async_trait]
pub trait SnapshotBackend: Send + Sync {
    /// Where one store is kept, such as a temporary folder. Outlives the stores that are opened there,
    /// and is removed when it is dropped.
    type Place: Send + Sync;

    /// A new place with nothing in it.
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A store that was never used has no snapshot.
    /// let place = Mine.place();
    /// assert_eq!(Mine.stored_bytes(&place).unwrap(), 0);
    /// assert_eq!(Mine.open(&place).await?.latest().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    fn place(&self) -> Self::Place;

    /// Opens the store that is there; an empty one if there is none.
    ///
    /// # Errors
    /// [`SnapshotError`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::backend::SnapshotId;
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// let place = Mine.place();
    /// let store = Mine.open(&place).await?;
    /// let mut writer = store.create(SnapshotId(1), LogId::new(1, 9), Membership::default()).await?;
    /// writer.write("state".into()).await?;
    /// writer.finish(None).await?;
    /// drop(store);
    /// // The next one that is opened there has it.
    /// let latest = Mine.open(&place).await?.latest().await?.unwrap();
    /// assert_eq!((latest.upto, latest.content.total_bytes), (LogId::new(1, 9), 5));
    /// # Ok(())
    /// # }
    /// ```
    async fn open(&self, place: &Self::Place) -> Result<Box<dyn SnapshotStore>, SnapshotError>;

    /// Ends a store as if the machine had lost power: what is not synced is gone. Its writers and readers
    /// were dropped before. Afterwards it is opened again.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::backend::SnapshotId;
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// let place = Mine.place();
    /// let store = Mine.open(&place).await?;
    /// let mut writer = store.create(SnapshotId(1), LogId::new(1, 9), Membership::default()).await?;
    /// writer.write("half of it".into()).await?;
    /// drop(writer);
    /// Mine.crash(&place, store).await.unwrap();
    /// assert_eq!(Mine.open(&place).await?.latest().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    async fn crash(&self, _place: &Self::Place, _store: Box<dyn SnapshotStore>) -> Result<(), Unsupported> {
        Err(Unsupported("SnapshotBackend::crash"))
    }

    /// How many bytes are stored, all together. Asked while no store is open there.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::backend::SnapshotId;
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// let place = Mine.place();
    /// let store = Mine.open(&place).await?;
    /// let mut writer = store.create(SnapshotId(1), LogId::new(1, 9), Membership::default()).await?;
    /// writer.write("state".into()).await?;
    /// drop((writer, store));
    /// // What is half received counts: the suite sees whether it piles up (S2).
    /// assert_eq!(Mine.stored_bytes(&place).unwrap(), 5);
    /// # Ok(())
    /// # }
    /// ```
    fn stored_bytes(&self, _place: &Self::Place) -> Result<u64, Unsupported> {
        Err(Unsupported("SnapshotBackend::stored_bytes"))
    }

    /// Flips bit `bit` (0 to 7) of stored byte `at`, while no store is open there. Twice is as if never.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::backend::SnapshotId;
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// let place = Mine.place();
    /// let store = Mine.open(&place).await?;
    /// let mut writer = store.create(SnapshotId(1), LogId::new(1, 9), Membership::default()).await?;
    /// writer.write("state".into()).await?;
    /// writer.finish(None).await?;
    /// drop(store);
    /// Mine.flip_bit(&place, 2, 7).unwrap();
    /// // A damaged snapshot is never taken for a good one (S5).
    /// let damaged = Mine.open(&place).await?.open(SnapshotId(1)).await;
    /// assert!(matches!(damaged, Err(SnapshotError::Corrupt(_))));
    /// # Ok(())
    /// # }
    /// ```
    fn flip_bit(&self, _place: &Self::Place, _at: u64, _bit: u8) -> Result<(), Unsupported> {
        Err(Unsupported("SnapshotBackend::flip_bit"))
    }

    /// The next sync of a store that is open there fails with an I/O error.
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::backend::SnapshotId;
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// let place = Mine.place();
    /// let store = Mine.open(&place).await?;
    /// let mut writer = store.create(SnapshotId(1), LogId::new(1, 9), Membership::default()).await?;
    /// writer.write("state".into()).await?;
    /// Mine.fail_next_sync(&place).unwrap();
    /// assert!(writer.finish(None).await.is_err(), "what is not synced is not finished (S1)");
    /// # Ok(())
    /// # }
    /// ```
    fn fail_next_sync(&self, _place: &Self::Place) -> Result<(), Unsupported> {
        Err(Unsupported("SnapshotBackend::fail_next_sync"))
    }

    /// From now on there is no more space (`true`), or enough again (`false`).
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/snapshot/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use raft_core::backend::SnapshotId;
    /// # use raft_core::ids::LogId;
    /// # use raft_core::membership::Membership;
    /// let place = Mine.place();
    /// let store = Mine.open(&place).await?;
    /// let mut writer = store.create(SnapshotId(1), LogId::new(1, 9), Membership::default()).await?;
    /// Mine.set_full(&place, true).unwrap();
    /// assert_eq!(writer.write("state".into()).await, Err(SnapshotError::NoSpace));
    /// Mine.set_full(&place, false).unwrap();
    /// assert_eq!(writer.write("state".into()).await, Ok(()));
    /// # Ok(())
    /// # }
    /// ```
    fn set_full(&self, _place: &Self::Place, _full: bool) -> Result<(), Unsupported> {
        Err(Unsupported("SnapshotBackend::set_full"))
    }

    /// The most that this process had ever allocated at once, in bytes, where the test binary counts it
    /// (as `cap` does).
    ///
    /// # Errors
    /// [`Unsupported`]: then skip `s03_memory_stays_bounded` with a reason.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use cap::Cap;
    ///
    /// #[global_allocator]
    /// static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);
    ///
    /// // What `peak_bytes` answers where the test binary has this allocator.
    /// let before = ALLOCATOR.max_allocated() as u64;
    /// drop(vec![1_u8; 1 << 20]);
    /// assert!(ALLOCATOR.max_allocated() as u64 >= before.max(1 << 20));
    /// ```
    fn peak_bytes(&self) -> Result<u64, Unsupported> {
        Err(Unsupported("SnapshotBackend::peak_bytes"))
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
    (backend: $backend:expr, skip: { $($skip:ident => $reason:literal),* $(,)? } $(,)?) => {
        $crate::snapshot_conformance! { backend: $backend, skip: { $($skip => $reason),* }, partly: {} }
    };
    (
        backend: $backend:expr,
        skip: { $($skip:ident => $reason:literal),* $(,)? },
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
        /// What is skipped, for the test runner to count and to name.
        mod skipped_snapshot_clauses {
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
