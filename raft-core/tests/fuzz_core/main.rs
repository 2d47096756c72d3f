//! What reaches the protocol from others: the bytes of memberships and of packed commands, and messages of
//! any content in any order.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "parts of the driver")]

mod disk;
#[path = "../../../xtask/fuzz/mod.rs"]
mod fuzz;
mod messages;
mod outputs;
mod seeds;
mod world;

use std::collections::BTreeMap;

use bytes::Bytes;
use fuzz::{Allowance, Input, Target};
use raft_core::entry::{pack, unpack};
use raft_core::ids::{LogId, NodeId};
use raft_core::membership::{Member, Membership};
use seeds::seeds;
use world::World;

fuzz::targets! {
    membership = MEMBERSHIP;
    packed = PACKED;
    core = CORE;
}

/// The data of a membership entry.
const MEMBERSHIP: Target = Target {
    name: "membership",
    run: |input| {
        if let Ok(membership) = Membership::decode(input) {
            assert_eq!(membership.check(), Ok(()));
            assert_eq!(Membership::decode(&membership.encode()), Ok(membership.clone()));
            assert!(membership.learners().all(|id| membership.is_member(id) && !membership.is_voter(id)));
            assert!(membership.all_voters().all(|id| membership.is_voter(id)));
            let record = |(id, member): (&NodeId, &Member)| (*id, member.clone());
            let members: BTreeMap<NodeId, Member> = membership.members.iter().map(record).collect();
            assert_eq!(members, membership.members);
        }
    },
    seeds: || {
        let mut joint = voters(3);
        joint.members.insert(NodeId(300), Member::new(NodeId(300), "[::1]:7").with("client", "x:1"));
        joint.outgoing = [NodeId(1), NodeId(300)].into();
        let mut leaving = joint.clone();
        leaving.leaving.insert(NodeId(300));
        let mut admitted = leaving.clone();
        admitted.admitted.insert(NodeId(300), LogId::new(3, 300));
        let all = [voters(1), voters(7), joint, leaving, admitted];
        all.map(|membership| membership.encode().to_vec()).into()
    },
    words: &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff\xff\xff\xff\x0f", b"node-1"],
    allowance: Allowance::new(32 << 10, 400),
    longest: 1024,
    plain: 20_000,
};

/// The data of an entry with commands.
const PACKED: Target = Target {
    name: "packed",
    run: |input| {
        let data = Bytes::copy_from_slice(input);
        if let Ok(commands) = unpack(&data) {
            // There is one way to pack.
            assert_eq!(pack(&commands), data);
        }
    },
    seeds: || {
        let pack = |commands: &[&'static [u8]]| {
            let commands: Vec<Bytes> = commands.iter().map(|data| Bytes::from_static(data)).collect();
            pack(&commands).to_vec()
        };
        vec![pack(&[]), pack(&[b""]), pack(&[b"set a 1", b"", b"del b"])]
    },
    words: &[b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80"],
    allowance: Allowance::new(8 << 10, 64),
    longest: 1024,
    plain: 20_000,
};

/// A node among peers that say anything. Liars can make it halt with an alarm about the others, never with
/// one about itself; and whatever they say, it keeps what it owes: nothing leaves before it is durable, one
/// vote a term, nothing committed is taken back.
const CORE: Target = Target {
    name: "core",
    run: |input| {
        let mut input = Input(input);
        let size = [3, 1, 5, 0, 2][input.below(5)];
        let mut world = World::new(size, input.byte());
        while !input.is_empty() && !world.halted {
            world.step(&mut input);
        }
    },
    seeds,
    words: &[],
    allowance: Allowance::new(512 << 10, 8 << 10),
    longest: 1024,
    plain: 3_000,
};

const ME: NodeId = NodeId(1);

fn voters(count: u64) -> Membership {
    let members = (1..=count).map(|id| Member::new(NodeId(id), format!("node-{id}")));
    Membership::of_voters(members).unwrap()
}
