//! What an answer of raft-kv, or its absence, says about a command.

use std::net::SocketAddr;

use crate::util::resp::Reply;

/// What is known of a command that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was done, and this is its reply.
    Done(Reply),
    /// Certainly not done: send it again, here or at the address.
    NotDone(Option<SocketAddr>),
    /// Not done now, but maybe later, or already.
    Unknown,
}

/// Takes only for certain what is certain: an error that is not known counts as unknown.
pub(crate) fn verdict(answer: Result<Reply, std::io::Error>) -> Verdict {
    match answer {
        Ok(Reply::Error(text)) => {
            let mut words = text.split(' ');
            match words.next() {
                Some("MOVED") => Verdict::NotDone(words.nth(1).and_then(|address| address.parse().ok())),
                Some("CLUSTERDOWN" | "BUSY" | "TRYAGAIN" | "LOADING") => Verdict::NotDone(None),
                // UNKNOWN, and whatever else is not known to mean "not done".
                _ => Verdict::Unknown,
            }
        }
        Ok(reply) => Verdict::Done(reply),
        Err(_) => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn only_what_is_certain_is_certain() {
        let error = |text: &str| verdict(Ok(Reply::Error(text.into())));
        assert_eq!(verdict(Ok(Reply::Integer(7))), Verdict::Done(Reply::Integer(7)));
        assert_eq!(error("MOVED 7 127.0.0.1:7002"), Verdict::NotDone("127.0.0.1:7002".parse().ok()));
        assert_eq!(error("CLUSTERDOWN no leader"), Verdict::NotDone(None));
        assert_eq!(error("UNKNOWN the leader changed"), Verdict::Unknown);
        assert_eq!(error("ERR what"), Verdict::Unknown);
        assert_eq!(verdict(Err(ErrorKind::ConnectionReset.into())), Verdict::Unknown);
    }
}
