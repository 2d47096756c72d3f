//! Creating and opening a store: what recovery has judged is acted upon here, in an order that may be
//! cut anywhere and begun again.

use std::sync::{Arc, RwLock};

use raft_core::backend::{HardState, Mismatch, OpenError, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId};
use raft_core::membership::Membership;
use raft_core::slots::{Layout, Record, SlotState, encode_hard_state, encode_peers};

use crate::cases::Policy;
use crate::error::Context;
use crate::hard_state::{self, Pair, PairState, Start, Super};
use crate::index::{Change, Log};
use crate::layout::{
    BLOCK_BYTES, HARD_STATE, HARD_STATE_LAYOUT, LOCK, PEERS, PEERS_LAYOUT, SUPER, SUPER_LAYOUT, TEMPORARY,
    is_data, is_temporary, segment_name,
};
use crate::options::Options;
use crate::record::{self, ENTRIES, Found, Header, MARK, SEAL, TRUNCATE};
use crate::recover::{Pending, Scan, read_super};
use crate::segment::{self, Origin, SegmentHeader, Zeros};
use crate::spare::Turn;
use crate::store::{Active, Random, Store, segment_error, store_id, unusable};
use crate::vfs::{self, Aligned, LockError, Vfs};
use crate::view;

/// Whose journal is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group within it.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
}

impl Owner {
    fn check(&self, found: &Identity) -> Result<(), Mismatch> {
        if found.cluster != self.cluster {
            return Err(Mismatch::Cluster { found: found.cluster, expected: self.cluster });
        }
        if found.group != self.group {
            return Err(Mismatch::Group { found: found.group, expected: self.group });
        }
        if found.node != self.node {
            return Err(Mismatch::Node { found: found.node, expected: self.node });
        }
        Ok(())
    }
}

/// Takes the lock (J11).
pub(crate) fn lock(vfs: &dyn Vfs) -> Result<Box<dyn Send + Sync>, OpenError> {
    vfs.lock(LOCK).map_err(|error| match error {
        LockError::Held(by) => OpenError::Locked { by },
        LockError::Io(error) => {
            OpenError::Io { what: "lock the folder".into(), cause: crate::error::cause(&error) }
        }
    })
}

/// What a journal that is made begins with.
enum Origins<'a> {
    New { owner: Owner, initial: Option<&'a Membership> },
    Adopted { from: &'a Identity, why: &'a str },
}

/// Batches to be written at the start of a segment.
struct First {
    /// All batches up to this one are durable: those before them.
    durable: u64,
    bytes: Vec<u8>,
    /// For each batch: position, size, first index, terms, memberships.
    batches: Vec<(u64, u64, Header, Vec<Entry>)>,
    batch: u64,
    chain: u64,
}

impl First {
    fn new(batch: u64, chain: u64) -> Self {
        Self { durable: batch - 1, bytes: Vec::new(), batches: Vec::new(), batch, chain }
    }

    fn push(&mut self, segment: &SegmentHeader, mut header: Header, entries: Vec<Entry>) {
        header.batch = self.batch;
        header.prev_chain = self.chain;
        header.witness = self.durable;
        let offset = BLOCK_BYTES + self.bytes.len() as u64;
        let before = self.bytes.len();
        self.chain = record::encode(&mut self.bytes, segment.seed(), offset, header, &entries);
        self.batch += 1;
        self.batches.push((offset, (self.bytes.len() - before) as u64, header, entries));
    }

    /// Brings an index up to date.
    fn apply(&self, log: &mut Log, ready: &segment::Ready) {
        for (offset, bytes, header, entries) in &self.batches {
            let segment = (ready.header.seq, ready.header.seed(), &ready.file);
            log.apply_entries(&Change { header, segment, offset: *offset, bytes: *bytes }, entries);
        }
    }
}

impl Store {
    /// A new, empty journal that takes over the identity of another one, as the first step of moving a node:
    /// same store, and an incarnation that no opening of the other one reaches. It is closed, with `why`,
    /// before anything else: what is cut halfway can never be opened.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub fn adopt(
        vfs: Arc<dyn Vfs>,
        from: &Identity,
        why: &str,
        options: Options,
        seed: u128,
    ) -> Result<Self, OpenError> {
        Self::make(vfs, Origins::Adopted { from, why }, options, seed)
    }

    /// A new journal in an empty folder. `initial` is the membership of a new cluster, written as entry
    /// 0.1; `None` for a node in limbo. Everything random comes from `seed`.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`] if there is a journal or a part of one; [`OpenError::Locked`];
    /// [`OpenError::Io`], after which creation may be tried again.
    pub fn create(
        vfs: Arc<dyn Vfs>,
        owner: Owner,
        initial: Option<&Membership>,
        options: Options,
        seed: u128,
    ) -> Result<Self, OpenError> {
        Self::make(vfs, Origins::New { owner, initial }, options, seed)
    }

    fn make(
        vfs: Arc<dyn Vfs>,
        origins: Origins<'_>,
        options: Options,
        seed: u128,
    ) -> Result<Self, OpenError> {
        let lock = lock(&*vfs)?;
        let names = vfs.list().during(|| "list the folder".into())?;
        view::refuse_closed(&*vfs, &names)?;
        match read_super(&*vfs, &names, &mut Vec::new()) {
            Err(OpenError::NotInitialised) => {}
            Ok(_) | Err(OpenError::Corrupt(_) | OpenError::Version { .. }) => {
                return Err(OpenError::AlreadyExists);
            }
            Err(error) => return Err(error),
        }
        let step = |what: &'static str| move || what.to_owned();
        // What an earlier attempt has left behind.
        for name in
            names.iter().filter(|name| is_data(name) || is_temporary(name) || SUPER.contains(&name.as_str()))
        {
            vfs.unlink(name).during(|| format!("remove {name}"))?;
        }
        vfs.sync_dir().during(step("sync the folder"))?;

        let mut random = Random::new(seed);
        let identity = match origins {
            Origins::New { owner: Owner { cluster, group, node }, .. } => {
                let incarnation = Incarnation { number: 1, nonce: random.next() };
                Identity { cluster, group, node, store: store_id(&mut random), incarnation }
            }
            Origins::Adopted { from, why } => {
                view::close(&*vfs, why)?;
                let moved = from.incarnation.moved(random.next());
                let too_often = || OpenError::Io {
                    what: "take over the identity".into(),
                    cause: "it was moved too often".into(),
                };
                Identity { incarnation: moved.ok_or_else(too_often)?, ..*from }
            }
        };
        let start = Start { seq: 1, batch: 1, chain: random.next() };
        let mut superblock = Super {
            complete: false,
            identity,
            floor: LogId::ZERO,
            floor_batch: 0,
            start,
            resume: 1,
            witness: 0,
        };
        // The second slot first, as incomplete: from here on what is in the folder is known to be ours.
        let second =
            hard_state::create(&*vfs, SUPER_LAYOUT, SUPER[1]).during(step("create the superblock"))?;
        hard_state::write_file(&*second, SUPER_LAYOUT, 1, &superblock.encode())
            .during(step("write the superblock"))?;
        vfs.sync_dir().during(step("sync the folder"))?;

        let store = identity.store;
        let hard = encode_hard_state(store, &HardState::default());
        let hard_state_pair = Pair::create(&*vfs, HARD_STATE_LAYOUT, HARD_STATE, &hard)
            .during(step("create the hard state"))?;
        let peers_pair = Pair::create(&*vfs, PEERS_LAYOUT, PEERS, &encode_peers(store, &[]))
            .during(step("create the known peers"))?;

        let origin = Origin::Resumed { prev: 0, valid: 0 };
        let mut header = SegmentHeader { store, seq: 1, salt: random.next(), size: 0, origin, start };
        let mut first = First::new(start.batch, start.chain);
        if let Origins::New { initial: Some(membership), .. } = origins {
            let id = LogId::new(0, 1);
            let entry = Entry { id, kind: EntryKind::Membership, data: membership.encode() };
            let batch = Header { first_index: 1, flags: ENTRIES, hard_state: 1, ..Header::default() };
            first.push(&header, batch, vec![entry]);
        }
        header.size = options.segment_size().max(first.bytes.len() as u64 + 3 * BLOCK_BYTES);
        let ready = segment::make(&*vfs, header, &first.bytes, Zeros::Written, None, None)
            .map_err(|error| segment_error(&error))?;

        // Creation is done when the first slot has its name.
        let durable = first.batch - 1;
        superblock.complete = true;
        superblock.witness = durable;
        let temporary = format!("{}{TEMPORARY}", SUPER[0]);
        let zeroth =
            hard_state::create(&*vfs, SUPER_LAYOUT, &temporary).during(step("create the superblock"))?;
        hard_state::write_file(&*zeroth, SUPER_LAYOUT, 2, &superblock.encode())
            .during(step("write the superblock"))?;
        vfs.rename(&temporary, SUPER[0]).during(step("name the superblock"))?;
        vfs.sync_dir().during(step("sync the folder"))?;
        hard_state::write_file(&*second, SUPER_LAYOUT, 3, &superblock.encode())
            .during(step("write the superblock"))?;
        let super_pair = Pair::adopt(SUPER_LAYOUT, [zeroth, second], 3);

        let mut log = Log::default();
        first.apply(&mut log, &ready);
        Ok(Self {
            vfs,
            _lock: lock,
            options,
            random,
            superblock,
            super_pair,
            hard_state: HardState::default(),
            hard_state_pair,
            peers: Vec::new(),
            peers_pair,
            log: Arc::new(RwLock::new(log)),
            live: vec![start],
            active: Active { header, file: ready.file, offset: BLOCK_BYTES + first.bytes.len() as u64 },
            max_seq: 1,
            spare: None,
            making: None,
            turn: Turn::default(),
            batch: first.batch,
            chain: first.chain,
            synced: durable,
            witnessed: durable,
            content: durable,
            loose: None,
            commit_hint: Index::ZERO,
            buffer: Aligned::default(),
            damage: Arc::default(),
            failed: None,
            verdict: Verdict::Clean,
            findings: Vec::new(),
        })
    }

    /// Opens what [`create`](Self::create) has made. Everything random comes from `seed`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing that matters was changed.
    pub fn open(vfs: Arc<dyn Vfs>, owner: Owner, options: Options, seed: u128) -> Result<Self, OpenError> {
        // First without the lock: what is not initialised stays untouched.
        let names = match vfs.list() {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(OpenError::NotInitialised);
            }
            Err(error) => return Err(error).during(|| "list the folder".into()),
        };
        if !names.iter().any(|name| SUPER.contains(&name.as_str()) || is_data(name)) {
            return Err(OpenError::NotInitialised);
        }
        let lock = lock(&*vfs)?;
        let names = vfs.list().during(|| "list the folder".into())?;
        view::refuse_closed(&*vfs, &names)?;
        let (found, _) = read_super(&*vfs, &names, &mut Vec::new())?;
        owner.check(&found.identity)?;
        let scan = Scan::read(&*vfs)?;
        let verdict = scan.verdict();
        let policy = scan.end.case.row().policy;
        let mut hard_state = scan.hard_state;
        if policy == Policy::Quarantine {
            if !is_single_voter(&scan, owner.node) {
                hard_state.probation = true;
            } else if !options.accept_loss {
                return Err(OpenError::Corrupt(scan.end.damage));
            }
        }

        // What was read may never have reached the disk: everything that counts is written again.
        let store = scan.superblock.identity.store;
        let mut hard_state_pair = rewrite(scan.hard_state_pair, HARD_STATE[0])?;
        if hard_state != scan.hard_state {
            // Before the log is cut: a crash in between must not lose the reason.
            let body = encode_hard_state(store, &hard_state);
            hard_state_pair.write(&body).during(|| "write the hard state".into())?;
        }
        let peers_pair = rewrite(scan.peers_pair, PEERS[0])?;

        let mut random = Random::new(seed);
        let cut = scan.cut;
        let mut header = SegmentHeader {
            store,
            seq: scan.max_seq + 1,
            salt: random.next(),
            size: 0,
            origin: Origin::Resumed { prev: cut.seq, valid: cut.offset },
            start: Start { seq: 0, batch: cut.batch, chain: cut.chain },
        };
        let recycle = scan.spare.filter(|(seq, _)| *seq == scan.max_seq);
        if let Some((seq, _)) = recycle {
            header.seq = seq;
        }
        header.start.seq = header.seq;
        let mut first = First::new(cut.batch, cut.chain);
        for pending in scan.pending.iter().filter(|pending| !pending.header.has(MARK | SEAL)) {
            let entries = read_back(pending)?;
            first.push(&header, pending.header, entries);
        }
        let needed = first.bytes.len() as u64 + 3 * BLOCK_BYTES;
        // One that was made for large batches is larger. It is as good: zeros for another would be waited for.
        let recycle = recycle.filter(|(_, size)| *size >= needed);
        header.size = recycle.map_or_else(|| options.segment_size().max(needed), |(_, size)| size);
        let recycle = recycle.map(|(seq, _)| seq);
        let ready = segment::make(&*vfs, header, &first.bytes, Zeros::Written, recycle, None)
            .map_err(|error| segment_error(&error))?;

        let durable = first.batch - 1;
        let before = scan.superblock.identity.incarnation.number;
        let incarnation = Incarnation { number: before + 1, nonce: random.next() };
        let identity = Identity { incarnation, ..scan.superblock.identity };
        // A floor that was there holds from where it did: what damage has left below it may be less than what the
        // next batch continues.
        let floor_batch = match scan.superblock.floor == scan.log.purged {
            true => scan.superblock.floor_batch.min(cut.batch),
            false => cut.batch,
        };
        let superblock = Super {
            complete: true,
            identity,
            floor: scan.log.purged,
            floor_batch,
            start: scan.superblock.start,
            resume: header.seq,
            witness: durable,
        };
        let mut super_pair = rewrite(scan.super_pair, SUPER[0])?;
        super_pair.write(&superblock.encode()).during(|| "write the superblock".into())?;

        // From here on everything is safe. What follows gives space back; it may fail.
        for name in &scan.rubbish {
            let _ = vfs.unlink(name);
        }
        if policy == Policy::Go {
            let after = scan.walked.iter().skip_while(|seq| **seq != cut.seq).skip(1);
            for seq in after {
                let _ = vfs.unlink(&segment_name(*seq));
            }
            // Only where everything behind the cut was just read and is sound, or zero: what an earlier
            // opening has left out stays as evidence.
            if scan.walked.last() == Some(&cut.seq)
                && let Ok(file) = vfs.open(&segment_name(cut.seq))
            {
                let _ = file.set_len(cut.offset);
            }
        }
        let mut log = scan.log;
        first.apply(&mut log, &ready);
        let mut live = scan.live;
        live.push(header.start);
        let mut store = Self {
            vfs,
            _lock: lock,
            options,
            random,
            superblock,
            super_pair,
            hard_state,
            hard_state_pair,
            peers: scan.peers,
            peers_pair,
            log: Arc::new(RwLock::new(log)),
            live,
            active: Active { header, file: ready.file, offset: BLOCK_BYTES + first.bytes.len() as u64 },
            max_seq: scan.max_seq.max(header.seq),
            spare: None,
            making: None,
            turn: Turn::default(),
            batch: first.batch,
            chain: first.chain,
            synced: durable,
            witnessed: durable,
            content: durable,
            loose: None,
            commit_hint: scan.commit_hint,
            buffer: Aligned::default(),
            damage: Arc::default(),
            failed: None,
            verdict,
            findings: scan.findings,
        };
        if policy != Policy::Go {
            store.findings.push(scan.end);
        }
        Ok(store)
    }
}

/// Whether the node is the only voter of the membership in force, as far as that was found.
fn is_single_voter(scan: &Scan, node: NodeId) -> bool {
    let pending = scan.pending.iter().flat_map(Pending::memberships);
    let newest = scan.log.memberships().iter().chain(pending).next_back();
    let membership = newest.and_then(|entry| Membership::decode(&entry.data).ok());
    membership.is_some_and(|membership| membership.all_voters().eq([node]))
}

/// Writes the newest record of a pair again, and the other one if a copy of it is damaged.
fn rewrite(pair: PairState, name: &str) -> Result<Pair, OpenError> {
    let slots = pair.slots.clone();
    let newest = pair.newest().cloned();
    let Some((pair, newest)) = pair.into_pair().zip(newest) else {
        return Err(unusable(name, "a file of the pair is missing"));
    };
    let again = |slot: &SlotState, record: &Record| {
        // What is broken holds nothing that could be lost.
        pair.write_again(record, u8::from(slot.broken[1].is_some()))
    };
    let slot_of = |record: &Record| &slots[usize::from(Layout::slot_of(record.generation))];
    again(slot_of(&newest), &newest).during(|| format!("write {name} again"))?;
    for slot in slots.iter().filter(|slot| !slot.is_sound()) {
        if let Some(record) = slot.record.as_ref().filter(|record| record.generation != newest.generation) {
            again(slot, record).during(|| format!("write {name} again"))?;
        }
    }
    Ok(pair)
}

/// The entries of a sound batch, read again.
fn read_back(pending: &Pending) -> Result<Vec<Entry>, OpenError> {
    let place = segment_name(pending.seq);
    let mut bytes = vec![0; usize::try_from(pending.bytes).unwrap_or(0)];
    vfs::read_full_at(&*pending.file, &mut bytes, pending.offset).during(|| format!("read {place}"))?;
    let header = &pending.header;
    let found = record::decode(&bytes, pending.seed, pending.offset, header.batch, header.prev_chain);
    let Found::Batch(batch) = found else {
        return Err(unusable(&place, "a batch has changed while it was read"));
    };
    if !header.has(ENTRIES | TRUNCATE) {
        return Ok(Vec::new());
    }
    let entries = batch.entries().zip(header.first_index..).map(|((entry, data), index)| {
        entry.verify(pending.seed, pending.offset, index, bytes::Bytes::copy_from_slice(data))
    });
    entries.collect::<Result<_, _>>().map_err(|_| unusable(&place, "a batch has changed while it was read"))
}
