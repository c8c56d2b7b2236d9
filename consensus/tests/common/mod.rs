//! A cluster of real replicas in one thread: a deterministic network, disks that keep only what was synced,
//! and an execution that is a plain hash chain. After every step the invariants I1 and I2 are checked.
#![allow(dead_code, reason = "each test binary uses its own part of the cluster")]

pub(crate) mod forge;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use epione_consensus::{
    BlocksAnswer, Config, Effect, Event, Evidence, FetchedBlock, Halt, Kind, Message, NextEpoch, Payload,
    Record, Rejected, Replica, Step, Stored, Tip, Verifying, Wal,
};
use epione_types::call::RegisterOrganisation;
use epione_types::codes::OrganisationKind;
use epione_types::genesis::{GENESIS_VERSION, Policy};
use epione_types::id::OrgId;
use epione_types::{
    Batch, BlockHeader, Certificate, ChainId, Domain, Epoch, Genesis, Hash, Height, Params, PublicKey,
    Signature, SignedTx, Signer, TimestampMs, Validator, ValidatorIndex, ValidatorSet, Verifier, View,
};

/// A signature that anybody could make: fast, deterministic, and different for every key and message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FakeSigner(pub PublicKey);

fn fake(key: &PublicKey, message: &[u8]) -> Signature {
    let half = Domain::new("test/signature").hash_parts(&[&key.0, message]);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&half.0);
    bytes[32..].copy_from_slice(&half.0);
    Signature(bytes)
}

impl Signer for FakeSigner {
    fn public_key(&self) -> PublicKey {
        self.0
    }
    fn sign(&self, message: &[u8]) -> Signature {
        fake(&self.0, message)
    }
}

/// Verifies [`FakeSigner`]'s signatures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FakeVerifier;

impl Verifier for FakeVerifier {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        // By hashes: a fuzzer that watches comparisons would read the signature that it lacks.
        let seen = |signature: Signature| Domain::new("test/seen").hash(&signature.0);
        seen(fake(key, message)) == seen(*signature)
    }
}

pub(crate) fn v(index: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(index).unwrap())
}

fn key(i: usize, kind: u8) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[0] = kind;
    bytes[1..9].copy_from_slice(&(i as u64).to_le_bytes());
    PublicKey(bytes)
}

/// A machine's voting key.
pub(crate) fn key_of(i: usize) -> PublicKey {
    key(i, 1)
}

pub(crate) fn validator_set(n: usize, params: Params) -> ValidatorSet {
    let validators = (0..n)
        .map(|i| Validator { organisation: OrgId([0; 16]), public_key: key(i, 1), network_key: key(i, 2) })
        .collect();
    ValidatorSet { epoch: Epoch::ZERO, validators, params }
}

pub(crate) fn genesis(set: &ValidatorSet) -> Genesis {
    let organisation = RegisterOrganisation {
        organisation: OrgId([0; 16]),
        kind: OrganisationKind::Hospital,
        admins: vec![PublicKey([9; 32])],
        admin_threshold: 1,
        break_glass: true,
    };
    Genesis {
        version: GENESIS_VERSION,
        timestamp: TimestampMs(1_000_000),
        validators: set.clone(),
        policy: Policy::default(),
        organisations: vec![organisation],
    }
}

/// A disk: what was synced, and nothing else, survives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) synced: Vec<Record>,
    /// The next sync fails as a power cut does: nothing of it is kept.
    pub(crate) cut: bool,
    /// How many syncs there were.
    pub(crate) syncs: usize,
}

#[derive(Debug)]
pub(crate) struct PowerCut;

impl Wal for Disk {
    type Error = PowerCut;
    fn append_and_sync(&mut self, records: &[Record]) -> Result<(), PowerCut> {
        if self.cut {
            return Err(PowerCut);
        }
        self.syncs += 1;
        // What comes back from a real disk went through the codec.
        self.synced.extend(records.iter().map(|record| Record::decode(&record.encode()).unwrap()));
        Ok(())
    }
}

/// One validator's machine.
#[derive(Clone)]
pub(crate) struct Node {
    /// Whose key it holds: its own place, but for a twin.
    pub(crate) identity: usize,
    pub(crate) replica: Option<Replica>,
    pub(crate) disk: Disk,
    pub(crate) chain: Vec<(BlockHeader, Arc<Payload>)>,
    pub(crate) certificates: BTreeMap<Height, Certificate>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) alarms: Vec<epione_consensus::Alarm>,
    pub(crate) halted: Option<Halt>,
    pub(crate) delivered: Vec<Hash>,
    /// Executes wrongly from this height on.
    pub(crate) wrong_from: Option<u64>,
    /// Batches held back from execution until released.
    pub(crate) slow: bool,
    pub(crate) backlog: VecDeque<(Height, Arc<Payload>)>,
    /// Since when a transaction waits, and the time that a block must pass.
    pub(crate) waiting: (Option<u64>, Option<TimestampMs>),
}

pub(crate) type Packet = (usize, usize, Message);

pub(crate) struct Cluster {
    /// Of epoch 0.
    pub(crate) set: ValidatorSet,
    /// What execution decides: at which height, and the machines that are validators from a window later on.
    pub(crate) decisions: BTreeMap<Height, Vec<usize>>,
    pub(crate) chain_id: ChainId,
    pub(crate) genesis_time: TimestampMs,
    /// The validators in order, then second copies of some ([`Cluster::twin`]).
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: VecDeque<Packet>,
    pub(crate) now: u64,
    /// Which packets are lost.
    pub(crate) lose: Box<dyn FnMut(&Packet) -> bool>,
    /// Nodes that get no answer when they ask for blocks.
    pub(crate) unserved: BTreeSet<usize>,
    /// Batches that no replica finds valid.
    pub(crate) invalid: BTreeSet<Hash>,
    /// Everything that left, for looking at.
    pub(crate) sent: Vec<Packet>,
    /// Per event of the story: which nodes, in order.
    story: Vec<(String, Vec<usize>)>,
    votes: BTreeMap<(Epoch, ValidatorIndex, Kind, View, Height), Hash>,
    ordered: BTreeMap<Height, Hash>,
    certified: BTreeMap<Height, Hash>,
    /// Indices whose contradicting votes are expected (Byzantine ones).
    pub(crate) byzantine: BTreeSet<usize>,
    /// Loads accounted: next transaction number.
    serial: u64,
}

pub(crate) fn short(hash: Hash) -> String {
    if hash == Batch::null_digest() { "null".to_owned() } else { hash.to_string()[..4].to_owned() }
}

impl Cluster {
    pub(crate) fn new(n: usize) -> Self {
        Self::with(n, Params::default())
    }

    pub(crate) fn with(n: usize, params: Params) -> Self {
        Self::among(n, n, params)
    }

    /// The first `n` of so many machines are the validators of epoch 0; the others follow.
    pub(crate) fn among(n: usize, machines: usize, params: Params) -> Self {
        let set = validator_set(n, params);
        let genesis = genesis(&set);
        let mut cluster = Self {
            chain_id: genesis.chain_id(),
            genesis_time: genesis.timestamp,
            nodes: Vec::new(),
            net: VecDeque::new(),
            now: 0,
            lose: Box::new(|_| false),
            unserved: BTreeSet::new(),
            invalid: BTreeSet::new(),
            sent: Vec::new(),
            story: Vec::new(),
            votes: BTreeMap::new(),
            ordered: BTreeMap::new(),
            certified: BTreeMap::new(),
            byzantine: BTreeSet::new(),
            serial: 0,
            decisions: BTreeMap::new(),
            set,
        };
        for i in 0..machines {
            let stored = Stored::genesis(cluster.chain_id, cluster.genesis_time);
            let (replica, step) = Replica::born(cluster.config(i), cluster.signer(i), stored);
            cluster.nodes.push(Node {
                identity: i,
                replica: Some(replica),
                disk: Disk::default(),
                chain: Vec::new(),
                certificates: BTreeMap::new(),
                evidence: Vec::new(),
                alarms: Vec::new(),
                halted: None,
                delivered: Vec::new(),
                wrong_from: None,
                slow: false,
                backlog: VecDeque::new(),
                waiting: (None, None),
            });
            cluster.perform(i, step);
        }
        cluster.tick(0);
        cluster
    }

    pub(crate) fn n(&self) -> usize {
        self.set.len()
    }

    pub(crate) fn config(&self, i: usize) -> Config {
        self.config_at(i, Height(1))
    }

    /// As whoever has this machine's key, in the epoch of a height.
    fn config_at(&self, i: usize, height: Height) -> Config {
        let (begin, set) = self.epoch_of(height);
        Config::new(self.chain_id, set, begin, &key_of(i))
    }

    /// The epoch of a height: what was last decided a window or more before, and the height above which it begins.
    pub(crate) fn epoch_of(&self, height: Height) -> (Height, ValidatorSet) {
        let window = self.set.params.window;
        let begun = self.decisions.iter().zip(1..).filter(|((at, _), _)| at.plus(window) < height).last();
        begun.map_or_else(
            || (Height::ZERO, self.set.clone()),
            |((at, who), epoch)| (at.plus(window), self.set_of(epoch, who)),
        )
    }

    fn set_of(&self, epoch: u64, who: &[usize]) -> ValidatorSet {
        let all = validator_set(self.nodes.len().max(self.n()), self.set.params.clone());
        let validators = who.iter().map(|i| all.validators[*i].clone()).collect();
        ValidatorSet { epoch: Epoch(epoch), validators, ..all }
    }

    /// What the ledger knows of the next epoch once this height is executed.
    pub(crate) fn next_at(&self, height: Height) -> Option<NextEpoch> {
        let window = self.set.params.window;
        let mut decided = self.decisions.iter().zip(1..);
        let ((at, who), epoch) = decided.find(|((at, _), _)| **at <= height && height <= at.plus(window))?;
        Some(NextEpoch { after: at.plus(window), set: self.set_of(epoch, who) })
    }

    /// The machine that has a place in the set which another one is in.
    fn machine(&self, seen_by: usize, place: ValidatorIndex) -> usize {
        let key = self.replica(seen_by).config().set.get(place).unwrap().public_key;
        (0..self.nodes.len()).find(|i| key_of(*i) == key).unwrap()
    }

    /// A second live copy of a validator: same key, same memory, and from now on its own disk and will. Both are
    /// Byzantine together; neither looks at what its other self says (a correct one would, R27).
    pub(crate) fn twin(&mut self, i: usize) {
        self.byzantine.insert(i);
        self.nodes.push(self.nodes[i].clone());
    }

    fn has_twin(&self, identity: usize) -> bool {
        self.copies(identity).count() > 1
    }

    /// The machines with this validator's key.
    fn copies(&self, identity: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(move |i| self.nodes[*i].identity == identity)
    }

    /// A node's name in a story: its number, with a prime for a twin.
    fn label(&self, i: usize) -> String {
        let prime = if i == self.nodes[i].identity { "" } else { "'" };
        format!("{}{prime}", self.nodes[i].identity)
    }

    pub(crate) fn signer(&self, i: usize) -> Arc<FakeSigner> {
        Arc::new(FakeSigner(key_of(i)))
    }

    pub(crate) fn clock(&self) -> TimestampMs {
        self.genesis_time.plus(1_000 + self.now)
    }

    pub(crate) fn replica(&self, i: usize) -> &Replica {
        self.nodes[i].replica.as_ref().expect("node is up")
    }

    pub(crate) fn up(&self, i: usize) -> bool {
        self.nodes[i].replica.is_some()
    }

    pub(crate) fn low(&self, i: usize) -> u64 {
        self.replica(i).low().0
    }

    pub(crate) fn view(&self, i: usize) -> u64 {
        self.replica(i).waiting().view.0
    }

    fn tell(&mut self, text: impl Into<String>, i: usize) {
        let text = text.into();
        match self.story.iter_mut().find(|(known, _)| *known == text) {
            Some((_, nodes)) if !nodes.contains(&i) => nodes.push(i),
            Some(_) => {}
            None => self.story.push((text, vec![i])),
        }
    }

    /// What happened since the last call, one line an event.
    pub(crate) fn take_story(&mut self) -> Vec<String> {
        core::mem::take(&mut self.story)
            .into_iter()
            .map(|(text, mut nodes)| {
                nodes.sort_unstable();
                let nodes: Vec<String> = nodes.iter().map(|i| self.label(*i)).collect();
                format!("{text} at {}", nodes.join(" "))
            })
            .collect()
    }

    /// A batch with one transaction that says `text`.
    pub(crate) fn batch(&mut self, proposer: usize, text: &str) -> Arc<Payload> {
        self.serial += 1;
        let tx =
            SignedTx { body: format!("{text} {}", self.serial).into_bytes().into(), signatures: Vec::new() };
        let stamp = self.clock();
        Arc::new(Payload::new(Batch::Proposed { proposer: v(proposer), stamp, txs: vec![tx] }))
    }

    /// The primary proposes, if it has an opening.
    pub(crate) fn propose(&mut self, i: usize, text: &str) -> Option<Hash> {
        let opening = self.replica(i).opening()?;
        let payload = self.batch(self.replica(i).config().me.get(), text);
        let digest = payload.digest();
        self.feed(i, Event::Propose { view: opening.view, height: opening.height, payload });
        Some(digest)
    }

    pub(crate) fn feed(&mut self, i: usize, event: Event) {
        let Some(replica) = &mut self.nodes[i].replica else { return };
        let step = replica.on(event);
        self.perform(i, step);
    }

    /// Verifies like a node does, then feeds.
    pub(crate) fn receive(&mut self, i: usize, message: Message) -> Result<(), Rejected> {
        let bytes = message.encode();
        let Config { chain, set, begin, .. } = self.replica(i).config().clone();
        let message = Message::decode(&bytes, &set).expect("own encoding decodes");
        if let Message::Status(status) = &message
            && status.body.epoch < set.epoch
        {
            self.answer_of_ended(i, status);
        }
        let gate = Verifying { chain, set: &set, begin, verifier: &FakeVerifier };
        let verified = gate.message(message)?;
        self.feed(i, Event::Message(verified));
        Ok(())
    }

    /// Whoever is in an epoch that has ended is sent the certificate of its last height, as a node does (R22).
    fn answer_of_ended(&mut self, i: usize, status: &epione_consensus::Signed<epione_consensus::Status>) {
        let epoch = status.body.epoch;
        let ended = self.nodes[i].certificates.values().rfind(|one| one.epoch == epoch).cloned();
        let (_, set) = self.epoch_of(status.body.low.next());
        let who = set.get(status.from).filter(|_| set.epoch == epoch).map(|it| it.public_key);
        let machine = (0..self.nodes.len()).find(|i| Some(key_of(*i)) == who);
        if let (Some(certificate), Some(to)) = (ended, machine) {
            self.net.push_back((i, to, Message::Certificate(certificate)));
        }
    }

    fn tell_records(&mut self, i: usize, records: &[Record]) {
        for record in records {
            let text = match record {
                Record::Born { .. } => "born".to_owned(),
                Record::Batch { .. } => continue,
                Record::Accepted(vote) => {
                    let vote = vote.vote;
                    format!("accept h={} v={} {}", vote.height, vote.view, short(vote.digest))
                }
                Record::Prepared(one) => {
                    format!("prepared h={} v={} {}", one.height(), one.view(), short(one.digest()))
                }
                Record::Sealed { height, .. } => format!("seal h={height}"),
                Record::Halted(_) => continue,
                Record::Epoch { after, set } => format!("epoch {} begins above h={after}", set.epoch),
                Record::Certified(one) => format!("certified h={}", one.height),
                Record::Asked(change) => format!("asks view {}", change.body.view),
                Record::Entered(new_view) => {
                    let list: Vec<String> = new_view
                        .body
                        .pre_prepares
                        .iter()
                        .map(|one| format!("{}:{}", one.vote.height, short(one.vote.digest)))
                        .collect();
                    format!("enters view {} carrying [{}]", new_view.body.view, list.join(" "))
                }
            };
            self.tell(text, i);
        }
    }

    pub(crate) fn perform(&mut self, i: usize, step: Step) {
        let before = self.nodes[i].disk.synced.len();
        let Ok(effects) = step.commit(&mut self.nodes[i].disk) else {
            return self.crash(i); // power cut: neither records nor effects
        };
        let new = self.nodes[i].disk.synced[before..].to_vec();
        self.tell_records(i, &new);
        // Blocks arrive after all that this step decided was done, as they do from a network.
        let (fetches, others): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::FetchBlocks { .. }));
        for effect in others.into_iter().chain(fetches) {
            self.effect(i, effect);
        }
    }

    fn effect(&mut self, i: usize, effect: Effect) {
        match effect {
            Effect::Send(to, message) => self.send(i, self.machine(i, to), &message),
            Effect::Broadcast(message) => {
                if let Message::Vote(vote) = &message
                    && vote.vote.kind == Kind::Suspect
                {
                    self.tell(format!("suspects view {}", vote.vote.view), i);
                }
                let me = self.nodes[i].identity;
                let machines = self.nodes.iter().map(|node| node.identity).collect::<BTreeSet<_>>();
                for to in machines.into_iter().filter(|to| *to != me) {
                    self.send(i, to, &message);
                }
            }
            Effect::Validate { epoch, payload } => {
                let digest = payload.digest();
                let valid = !self.invalid.contains(&digest);
                self.feed(i, Event::Validated { epoch, digest, valid });
            }
            Effect::Deliver { height, payload } => {
                self.nodes[i].backlog.push_back((height, payload));
                if !self.nodes[i].slow {
                    self.execute(i);
                }
            }
            Effect::Certified(certificate) => {
                let known = *self.certified.entry(certificate.height).or_insert(certificate.header_hash);
                assert_eq!(
                    known, certificate.header_hash,
                    "I1: two headers certified at {}",
                    certificate.height
                );
                self.nodes[i].certificates.insert(certificate.height, certificate);
            }
            Effect::Entered { .. } | Effect::Turned(_) => {}
            Effect::FetchBatch { height, digest, from } => {
                let from: Vec<_> = from.into_iter().map(|peer| self.machine(i, peer)).collect();
                self.serve_batch(i, height, digest, &from);
            }
            Effect::FetchBlocks { from, to, peer } => {
                let peer = self.machine(i, peer);
                if self.replica(i).config().is_member() {
                    self.tell(format!("fetches blocks {from}..{to} from {peer}"), i);
                }
                let served = !self.unserved.contains(&i);
                if let Some(answer) = self.blocks(peer, from, to).filter(|_| served) {
                    let Config { chain, set, begin, .. } = self.replica(i).config().clone();
                    let gate = Verifying { chain, set: &set, begin, verifier: &FakeVerifier };
                    match gate.blocks(answer) {
                        Ok(blocks) => self.feed(i, Event::Blocks(blocks)),
                        // The epoch began while the answer was on its way.
                        Err(Rejected::Epoch) if !self.decisions.is_empty() => {}
                        Err(why) => panic!("an honest answer is refused: {why}"),
                    }
                }
            }
            Effect::Evidence(evidence) => {
                let text = format!("evidence {:?} against {}", evidence.kind(), evidence.against());
                self.tell(text, i);
                self.nodes[i].evidence.push(evidence);
            }
            Effect::Alarm(alarm) => {
                let text = match &alarm {
                    epione_consensus::Alarm::Diverging { height, .. } => {
                        format!("alarm diverging h={height}")
                    }
                    epione_consensus::Alarm::WindowFull { height, missing } => {
                        format!("alarm window full h={height} missing {missing:?}")
                    }
                    epione_consensus::Alarm::FaultyPrimary { view, what } => {
                        format!("alarm faulty primary v={view} {what:?}")
                    }
                };
                self.tell(text, i);
                self.nodes[i].alarms.push(alarm);
            }
            Effect::Halt(halt) => {
                let why = match &halt {
                    Halt::Diverged { .. } => "diverged",
                    Halt::Replay { .. } => "replay",
                    Halt::Conflict { .. } => "conflict",
                    Halt::InvalidPrepared { .. } => "invalid batch",
                    Halt::Impersonated { .. } => "impersonated",
                    Halt::OtherEpoch { .. } => "another epoch",
                };
                self.tell(format!("halts: {why}"), i);
                self.nodes[i].halted = Some(halt);
            }
        }
    }

    /// Executes what was delivered: a header is a hash chain over digests.
    pub(crate) fn execute(&mut self, i: usize) {
        while let Some((height, payload)) = self.nodes[i].backlog.pop_front() {
            let digest = payload.digest();
            let ordered = *self.ordered.entry(height).or_insert(digest);
            assert_eq!(ordered, digest, "I1: two digests delivered at {height}");
            self.tell(format!("deliver h={height} {}", short(digest)), i);
            let header = self.header(i, height, &payload);
            self.nodes[i].delivered.push(digest);
            self.nodes[i].chain.push((header.clone(), payload));
            let next = self.next_at(height);
            self.feed(i, Event::Executed { header, next });
        }
    }

    fn header(&self, i: usize, height: Height, payload: &Payload) -> BlockHeader {
        let tip = self.tip(i);
        assert_eq!(height, tip.height.next(), "blocks are executed in order, each once");
        let wrong = self.nodes[i].wrong_from.is_some_and(|from| height.0 >= from);
        let state =
            Domain::new("test/state").hash_parts(&[&tip.hash.0, &payload.digest().0, &[u8::from(wrong)]]);
        BlockHeader {
            version: 1,
            height,
            epoch: self.epoch_of(height).1.epoch,
            parent: tip.hash,
            timestamp: payload.batch().sealed_time(tip.timestamp),
            batch_digest: payload.digest(),
            txs_root: Hash::ZERO,
            receipts_root: Hash::ZERO,
            state_root: state,
            next_epoch_hash: Hash::ZERO,
        }
    }

    pub(crate) fn tip(&self, i: usize) -> Tip {
        self.nodes[i]
            .chain
            .last()
            .map_or_else(|| Tip::genesis(self.chain_id, self.genesis_time), |(header, _)| Tip::of(header))
    }

    fn serve_batch(&mut self, i: usize, height: Height, digest: Hash, from: &[usize]) {
        for peer in from.iter().flat_map(|peer| self.copies(*peer)).collect::<Vec<_>>() {
            let Some(replica) = &self.nodes[peer].replica else { continue };
            if let Some(message) = replica.batch_for(height, digest) {
                self.net.push_back((peer, i, message));
            }
        }
    }

    /// What a peer's store answers to a request for blocks.
    pub(crate) fn blocks(&self, peer: usize, from: Height, to: Height) -> Option<BlocksAnswer> {
        let node = &self.nodes[peer];
        node.replica.as_ref()?;
        // One epoch's at a time: who asks knows its validators alone.
        let epoch = self.epoch_of(from).1.epoch;
        let known = node.certificates.range(from..=to).rfind(|(_, certificate)| certificate.epoch == epoch);
        let (_, certificate) = known?;
        let top = certificate.height;
        let blocks = node
            .chain
            .iter()
            .filter(|(header, _)| header.height >= from && header.height <= top)
            .map(|(header, payload)| FetchedBlock { header: header.clone(), batch: payload.bytes().clone() })
            .collect();
        Some(BlocksAnswer { blocks, certificate: certificate.clone() })
    }

    /// From a node to a validator, all copies of it.
    fn send(&mut self, from: usize, to: usize, message: &Message) {
        self.check_vote(message);
        for to in self.copies(to).collect::<Vec<_>>() {
            self.sent.push((from, to, message.clone()));
            self.net.push_back((from, to, message.clone()));
        }
    }

    /// Would a twin hear its other self in this?
    fn deaf_to(&self, i: usize, message: &Message) -> bool {
        let identity = self.nodes[i].identity;
        let author = match message {
            Message::Vote(vote) | Message::Proposal(vote, _) => vote.from,
            Message::ViewChange(change) => change.from,
            Message::NewView(new_view) => new_view.from,
            Message::Batch(_) | Message::Commits(_) | Message::Certificate(_) | Message::Status(_) => {
                return false;
            }
        };
        author.get() == identity && self.has_twin(identity)
    }

    /// I2: whoever signs a second digest for a slot is faulty, over all restarts.
    fn check_vote(&mut self, message: &Message) {
        let vote = match message {
            Message::Vote(vote) | Message::Proposal(vote, _) => vote,
            Message::Batch(_)
            | Message::Commits(_)
            | Message::Certificate(_)
            | Message::ViewChange(_)
            | Message::NewView(_)
            | Message::Status(_) => return,
        };
        if self.byzantine.contains(&vote.from.get()) {
            return;
        }
        let key = (vote.vote.epoch, vote.from, vote.vote.kind, vote.vote.view, vote.vote.height);
        let first = *self.votes.entry(key).or_insert(vote.vote.digest);
        assert_eq!(first, vote.vote.digest, "I2: validator {} voted twice: {:?}", vote.from, vote.vote);
    }

    /// Delivers until nothing is under way.
    pub(crate) fn settle(&mut self) {
        let mut budget = 200_000;
        while let Some(packet) = self.net.pop_front() {
            budget -= 1;
            assert!(budget > 0, "messages never end");
            if (self.lose)(&packet) {
                continue;
            }
            let (_, to, message) = packet;
            if self.up(to) && !self.deaf_to(to, &message) {
                match self.receive(to, message) {
                    Ok(()) => {}
                    // Of an epoch that is over, or to come.
                    Err(Rejected::Epoch) if !self.decisions.is_empty() => {}
                    Err(why) => panic!("an honest message is refused: {why}"),
                }
            }
        }
    }

    /// Time passes by `ms` in small steps; messages arrive between them.
    pub(crate) fn tick(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            for i in 0..self.nodes.len() {
                let (oldest, deadline) = self.nodes[i].waiting;
                self.feed(i, Event::Waiting { oldest, deadline });
                let clock = self.clock();
                self.feed(i, Event::Tick { now: self.now, clock });
            }
            self.settle();
            if self.now >= end {
                return;
            }
            self.now = (self.now + 50).min(end);
        }
    }

    /// A transaction waits at every node.
    pub(crate) fn pending(&mut self, waits: bool) {
        let oldest = waits.then_some(self.now);
        for node in &mut self.nodes {
            node.waiting.0 = oldest;
        }
    }

    /// Everybody is connected to everybody anew.
    pub(crate) fn reconnect(&mut self) {
        for i in 0..self.nodes.len() {
            if !self.up(i) {
                continue;
            }
            let places = 0..self.replica(i).config().set.len();
            let me = self.replica(i).config().me;
            for peer in places.filter(|place| v(*place) != me).collect::<Vec<_>>() {
                self.feed(i, Event::Connected(v(peer)));
            }
        }
        self.settle();
    }

    pub(crate) fn crash(&mut self, i: usize) {
        self.tell("crash", i);
        let node = &mut self.nodes[i];
        node.replica = None;
        node.backlog.clear();
        node.disk.cut = false;
        self.net.retain(|(from, to, _)| *from != i && *to != i);
    }

    pub(crate) fn restart(&mut self, i: usize) {
        self.tell("restart", i);
        self.try_restart(i).expect("its own log is good");
    }

    pub(crate) fn try_restart(&mut self, i: usize) -> Result<(), epione_consensus::RestoreError> {
        let certificate = self.nodes[i].certificates.values().next_back().cloned();
        let floor = certificate.as_ref().map_or(Height::ZERO, |one| one.height);
        let above = self.nodes[i]
            .chain
            .iter()
            .map(|(header, _)| Tip::of(header))
            .filter(|tip| tip.height > floor)
            .collect();
        let tip = self.tip(i);
        let stored = Stored { certificate, tip, above, next: self.next_at(tip.height) };
        let records = self.nodes[i].disk.synced.clone();
        let me = self.nodes[i].identity;
        // The epoch of the tip, as its state says it: what is decided begins with the replica.
        let config = self.config_at(me, tip.height.max(Height(1)));
        let (replica, step) = Replica::restore(config, self.signer(me), stored, records)?;
        self.nodes[i].replica = Some(replica);
        let clock = self.clock();
        self.perform(i, step);
        self.feed(i, Event::Tick { now: self.now, clock });
        for peer in (0..self.nodes.len()).filter(|peer| self.nodes[*peer].identity != me).collect::<Vec<_>>()
        {
            let place =
                self.nodes[peer].replica.as_ref().and_then(|it| it.config().set.index_of(&key_of(me)));
            if let Some(place) = place {
                self.feed(peer, Event::Connected(place));
            }
        }
        Ok(())
    }

    /// The store comes back as it was at genesis; the log is whole.
    pub(crate) fn forget(&mut self, i: usize) {
        self.nodes[i].chain.clear();
        self.nodes[i].certificates.clear();
    }

    /// The log is rewritten to what still binds (and the rest dropped), as a node does when it trims.
    pub(crate) fn trim(&mut self, i: usize) {
        let live = self.replica(i).live_records();
        self.nodes[i].disk.synced = live;
    }

    /// The validators that have to go on: not twins, and not what halted because somebody spoke or executed
    /// falsely with its key.
    fn sound(&self) -> Vec<usize> {
        let halted = |i: usize| self.byzantine.contains(&i) && self.replica(i).waiting().halted.is_some();
        (0..self.n()).filter(|i| !self.has_twin(*i) && !halted(*i)).collect()
    }

    /// From here on everything works: a proposal must be certified everywhere in bounded time.
    pub(crate) fn must_progress(&mut self) {
        self.lose = Box::new(|_| false);
        self.unserved.clear();
        for i in 0..self.nodes.len() {
            self.nodes[i].slow = false;
            self.nodes[i].disk.cut = false;
            if self.up(i) {
                self.execute(i);
            } else {
                self.restart(i);
            }
        }
        let goal = self.sound().into_iter().map(|i| self.replica(i).tip().height.0).max().unwrap() + 1;
        self.pending(true);
        for _ in 0..600 {
            let sound = self.sound();
            assert!(sound.len() >= self.set.quorum(), "too few are left: {sound:?}");
            if sound.iter().all(|i| self.low(*i) >= goal) {
                self.pending(false);
                return;
            }
            let idle = |i: &usize| self.replica(*i).opening().is_some_and(|opening| opening.idle);
            if let Some(primary) = sound.into_iter().find(idle) {
                let text = format!("progress {goal}");
                self.propose(primary, &text);
            }
            self.settle();
            self.tick(200);
        }
        let waiting: Vec<String> =
            (0..self.n()).map(|i| format!("{i}: {:?}", self.replica(i).waiting())).collect();
        panic!("safe but stuck, goal {goal}:\n{}", waiting.join("\n"));
    }

    pub(crate) fn assert_equal_tips(&self) {
        let tips: BTreeSet<(u64, Hash)> =
            (0..self.n()).map(|i| (self.tip(i).height.0, self.tip(i).hash)).collect();
        assert_eq!(tips.len(), 1, "tips differ: {tips:?}");
    }
}
