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
