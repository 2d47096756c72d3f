//! The bounds of the port: whoever takes a place on it and makes no use of it loses it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use raft_mounted::{Limits, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);
const REQUEST: &[u8] = b"GET /now HTTP/1.1\r\nhost: here\r\n\r\n";

fn limits(first_request: Duration, idle: Duration) -> Limits {
    let mut limits = Limits::default();
    (limits.first_request, limits.idle) = (first_request, idle);
    limits
}

/// `/now` is answered at once, `/later` with a permit.
async fn serve(limits: Limits, permits: &Arc<Semaphore>) -> Listener {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let permits = Arc::clone(permits);
    let later = get(move || async move { permits.acquire().await.map(|_| "later").unwrap() });
    let router = Router::new().route("/now", get(async || "now")).route("/later", later);
    Listener::serve(socket, router, limits).unwrap()
}

async fn connect(listener: &Listener, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(listener.address()).await.unwrap();
    // It may be closed already.
    let _ = stream.write_all(first).await;
    stream
}

/// All that comes until the other side closes. The deadline only ends a test that hangs.
async fn to_its_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all));
    match read.await.expect("it is not closed") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn who_asks_nothing_is_closed() {
    let listener = serve(limits(SHORT, LONG), &Arc::new(Semaphore::new(0))).await;
    // Nothing at all; half of HTTP/2's preface; all of it, but no request; half of one of HTTP/1.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for first in [&b""[..], b"PRI * HT", preface, b"GET /now HTTP/1.1\r\nhost:"] {
        to_its_end(&mut connect(&listener, first).await).await;
    }
    listener.shutdown(LONG).await;
}

#[tokio::test]
async fn who_asks_nothing_more_is_closed_and_who_waits_for_an_answer_is_not() {
    let permits = Arc::new(Semaphore::new(0));
    let mut limits = limits(LONG, SHORT);
    // Else it might end in these.
    limits.last_words = Duration::ZERO;
    let listener = serve(limits, &permits).await;
    let mut waiting = connect(&listener, b"GET /later HTTP/1.1\r\nhost: here\r\n\r\n").await;
    for _ in 0..2 {
        let answer = to_its_end(&mut connect(&listener, REQUEST).await).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("now"), "{answer}");
    }
    permits.add_permits(1);
    let answer = to_its_end(&mut waiting).await;
    assert!(answer.ends_with("later"), "{answer}");
    listener.shutdown(LONG).await;
}

#[tokio::test]
async fn one_too_many_is_closed_at_once_and_a_place_that_is_left_is_free() {
    let mut limits = limits(LONG, LONG);
    limits.connections = 1;
    let listener = serve(limits, &Arc::new(Semaphore::new(0))).await;
    let mut held = connect(&listener, REQUEST).await;
    // It has its place once something comes.
    held.read_u8().await.unwrap();
    assert_eq!(to_its_end(&mut connect(&listener, b"").await).await, "");
    drop(held);
    let closing = b"GET /now HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
    while !to_its_end(&mut connect(&listener, closing).await).await.ends_with("now") {
        tokio::task::yield_now().await;
    }
    listener.shutdown(LONG).await;
}
