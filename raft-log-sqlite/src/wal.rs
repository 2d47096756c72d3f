//! Judges SQLite's write-ahead log before SQLite sees it: SQLite takes the first bad frame as its end.
//! The format is SQLite's own (<https://www.sqlite.org/fileformat2.html#walformat>).
//!
//! One transaction is under way at a time, and it is synced before the next one begins. So what a crash
//! leaves at the end is a part of one transaction.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use raft_core::slots::SECTOR;

/// The name of the file.
pub(crate) const WAL: &str = "journal.db-wal";

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// So much of it has its room from the beginning, at most.
const ROOM: u64 = 8 << 20;

/// Opens the write-ahead log of an open database, beside SQLite.
pub(crate) fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(WAL))
}

/// Gives an empty write-ahead log its room, as zeros: what is then written into it changes no file's size, and a sync has
/// less to do (`docs/performance.md`). To SQLite, and to [`judge`], zeros are its end.
///
/// For the one who writes to the database, between transactions. An error leaves room for less.
pub(crate) fn make_room(mut file: &File, bytes: u64) -> io::Result<()> {
    let at = file.seek(SeekFrom::End(0))?;
    write_zeros(file, at, bytes.min(ROOM))?;
    file.sync_data()
}

/// Zeros what is behind so many frames: a transaction that was rolled back has left it there.
pub(crate) fn clear_behind(mut file: &File, frames: u64) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    if length <= HEADER as u64 {
        return Ok(());
    }
    // Without a header it has no frames.
    let page = read_header(&stored_header(file)?).map_or(0, |(_, page, _)| page);
    let at = HEADER as u64 + frames * (FRAME_HEADER + page) as u64;
    write_zeros(file, at, length)?;
    file.sync_data()
}

fn stored_header(mut file: &File) -> io::Result<Header> {
    let mut header = [0; HEADER];
    file.rewind()?;
    file.read_exact(&mut header)?;
    Ok(header)
}

fn write_header(mut file: &File, header: &Header) -> io::Result<()> {
    file.rewind()?;
    file.write_all(header)
}

/// Writes zeros from `at` to `end`.
fn write_zeros(mut file: &File, mut at: u64, end: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    let zeros = vec![0; 256 << 10];
    while at < end {
        let piece = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all(zeros.get(..piece).unwrap_or_default())?;
        at += piece as u64;
    }
    Ok(())
}

/// Empties a write-ahead log where it is, down to so many bytes: it keeps its room, which is as before once it is zeros again.
/// Answers the header that it has now; `None` where SQLite has to empty it: it is not of such a size, or has no header, or could
/// not be written.
///
/// For the one who writes to the database, between transactions, when all of it has been moved into the database, durably, and
/// the next transaction begins at its head: whether that one did says [`has_begun_anew`]. Another header comes first, so that
/// what is left of the frames, where this is cut, has none that it belongs to: to SQLite, and to [`judge`], that is empty.
///
/// # Errors
/// That of `sync`, which makes the file durable: it is not to be tried again (J8).
pub(crate) fn empty_in_place(
    file: &File,
    bytes: u64,
    sync: impl Fn(&File) -> io::Result<()>,
) -> io::Result<Option<Header>> {
    let Some(other) = fitting_header(file, bytes).ok().flatten() else { return Ok(None) };
    if write_header(file, &other).is_err() {
        return Ok(None);
    }
    sync(file)?;
    // Not every file system writes over what is there without space.
    if file.set_len(bytes).and_then(|()| write_zeros(file, HEADER as u64, bytes)).is_err() {
        return Ok(None);
    }
    sync(file)?;
    Ok(Some(other))
}

/// Another header for a log that can be emptied to so many bytes.
fn fitting_header(mut file: &File, bytes: u64) -> io::Result<Option<Header>> {
    let length = file.seek(SeekFrom::End(0))?;
    if bytes > ROOM || bytes < HEADER as u64 || length < bytes || length > bytes + ROOM {
        return Ok(None);
    }
    Ok(other_header(&stored_header(file)?))
}

/// What a write-ahead log begins with.
pub(crate) type Header = [u8; HEADER];

/// Whether a log has begun anew since it got this header when it was [emptied](empty_in_place).
pub(crate) fn has_begun_anew(file: &File, emptied: &Header) -> io::Result<bool> {
    Ok(stored_header(file)? != *emptied)
}

/// The second salt, which is random, of the log that was emptied under a header with this one.
fn other_salt(salt: [u8; 4]) -> [u8; 4] {
    salt.map(|byte| !byte)
}

/// A sound header like this one, to which no frame of the log belongs. `None` if this is none.
fn other_header(header: &Header) -> Option<Header> {
    let (big, ..) = read_header(header)?;
    let mut other = *header;
    let salt = other.get_mut(20..24)?.first_chunk_mut::<4>()?;
    *salt = other_salt(*salt);
    let sum = checksum(big, (0, 0), other.get(..24)?);
    other.get_mut(24..)?.copy_from_slice([sum.0.to_be_bytes(), sum.1.to_be_bytes()].as_flattened());
    Some(other)
}

/// The order of bytes that checksums are made in, the size of a page, and the checksum, if it is a sound header.
fn read_header(header: &[u8]) -> Option<(bool, usize, (u32, u32))> {
    let magic = word(header, 0)?;
    let big = magic & 1 == 1;
    let sum = checksum(big, (0, 0), header.get(..24)?);
    let page = word(header, 8)? as usize;
    let sound = magic & !1 == 0x377f_0682
        && sum == (word(header, 24)?, word(header, 28)?)
        && page.is_power_of_two()
        && (512..=65536).contains(&page);
    sound.then_some((big, page, sum))
}

/// What a write-ahead log is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It ends with a complete transaction, or is empty.
    Sound,
    /// The last transaction is incomplete, in a way that a crash explains.
    Torn {
        /// Where it begins, in bytes.
        at: u64,
    },
    /// Damaged in a way that no crash explains.
    Damaged {
        /// Where, in bytes.
        at: u64,
        /// What is wrong.
        reason: &'static str,
        /// A later transaction proves that the damaged one was acknowledged.
        proved: bool,
    },
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|four| u32::from_be_bytes(*four))
}

/// SQLite's checksum over pairs of words.
fn checksum(big: bool, mut sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in pairs {
        let read = |four| if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) };
        sum.0 = sum.0.wrapping_add(read([*a, *b, *c, *d])).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(read([*e, *f, *g, *h])).wrapping_add(sum.0);
    }
    sum
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether a sector of the file that this part is in was never written since `sound_to`, where what is durable ends:
/// sectors are written as a whole.
fn lacks_sector(bytes: &[u8], sound_to: usize, part: Range<usize>) -> bool {
    let first = part.start / SECTOR * SECTOR;
    (first..part.end).step_by(SECTOR).any(|sector| {
        let end = (sector + SECTOR).min(bytes.len());
        bytes.get(sector.max(sound_to)..end).is_some_and(is_zero)
    })
}

/// Looks at a whole file.
pub(crate) fn judge(bytes: &[u8]) -> Shape {
    // What holds nothing yet has room for the rest.
    if is_zero(bytes) {
        return Shape::Sound;
    }
    let Some((header, frames)) = bytes.split_at_checked(HEADER) else { return Shape::Torn { at: 0 } };
    let damaged = |at: usize, reason, proved| Shape::Damaged { at: at as u64, reason, proved };
    let Some((big, page, mut sum)) = read_header(header) else {
        // The header is synced before the first frame is written.
        return damaged(0, "the header of the write-ahead log", !is_zero(frames));
    };
    let salt = header.get(16..24).unwrap_or_default();
    let salts = || frames.chunks(FRAME_HEADER + page).filter_map(|frame| frame.get(8..16));
    let emptied = header.get(20..24).and_then(|half| Some(other_salt(*half.first_chunk()?)));
    let was_here = |found: &[u8]| {
        found.get(..4) == salt.get(..4) && found.get(4..) == emptied.as_ref().map(|half| &half[..])
    };
    if salts().any(was_here) && !salts().any(|found| found == salt) {
        // It was being emptied in place.
        return Shape::Sound;
    }
    let mut sound_to = HEADER;
    let mut at = HEADER;
    let mut broken = None;
    for frame in frames.chunks(FRAME_HEADER + page) {
        let whole = frame.len() == FRAME_HEADER + page;
        let same_salt = frame.get(8..16) == Some(salt);
        let commits = word(frame, 4).unwrap_or(0) != 0;
        if broken.is_none() {
            let next = checksum(big, sum, frame.get(..8).unwrap_or_default());
            let next = checksum(big, next, frame.get(FRAME_HEADER..).unwrap_or_default());
            let stored = (word(frame, 16).unwrap_or(0), word(frame, 20).unwrap_or(0));
            if whole && same_salt && next == stored {
                sum = next;
                if commits {
                    sound_to = at + frame.len();
                }
            } else if is_zero(bytes.get(at..).unwrap_or_default()) {
                break;
            } else {
                let lacks = !whole || lacks_sector(bytes, sound_to, at..at + frame.len());
                broken = Some((at, lacks, commits && same_salt));
            }
        } else if let Some((first, lacks, ended)) = broken {
            // The frame after one that ended a transaction belongs to a later one.
            if ended && whole && same_salt {
                return damaged(first, "a frame of the write-ahead log", true);
            }
            broken = Some((first, lacks, ended || (commits && same_salt && whole)));
        }
        at += frame.len();
    }
    match broken {
        Some((first, false, _)) => damaged(first, "a frame of the write-ahead log", false),
        Some((_, true, _)) => Shape::Torn { at: sound_to as u64 },
        None if sound_to < at => Shape::Torn { at: sound_to as u64 },
        None => Shape::Sound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;
    const FRAME: usize = FRAME_HEADER + PAGE;

    /// A log of transactions of two frames each.
    fn log(transactions: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [0x377f_0682, 3_007_000, PAGE as u32, 0, 0x1111_2222, 0x3333_4444_u32] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        let mut sum = checksum(false, (0, 0), &bytes);
        bytes.extend_from_slice(&[sum.0.to_be_bytes(), sum.1.to_be_bytes()].concat());
        for number in 0..transactions * 2 {
            let commit = if number % 2 == 1 { 9_u32 } else { 0 };
            let head = [u32::from(number + 1).to_be_bytes(), commit.to_be_bytes()].concat();
            let page = vec![number + 1; PAGE];
            sum = checksum(false, checksum(false, sum, &head), &page);
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(&[0x1111_2222_u32.to_be_bytes(), 0x3333_4444_u32.to_be_bytes()].concat());
            bytes.extend_from_slice(&[sum.0.to_be_bytes(), sum.1.to_be_bytes()].concat());
            bytes.extend_from_slice(&page);
        }
        bytes
    }

    /// The same, with room behind it.
    fn with_room(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(HEADER + 9 * FRAME + 77, 0);
        bytes
    }

    #[test]
    fn what_is_complete_is_sound() {
        assert_eq!(judge(&[]), Shape::Sound);
        assert_eq!(judge(&with_room(Vec::new())), Shape::Sound);
        for transactions in [0, 1, 3] {
            assert_eq!(judge(&log(transactions)), Shape::Sound);
            assert_eq!(judge(&with_room(log(transactions))), Shape::Sound);
        }
    }

    #[test]
    fn a_cut_of_the_last_transaction_is_torn() {
        let whole = log(3);
        let begins = HEADER + 4 * FRAME;
        for cut in begins + 1..whole.len() {
            let none = is_zero(&whole[begins..cut]);
            let expected = if none { Shape::Sound } else { Shape::Torn { at: begins as u64 } };
            assert_eq!(judge(&whole[..cut]), expected, "cut to {cut}");
        }
    }

    /// Its sectors reach the disk in any order, and each as a whole.
    #[test]
    fn a_last_transaction_of_which_sectors_are_missing_is_torn() {
        let begins = HEADER + 4 * FRAME;
        for room in [log as fn(u8) -> Vec<u8>, |transactions| with_room(log(transactions))] {
            let whole = room(3);
            let ends = log(3).len();
            let sectors: Vec<usize> = (begins / SECTOR * SECTOR..ends).step_by(SECTOR).collect();
            for missing in 1_u32..1 << sectors.len() {
                let mut bytes = whole.clone();
                for (n, sector) in sectors.iter().enumerate().filter(|(n, _)| missing >> n & 1 == 1) {
                    let end = (sector + SECTOR).min(bytes.len());
                    bytes[(*sector).max(begins)..end].fill(0);
                    assert!(n < 32);
                }
                let none = is_zero(&bytes[begins..]);
                let expected = if none { Shape::Sound } else { Shape::Torn { at: begins as u64 } };
                assert_eq!(judge(&bytes), expected, "missing {missing:b}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_and_an_earlier_one_is_proved() {
        for whole in [log(3), with_room(log(3))] {
            for at in 0..log(3).len() {
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1 << bit;
                    let shape = judge(&bytes);
                    let Shape::Damaged { proved, .. } = shape else { panic!("bit {bit} of {at}: {shape:?}") };
                    // Whose own frame says no more that it ends a transaction proves nothing by itself.
                    if at < HEADER + 2 * FRAME {
                        assert!(proved, "bit {bit} of {at}");
                    }
                }
            }
        }
    }

    /// A header alone proves nothing, whatever room is behind it.
    #[test]
    fn a_broken_header_before_nothing_is_damage_without_proof() {
        let mut bytes = with_room(log(0));
        bytes[9] ^= 1;
        assert!(matches!(judge(&bytes), Shape::Damaged { at: 0, proved: false, .. }));
    }

    #[test]
    fn what_was_written_behind_room_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WAL);
        let file = open(folder.path()).unwrap();
        make_room(&file, 300_000).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), vec![0; 300_000]);
        std::fs::write(&path, log(3)).unwrap();
        make_room(&file, 5000).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [log(3), vec![0; 5000 - log(3).len()]].concat());
        make_room(&file, 100).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 5000);
    }

    fn content(mut file: &File) -> Vec<u8> {
        let mut now = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut now).unwrap();
        now
    }

    /// What a log is once it was emptied down to so many bytes, if it was. The other header was durable before anything else.
    fn emptied(log: &[u8], bytes: u64) -> Option<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(log).unwrap();
        let synced = std::cell::RefCell::new(Vec::new());
        let sync = |file: &File| {
            synced.borrow_mut().push(content(file));
            Ok(())
        };
        let header = empty_in_place(&file, bytes, sync).unwrap()?;
        assert!(!has_begun_anew(&file, &header).unwrap());
        let now = content(&file);
        assert_eq!(synced.into_inner(), [[&header[..], &log[HEADER..]].concat(), now.clone()]);
        file.rewind().unwrap();
        file.write_all(&log[..HEADER]).unwrap();
        assert!(has_begun_anew(&file, &header).unwrap());
        Some(now)
    }

    /// The one is another way; the other is the end.
    #[test]
    fn a_log_that_cannot_be_written_is_left_to_sqlite_and_a_failed_sync_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WAL);
        std::fs::write(&path, log(3)).unwrap();
        let bytes = log(3).len() as u64;
        let fails = |_: &File| Err(io::Error::other("a sync that was told to fail"));
        assert_eq!(empty_in_place(&File::open(&path).unwrap(), bytes, fails).unwrap(), None);
        assert_eq!(std::fs::read(&path).unwrap(), log(3));
        assert!(empty_in_place(&open(folder.path()).unwrap(), bytes, fails).is_err());
    }

    #[test]
    fn what_was_rolled_back_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WAL);
        // Its salts are right, its checksums are not: as SQLite leaves what found no space.
        let mut left = with_room(log(3));
        left[HEADER + 4 * FRAME + 16] ^= 1;
        std::fs::write(&path, &left).unwrap();
        assert!(matches!(judge(&left), Shape::Damaged { .. }));
        let file = open(folder.path()).unwrap();
        clear_behind(&file, 4).unwrap();
        assert_eq!(content(&file), with_room(log(2)));
        clear_behind(&file, 0).unwrap();
        assert_eq!(content(&file), with_room(log(0)));
        for nothing in [Vec::new(), log(0)] {
            std::fs::write(&path, &nothing).unwrap();
            clear_behind(&file, 7).unwrap();
            assert_eq!(content(&file), nothing);
        }
    }

    #[test]
    fn what_is_emptied_is_a_header_and_room() {
        let whole = with_room(log(3));
        for shorter in [0, 1, 700] {
            let bytes = whole.len() - shorter;
            let now = emptied(&whole, bytes as u64).unwrap();
            assert!(now.len() == bytes && is_zero(&now[HEADER..]) && now[..HEADER] != whole[..HEADER]);
            assert_eq!(judge(&now), Shape::Sound);
        }
        // Shorter than its room; without a header; with a broken one; of a size that would be zeroed for long.
        let len = whole.len() as u64;
        assert_eq!(emptied(&whole, len + 1), None);
        assert_eq!(emptied(&with_room(Vec::new()), len), None);
        let mut broken = whole.clone();
        broken[17] ^= 1;
        assert_eq!(emptied(&broken, len), None);
        assert_eq!(emptied(&whole, HEADER as u64 - 1), None);
        let mut large = whole;
        large.resize(usize::try_from(ROOM).unwrap() + 5001, 0);
        assert_eq!(emptied(&large, 5000), None);
        assert_eq!(emptied(&large, ROOM + 1), None);
    }

    /// Its sectors reach the disk in any order behind its header: nothing of it is taken for damage, and nothing for sound
    /// frames.
    #[test]
    fn a_log_that_was_being_emptied_is_empty() {
        for whole in [log(3), with_room(log(3))] {
            let now = emptied(&whole, whole.len() as u64).unwrap();
            let sectors: Vec<usize> = (0..whole.len()).step_by(SECTOR).collect();
            for zeroed in 0_u32..1 << sectors.len() {
                let mut bytes = [&now[..HEADER], &whole[HEADER..]].concat();
                for (_, sector) in sectors.iter().enumerate().filter(|(n, _)| zeroed >> n & 1 == 1) {
                    let part = (*sector).max(HEADER)..(sector + SECTOR).min(whole.len());
                    bytes[part.clone()].copy_from_slice(&now[part]);
                }
                let shape = judge(&bytes);
                let empty = [Shape::Sound, Shape::Torn { at: HEADER as u64 }];
                assert!(empty.contains(&shape), "zeroed {zeroed:b}: {shape:?}");
            }
        }
    }

    /// What says that a log was being emptied says nothing where there are frames of its header.
    #[test]
    fn a_log_with_frames_of_its_own_was_not_being_emptied() {
        for frame in 0..6 {
            let mut bytes = with_room(log(3));
            let salt = HEADER + frame * FRAME + 12;
            bytes[salt..salt + 4].iter_mut().for_each(|byte| *byte = !*byte);
            assert!(matches!(judge(&bytes), Shape::Damaged { .. }), "frame {frame}");
        }
    }

    /// A header that was written and has never reached the disk: its frames belong neither to the one before, nor to what was
    /// emptied under that.
    #[test]
    fn frames_of_another_header_are_damage() {
        let whole = with_room(log(3));
        let now = emptied(&whole, whole.len() as u64).unwrap();
        let mut bytes = [&now[..HEADER], &whole[HEADER..]].concat();
        for frame in 0..6 {
            bytes[HEADER + frame * FRAME + 11] += 1;
        }
        assert!(matches!(judge(&bytes), Shape::Damaged { .. }));
    }
}
