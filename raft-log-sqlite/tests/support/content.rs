//! The bytes of a file, as edits want them.

use std::ops::{Deref, DerefMut};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content(pub(crate) Vec<u8>);

impl Deref for Content {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Content {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
