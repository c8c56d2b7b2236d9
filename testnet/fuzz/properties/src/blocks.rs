//! Answers with blocks: *whatever a peer sends, what is let in is the chain that a quorum sealed*, and a replica that takes it
//! orders exactly that (failures.md, 7, 15).
//!
//! An input is an encoded answer, or says how an honest one is taken apart and put together.

use bytes::Bytes;
use epione_consensus::{
    BlocksAnswer, Config, Effect, Event, Kind, Payload, Record, Replica, Stored, Vote, Wal,
};
use epione_types::{
    Batch, Certificate, Epoch, Hash, Height, SignatureSet, TimestampMs, ValidatorIndex, View, codec,
};

use crate::Outcome;
use crate::choices::Choices;
use crate::common::FakeSigner;
use crate::lived::LIVED;

/// Whose key the sender holds: the third validator's.
const LIAR: ValidatorIndex = ValidatorIndex(2);

/// The property of this module.
///
/// # Panics
/// If it does not hold.
pub fn check(bytes: &[u8]) -> Outcome {
    let mut choices = Choices::new(bytes);
    if choices.flag() {
        let top = LIVED.chain.len();
        let from = Height(1 + choices.below(top) as u64);
        let to = Height(from.0 + choices.below(top) as u64);
        let Some(mut honest) = LIVED.answer(from, to) else { return Outcome::Refused };
        for _ in 0..choices.below(4) {
            change(&mut honest, &mut choices);
        }
        return answer(honest);
    }
    codec::decode(choices.rest(), 8 << 20).map_or(Outcome::Refused, answer)
}

/// One change to an answer.
fn change(answer: &mut BlocksAnswer, choices: &mut Choices<'_>) {
    let at = choices.below(answer.blocks.len());
    let other = choices.below(LIVED.chain.len());
    let what = choices.below(12);
    if let Some(block) = answer.blocks.get_mut(at) {
        let header = &mut block.header;
        match what {
            0 => block.batch = LIVED.chain[other].1.bytes().clone(),
            1 => block.batch = Payload::new(Batch::Null).bytes().clone(),
            2 => {
                let mut batch = block.batch.to_vec();
                choices.edit(&mut batch);
                block.batch = Bytes::from(batch);
            }
            3 => {
                // A body of the liar's own under a header that names it.
                let own = Batch::Proposed { proposer: LIAR, stamp: TimestampMs(9), txs: Vec::new() };
                block.batch = Payload::new(own.clone()).bytes().clone();
                header.batch_digest = own.digest();
            }
            4 => header.height = Height(choices.number()),
            5 => header.parent = Hash([choices.byte(); 32]),
            6 => header.state_root = Hash([choices.byte(); 32]),
            7 => header.epoch = Epoch(choices.number()),
            8 => drop(answer.blocks.remove(at)),
            9 => {
                let copy = block.clone();
                answer.blocks.insert(at, copy);
            }
            10 => answer.certificate = forged(answer, choices),
            _ => answer.certificate = LIVED.certificates[other % LIVED.certificates.len()].clone(),
        }
    }
}

/// A certificate for the last header as it stands, of whatever signatures there are, and the liar's.
fn forged(answer: &BlocksAnswer, choices: &mut Choices<'_>) -> Certificate {
    let Certificate { epoch, mut height, mut header_hash, signatures } = answer.certificate.clone();
    if let Some(last) = answer.blocks.last().filter(|_| choices.flag()) {
        (height, header_hash) = (last.header.height, last.header.hash());
    }
    let seal = Vote { kind: Kind::Seal, epoch, view: View::ZERO, height, digest: header_hash };
    let key = LIVED.set.get(LIAR).unwrap().public_key;
    let own = seal.sign(LIVED.chain_id, LIAR, &FakeSigner(key)).signature;
    let mut list: Vec<_> = signatures.iter().filter(|_| !choices.flag()).collect();
    for _ in 0..choices.below(3) {
        list.push((ValidatorIndex(choices.byte().into()), own));
    }
    let signatures = list.into_iter().collect::<SignatureSet>();
    Certificate { epoch, height, header_hash, signatures }
}

pub(crate) fn answer(answer: BlocksAnswer) -> Outcome {
    let Ok(verified) = LIVED.gate().blocks(answer.clone()) else { return Outcome::Refused };
    for block in &answer.blocks {
        let height = block.header.height;
        let honest = height.0.checked_sub(1).and_then(|at| LIVED.chain.get(usize::try_from(at).ok()?));
        let (header, payload) = honest.expect("a height that nobody sealed was let in");
        assert_eq!(block.header, *header, "another header at {height}");
        assert_eq!(block.batch, *payload.bytes(), "another batch at {height}");
    }
    // One who has nothing executes what it vouches for, from the first block on, or nothing.
    let config =
        Config { chain: LIVED.chain_id, set: LIVED.set.clone(), begin: Height::ZERO, me: ValidatorIndex(3) };
    let signer = std::sync::Arc::new(FakeSigner(LIVED.set.get(config.me).unwrap().public_key));
    let stored = Stored::genesis(LIVED.chain_id, LIVED.genesis_time);
    let (mut replica, mut step) = Replica::born(config, signer, stored);
    step.merge(replica.on(Event::Tick { now: 0, clock: LIVED.genesis_time.plus(1_000) }));
    step.merge(replica.on(Event::Blocks(verified)));
    let Ok(effects) = step.commit(&mut Nowhere);
    let mut next = 0;
    for effect in effects {
        match effect {
            Effect::Deliver { height, payload } => {
                assert_eq!((height.0, &payload), (next as u64 + 1, &LIVED.chain[next].1));
                next += 1;
            }
            Effect::Halt(halt) => panic!("halted: {halt}"),
            _ => {}
        }
    }
    Outcome::Accepted
}

/// A log that nobody reads.
struct Nowhere;

impl Wal for Nowhere {
    type Error = core::convert::Infallible;
    fn append_and_sync(&mut self, _: &[Record]) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Inputs to begin with.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..4)
        .flat_map(|from| (0..12).map(move |what| vec![1, from, 1, 1, 0, from + 1, what, 1, 1, 1]))
        .collect();
    seeds.push(vec![1, 0, 0]);
    for (from, to) in [(1, 1), (1, 4), (3, 6)] {
        let answer = LIVED.answer(Height(from), Height(to));
        seeds.extend(answer.map(|answer| [&[0][..], &codec::encode(&answer)].concat()));
    }
    seeds
}
