//! Folders as text: what a version of a format has written, to be kept beside the tests for good.
//!
//! A golden file that is never edited shows that today's code still reads what an earlier version wrote. Journals are
//! mostly zeros and change in single bytes, so a folder is kept as lines of hexadecimal that a review can read:
//!
//! ```text
//! file hs.a 8192
//! 00000000 52534c54b1f1...    32 bytes at this offset; lines of nothing but zeros are left out
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// The files of a folder, by name.
///
/// # Examples
/// ```
/// use raft_testkit::pinned::Files;
///
/// let earlier = Files::from([("log".into(), vec![1]), ("meta".into(), vec![2])]);
/// let now = Files::from([("log".into(), vec![1]), ("meta".into(), vec![3])]);
/// // Which files of a format have changed.
/// let changed: Vec<&String> = now.keys().filter(|name| earlier.get(*name) != now.get(*name)).collect();
/// assert_eq!(changed, ["meta"]);
/// ```
pub type Files = BTreeMap<String, Vec<u8>>;

/// The bytes of one line.
const ROW_BYTES: usize = 32;

/// The files as text.
///
/// # Examples
/// ```
/// use raft_testkit::pinned::{Files, from_text, to_text};
///
/// let files = Files::from([("state".into(), [vec![0; 64], vec![7]].concat())]);
/// let text = to_text(&files);
/// assert_eq!(text, "file state 65\n00000040 07\n");
/// assert_eq!(from_text(&text).unwrap(), files);
/// ```
#[must_use]
pub fn to_text(files: &Files) -> String {
    let mut out = String::new();
    for (name, bytes) in files {
        // Writing to a string does not fail.
        let _ = writeln!(out, "file {name} {}", bytes.len());
        for (number, row) in
            bytes.chunks(ROW_BYTES).enumerate().filter(|(_, row)| row.iter().any(|b| *b != 0))
        {
            let _ = write!(out, "{:08x} ", number * ROW_BYTES);
            row.iter().for_each(|byte| {
                let _ = write!(out, "{byte:02x}");
            });
            out.push('\n');
        }
    }
    out
}

/// Undoes [`to_text`].
///
/// # Errors
/// The line that is none.
///
/// # Examples
/// ```
/// use raft_testkit::pinned::from_text;
///
/// let files = from_text("file state 3\n00000001 ff\n").unwrap();
/// assert_eq!(files["state"], [0, 0xff, 0]);
/// assert!(from_text("00000001 ff\n").is_err(), "bytes of no file");
/// ```
pub fn from_text(text: &str) -> Result<Files, String> {
    let mut files = Files::new();
    let mut open: Option<(String, Vec<u8>)> = None;
    for line in text.lines() {
        let bad = || format!("not a line of a pinned folder: {line}");
        if let Some(head) = line.strip_prefix("file ") {
            files.extend(open.take());
            let (name, length) = head.rsplit_once(' ').ok_or_else(bad)?;
            let length: u32 = length.parse().map_err(|_| bad())?;
            open = Some((name.to_owned(), vec![0; length as usize]));
        } else {
            let (at, hex) = line.split_once(' ').ok_or_else(bad)?;
            let at = usize::from_str_radix(at, 16).map_err(|_| bad())?;
            let row = unhex(hex).ok_or_else(bad)?;
            let (_, bytes) = open.as_mut().ok_or_else(bad)?;
            let end = at.checked_add(row.len()).ok_or_else(bad)?;
            bytes.get_mut(at..end).ok_or_else(bad)?.copy_from_slice(&row);
        }
    }
    files.extend(open);
    Ok(files)
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The files of a folder; not those in folders below it.
///
/// # Errors
/// What the file system says.
///
/// # Examples
/// ```
/// use raft_testkit::pinned::{read, to_text};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("state"), [7; 2])?;
/// std::fs::create_dir(folder.path().join("old"))?;
/// assert_eq!(to_text(&read(folder.path())?), "file state 2\n00000000 0707\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read(folder: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// Makes the folder with these files.
///
/// # Errors
/// What the file system says.
///
/// # Examples
/// ```
/// use raft_testkit::pinned::{from_text, write};
///
/// // What an earlier version has left, for today's code to open.
/// let folder = tempfile::tempdir()?;
/// let store = folder.path().join("store");
/// write(&store, &from_text("file state 2\n00000000 0707\n").unwrap())?;
/// assert_eq!(std::fs::read(store.join("state"))?, [7, 7]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write(folder: &Path, files: &Files) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..100).map(|n| if n < 40 { 0 } else { n }).collect();
        let files =
            Files::from([("a b".into(), bytes), ("empty".into(), vec![]), ("zeros".into(), vec![0; 33])]);
        write(dir.path(), &files).unwrap();
        let text = to_text(&read(dir.path()).unwrap());
        assert_eq!(text.lines().filter(|line| !line.starts_with("file ")).count(), 3, "{text}");
        assert_eq!(from_text(&text), Ok(files));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "x",
            "00000000 07",
            "file a",
            "file a b",
            "file a 1\n0 0g",
            "file a 1\n0 0707",
            "file a 1\nffffffffffffffff 07",
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }
}
