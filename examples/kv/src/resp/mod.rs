//! The protocol of clients: requests in, replies out.

mod reply;
mod request;

pub(crate) use reply::{Protocol, Reply, translate, translate_from};
pub(crate) use request::{Limits, Requests};
