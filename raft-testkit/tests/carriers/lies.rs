//! Fifteen ways in which a transport may be broken, and the clause that must notice each.

/// What is wrong with a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A message for one peer goes to another.
    DeliversToTheWrongNode,
    /// Nobody compares the sender of a message with who has shaken hands.
    TrustsTheFromField,
    /// Nobody compares the cluster ids of a handshake.
    AcceptsAForeignCluster,
    /// Room is made for what is announced, and only then is it compared with the limit.
    AllocatesBeforeTheCap,
    /// What waits for a peer has no bound, also while it is not there.
    QueuesWithoutBoundForADeadPeer,
    /// Nothing is written to anybody while somebody is not there.
    DeadPeerBlocksTheOthers,
    /// Of two messages that wait the second goes first.
    ReordersInsideAStream,
    /// Checksums are sent and not compared.
    FlippedByteGoesUndetected,
    /// Large messages are dropped, and were reported as sent.
    DropsAboveASize,
    /// A snapshot's chunk that ends with its connection is taken as whole.
    TruncatedStreamIsTakenAsComplete,
    /// Nobody looks at the time while nothing can be written.
    HalfOpenIsNeverNoticed,
    /// The next attempt to connect comes at once, always.
    ReconnectsWithoutBackOff,
    /// Who connects may be silent for ever.
    NoHandshakeDeadline,
    /// Any number may connect.
    NoConnectionCap,
    /// A connection is heard although its peer has a newer one.
    OldConnectionIsDelivered,
}

/// Which clause must notice, and in which words: it may fail for another reason, or hang.
pub(crate) const TABLE: &[(Lie, &str, &str)] = &[
    (
        Lie::DeliversToTheWrongNode,
        "t01_each_node_gets_its_own",
        "at node 1 what is meant for it, from who has sent it",
    ),
    (Lie::TrustsTheFromField, "t01_foreign_names_are_not_delivered", "messages from node 1 to node 2 only"),
    (Lie::AcceptsAForeignCluster, "t06_foreign_cluster_is_refused", "nothing but a refusal"),
    (Lie::AllocatesBeforeTheCap, "t07_announced_length_takes_no_memory", "bytes taken for an announcement"),
    (
        Lie::QueuesWithoutBoundForADeadPeer,
        "t04_absent_peer_costs_others_nothing",
        "a queue that is full sooner or later",
    ),
    (Lie::DeadPeerBlocksTheOthers, "t04_absent_peer_costs_others_nothing", "nothing happens for"),
    (Lie::ReordersInsideAStream, "t02_order_holds_within_a_lane", "control in the order of sending"),
    (
        Lie::FlippedByteGoesUndetected,
        "t01_flipped_bit_is_never_delivered",
        "messages that are as they were sent, or none",
    ),
    (Lie::DropsAboveASize, "t08_payloads_of_16_mib_pass", "nothing happens for"),
    (
        Lie::TruncatedStreamIsTakenAsComplete,
        "t01_cut_message_is_not_delivered",
        "bytes of a chunk as they were sent, or none",
    ),
    (Lie::HalfOpenIsNeverNoticed, "t05_half_open_connection_is_lost", "nothing happens for"),
    (Lie::ReconnectsWithoutBackOff, "t04_reconnecting_backs_off", "none that grows"),
    (Lie::NoHandshakeDeadline, "t07_silent_connection_is_closed", "nothing happens for"),
    (Lie::NoConnectionCap, "t07_connections_are_limited", "connections turned away while the first is open"),
    (
        Lie::OldConnectionIsDelivered,
        "t01_old_connection_is_silent_after_a_new_one",
        "only what the new incarnation sent",
    ),
];
