//! A backup: the data of a moment in one file, with what it is of, that can be checked by itself.

mod format;

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use raft_core::ids::{ClusterId, NodeId};
use raft_core::membership::Membership;

use crate::snapshot::{Decoder, Encoder};
use crate::store::Store;

pub(crate) use format::{BadBackup, Head, Reader};

/// The bytes of a backup file, piece by piece.
#[derive(Debug)]
pub(crate) struct Stream {
    head: Option<Head>,
    data: Option<Encoder>,
    chunks: format::Chunks,
}

impl Stream {
    /// Of data as it is now. Takes no time.
    pub(crate) fn new(cluster: ClusterId, node: NodeId, membership: Membership, data: Store) -> Self {
        let seconds = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let head = Head { cluster, node, seconds, upto: data.applied, membership };
        Self { head: Some(head), data: Some(Encoder::new(data)), chunks: format::Chunks::default() }
    }

    /// The next piece; `None` after the last one.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(head) = self.head.take() {
            return Some(head.encode());
        }
        if let Some(piece) = self.data.as_mut()?.next() {
            return Some(self.chunks.encode(&piece));
        }
        self.data = None;
        Some(self.chunks.encode_end())
    }
}

/// A file that is being written. It has its name only when it is whole and synced; what was there before under
/// that name is not replaced. Dropped before, it is removed.
pub(crate) struct NewFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
    done: bool,
}

impl NewFile {
    /// Begins it.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if path.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name"));
        }
        let mut part = path.to_path_buf().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        // One that a killed process has left is of no use to anybody.
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&part)?;
        file.try_lock().map_err(|_| io::Error::other("another process is writing it"))?;
        file.set_len(0)?;
        Ok(Self { file, part, path: path.to_path_buf(), done: false })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Syncs it, checks what is then there, and gives it its name.
    pub(crate) fn finish(mut self) -> Result<Checked, BadBackup> {
        self.file.sync_all()?;
        let checked = check(&self.part, false)?;
        // A link does not replace what has come meanwhile. Not every file system has links.
        if let Err(error) = fs::hard_link(&self.part, &self.path) {
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Err(error.into());
            }
            fs::rename(&self.part, &self.path)?;
        } else {
            fs::remove_file(&self.part)?;
        }
        self.done = true;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        Ok(checked)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// What a backup holds.
pub(crate) struct Checked {
    pub(crate) head: Head,
    /// How many keys, if the data was read.
    pub(crate) keys: Option<usize>,
    pub(crate) file_bytes: u64,
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Head { cluster, node, upto, seconds, .. } = &self.head;
        if let Some(keys) = self.keys {
            write!(f, "{keys} keys, ")?;
        }
        write!(
            f,
            "everything up to entry {} (term {}) of cluster {cluster}, made by node {node} on {}, {} bytes",
            upto.index,
            upto.term,
            date(*seconds),
            self.file_bytes
        )
    }
}

/// A time as people read it, as far as there are years of four digits.
fn date(seconds: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    match time.filter(|_| seconds < YEAR_10000) {
        Some(time) => httpdate::fmt_http_date(time),
        None => format!("{seconds} s after 1970"),
    }
}

/// Reads a backup to its end and checks every sum. With `data` it also builds what is in it, in memory.
///
/// # Errors
/// [`BadBackup`]
pub(crate) fn check(path: &Path, data: bool) -> Result<Checked, BadBackup> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let (head, store) = read(file, data)?;
    let keys = data.then(|| store.len());
    crate::store::aside(store);
    Ok(Checked { head, keys, file_bytes })
}

fn read(from: impl io::Read, data: bool) -> Result<(Head, Store), BadBackup> {
    let mut reader = Reader::new(BufReader::with_capacity(1 << 20, from))?;
    let mut decoder = Decoder::default();
    while let Some(chunk) = reader.next()? {
        if data {
            decoder.push(&chunk)?;
        }
    }
    let store = if data { decoder.finish()? } else { Store::default() };
    Ok((reader.head().clone(), store))
}

#[cfg(test)]
mod tests {
    use raft_core::ids::LogId;
    use raft_core::membership::Member;

    use super::*;
    use crate::command::Op;
    use crate::resp::Reply;

    /// Also what no clock says: a file may hold anything.
    #[test]
    fn every_time_can_be_told() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(1_795_800_810), "Fri, 27 Nov 2026 17:33:30 GMT");
        assert_eq!(date(253_402_300_799), "Fri, 31 Dec 9999 23:59:59 GMT");
        for seconds in [253_402_300_800, 1 << 62, u64::MAX] {
            assert_eq!(date(seconds), format!("{seconds} s after 1970"));
        }
    }

    fn sample() -> Vec<u8> {
        let mut store = Store::default();
        for number in 0..40_u32 {
            let key = number.to_string();
            store.execute(Op::Set, &[key.as_bytes(), b"value"], &mut Reply::default());
        }
        store.applied = LogId::new(3, 70);
        let member = Member::new(NodeId(1), "a:1");
        let membership = Membership::of_voters([member]).unwrap();
        let mut stream = Stream::new(ClusterId(7), NodeId(1), membership, store);
        std::iter::from_fn(|| stream.next()).flatten().collect()
    }

    #[test]
    fn what_was_written_comes_back_and_nothing_else() {
        let whole = sample();
        let (head, store) = read(&whole[..], true).unwrap();
        assert_eq!((head.cluster, head.node, head.upto), (ClusterId(7), NodeId(1), LogId::new(3, 70)));
        assert_eq!((head.membership.voters.len(), store.len()), (1, 40));
        for length in 0..whole.len() {
            assert!(read(&whole[..length], false).is_err(), "cut to {length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped[..], false).is_err(), "bit {bit}");
        }
        assert!(read(&[&whole[..], b"x"].concat()[..], false).is_err());
        assert!(matches!(read(&b"REDIS0011 and more"[..], false), Err(BadBackup::Foreign)));
    }

    /// The bytes of version 1: never edit, only add versions.
    #[test]
    fn golden_v1() {
        let mut store = Store::default();
        for (key, value) in [(&b"a"[..], &b"1"[..]), (b"b", b"value")] {
            store.execute(Op::Set, &[key, value], &mut Reply::default());
        }
        store.applied = LogId::new(3, 70);
        let membership = Membership::of_voters([Member::new(NodeId(1), "a:1")]).unwrap();
        let mut chunks = format::Chunks::default();
        let head = Head {
            cluster: ClusterId(7),
            node: NodeId(1),
            seconds: 1000,
            upto: LogId::new(3, 70),
            membership,
        };
        let mut whole = head.encode();
        let mut data = Encoder::new(store);
        while let Some(piece) = data.next() {
            whole.extend(chunks.encode(&piece));
        }
        whole.extend(chunks.encode_end());
        let hex: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("golden_v1.txt").trim());
        let (read_head, read_store) = read(&whole[..], true).unwrap();
        assert_eq!((read_head, read_store.len()), (head, 2));
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let count = || fs::read_dir(folder.path()).unwrap().count();
        let whole = sample();
        let mut file = NewFile::create(&path).unwrap();
        assert!(NewFile::create(&path).is_err(), "two at once");
        let mut file_again = NewFile::create(&folder.path().join("other")).unwrap();
        file.write(&whole[..100]).unwrap();
        assert!(!path.exists());
        drop(file);
        file_again.write(&whole[..100]).unwrap();
        assert!(file_again.finish().is_err(), "it is not whole");
        assert_eq!(count(), 0);
        let mut file = NewFile::create(&path).unwrap();
        file.write(&whole).unwrap();
        assert_eq!(file.finish().unwrap().keys, None);
        assert!(NewFile::create(&path).is_err());
        assert_eq!((count(), check(&path, true).unwrap().keys), (1, Some(40)));
    }
}
