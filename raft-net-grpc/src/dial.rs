//! One HTTP/2 connection to a peer, from the address to the end of the handshake.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use raft_core::backend::Refusal;
use raft_core::message::Lane;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Code, Status, Streaming};

use crate::group::{Executor, Group, Guard};
use crate::handshake::{self, Said};
use crate::lane::{self, Greeter};
use crate::peer::Peer;
use crate::proto::Frame;
use crate::proto::raft_client::RaftClient;
use crate::security::is_refusal;
use crate::transport::{Options, Shared};

/// Why there is no stream to a peer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection.
    Connect(io::Error),
    /// A connection, but no handshake.
    Io(io::Error),
    /// A connection to somebody who is not what it must be, before a word was spoken.
    Insecure(io::Error),
    Refused {
        ours: bool,
        why: Refusal,
    },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::of(io_error(error))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // A server that wants a proof, and got none from this side.
        let unproven = status.code() == Code::Unauthenticated;
        let error = io_error(status);
        if unproven { Self::Insecure(error) } else { Self::of(error) }
    }
}

impl Failure {
    /// The other side's refusal may come after this side was content.
    fn of(error: io::Error) -> Self {
        if is_refusal(&error) { Self::Insecure(error) } else { Self::Io(error) }
    }
}

/// What the operating system said, if it was that.
pub(crate) fn io_error(error: impl Error + Send + Sync + 'static) -> io::Error {
    let kind = {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        loop {
            match cause {
                Some(this) => match this.downcast_ref::<io::Error>() {
                    Some(found) => break found.kind(),
                    None => cause = this.source(),
                },
                None => break io::ErrorKind::Other,
            }
        }
    };
    io::Error::new(kind, error)
}

/// A stream to a peer, after the handshake. Dropped, it closes the connection.
#[derive(Debug)]
pub(crate) struct Link {
    _guard: Guard,
    replies: Streaming<Frame>,
}

impl Link {
    /// The next thing that the listener says: it does so only to say why it ends.
    pub(crate) async fn reply(&mut self) -> Result<Option<Said>, Status> {
        match self.replies.message().await? {
            Some(frame) => match handshake::read(frame) {
                Ok(said) => Ok(Some(said)),
                Err(error) => Err(Status::invalid_argument(error.to_string())),
            },
            None => Ok(None),
        }
    }
}

/// A connection, as the generated client wants it.
struct Connection(SendRequest<Body>);

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, hyper::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Connects a lane of `peer` and shakes hands; opens its queue.
pub(crate) async fn dial(
    peer: &Arc<Peer>,
    address: &str,
    lane: Lane,
    shared: &Shared,
) -> Result<Link, Failure> {
    let attempt = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the address names no host");
        let found = tokio::net::lookup_host(address).await.map_err(Failure::Connect)?;
        let addresses: Vec<SocketAddr> = found.collect();
        for socket in addresses {
            match TcpStream::connect(socket).await {
                Ok(stream) => return greet(stream, peer, address, lane, shared).await,
                Err(error) => last = error,
            }
        }
        Err(Failure::Connect(last))
    };
    let late = || Failure::Io(io::Error::new(io::ErrorKind::TimedOut, "no handshake in time"));
    tokio::time::timeout(shared.options.handshake_timeout, attempt).await.unwrap_or_else(|_| Err(late()))
}

async fn greet(
    stream: TcpStream,
    peer: &Arc<Peer>,
    address: &str,
    lane: Lane,
    shared: &Shared,
) -> Result<Link, Failure> {
    shared.options.prepare(&stream)?;
    let guard = Group::begin(Arc::clone(&shared.tasks));
    let secured =
        shared.security.connect(stream, shared.local.cluster, peer.reach.id()).await.map_err(Failure::of)?;
    if let Some(proof) = secured.proof {
        let refused = |why| Failure::Refused { ours: true, why };
        proof.check(shared.local.cluster, peer.reach.id()).map_err(refused)?;
    }
    let io = TokioIo::new(secured.stream);
    let (sender, connection) = builder(&guard, &shared.options).handshake(io).await?;
    let running = guard.0.spawn(async move {
        // How it ended is seen by its stream.
        let _ = connection.await;
    });
    if !running {
        return Err(io::Error::from(io::ErrorKind::NotConnected).into());
    }
    let origin = address.parse::<http::uri::Authority>().map_or_else(
        |_| http::Uri::from_static("http://raft"),
        |authority| {
            let uri = http::Uri::builder().scheme("http").authority(authority).path_and_query("/").build();
            uri.unwrap_or_else(|_| http::Uri::from_static("http://raft"))
        },
    );
    let mut client = RaftClient::with_origin(Connection(sender), origin)
        .max_decoding_message_size(GREETING_BYTES)
        .max_encoding_message_size(usize::MAX);
    let (greeter, outbound) = lane::outbound(Arc::clone(peer), lane);
    let listen = if peer.reach.is_guest() { "" } else { &shared.advertised };
    greeter.say(handshake::hello(shared.options.wire_versions, shared.local, peer.reach.id(), listen));
    let replies = match lane {
        Lane::Control => client.control(outbound).await,
        Lane::Bulk => client.bulk(outbound).await,
    };
    let mut link = Link { _guard: guard, replies: replies?.into_inner() };
    answer(&mut link, greeter, peer, shared).await?;
    Ok(link)
}

/// No frame of a handshake is longer, in bytes.
pub(crate) const GREETING_BYTES: usize = 4096;

/// The dialler's part of the handshake after its hello.
async fn answer(link: &mut Link, greeter: Greeter, peer: &Arc<Peer>, shared: &Shared) -> Result<(), Failure> {
    let verdict = match link.reply().await? {
        Some(Said::Refused(why)) => return Err(Failure::Refused { ours: false, why }),
        Some(Said::Welcome { version, identity }) => handshake::check_welcome(
            shared.options.wire_versions,
            shared.local,
            peer.reach.id(),
            version,
            identity,
        )
        .map(|identity| (identity, version)),
        Some(_) => return Err(io::Error::other("an unexpected frame in the handshake").into()),
        None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    };
    let verdict = match verdict {
        Ok((identity, version)) => shared.inbox.admit(identity).await.map(|()| version),
        Err(why) => Err(why),
    };
    match verdict {
        Ok(version) => {
            greeter.ready(handshake::ready(), version);
            Ok(())
        }
        Err(why) => {
            greeter.say(handshake::refused(&why));
            drop(greeter);
            // The listener ends the stream when it has heard it.
            while let Ok(Some(_)) = link.reply().await {}
            Err(Failure::Refused { ours: true, why })
        }
    }
}

fn builder(guard: &Guard, options: &Options) -> Builder<Executor> {
    let mut builder = Builder::new(Executor(Arc::clone(&guard.0)));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(options.keep_alive)
        .keep_alive_timeout(options.keep_alive_timeout)
        .keep_alive_while_idle(true)
        // Little ever comes back.
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(64 << 10)
        .max_header_list_size(16 << 10)
        .max_send_buf_size(SEND_BYTES);
    builder
}

/// What HTTP/2 takes from a stream before it is written, in bytes.
const SEND_BYTES: usize = 256 << 10;
