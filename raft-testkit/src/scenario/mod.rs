//! Stories about the protocol as text files: commands, and the trace that they must give.
//!
//! The real [`Raft`](raft_core::Raft) runs with simulated disks, a simulated network and a simulated clock;
//! nothing is random, nothing waits. A file looks like this (entries are written `term.index`):
//!
//! ```text
//! # Section 5.4.1: a voter with the longer log refuses the candidate.
//! cluster 1 2 3
//! lead 1
//! propose 1 "a"
//! deliver 1->2            # 3 does not hear of it
//! ----
//! 1 leads term 1, log ends at 1.2
//! 1 proposes 1.3
//! ...
//! ```
//! Below `----` stands what happened, one line per event, up to a blank line; then more commands may follow.
//! With `BLESS=1` in the environment [`check_folder`] writes what happened into the files instead of comparing:
//! read the difference before you commit it.
//!
//! # Commands
//! ```text
//! cluster 1 2 3 [tail-bytes=N tail-keep-bytes=N append-bytes=N window-messages=N window-bytes=N
//!                write-bytes=N uncommitted-bytes=N apply-bytes=N promote-lag=N seed=N lease-ppm=N keep=N
//!                chunk-bytes=N]
//!                nodes of a new cluster; entry 0.1 names them
//! limbo N               one more node, that knows no members
//! lead N                N becomes leader; its no-op is committed and applied everywhere; quietly
//! crash N [keeping K]   forgets what is not durable; of a write under way K entries and the hard state stay
//! restart N             comes up with what its disk has; its state machine starts empty
//! lose N from I         (crashed) entries I and later vanish from the disk, and opening it finds that out: probation
//! rollback N to I       (crashed) entries after I vanish, and nobody notices
//! forge N T.I ...       (crashed) entries are put at the end of the disk; the term follows
//! hard N term T [vote M]  (crashed) sets the hard state
//! propose N TEXT        proposes a command; `propose N bytes=K` one of K bytes
//! read N ID [here]      begins a linearizable read; with `here` a follower asks its leader and answers itself
//! set N NAME=VALUE ...  other settings while it runs: priority, election-timeout-ms, heartbeat-ms, lease-ppm (0: none)
//! transfer N [M]        N hands leadership over, to M if named
//! change N WISH ... [force] [wait D]    N changes the membership; a wish is `add-learner M`, `promote M`,
//!                       `demote M`, `remove M`, `replace M K` or `update M ADDRESS`
//! plan N WISH ...       what that would come to, and what speaks against it
//! members N             the membership in force at N
//! campaign N            an operator tells N to campaign
//! deliver [A->B] [control|bulk] [one]   everything until nothing moves; of one pair only what is queued now
//! drop, duplicate, reorder, show [A->B] [control|bulk]    what is queued
//! stash A->B NAME       puts what is queued aside; `unstash NAME` delivers it, `copy A->B NAME` puts a copy aside
//! isolate N, cut A B, heal [N]    messages are lost when they are sent
//! up A B, down A B, gone A B      A hears of its connection to B
//! elapse D              the clock moves and no timer fires; D is `50ms`, `heartbeat`, `2 election-timeout`
//! timeout N             N's next timer fires, after the clock has moved there if it must
//! run D                 time passes, timers fire, every message arrives at once
//! disk N hold           writes stay under way; `disk N one` completes one, `disk N release` all, `disk N fail`
//! machine N hold        nothing is applied; `machine N release`
//! snapshot N            N takes a snapshot, of 16 bytes for each entry that it covers, and purges its log
//! store N hold          what the store of snapshots is asked to do stays undone; `store N one` does one thing of it,
//!                       `store N release` all; `store N fail` fails at one
//! inject A->B term T MESSAGE      B gets a message that nobody sent (see `inject.rs`)
//! status N, disk N, counters N    what N knows, what its disk has, what it counted
//! quiet on|off          whether what happens is shown
//! ```

mod bless;
mod describe;
mod disk;
mod inject;
mod interpreter;
mod members;
mod network;
mod parser;
mod pull;
mod snapshots;
mod words;

pub use bless::{Failure, check_folder, check_text};
