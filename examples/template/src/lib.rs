//! A replicated service to begin with. `machine` is your data and what can be asked of it: change it first. `service`
//! puts a node together from its parts. `clients` is what your clients speak: a line of text each, until you have
//! something better. What else there is to choose is in `docs/guide` of the repository.

pub mod clients;
pub mod machine;
pub mod service;
