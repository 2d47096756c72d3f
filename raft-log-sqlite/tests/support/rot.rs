//! Journals to begin with, what they held, and edits of their rows, for the fuzz targets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use raft_core::backend::{HardState, Journal, JournalWrite, Verdict, Vote};
use raft_core::entry::Entry;
use raft_core::ids::{Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_log_sqlite::SqliteJournal;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, Row};

use crate::content::Content;
use crate::fuzz::Input;
use crate::rows::{Seal, State, next_chain, row_crc};
use crate::support::{CLUSTER, GROUP, NODE, Place, append, entry, payload, used, wal};

/// What a journal holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) hard_state: HardState,
    pub(crate) peers: Vec<KnownPeer>,
    pub(crate) purged: LogId,
    pub(crate) entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    fn write(&mut self, write: &JournalWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(peers) = &write.known_peers {
            self.peers.clone_from(peers);
        }
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    /// Whether its log is the beginning of the other's, up to what was purged of either.
    pub(crate) fn is_prefix(&self, other: &Self) -> bool {
        self.entries.iter().zip(self.purged.index.0 + 1..).all(|(entry, index)| {
            let known = other.entries.iter().find(|known| known.id.index.0 == index);
            entry.id.index.0 == index && known.is_none_or(|known| known == entry)
        }) && self.last() <= other.last()
    }
}

/// A journal to begin with.
pub(crate) struct Base {
    pub(crate) image: BTreeMap<String, Content>,
    /// What it held after each write, and holds.
    pub(crate) history: Vec<Model>,
}

/// Runs something that waits.
pub(crate) fn with_runtime<T>(what: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) });
    RUNTIME.with(|place| {
        let mut place = place.borrow_mut();
        let new = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        place.get_or_insert_with(new).block_on(what)
    })
}

/// The journals to begin with, made once: of processes that were killed with much or little in the write-ahead log, and
/// of one that has ended; one where the beginning is purged; one that is new.
pub(crate) fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        with_runtime(async {
            let mut all = Vec::new();
            for (wal_bytes, killed, steps) in
                [(256 << 10, true, 6), (1, true, 6), (256 << 10, false, 6), (1, true, 8), (1, false, 0)]
            {
                all.push(base(wal_bytes, killed, steps).await);
            }
            all
        })
    })
}

async fn base(wal_bytes: u64, killed: bool, steps: usize) -> Base {
    let place = Place::new();
    let member = |node| Member::new(NodeId(node), format!("host-{node}:7100"));
    let voters = Membership::of_voters((1..=3).map(member)).unwrap();
    let options = place.options().wal_bytes(wal_bytes);
    let dir = place.dir();
    let created = SqliteJournal::create(&dir, CLUSTER, GROUP, NODE, Some(&voters), options);
    let mut journal = created.await.unwrap();
    let mut model = load(&mut journal).await.1;
    let mut history = vec![Model::default(), model.clone()];
    let peer = |node: u64| KnownPeer {
        node: NodeId(node),
        store: StoreId(u128::from(node) * 7),
        incarnation: Incarnation { number: node, nonce: 9 },
        admitted: LogId::new(1, 1),
    };
    let mut first = append((2..6).map(|index| entry(index, payload(index))).collect());
    first.hard_state = Some(HardState { term: Term(2), vote: Vote::For(NodeId(3)), ..HardState::default() });
    first.known_peers = Some((2..9).map(peer).collect());
    let mut cut = append(vec![entry(5, "another"), entry(6, "")]);
    cut.truncate_from = Some(Index(5));
    let mut vote = JournalWrite::default();
    vote.hard_state = Some(HardState { term: Term(3), vote: Vote::For(NODE), ..HardState::default() });
    let more = |index| append(vec![entry(index, payload(index))]);
    let writes = [first, cut, more(7), vote, more(8), more(9), more(10)];
    for write in writes.iter().take(steps) {
        journal.write(write.clone()).await.unwrap();
        model.write(write);
        history.push(model.clone());
    }
    if steps > 7 {
        let upto = LogId::new(1, 4);
        journal.purge(upto).await.unwrap();
        model.purged = upto;
        model.entries.retain(|entry| entry.id.index > upto.index);
        history.push(model);
    }
    let mut files = place.image();
    if !killed {
        drop(journal);
        files = place.image();
    }
    // Of its room a little is enough.
    for (_, bytes) in files.iter_mut().filter(|(path, _)| *path == wal(&dir)) {
        bytes.truncate(used(bytes) + (8 << 10));
    }
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let image = files.into_iter().map(|(path, bytes)| (name(&path), Content(bytes))).collect();
    Base { image, history }
}

/// Makes a folder of an image.
pub(crate) fn restore(place: &Place, image: &BTreeMap<String, Content>) {
    fs::create_dir_all(place.dir()).unwrap();
    for (name, bytes) in image {
        fs::write(place.dir().join(name), &**bytes).unwrap();
    }
}

pub(crate) const fn is_noticed(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Clean | Verdict::TornTail { .. })
}

/// What a journal says that it holds, and what its reader gives.
pub(crate) async fn load(journal: &mut SqliteJournal) -> (Verdict, Model) {
    let state = journal.load().await.unwrap();
    let (from, to) = (state.purged.index.next(), state.last.index.next());
    let mut entries: Vec<Entry> = Vec::new();
    while from.0 + (entries.len() as u64) < to.0 {
        let next = Index(from.0 + entries.len() as u64);
        let read = journal.reader().entries(next..to, u64::MAX).await.unwrap();
        assert!(!read.is_empty(), "nothing at {next}");
        entries.extend(read);
    }
    let (hard_state, peers, purged) = (state.hard_state, state.known_peers, state.purged);
    let model = Model { hard_state, peers, purged, entries };
    assert_eq!(model.last(), state.last);
    (state.verdict, model)
}

/// Writes what comes next.
pub(crate) async fn write_next(journal: &mut SqliteJournal, model: &mut Model) {
    let last = model.last();
    let mut next = entry(last.index.0 + 1, "and so on");
    next.id.term = last.term.max(Term(1));
    let write = append(vec![next]);
    journal.write(write.clone()).await.unwrap();
    model.write(&write);
}

/// Asks a journal for everything that it can do; what it answers is its own affair.
pub(crate) async fn use_it(journal: &mut SqliteJournal) {
    let state = journal.load().await.unwrap();
    let from = state.purged.index.0.saturating_add(1);
    let to = state.last.index.0.saturating_add(1);
    if let Ok(entries) = journal.reader().entries(Index(from)..Index(to), 1 << 20).await {
        assert!(entries.iter().zip(from..).all(|(entry, index)| entry.id.index.0 == index));
    }
    let mut next = entry(state.last.index.0.wrapping_add(1), "and so on");
    next.id.term = state.last.term;
    let written = journal.write(append(vec![next])).await;
    if written.is_ok() {
        let _ = journal.purge(state.last).await;
    }
}

/// Opens the database beside the journal's own code, as any program can.
async fn connect(place: &Place) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(place.dir().join("journal.db"));
    let options =
        options.journal_mode(SqliteJournalMode::Wal).synchronous(sqlx::sqlite::SqliteSynchronous::Off);
    options.disable_statement_logging().connect().await.unwrap()
}

/// Kinds of changes of rows.
pub(crate) const KINDS: u8 = 14;

/// Changes rows as an input says; how many changes there were.
pub(crate) async fn change_rows(place: &Place, input: &mut Input<'_>) -> usize {
    let mut db = connect(place).await;
    let mut changes = 0;
    for _ in 0..4 {
        if input.is_empty() {
            break;
        }
        let (what, row, other) = (input.byte() % KINDS, i64::from(input.byte() % 12), input.byte() % 12);
        let number = input.number().cast_signed();
        let bytes = input.bytes(4).to_vec();
        let one = match what {
            0 => sqlx::query("UPDATE log SET data = ? WHERE idx = ?").bind(bytes).bind(row),
            1 => sqlx::query("UPDATE log SET term = ? WHERE idx = ?").bind(number).bind(row),
            2 => sqlx::query("UPDATE log SET kind = ? WHERE idx = ?").bind(number).bind(row),
            3 => sqlx::query("UPDATE log SET crc = ? WHERE idx = ?").bind(number).bind(row),
            4 => sqlx::query("UPDATE log SET chain = ? WHERE idx = ?").bind(number).bind(row),
            5 => sqlx::query("UPDATE OR REPLACE log SET idx = ? WHERE idx = ?").bind(number).bind(row),
            6 => sqlx::query("DELETE FROM log WHERE idx = ?").bind(row),
            7 => sqlx::query("DELETE FROM log WHERE idx >= ?").bind(row),
            // A copy of a row in another place, or behind the end.
            8 => sqlx::query(
                "INSERT OR REPLACE INTO log SELECT ?, term, kind, data, crc, chain FROM log WHERE idx = ?",
            )
            .bind(i64::from(other))
            .bind(row),
            9 => sqlx::query("DELETE FROM meta"),
            10 => sqlx::query("UPDATE meta SET state = ?").bind(bytes),
            // Bytes in the middle of the state.
            11 => sqlx::query(
                "UPDATE meta SET state = substr(state, 1, ?1) || ?2 || substr(state, ?1 + 1 + length(?2))",
            )
            .bind(i64::from(other) * 12 + row)
            .bind(bytes),
            12 => {
                sqlx::query("UPDATE log SET data = zeroblob(?) WHERE idx = ?").bind(number & 0xffff).bind(row)
            }
            _ => sqlx::query("DELETE FROM log WHERE idx <= ?").bind(row),
        };
        changes += usize::from(one.execute(&mut db).await.is_ok_and(|done| done.rows_affected() > 0));
    }
    db.close().await.unwrap();
    changes
}

/// Makes all checksums and the chain good, and the state what an input says, or what the rows say.
pub(crate) async fn seal(place: &Place, input: &mut Input<'_>) {
    let identity = SqliteJournal::verify(&place.dir()).unwrap().identity;
    let store = identity.store;
    let mut db = connect(place).await;
    let row = sqlx::query("SELECT state FROM meta").fetch_optional(&mut db).await.unwrap();
    let known = row.and_then(|row| State::from_row(store, row.get::<&[u8], _>(0)));
    let mut state = known.unwrap_or_else(|| State::new(store));
    for _ in 0..input.below(3) {
        let number = input.number();
        match input.byte() % 6 {
            0 => state.op = number,
            1 => state.purged.index.0 = number,
            2 => state.purged.term.0 = number,
            3 => state.last.index.0 = number,
            4 => state.commit_hint.0 = number,
            _ => state.hard = number,
        }
    }
    let rows = "SELECT idx, term, kind, data FROM log WHERE idx > ? ORDER BY idx";
    let rows = sqlx::query(rows).bind(state.purged.index.0.cast_signed()).fetch_all(&mut db).await.unwrap();
    let (mut last, mut chain) = (state.purged, state.purged_chain);
    for row in rows {
        let (index, term) = (row.get::<i64, _>(0).cast_unsigned(), row.get::<i64, _>(1).cast_unsigned());
        let kind = row.get::<i64, _>(2) as u8;
        last = LogId::new(term, index);
        let crc = row_crc(store, last, kind, row.get::<&[u8], _>(3));
        chain = next_chain(chain, last, kind, crc);
        let seal = Seal { crc, chain };
        sqlx::query("UPDATE log SET crc = ?, chain = ? WHERE idx = ?")
            .bind(i64::from(seal.crc))
            .bind(seal.chain.cast_signed())
            .bind(row.get::<i64, _>(0))
            .execute(&mut db)
            .await
            .unwrap();
    }
    if input.byte() % 4 != 1 {
        state.last = last;
    }
    state.last_chain = chain;
    if let Some(bytes) = state.to_row() {
        sqlx::query("INSERT OR REPLACE INTO meta (id, state) VALUES (1, ?)")
            .bind(bytes)
            .execute(&mut db)
            .await
            .unwrap();
    }
    db.close().await.unwrap();
}
