//! Creating and opening: what was found is judged here and acted upon, in an order that may be cut
//! anywhere and begun again.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::slice::from_ref;
use std::sync::{Arc, RwLock};

use raft_core::backend::{Corruption, HardState, OpenError, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Identity, Incarnation, KnownPeer, LogId, StoreId};
use raft_core::membership::Membership;
use raft_core::slots::{
    COUNT_LIMIT, Reader, Writer, decode_hard_state, decode_identity, decode_peers, encode_hard_state,
    encode_identity, encode_peers,
};

use crate::beside::{
    self, DATABASE, Finding, HARD_STATE, IDENTITY, PEERS, Pair, PairState, VERSION, WATERMARK, slot_path,
    sync_dir,
};
use crate::db::{Db, Marks};
use crate::error::{Context, SqlError, damage, damage_of, is_damage_to_see};
use crate::options::{Options, Owner};
use crate::rows::{Seal, State};
use crate::scan::{Log, Newest, Scan, scan};
use crate::store::Store;
use crate::table::{Change, Table};
use crate::view;
use crate::wal::{self, Shape, WAL};

/// A copy of the write-ahead log while an opening has not decided yet: closing a database removes it.
const WAL_KEPT: &str = "journal.db-wal.kept";
/// Where the schema is, for people.
const SCHEMA: &str = "journal.db, its schema";
/// What SQLite keeps beside a database that has no write-ahead log yet.
const ROLLBACK: &str = "journal.db-journal";
/// A database that is being made.
const DATABASE_NEW: &str = "journal.db.new";

fn encode(identity: &Identity, complete: bool) -> Vec<u8> {
    encode_identity(Writer::default().u64(u64::from(complete)), identity).0
}

fn decode(bytes: &[u8]) -> Option<(bool, Identity)> {
    let mut r = Reader(bytes);
    let complete = r.u64()? != 0;
    let identity = decode_identity(&mut r)?;
    (identity.incarnation.number <= COUNT_LIMIT).then_some((complete, identity))
}

/// Random bits from the system, without a dependency: the standard library seeds its hashers so.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one((std::process::id(), std::time::Instant::now()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a file, durably.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Whose journal is here, and the pair that says so.
fn read_identity(dir: &Path) -> Result<(Identity, PairState), OpenError> {
    let pair = PairState::read(dir, IDENTITY)?;
    if pair.exists == [false, false] {
        return Err(OpenError::NotInitialised);
    }
    pair.check_version()?;
    let Some(newest) = pair.newest() else {
        // The very first step of a creation that was cut leaves nothing else.
        let more = [DATABASE.into(), format!("{HARD_STATE}.a"), format!("{HARD_STATE}.b")];
        let alone = more.iter().all(|name| !dir.join(name).exists());
        return Err(if alone { OpenError::NotInitialised } else { lost(&pair, IDENTITY) });
    };
    let unreadable = || OpenError::Corrupt(damage(IDENTITY, 0, "its record cannot be read"));
    let (complete, identity) = decode(&newest.body).ok_or_else(unreadable)?;
    if !complete {
        // Creation never came to its end.
        return Err(OpenError::NotInitialised);
    }
    match pair.lost() {
        Some(lost) => Err(OpenError::Corrupt(lost)),
        None => Ok((identity, pair)),
    }
}

fn lost(pair: &PairState, name: &str) -> OpenError {
    OpenError::Corrupt(pair.lost().unwrap_or_else(|| damage(name, 0, "no record")))
}

/// What a journal that is made begins with.
pub(crate) enum Origins {
    /// The first membership of a new cluster, or nothing.
    New(Owner, Option<Membership>),
    /// The identity of another journal, and why this one must not be opened yet.
    Adopted(Identity, String),
}

/// A new journal in an empty folder.
pub(crate) async fn create(dir: &Path, origins: Origins, options: Options) -> Result<Store, OpenError> {
    beside::create_dir(dir).during("create the folder")?;
    let lock = beside::lock(dir)?;
    view::refuse_closed(dir)?;
    match read_identity(dir) {
        Err(OpenError::NotInitialised) => {}
        Ok(_) | Err(OpenError::Corrupt(_) | OpenError::Version { .. }) => {
            return Err(OpenError::AlreadyExists);
        }
        Err(error) => return Err(error),
    }
    // What an earlier attempt has left behind.
    for name in [IDENTITY, HARD_STATE, PEERS, WATERMARK] {
        for slot in 0..2 {
            remove(&slot_path(dir, name, slot)).during("remove what an earlier attempt has left")?;
        }
    }
    let database = [DATABASE, WAL, WAL_KEPT, DATABASE_NEW];
    let journals = [ROLLBACK, "journal.db-shm", "journal.db.new-wal"];
    for name in database.into_iter().chain(journals) {
        remove(&dir.join(name)).during("remove what an earlier attempt has left")?;
    }
    sync_dir(dir).during("sync the folder")?;

    let (identity, initial) = match &origins {
        Origins::New(Owner { cluster, group, node }, initial) => {
            let store = StoreId(u128::from(random()) << 64 | u128::from(random()));
            let incarnation = Incarnation { number: 1, nonce: random() };
            let identity = Identity { cluster: *cluster, group: *group, node: *node, store, incarnation };
            (identity, initial.as_ref())
        }
        Origins::Adopted(from, why) => {
            view::close(dir, why)?;
            let too_often = || OpenError::Io {
                what: "take over the identity".into(),
                cause: "it was moved too often".into(),
            };
            let incarnation = from.incarnation.moved(random()).ok_or_else(too_often)?;
            (Identity { incarnation, ..*from }, None)
        }
    };
    let store = identity.store;
    // Incomplete: from here on what is in the folder is known to be ours.
    let faults = || options.faults.clone();
    let what = "write the identity";
    let mut identities = Pair::create(dir, IDENTITY, &encode(&identity, false), faults()).during(what)?;
    sync_dir(dir).during("sync the folder")?;

    let hard = encode_hard_state(store, &HardState::default());
    let hard_pair = Pair::create(dir, HARD_STATE, &hard, faults()).during("create the hard state")?;
    let peers = encode_peers(store, &[]);
    let peers_pair = Pair::create(dir, PEERS, &peers, faults()).during("create the known peers")?;
    let table = new_table(dir).await?;
    let mut made = || {
        let log = first_state(&table, store, initial, options.tail_bytes)?;
        let body = log.state.encode();
        let mark = Pair::create(dir, WATERMARK, &body, faults()).during("create the watermark")?;
        sync_dir(dir).during("sync the folder")?;
        // With this creation is done.
        identities.write(&encode(&identity, true)).during(what)?;
        identities.write(&encode(&identity, true)).during(what)?;
        Ok((log, mark, wal::open(dir).during("open the write-ahead log")?))
    };
    let (log, mark, wal) = match made() {
        Ok(made) => made,
        Err(error) => {
            // While the lock is held: closing removes a write-ahead log, whosever it is by then.
            let _ = table.close().await;
            return Err(error);
        }
    };
    let store = Store {
        wal,
        emptied: None,
        identity,
        hard_state: HardState::default(),
        hard_pair,
        peers: Vec::new(),
        peers_pair,
        mark,
        unsettled: 0,
        fresh_wal: true,
        stale_wal: false,
        table,
        log: Arc::new(RwLock::new(log)),
        options,
        limited: false,
        failed: None,
        verdict: Verdict::Clean,
        findings: Vec::new(),
        _lock: lock,
    };
    store.make_room();
    Ok(store)
}

/// A new database, with its schema and nothing in it.
async fn new_table(dir: &Path) -> Result<Table, OpenError> {
    let mut db = Db::connect(dir, DATABASE, true).await.during("create the database")?;
    match db.check_sqlite().await {
        Ok(()) => Table::of(db).await.during("create the database"),
        Err(error) => {
            let _ = db.close().await;
            Err(error)
        }
    }
}

/// The first transaction of a new journal.
fn first_state(
    table: &Table,
    store: StoreId,
    initial: Option<&Membership>,
    tail_bytes: usize,
) -> Result<Log, OpenError> {
    let mut log = Log::new(State::new(store), tail_bytes);
    let first_entry = initial.map(|membership| Entry {
        id: LogId::new(0, 1),
        kind: EntryKind::Membership,
        data: membership.encode(),
    });
    let mut state = State { op: 1, ..log.state };
    let mut rows = Vec::new();
    if let Some(entry) = &first_entry {
        let seal = Seal::of(store, state.last_chain, entry);
        (state.last, state.last_chain) = (entry.id, seal.chain);
        rows.push((entry, seal));
        log.push(from_ref(entry), Newest::of(from_ref(entry), tail_bytes));
    }
    table.transact(&Change { rows, ..Change::of(state) }).during("write the first state")?;
    table.checkpoint().during("write the first state")?;
    log.state = state;
    Ok(log)
}

/// Everything about a journal that is not open.
pub(crate) struct Examined {
    lock: Arc<beside::Lock>,
    pub(crate) identity: Identity,
    identities: PairState,
    pub(crate) hard_state: HardState,
    hard_pair: PairState,
    pub(crate) peers: Vec<KnownPeer>,
    peers_pair: PairState,
    mark_pair: PairState,
    mark: Option<State>,
    pub(crate) table: Option<Table>,
    pub(crate) scan: Scan,
    pub(crate) verdict: Verdict,
    pub(crate) findings: Vec<Finding>,
}

/// Reads and judges everything. The write-ahead log is kept aside, and [`Examined::put_back`] undoes what
/// closing the database does to it.
pub(crate) async fn examine(
    dir: &Path,
    owner: Option<Owner>,
    tail_bytes: usize,
) -> Result<Examined, OpenError> {
    if !dir.is_dir() || [0, 1].iter().all(|slot| !slot_path(dir, IDENTITY, *slot).exists()) {
        return Err(OpenError::NotInitialised);
    }
    let lock = beside::lock(dir)?;
    let (identity, identities) = read_identity(dir)?;
    if let Some(owner) = owner {
        owner.check(&identity)?;
    }
    let store = identity.store;
    let mut findings: Vec<Finding> = identities.findings().collect();

    let hard_pair = PairState::read(dir, HARD_STATE)?;
    hard_pair.check_version()?;
    if let Some(lost) = hard_pair.lost() {
        // The lost slot may be the newer one: a vote may be forgotten.
        return Err(OpenError::Corrupt(lost));
    }
    let newest = hard_pair.newest().and_then(|record| decode_hard_state(store, &record.body));
    let hard_state = newest.ok_or_else(|| lost(&hard_pair, HARD_STATE))?;
    findings.extend(hard_pair.findings());

    let peers_pair = PairState::read(dir, PEERS)?;
    peers_pair.check_version()?;
    let newest = peers_pair.newest().and_then(|record| decode_peers(store, &record.body));
    let peers = newest.ok_or_else(|| lost(&peers_pair, PEERS))?;
    findings.extend(peers_pair.findings());
    findings.extend(peers_pair.lost().map(|damage| Finding { damage }));

    let mark_pair = PairState::read(dir, WATERMARK)?;
    mark_pair.check_version()?;
    let mark = mark_pair.newest().and_then(|record| State::decode(store, &record.body));
    findings.extend(mark_pair.findings());

    let shape = keep_wal(dir).during("keep the write-ahead log")?;
    let empty = || Log::new(mark.map_or_else(|| State::new(store), |mark| cut_off(store, mark)), tail_bytes);
    let (table, mut scan) = if dir.join(DATABASE).exists() {
        match look(dir, store, mark, tail_bytes).await {
            Ok((table, scan)) => (Some(table), scan),
            Err(Look::Open(error)) => {
                restore_wal(dir)?;
                return Err(error);
            }
            Err(Look::Foreign) => {
                let damage = all_of(mark, damage(DATABASE, 0, "its marks are not those of a journal"));
                (None, Scan { log: empty(), damage: Some(damage) })
            }
            Err(Look::Sql(error)) if is_damage_to_see(&error) => {
                let damage = all_of(mark, damage(DATABASE, 0, error.to_string()));
                (None, Scan { log: empty(), damage: Some(damage) })
            }
            Err(Look::Sql(error)) => {
                restore_wal(dir)?;
                return Err(error).during("open the database");
            }
        }
    } else {
        let damage = all_of(mark, damage(DATABASE, 0, "the file is missing"));
        (None, Scan { log: empty(), damage: Some(damage) })
    };
    let last = scan.log.state.last;
    let hard = hard_pair.newest().map_or(0, |record| record.generation);
    if hard < scan.log.state.hard.max(mark.map_or(0, |mark| mark.hard)) {
        // A newer one was there: a vote may be forgotten.
        let error = OpenError::Corrupt(damage(HARD_STATE, 0, "it is older than the log says"));
        if let Some(table) = table {
            let _ = table.close().await;
        }
        restore_wal(dir)?;
        return Err(error);
    }
    let verdict = match (&scan.damage, &shape) {
        (Some(damage), _) => Verdict::Corrupt(damage.clone()),
        (None, Shape::Damaged { at, reason, proved: true }) => {
            let damage = damage_of(damage(WAL, *at, *reason), last.index.next().0, last.index.next().0 + 1);
            scan.damage = Some(damage.clone());
            Verdict::Corrupt(damage)
        }
        (None, Shape::Damaged { at, reason, proved: false }) => {
            scan.damage = Some(damage(WAL, *at, *reason));
            Verdict::SuspectTail { from: last.index.next() }
        }
        (None, _) if mark.is_none() || mark_pair.lost().is_some() => {
            // The lost slot may be the newer one: how far the log must reach is not known.
            scan.damage =
                mark_pair.lost().or_else(|| Some(damage(WATERMARK, 0, "its record cannot be read")));
            Verdict::SuspectTail { from: last.index.next() }
        }
        (None, Shape::Torn { .. }) => Verdict::TornTail { discarded_from: last.index.next() },
        (None, Shape::Sound) => Verdict::Clean,
    };
    Ok(Examined {
        lock,
        identity,
        identities,
        hard_state,
        hard_pair,
        peers,
        peers_pair,
        mark_pair,
        mark,
        table,
        scan,
        verdict,
        findings,
    })
}

/// An empty log that begins where the watermark's does.
fn cut_off(store: StoreId, mark: State) -> State {
    State { store, last: mark.purged, last_chain: mark.purged_chain, ..mark }
}

fn all_of(mark: Option<State>, damage: Corruption) -> Corruption {
    match mark {
        Some(mark) => damage_of(damage, mark.purged.index.next().0, mark.last.index.next().0),
        None => damage,
    }
}

enum Look {
    Sql(SqlError),
    Open(OpenError),
    /// Not a journal's database.
    Foreign,
}

impl<E: Into<SqlError>> From<E> for Look {
    fn from(error: E) -> Self {
        Self::Sql(error.into())
    }
}

async fn look(dir: &Path, store: StoreId, mark: Option<State>, tail: usize) -> Result<(Table, Scan), Look> {
    let mut db = Db::look(dir, DATABASE).await?;
    if let Err(error) = look_at(&mut db).await {
        let _ = db.close().await;
        return Err(error);
    }
    let table = Table::of(db).await?;
    let mut scan = match scan(&table, store, mark, tail) {
        Ok(scan) if scan.damage.is_some() => return Ok((table, scan)),
        Ok(scan) => scan,
        Err(error) => {
            let _ = table.close().await;
            return Err(error.into());
        }
    };
    let mut db = table.into_db();
    match db.schema_damage().await {
        Ok(found) => scan.damage = found.map(|why| damage(SCHEMA, 0, why)),
        Err(error) => {
            let _ = db.close().await;
            return Err(error.into());
        }
    }
    Ok((Table::of(db).await?, scan))
}

async fn look_at(db: &mut Db) -> Result<(), Look> {
    db.check_sqlite().await.map_err(Look::Open)?;
    match db.marks().await? {
        Marks::Ours => Ok(()),
        // Before anything is judged: what a later version has written is not damaged.
        Marks::Later(found) => Err(Look::Open(OpenError::Version { found, known: VERSION })),
        Marks::Foreign => Err(Look::Foreign),
    }
}

/// Writes a copy of a write-ahead log, durably. The room behind it takes none.
fn write_without_room(to: &Path, bytes: &[u8]) -> io::Result<()> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    fs::write(to, bytes.get(..used).unwrap_or_default())?;
    let file = File::options().write(true).open(to)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Judges the write-ahead log and copies it aside. A copy that is there already comes from an opening
/// that was cut: it is what counts.
fn keep_wal(dir: &Path) -> io::Result<Shape> {
    let (wal, kept) = (dir.join(WAL), dir.join(WAL_KEPT));
    if kept.exists() {
        copy(&kept, &wal)?;
        sync_dir(dir)?;
    }
    let (bytes, exists) = match fs::read(&wal) {
        Ok(bytes) => (bytes, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), false),
        Err(error) => return Err(error),
    };
    // An empty one too: closing a database removes it.
    if exists && !kept.exists() {
        let temporary = dir.join("journal.db-wal.tmp");
        let made = write_without_room(&temporary, &bytes).and_then(|()| fs::rename(&temporary, &kept));
        if let Err(error) = made {
            // On a full disk it would take the rest.
            let _ = remove(&temporary);
            return Err(error);
        }
        sync_dir(dir)?;
    }
    Ok(wal::judge(&bytes))
}

/// Undoes what opening and closing the database have done to its write-ahead log: one without a sound frame was
/// removed, and where there was none an empty one is left if the database is too damaged to be opened.
fn restore_wal(dir: &Path) -> Result<(), OpenError> {
    let what = "put the write-ahead log back";
    let (kept, wal) = (dir.join(WAL_KEPT), dir.join(WAL));
    if kept.exists() {
        fs::rename(kept, wal).during(what)?;
        sync_dir(dir).during(what)?;
    } else if fs::metadata(&wal).is_ok_and(|found| found.len() == 0) {
        remove(&wal).during(what)?;
    }
    Ok(())
}

impl Examined {
    /// Closes the database and leaves everything as it was found.
    pub(crate) async fn put_back(mut self, dir: &Path) -> Result<(), OpenError> {
        self.close().await;
        restore_wal(dir)
    }

    async fn close(&mut self) {
        if let Some(table) = self.table.take() {
            // Whatever it answers: nothing was written by us.
            let _ = table.close().await;
        }
    }
}

/// Opens what [`create`] has made.
pub(crate) async fn open(dir: &Path, owner: Owner, options: Options) -> Result<Store, OpenError> {
    view::refuse_closed(dir)?;
    let mut found = examine(dir, Some(owner), options.tail_bytes).await?;
    // Again, under the lock.
    if let Err(error) = view::refuse_closed(dir) {
        found.put_back(dir).await?;
        return Err(error);
    }
    let lock = Arc::clone(&found.lock);
    found.close().await;
    let mut table = None;
    if found.scan.damage.is_none() {
        match connect_again(dir).await {
            Ok(Ok(connected)) => table = Some(connected),
            Ok(Err(why)) => {
                let damage = damage(SCHEMA, 0, why);
                found.verdict = Verdict::Corrupt(damage.clone());
                found.scan.damage = Some(damage);
            }
            Err(error) => {
                restore_wal(dir)?;
                return Err(error);
            }
        }
    }
    let opened = act(dir, owner, options, found, &mut table).await;
    if opened.is_err() {
        if let Some(table) = table {
            // While the lock is held: closing removes a write-ahead log, whosever it is by then.
            let _ = table.close().await;
        }
        restore_wal(dir)?;
    }
    drop(lock);
    opened
}

/// Opens what was looked at, now to write to it; or says why its schema cannot be brought up to date.
async fn connect_again(dir: &Path) -> Result<Result<Table, String>, OpenError> {
    // A write-ahead log without a sound frame was removed; nothing in it counts, but it stays what was found.
    if dir.join(WAL_KEPT).exists() && !dir.join(WAL).exists() {
        copy(&dir.join(WAL_KEPT), &dir.join(WAL)).during("put the write-ahead log back")?;
    }
    let mut db = Db::connect(dir, DATABASE, false).await.during("open the database")?;
    let refused = match db.check_sqlite().await {
        Ok(()) => match db.migrate().await {
            Ok(()) => return Table::of(db).await.during("open the database").map(Ok),
            Err(error) => Ok(Err(error.to_string())),
        },
        Err(error) => Err(error),
    };
    // Whatever it answers: nothing was written by us.
    let _ = db.close().await;
    refused
}

/// Acts on what was found. After an error the database is left in `slot`, for the caller to close.
async fn act(
    dir: &Path,
    owner: Owner,
    options: Options,
    found: Examined,
    slot: &mut Option<Table>,
) -> Result<Store, OpenError> {
    let quarantine = found.scan.damage.clone();
    let mut hard_state = found.hard_state;
    if let Some(damage) = &quarantine {
        if !found.scan.log.is_single_voter(owner.node) {
            hard_state.probation = true;
        } else if !options.accept_loss {
            return Err(OpenError::Corrupt(damage.clone()));
        }
    }
    let faults = || options.faults.clone();
    let store = found.identity.store;
    let before = found.identity.incarnation.number;
    let mut log = found.scan.log.clone();
    let Examined { lock, identities, hard_pair, peers_pair, mark_pair, mark, .. } = found;

    let mut hard_pair = hard_pair.into_pair(dir, faults())?;
    if hard_state != found.hard_state {
        // Before the log is cut: a crash in between must not lose the reason.
        hard_pair.write(&encode_hard_state(store, &hard_state)).during("write the hard state")?;
    }
    let peers_pair = peers_pair.into_pair(dir, faults())?;
    let table = match slot {
        Some(table) => table,
        None => {
            let op = log.state.op.max(mark.map_or(0, |mark| mark.op)) + 1;
            log.state.op = op;
            let evidence = dir.join(format!("evidence-{before}"));
            slot.insert(replace(dir, &evidence, &log).await?)
        }
    };
    // Moving the write-ahead log into the database writes all of it again: what was read may never have
    // reached the disk.
    table.checkpoint().during("move the write-ahead log into the database")?;
    remove(&dir.join(WAL_KEPT)).during("remove the copy of the write-ahead log")?;
    sync_dir(dir).during("sync the folder")?;

    let incarnation = Incarnation { number: before + 1, nonce: random() };
    let identity = Identity { incarnation, ..found.identity };
    let mut identities = identities.into_pair(dir, faults())?;
    identities.write(&encode(&identity, true)).during("write the identity")?;
    let body = log.state.encode();
    let mut mark = if mark_pair.newest().is_some() {
        mark_pair.into_pair(dir, faults())?
    } else {
        Pair::create(dir, WATERMARK, &body, faults()).during("write the watermark")?
    };
    mark.write(&body).during("write the watermark")?;
    sync_dir(dir).during("sync the folder")?;
    let mut findings = found.findings;
    findings.extend(quarantine.map(|damage| Finding { damage }));
    let wal = wal::open(dir).during("open the write-ahead log")?;
    let gone = || OpenError::Io { what: "open the database".into(), cause: "it is closed".into() };
    let table = slot.take().ok_or_else(gone)?;
    let store = Store {
        wal,
        emptied: None,
        identity,
        hard_state,
        hard_pair,
        peers: found.peers,
        peers_pair,
        mark,
        unsettled: 0,
        fresh_wal: true,
        stale_wal: false,
        table,
        log: Arc::new(RwLock::new(log)),
        options,
        limited: false,
        failed: None,
        verdict: found.verdict,
        findings,
        _lock: lock,
    };
    store.make_room();
    Ok(store)
}

/// Makes a new database of the sound part of a damaged one, which is kept as evidence. Nothing is ever
/// written behind damage.
async fn replace(dir: &Path, evidence: &Path, log: &Log) -> Result<Table, OpenError> {
    let what = "make a new database of what is sound";
    let (old, new) = (dir.join(DATABASE), dir.join(DATABASE_NEW));
    for name in [DATABASE_NEW, "journal.db.new-wal", "journal.db.new-journal"] {
        remove(&dir.join(name)).during(what)?;
    }
    let made = connect(dir, DATABASE_NEW, true).await.during(what)?;
    let mut state = State { last: log.state.purged, last_chain: log.state.purged_chain, ..log.state };
    if log.state.last != state.last {
        let from = connect(dir, DATABASE, false).await.during(what)?;
        while state.last.index < log.state.last.index {
            let left = log.state.last.index.0 - state.last.index.0;
            let rows = from.rows(state.last.index, left.min(4096), 4 << 20).during(what)?;
            let sound: Option<Vec<(Entry, Seal)>> =
                rows.into_iter().map(|row| row.entry(log.state.store)).collect();
            let sound = sound.filter(|sound| !sound.is_empty());
            let changed = || OpenError::Corrupt(damage(DATABASE, 0, "it has changed while it was read"));
            let sound = sound.ok_or_else(changed)?;
            for (entry, seal) in &sound {
                (state.last, state.last_chain) = (entry.id, seal.chain);
            }
            let rows = sound.iter().map(|(entry, seal)| (entry, *seal)).collect();
            made.transact(&Change { rows, ..Change::of(state) }).during(what)?;
            made.checkpoint().during(what)?;
        }
        let _ = from.close().await;
    }
    made.transact(&Change::of(log.state)).during(what)?;
    made.checkpoint().during(what)?;
    made.close().await.during(what)?;
    // The evidence first, then one rename: there is a database at every moment.
    fs::create_dir_all(evidence).during("keep the evidence")?;
    if dir.join(WAL_KEPT).exists() {
        copy(&dir.join(WAL_KEPT), &evidence.join(WAL)).during("keep the evidence")?;
    }
    if old.exists() && !evidence.join(DATABASE).exists() {
        // Not every file system has links.
        let (from, to) = (&old, evidence.join(DATABASE));
        fs::hard_link(from, &to).or_else(|_| copy(from, &to)).during("keep the evidence")?;
    }
    sync_dir(evidence).during("keep the evidence")?;
    remove(&dir.join(WAL_KEPT)).during(what)?;
    remove(&dir.join(WAL)).during(what)?;
    // SQLite would roll the new database back by a journal of the old one.
    remove(&dir.join(ROLLBACK)).during(what)?;
    sync_dir(dir).during(what)?;
    fs::rename(&new, &old).during(what)?;
    sync_dir(dir).during(what)?;
    connect(dir, DATABASE, false).await.during("open the new database")
}

async fn connect(dir: &Path, name: &str, create: bool) -> Result<Table, SqlError> {
    Table::of(Db::connect(dir, name, create).await?).await
}
