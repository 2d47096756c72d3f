#![doc = include_str!("skips.md")]
