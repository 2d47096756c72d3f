//! Edits of what a disk holds: flips, missing and misdirected sectors, files cut, removed, exchanged.

use std::collections::BTreeMap;
use std::ops::DerefMut;

use super::Input;

const BLOCK: usize = 4096;

const SECTOR: usize = 512;

/// The bytes of a file.
pub trait Content: Clone + Default + PartialEq + DerefMut<Target = Vec<u8>> {}

impl<C: Clone + Default + PartialEq + DerefMut<Target = Vec<u8>>> Content for C {}

/// What a folder holds.
type Image<C> = BTreeMap<String, C>;

/// Where edits are worth something.
pub struct Places {
    /// Offsets at which there may be something.
    pub offsets: &'static [usize],
    /// Which files are edited.
    pub is_file: fn(&str) -> bool,
    /// Names of files that may not be there.
    pub others: &'static [&'static str],
}

/// Some edits.
pub struct Edited<C> {
    pub image: Image<C>,
    /// How many edits changed something.
    pub edits: usize,
    /// None of them changed more than one sector or the name or length of one file.
    pub small: bool,
}

/// Does the edits that an input asks for.
pub fn edit<C: Content>(base: &Image<C>, input: &mut Input<'_>, places: &Places) -> Edited<C> {
    let mut edited = Edited { image: base.clone(), edits: 0, small: true };
    for _ in 0..8 {
        if input.is_empty() || edited.image.len() > 24 {
            break;
        }
        let before = edited.image.clone();
        let small = one_edit(&mut edited.image, input, places);
        if edited.image != before {
            edited.edits += 1;
            edited.small &= small;
        }
    }
    edited
}

/// The name of some file, that is there or not.
fn name<C>(image: &Image<C>, input: &mut Input<'_>, places: &Places) -> String {
    let names: Vec<&String> = image.keys().filter(|name| (places.is_file)(name)).collect();
    let at = usize::from(input.byte());
    match names.get(at % (names.len() + 2)) {
        Some(name) => (*name).clone(),
        None => places.others[at % places.others.len()].into(),
    }
}

/// One edit; says whether it is small.
fn one_edit<C: Content>(image: &mut Image<C>, input: &mut Input<'_>, places: &Places) -> bool {
    let what = input.byte() % 12;
    let name = name(image, input, places);
    let other = if matches!(what, 6..=8) { self::name(image, input, places) } else { String::new() };
    let at = match input.byte() {
        place @ 0..=0x7f => {
            places.offsets[usize::from(place) % places.offsets.len()] + usize::from(input.byte())
        }
        _ => usize::from(input.word()),
    };
    if what == 5 {
        return image.remove(&name).is_some();
    }
    if what == 6 {
        let copy = image.get(&other).cloned();
        copy.into_iter().for_each(|copy| drop(image.insert(name.clone(), copy)));
        return false;
    }
    if what == 7 {
        let moved = image.remove(&other);
        moved.into_iter().for_each(|moved| drop(image.insert(name.clone(), moved)));
        return false;
    }
    let sector = at / SECTOR * SECTOR;
    let elsewhere = usize::from(input.byte()) * SECTOR;
    let source = image.get(&other).and_then(|bytes| bytes.get(elsewhere..elsewhere + SECTOR));
    let source = source.map(<[u8]>::to_vec);
    let bytes: &mut Vec<u8> = image.entry(name).or_default();
    match what {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (elsewhere / SECTOR % 8);
            }
        }
        1 => {
            // Within one sector.
            let new = input.bytes((elsewhere / SECTOR % 64 + 1).min(sector + SECTOR - at));
            let room = bytes.len().saturating_sub(at).min(new.len());
            bytes.iter_mut().skip(at).zip(&new[..room]).for_each(|(byte, new)| *byte = *new);
        }
        2 => bytes.iter_mut().skip(sector).take(SECTOR).for_each(|byte| *byte = 0),
        3 => bytes.truncate(at),
        4 => bytes.resize(bytes.len() + at.min(3 * BLOCK), 0),
        8 => {
            // Misdirected.
            if let (Some(source), Some(target)) = (source, bytes.get_mut(sector..sector + SECTOR)) {
                target.copy_from_slice(&source);
            }
        }
        9 => {
            // A field: eight bytes at a multiple of eight, or four.
            let value = input.number().to_le_bytes();
            let (at, width) =
                if (elsewhere / SECTOR).is_multiple_of(4) { (at / 4 * 4, 4) } else { (at / 8 * 8, 8) };
            if let Some(field) = bytes.get_mut(at..at + width) {
                field.copy_from_slice(&value[..width]);
            }
        }
        10 => {
            let count = elsewhere / SECTOR % 32 * SECTOR;
            bytes.iter_mut().skip(sector).take(count).for_each(|byte| *byte = 0);
            return false;
        }
        _ => {
            *bytes = input.bytes(elsewhere).to_vec();
            return false;
        }
    }
    true
}
