//! Rules at their edges: waits at the very instant, who is reached and until when, changes that are not settled yet, and
//! reads at their bound. One real node, with everything around it played by the test.

mod changes;
mod lists;
mod members;
mod reads;
mod spares;
mod tails;
mod transfers;
mod waits;
mod world;
