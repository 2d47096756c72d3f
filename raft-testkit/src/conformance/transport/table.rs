//! The table of the suite: tests, index, dispatch and report are generated from it.

use super::super::{Clause, ClauseFailure, fail, within_deadline};
use super::TransportBackend;

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_clauses {
    ($then:ident $args:tt) => {
        $crate::$then! { $args
            t01_every_message_comes_back_whole delivery
                "T1: what arrives is what was sent, whole: every kind of message with every field."
            t01_foreign_names_are_not_delivered delivery
                "T1: a message arrives from the node that says so and at the node that is meant, or not at all."
            t01_each_node_gets_its_own delivery
                "T1: with three nodes, each gets what is meant for it, from who has sent it."
            t01_flipped_bit_is_never_delivered damage
                "T1: a message of which a bit was flipped on the way is never delivered; the next ones are."
            t01_cut_message_is_not_delivered damage
                "T1: never half a message: what a broken connection cuts off is not delivered as a part."
            t01_old_connection_is_silent_after_a_new_one delivery
                "T1: nothing of a peer's old connection is delivered after its new incarnation is up."
            t02_order_holds_within_a_lane lanes
                "T2: within one lane of one connection, order holds."
            t03_control_passes_waiting_bulk lanes
                "T3: control is never delayed by bulk, whatever bulk waits for."
            t03_refused_bulk_is_delivered_again lanes
                "T3: bulk that the receiver was too full for is delivered when it is ready, in order."
            t04_silent_peer_costs_a_bounded_queue peers
                "T4: a peer that takes nothing costs a bounded queue, and no one else anything; send never blocks."
            t04_absent_peer_costs_others_nothing peers
                "T4: a peer that is not there costs a bounded queue, and no one else anything."
            t04_peer_that_comes_later_is_reached peers
                "T4: reconnecting is unlimited: a peer that comes later is reached."
            t04_reconnecting_backs_off limits
                "T4: a peer that takes connections only to close them is dialled with growing waits."
            t05_connection_is_reported_to_both events
                "T5: a connection that is up is reported, at both ends, before anything comes through it."
            t05_dead_peer_is_gone events
                "T5: a peer that ends and cannot be connected to again is reported Gone."
            t05_returned_peer_is_up_again events
                "T5: a peer that comes back is reported Up again, after its loss."
            t05_broken_connection_is_reported damage
                "T5: a connection that breaks is reported, and Up again once there is a new one."
            t05_half_open_connection_is_lost damage
                "T5: a connection through which nothing passes any more is lost, though nobody closes it."
            t06_both_ends_are_asked_to_admit handshake
                "T6: at each handshake both ends are asked to admit the other, with its whole identity, before Up."
            t06_refused_peer_is_told_and_delivers_nothing handshake
                "T6: who is refused is told by whom and why, and nothing is delivered from it or to it."
            t06_refused_peer_may_be_admitted_later handshake
                "T6: who is refused as not ready is admitted when it tries again."
            t06_who_becomes_a_member_is_asked_again handshake
                "T6: who was connected and becomes a member shakes hands anew: only members are remembered (J12)."
            t06_foreign_cluster_is_refused handshake
                "T6: a node of another cluster is refused by the transport itself; nothing is delivered."
            t06_foreign_group_is_refused handshake
                "T6: a node of another group is refused by the transport itself; nothing is delivered."
            t06_wrong_node_is_refused handshake
                "T6: who is not the node that was dialled is refused; nothing is delivered to it."
            t07_nonsense_closes_that_connection_only peers
                "T7: malformed bytes close the connection that they came on, and no other."
            t07_announced_length_takes_no_memory limits
                "T7: a frame that announces more than the limit closes its connection, before memory is taken."
            t07_silent_connection_is_closed limits
                "T7: who connects and does not shake hands is cut off after a while."
            t07_connections_are_limited limits
                "T7: more connections than allowed are turned away; those who are connected do not notice."
            t08_payloads_of_16_mib_pass delivery
                "T8: entry payloads up to 16 MiB pass."
            t08_too_large_is_said damage
                "T8: what is larger than the transport takes is TooLarge, not Queued and lost."
            t09_address_is_free_after_shutdown lifecycle
                "T9: shutdown frees the address: it can be started there again, 100 times."
            t09_shutdown_leaves_nothing_behind lifecycle
                "T9: after shutdown nothing is delivered, sending is Stopped, and the inbox is released."
            t09_second_start_is_refused lifecycle
                "T9: a transport that runs is AlreadyStarted; an address in use is AddressInUse."
            t10_changed_address_is_followed lifecycle
                "T10: a member that has moved is reached at its new address."
            t11_previous_version_interoperates versions
                "T11: a transport of the previous wire version understands this one, and is understood."
            t11_no_common_version_is_refused versions
                "T11: without a common wire version the other is refused by that name; nothing is delivered."
        }
    };
}

__transport_clauses! {
    __suite_table { TransportBackend
        /// Every clause of the suite.
        ///
        /// # Examples
        /// ```
        /// use std::collections::BTreeSet;
        ///
        /// use raft_testkit::conformance::transport::CLAUSES;
        ///
        /// // Each clause of the contract has a test.
        /// let numbers: BTreeSet<String> = CLAUSES.iter().map(|clause| clause.number()).collect();
        /// assert!((1..=11).all(|number| numbers.contains(&format!("T{number}"))), "{numbers:?}");
        /// ```
        CLAUSES

        /// Runs one clause by its name.
        ///
        /// # Errors
        /// [`ClauseFailure`] if it does not hold, or if there is no such clause.
        ///
        /// # Examples
        /// ```
        /// # use std::sync::Arc;
        /// # use std::sync::atomic::{AtomicU64, Ordering};
        /// #
        /// # use raft_core::backend::Transport;
        /// # use raft_core::ids::NodeId;
        /// # use raft_testkit::conformance::transport::TransportBackend;
        /// # use raft_testkit::memory::MemoryNetwork;
        /// #
        /// # #[derive(Default)]
        /// # struct Mine {
        /// #     network: MemoryNetwork,
        /// #     addresses: AtomicU64,
        /// # }
        /// #
        /// # impl TransportBackend for Mine {
        /// #     fn address(&self) -> String {
        /// #         format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed))
        /// #     }
        /// #
        /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
        /// #         self.network.transport_at(address)
        /// #     }
        /// # }
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use raft_testkit::conformance::transport::run;
        ///
        /// assert_eq!(run(&Mine::default(), "t02_order_holds_within_a_lane").await, Ok(()));
        /// # Ok(())
        /// # }
        /// ```
        run
    }
}
