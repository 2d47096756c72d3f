//! T11: transports of different versions.

use raft_core::backend::Refusal;

use super::super::ClauseFailure;
use super::delivery::{every_message, exchange_as};
use super::end::{End, identity};
use super::handshake::until_refused;
use super::{TransportBackend, WireVersion};
use crate::memory::TestInbox;

async fn of_version<B: TransportBackend>(
    backend: &B,
    node: u64,
    version: WireVersion,
) -> Result<End, ClauseFailure> {
    let address = backend.address();
    let transport = backend.transport_of_version(identity(node, 1).node, &address, version)?;
    End::start_this(transport, identity(node, 1), address, TestInbox::new()).await
}

pub(super) async fn t11_previous_version_interoperates<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (new, old) = (End::start(backend, 1).await?, of_version(backend, 2, WireVersion::Previous).await?);
    new.meet(&old).await;
    // What the newest version alone can say is left out where a field is new, and not sent where all of it is.
    for (from, to) in [(&new, &old), (&old, &new)] {
        exchange_as(from, to, every_message(), |message| backend.said_to_previous(message)).await?;
    }
    Ok(())
}

pub(super) async fn t11_no_common_version_is_refused<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let is_version = |why: &Refusal| matches!(why, Refusal::WireVersion { .. });
    let (new, strange) = (End::start(backend, 1).await?, of_version(backend, 2, WireVersion::Unknown).await?);
    new.transport.members(&[strange.member()]);
    strange.transport.members(&[new.member()]);
    until_refused(&new, &strange.member(), &strange, is_version).await
}
