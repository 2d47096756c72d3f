//! The simulator from the command line.

fn main() {}
