//! Commands and responses as serde types, encoded with postcard.

use core::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::session::{Call, Session, SessionError};
use super::{Applied, NodeHandle};
use crate::error::{Outcome, ProposeError};
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
///
/// ```
/// use raft_core::error::{Outcome, ProposeError};
/// use raft_core::node::typed::TypedError;
///
/// /// Whether the command may have been executed.
/// fn is_open(error: &TypedError) -> bool {
///     error.outcome() != Outcome::NotApplied
/// }
/// assert!(!is_open(&ProposeError::ShuttingDown.into()));
/// ```
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

impl TypedError {
    /// Whether the command may have been applied.
    ///
    /// ```
    /// use raft_core::error::Outcome;
    /// use raft_core::ids::LogId;
    /// use raft_core::node::typed::{TypedError, decode};
    ///
    /// let error = decode::<i64>(&[]).unwrap_err();
    /// // It was executed, and what the state machine has answered is not of that type.
    /// let unreadable = TypedError::Decode { id: LogId::new(3, 17), error };
    /// assert_eq!(unreadable.outcome(), Outcome::Applied);
    /// ```
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Encode(_) => Outcome::NotApplied,
            Self::Decode { .. } => Outcome::Applied,
            Self::Propose(error) => error.outcome(),
            Self::Session(error) => error.outcome(),
        }
    }
}

impl<C: Serialize, R: DeserializeOwned> TypedNode<C, R> {
    /// Puts types over a handle.
    ///
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use raft_core::TypedNode;
    ///
    /// // The state machine decodes what is asked, and encodes what was there before.
    /// #[derive(serde::Serialize)]
    /// enum Ask {
    ///     Put(String, String),
    ///     Remove(String),
    /// }
    /// let typed = TypedNode::<Ask, Option<String>>::new(node);
    /// typed.propose(&Ask::Put("ada".into(), "1815".into())).await?;
    /// let was = typed.propose(&Ask::Remove("ada".into())).await?;
    /// println!("{was:?}");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn new(node: NodeHandle) -> Self {
        Self { node, types: PhantomData }
    }

    /// The handle beneath.
    ///
    /// ```
    /// # async fn example(typed: raft_core::TypedNode<i64, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// // All that has nothing to do with commands is there.
    /// let index = typed.node().read_barrier().await?;
    /// assert!(typed.node().status().applied_index >= index);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// As [`NodeHandle::propose`], with types.
    ///
    /// # Errors
    /// [`TypedError`].
    ///
    /// # Example
    /// ```
    /// # async fn example(typed: raft_core::TypedNode<i64, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// let before = typed.propose(&0).await?;
    /// let after = typed.propose(&4).await?;
    /// assert!(after >= before + 4, "others may have added as well");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn propose(&self, command: &C) -> Result<R, TypedError> {
        let command = encode(command).map_err(TypedError::Encode)?;
        response(&self.node.propose(command).await?)
    }

    /// As [`NodeHandle::open_session`], with types.
    ///
    /// # Errors
    /// [`TypedError::Session`].
    ///
    /// # Example
    /// ```
    /// # async fn example(typed: raft_core::TypedNode<i64, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// use core::time::Duration;
    ///
    /// let session = typed.open_session(Some(Duration::from_secs(60))).await?;
    /// // Whatever is sent again is executed once.
    /// let sum: i64 = session.call(&4)?.send(typed.node()).await?;
    /// assert!(sum >= 4);
    /// # Ok(())
    /// # }
    /// ```
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
///
/// ```
/// # async fn example(typed: raft_core::TypedNode<i64, i64>) -> Result<(), Box<dyn std::error::Error>> {
/// // Calls of one session may be under way together; a clone belongs to the same session.
/// let session = typed.open_session(None).await?;
/// let (mut one, mut other) = (session.call(&4)?, session.clone().call(&5)?);
/// let (first, second) = (one.send(typed.node()).await?, other.send(typed.node()).await?);
/// assert!(second >= first + 5);
/// # Ok(())
/// # }
/// ```
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
    ///
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use raft_core::TypedSession;
    /// use raft_core::node::typed::encode;
    ///
    /// // One session for two kinds of commands.
    /// let session = node.open_session(None).await?;
    /// let numbers = TypedSession::<i64, i64>::new(session.clone());
    /// let mut number = numbers.call(&4)?;
    /// let mut bytes = session.call(encode(&5_i64)?)?;
    /// number.send(&node).await?;
    /// bytes.send(&node).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn new(session: Session) -> Self {
        Self { session, types: PhantomData }
    }

    /// The session beneath: to keep it alive, and to close it.
    ///
    /// ```
    /// # async fn example(typed: raft_core::TypedNode<i64, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// let session = typed.open_session(None).await?;
    /// // From time to time while there are no calls, and once there will be none any more.
    /// session.session().keep_alive().await?;
    /// session.session().close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// As [`Session::call`], with types.
    ///
    /// # Errors
    /// [`TypedError::Encode`] or [`TypedError::Session`].
    ///
    /// # Example
    /// ```
    /// # async fn example(typed: raft_core::TypedNode<i64, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// let session = typed.open_session(None).await?;
    /// // Nothing is sent by this: it gives the command its number.
    /// let (one, other) = (session.call(&4)?, session.call(&4)?);
    /// assert!(one.call().sequence() < other.call().sequence());
    /// # Ok(())
    /// # }
    /// ```
    pub fn call(&self, command: &C) -> Result<TypedCall<R>, TypedError> {
        let command = encode(command).map_err(TypedError::Encode)?;
        Ok(TypedCall { call: self.session.call(command)?, response: PhantomData })
    }
}

/// A [`Call`] whose response is of type `R`.
///
/// ```
/// # use raft_core::{NodeHandle, TypedSession};
/// # async fn example(
/// #     session: TypedSession<i64, i64>,
/// #     nodes: &[NodeHandle],
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let mut call = session.call(&4)?;
/// for node in nodes {
///     // The same call through another node is not another command.
///     if let Ok(sum) = call.send(node).await {
///         println!("{sum}");
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedCall<R> {
    call: Call,
    response: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> TypedCall<R> {
    /// The call beneath.
    ///
    /// ```
    /// # fn example(session: raft_core::TypedSession<i64, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// let call = session.call(&4)?;
    /// println!("command {} is not done yet", call.call().sequence());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// As [`Call::send`], with types.
    ///
    /// # Errors
    /// [`TypedError`].
    ///
    /// # Example
    /// ```
    /// # use raft_core::{NodeHandle, TypedSession};
    /// # async fn example(
    /// #     session: TypedSession<i64, i64>,
    /// #     node: NodeHandle,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use raft_core::node::typed::TypedError;
    ///
    /// let mut call = session.call(&4)?;
    /// let sum = loop {
    ///     match call.send(&node).await {
    ///         Err(TypedError::Session(error)) if error.may_be_sent_again() => {}
    ///         result => break result?,
    ///     }
    /// };
    /// println!("{sum}");
    /// # Ok(())
    /// # }
    /// ```
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
///
/// # Example
/// ```
/// use raft_core::node::typed::{decode, encode};
///
/// // A state machine that decodes what it knows answers what it does not know instead of failing.
/// let answer = |command: &[u8]| decode::<i64>(command).map_or(Err("no number"), |number| Ok(number + 1));
/// assert_eq!(answer(&encode(&4_i64).unwrap()), Ok(5));
/// assert_eq!(answer(b""), Err("no number"));
/// ```
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}
