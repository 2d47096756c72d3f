//! Commands and responses as serde types, encoded with postcard.

use core::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::session::{Call, Session, SessionError};
use super::{Applied, NodeHandle};
use crate::error::ProposeError;
use crate::ids::LogId;

/// A handle for commands of type `C` whose responses are of type `R`.
///
/// The state machine decodes with [`decode`] and answers with [`encode`].
///
/// ```
/// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
/// use raft_core::TypedNode;
///
/// let typed = TypedNode::<i64, i64>::new(node);
/// let sum: i64 = typed.propose(&4).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedNode<C, R> {
    node: NodeHandle,
    types: PhantomData<fn(C) -> R>,
}

impl<C, R> Clone for TypedNode<C, R> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), types: PhantomData }
    }
}

/// Why a typed proposal has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The command cannot be encoded. Not applied.
    #[error("the command cannot be encoded: {0}")]
    Encode(postcard::Error),
    /// The command was applied, but its response is not an `R`.
    #[error("the response to {id} cannot be decoded: {error}")]
    Decode {
        /// The entry it was applied in.
        id: LogId,
        /// Why.
        error: postcard::Error,
    },
    /// As for bytes.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// As for bytes in a session.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl<C: Serialize, R: DeserializeOwned> TypedNode<C, R> {
    /// Puts types over a handle.
    #[must_use]
    pub const fn new(node: NodeHandle) -> Self {
        Self { node, types: PhantomData }
    }

    /// The handle beneath.
    #[must_use]
    pub const fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// As [`NodeHandle::propose`], with types.
    ///
    /// # Errors
    /// [`TypedError`].
    pub async fn propose(&self, command: &C) -> Result<R, TypedError> {
        let command = encode(command).map_err(TypedError::Encode)?;
        response(&self.node.propose(command).await?)
    }

    /// As [`NodeHandle::open_session`], with types.
    ///
    /// # Errors
    /// [`TypedError::Session`].
    pub async fn open_session(
        &self,
        timeout: Option<core::time::Duration>,
    ) -> Result<TypedSession<C, R>, TypedError> {
        Ok(TypedSession::new(self.node.open_session(timeout).await?))
    }
}

fn response<R: DeserializeOwned>(applied: &Applied) -> Result<R, TypedError> {
    decode(&applied.response).map_err(|error| TypedError::Decode { id: applied.id, error })
}

/// A [`Session`] for commands of type `C` whose responses are of type `R`.
#[derive(Debug)]
pub struct TypedSession<C, R> {
    session: Session,
    types: PhantomData<fn(C) -> R>,
}

impl<C, R> Clone for TypedSession<C, R> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), types: PhantomData }
    }
}

impl<C: Serialize, R: DeserializeOwned> TypedSession<C, R> {
    /// Puts types over a session.
    #[must_use]
    pub const fn new(session: Session) -> Self {
        Self { session, types: PhantomData }
    }

    /// The session beneath: to keep it alive, and to close it.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// As [`Session::call`], with types.
    ///
    /// # Errors
    /// [`TypedError::Encode`] or [`TypedError::Session`].
    pub fn call(&self, command: &C) -> Result<TypedCall<R>, TypedError> {
        let command = encode(command).map_err(TypedError::Encode)?;
        Ok(TypedCall { call: self.session.call(command)?, response: PhantomData })
    }
}

/// A [`Call`] whose response is of type `R`.
#[derive(Debug)]
pub struct TypedCall<R> {
    call: Call,
    response: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> TypedCall<R> {
    /// The call beneath.
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// As [`Call::send`], with types.
    ///
    /// # Errors
    /// [`TypedError`].
    pub async fn send(&mut self, node: &NodeHandle) -> Result<R, TypedError> {
        response(&self.call.send(node).await?)
    }
}

/// The bytes of a value.
///
/// # Errors
/// What postcard cannot encode, such as a sequence of unknown length.
///
/// # Example
/// ```
/// use raft_core::node::typed::{decode, encode};
///
/// let bytes = encode(&("ada", 7_u64)).unwrap();
/// assert_eq!(decode::<(String, u64)>(&bytes), Ok(("ada".into(), 7)));
/// assert!(decode::<(String, u64)>(&bytes[1..]).is_err());
/// ```
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_allocvec(value)
}

/// The value of bytes from [`encode`].
///
/// # Errors
/// If they are not of that type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}
