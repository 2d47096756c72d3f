//! The statements that write: as much as possible in one of them, as each one is handed to sqlx's thread and waited for.

use std::sync::LazyLock;

use sqlx::Arguments;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};

use raft_core::entry::Entry;

use crate::rows::Seal;

/// Rows of the largest INSERT.
pub(crate) const CHUNK: usize = 1 << (SIZES - 1);
/// Their numbers of rows are the powers of two from 1 on: few statements, so that each stays prepared.
const SIZES: usize = 9;
const COLUMNS: usize = 6;

/// With and without its beginning, with and without its end, for each number of rows and for none.
static LAST: LazyLock<Vec<String>> = LazyLock::new(|| {
    let sizes = || std::iter::once(0).chain((0..SIZES).map(|power| 1 << power));
    let variants = [(false, false), (false, true), (true, false), (true, true)];
    variants.iter().flat_map(|(begin, commit)| sizes().map(|rows| last_text(*begin, rows, *commit))).collect()
});
static MANY: LazyLock<String> = LazyLock::new(|| insert_text(CHUNK));

/// Rows without an index are not there.
fn insert_text(rows: usize) -> String {
    let rows = vec!["(?,?,?,?,?,?)"; rows].join(",");
    format!(
        "INSERT INTO log (idx, term, kind, data, crc, chain) \
         SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;"
    )
}

fn last_text(begin: bool, rows: usize, commit: bool) -> String {
    let begin = if begin { "BEGIN IMMEDIATE;" } else { "" };
    let rows = if rows == 0 { String::new() } else { insert_text(rows) };
    let commit = if commit { "COMMIT;" } else { "" };
    format!("{begin}{rows}INSERT OR REPLACE INTO meta (id, state) VALUES (1, ?);{commit}")
}

/// What appends rows of one term and kind, and the state, as one statement: SQLite makes it a transaction of its own, and
/// sqlx's thread reports once, not for each of four statements. It is a view that only this connection has, and what is done
/// where something is inserted there; nothing of it is in the file.
struct Step {
    make: String,
    insert: String,
}

static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| (0..SIZES).map(|power| step(1 << power)).collect());

/// More than the half of the rows are there, so those need no looking at; of the other ones those without a checksum are not.
fn step(rows: usize) -> Step {
    let columns: Vec<String> =
        (0..rows).map(|n| format!("NULL AS d{n}, NULL AS c{n}, NULL AS h{n}")).collect();
    // With the sign, as a plain one would give its name to the column.
    let row = |n: usize| format!("(NEW.idx + {n}, NEW.term, NEW.kind, NEW.d{n}, +NEW.c{n}, NEW.h{n})");
    let list = |range: std::ops::Range<usize>| range.map(row).collect::<Vec<_>>().join(",");
    let (sure, maybe) = (list(0..rows / 2 + 1), list(rows / 2 + 1..rows));
    let into = "INSERT INTO log (idx, term, kind, data, crc, chain)";
    let maybe = if maybe.is_empty() {
        maybe
    } else {
        format!("{into} SELECT * FROM (VALUES {maybe}) WHERE column5 IS NOT NULL;")
    };
    let make = format!(
        "CREATE TEMP VIEW step_{rows} AS SELECT NULL AS idx, NULL AS term, NULL AS kind, NULL AS state, {};\
         CREATE TEMP TRIGGER append_{rows} INSTEAD OF INSERT ON step_{rows} BEGIN \
         {into} VALUES {sure};{maybe}\
         INSERT OR REPLACE INTO meta (id, state) VALUES (1, NEW.state); END;",
        columns.join(",")
    );
    let insert = format!("INSERT INTO step_{rows} VALUES (?,?,?,?{})", ",?,?,?".repeat(rows));
    Step { make, insert }
}

/// Rows of one term and kind, a power of two or a few less, and the state. What makes its view comes with it.
pub(crate) struct Append<'q> {
    pub(crate) power: u32,
    pub(crate) make: &'static str,
    pub(crate) query: Prepared<'q>,
}

/// `None` if they are not alike, or too many.
pub(crate) fn append<'q>(rows: &[Row<'_>], state: Vec<u8>) -> Result<Option<Append<'q>>, sqlx::Error> {
    let Some((first, _)) = rows.first() else { return Ok(None) };
    let size = rows.len().next_power_of_two();
    let power = size.trailing_zeros();
    let alike = |(entry, _): &Row<'_>| entry.id.term == first.id.term && entry.kind == first.kind;
    let Some(step) = STEPS.get(power as usize).filter(|_| rows.iter().all(alike)) else { return Ok(None) };
    let mut all = SqliteArguments::default();
    all.reserve(4 + 3 * size, 0);
    let add_all = || {
        all.add(first.id.index.0.cast_signed())?;
        all.add(first.id.term.0.cast_signed())?;
        all.add(i64::from(first.kind.as_u8()))?;
        all.add(state)?;
        for (entry, seal) in rows {
            all.add(entry.data.to_vec())?;
            all.add(i64::from(seal.crc))?;
            all.add(seal.chain.cast_signed())?;
        }
        (3 * rows.len()..3 * size).try_for_each(|_| all.add(None::<i64>))
    };
    add_all().map_err(sqlx::Error::Encode)?;
    let query = sqlx::query_with(step.insert.as_str(), all);
    Ok(Some(Append { power, make: step.make.as_str(), query }))
}

type Prepared<'q> = Query<'q, Sqlite, SqliteArguments>;
type Row<'a> = (&'a Entry, Seal);

/// Writes [`CHUNK`] rows.
pub(crate) fn insert<'q>(rows: &[Row<'_>]) -> Result<Prepared<'q>, sqlx::Error> {
    Ok(sqlx::query_with(MANY.as_str(), values(rows, CHUNK)?))
}

/// Writes the last rows, up to [`CHUNK`] of them, and the state; begins the transaction before, and commits it.
pub(crate) fn last<'q>(
    begin: bool,
    rows: &[Row<'_>],
    state: Vec<u8>,
    commit: bool,
) -> Result<Prepared<'q>, sqlx::Error> {
    let size = if rows.is_empty() { 0 } else { rows.len().next_power_of_two() };
    let power = if rows.is_empty() { 0 } else { size.trailing_zeros() as usize + 1 };
    let variant = usize::from(begin) * 2 + usize::from(commit);
    // An empty text would be done at once, and acknowledge what was never written.
    let unknown = || sqlx::Error::Encode("there is no statement for so many rows".into());
    let text = LAST.get(variant * (SIZES + 1) + power).ok_or_else(unknown)?;
    let mut all = values(rows, size)?;
    all.add(state).map_err(sqlx::Error::Encode)?;
    Ok(sqlx::query_with(text.as_str(), all))
}

/// Values for an INSERT of `size` rows.
fn values(rows: &[Row<'_>], size: usize) -> Result<SqliteArguments, sqlx::Error> {
    let mut all = SqliteArguments::default();
    all.reserve(size * COLUMNS + 1, 0);
    let mut add_all = || {
        for (entry, seal) in rows {
            all.add(entry.id.index.0.cast_signed())?;
            all.add(entry.id.term.0.cast_signed())?;
            all.add(i64::from(entry.kind.as_u8()))?;
            all.add(entry.data.to_vec())?;
            all.add(i64::from(seal.crc))?;
            all.add(seal.chain.cast_signed())?;
        }
        (rows.len() * COLUMNS..size * COLUMNS).try_for_each(|_| all.add(None::<i64>))
    };
    add_all().map_err(sqlx::Error::Encode)?;
    Ok(all)
}
