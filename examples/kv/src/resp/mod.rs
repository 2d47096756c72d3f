//! The protocol of clients: requests in, replies out.

mod reply;
mod request;

pub(crate) use reply::{Protocol, Reply, translate};
pub(crate) use request::{Limits, Requests};
