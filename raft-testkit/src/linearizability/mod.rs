//! Is what clients saw explained by one copy of the data, each operation at one moment between its
//! invocation and its completion? (Herlihy and Wing 1990; §8 of the Raft paper asks for it.)
//!
//! Two checkers:
//!
//! * [`check`] knows only what clients saw: a [`History`] and a [`Model`] of the data. It searches for an
//!   order (Wing and Gong 1993, with Lowe's memory of what was tried and the partition by key of Porcupine).
//!   The search is exponential at worst, so it takes [`Limits`] and may answer [`Verdict::Unknown`]; it
//!   never answers [`Verdict::Ok`] without an order that fits.
//! * [`index_order`] knows where in the log each operation took effect, as a simulator does, and needs only
//!   to compare: 10^6 operations are cheap.
//!
//! ```
//! use raft_testkit::linearizability::{History, Kv, KvInput, KvOutput, Limits, Verdict, check};
//!
//! let mut history = History::new();
//! let put = history.invoke(1, 10, KvInput::put("x", "new"));
//! let early = history.invoke(2, 20, KvInput::get("x"));
//! history.complete(early, 30, KvOutput::value("new"))?;
//! let late = history.invoke(3, 40, KvInput::get("x"));
//! history.complete(late, 50, KvOutput::nothing())?;
//! history.complete(put, 60, KvOutput::Done)?;
//!
//! // Who reads after somebody has read the new value must not read the old one.
//! let Verdict::Illegal(why) = check(&Kv::new(), &history, Limits::steps(1000)) else { panic!() };
//! assert_eq!(why.stuck, late);
//! println!("{why}");
//! # Ok::<(), raft_testkit::linearizability::HistoryError>(())
//! ```
//!
//! # What to record
//!
//! One clock for all clients, and the times as seen by the client: the invocation before the request leaves,
//! the completion after the answer came. A [`HistoryRecorder`] does that with a counter. An operation without an
//! answer (a timeout, a lost connection) stays open: it may have taken effect at any time since, or never.
//! One that certainly had no effect is settled by [`History::fail`] and dropped.
//!
//! An operation that a client sends again after it timed out is one operation only if the server executes it
//! once; else record each attempt as an operation of its own.

mod checker;
mod counterexample;
mod history;
mod history_recorder;
pub mod index_order;
mod kv;
mod list;
mod model;
mod search;
mod tried;

pub use checker::{Limits, Verdict, check};
pub use counterexample::Counterexample;
pub use history::{History, HistoryError, OpId, Operation, Outcome};
pub use history_recorder::HistoryRecorder;
pub use kv::{Kv, KvCommand, KvInput, KvOutput};
pub use list::{List, ListCommand, ListInput, ListOutput};
pub use model::Model;
