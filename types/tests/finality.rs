//! A walk from the genesis through changes of the validators: an honest one leads to its end, and nothing else does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use epione_types::block::{HEADER_VERSION, seal_bytes};
use epione_types::finality::{FinalityError, certified, walk};
use epione_types::id::OrgId;
use epione_types::sign::Zip215;
use epione_types::{
    BlockHeader, Certificate, ChainId, Epoch, Hash, Height, Params, SecretKey, SignatureSet, Signer as _,
    TimestampMs, Turn, Validator, ValidatorIndex, ValidatorSet,
};

const CHAIN: ChainId = ChainId([3; 32]);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// Validators with the keys `from` to `from + 3`.
fn set(epoch: u64, from: u8) -> ValidatorSet {
    let one = |n| Validator {
        organisation: OrgId([n; 16]),
        public_key: key(n).public_key(),
        network_key: key(n + 100).public_key(),
    };
    let validators = (from..from + 4).map(one).collect();
    ValidatorSet { epoch: Epoch(epoch), validators, params: Params::default() }
}

fn header(epoch: u64, height: u64, next: &ValidatorSet) -> BlockHeader {
    let zero = Hash::ZERO;
    BlockHeader {
        version: HEADER_VERSION,
        height: Height(height),
        epoch: Epoch(epoch),
        parent: zero,
        timestamp: TimestampMs(height),
        batch_digest: zero,
        txs_root: zero,
        receipts_root: zero,
        state_root: zero,
        next_epoch_hash: next.hash(),
    }
}

/// By the keys `from` to `from + signers - 1`.
fn certificate(header: &BlockHeader, from: u8, signers: u8) -> Certificate {
    let (epoch, height, header_hash) = (header.epoch, header.height, header.hash());
    let mut signatures = SignatureSet::default();
    for at in 0..signers {
        let signature = key(from + at).sign(&seal_bytes(CHAIN, epoch, height, header_hash));
        signatures.insert(ValidatorIndex(at.into()), signature);
    }
    Certificate { epoch, height, header_hash, signatures }
}

fn turn(epoch: u64, height: u64, from: u8, next: u8) -> Turn {
    let set = set(epoch + 1, next);
    let last = header(epoch, height, &set);
    Turn { certificate: certificate(&last, from, 3), last, set }
}

#[test]
fn a_walk_leads_from_set_to_set_and_its_end_vouches_for_a_header() {
    let genesis = set(0, 1);
    let turns = [turn(0, 8, 1, 2), turn(1, 20, 2, 5)];
    assert_eq!(walk(CHAIN, &genesis, &[], &Zip215), Ok(&genesis));
    let end = walk(CHAIN, &genesis, &turns, &Zip215).unwrap();
    assert_eq!(*end, set(2, 5));
    let tip = header(2, 21, end);
    assert_eq!(certified(CHAIN, end, (&tip, &certificate(&tip, 5, 3)), &Zip215), Ok(()));
    let no_quorum = FinalityError::NoQuorum { height: Height(21), epoch: Epoch(2) };
    for (from, signers) in [(5, 2), (1, 4)] {
        let refused = certified(CHAIN, end, (&tip, &certificate(&tip, from, signers)), &Zip215);
        assert_eq!(refused, Err(no_quorum), "{signers} from key {from}");
    }
    // The certificate of another epoch, signed by whom you like: by that one's validators, by this one's, or relabelled.
    let of_epoch = |epoch, from| certificate(&BlockHeader { epoch: Epoch(epoch), ..tip.clone() }, from, 3);
    for (found, from) in [(1, 2), (1, 5), (3, 5)] {
        let mut other = of_epoch(found, from);
        other.header_hash = tip.hash();
        let refused = certified(CHAIN, end, (&tip, &other), &Zip215).unwrap_err();
        let wrong = FinalityError::OtherEpoch { height: Height(21), found: Epoch(found), epoch: Epoch(2) };
        assert_eq!(refused, wrong);
        let relabelled = Certificate { epoch: Epoch(2), ..other };
        assert_eq!(certified(CHAIN, end, (&tip, &relabelled), &Zip215), Err(no_quorum));
        assert_eq!(
            refused.to_string(),
            format!(
                "the certificate of height 21 is of epoch {found}, and epoch 2's validators were to sign it"
            )
        );
    }
    // A header of another epoch, or another header's certificate.
    let other_header = Err(FinalityError::OtherHeader { height: Height(21), epoch: Epoch(2) });
    let old = header(1, 21, end);
    assert_eq!(certified(CHAIN, end, (&old, &certificate(&old, 5, 3)), &Zip215), other_header);
    assert_eq!(certified(CHAIN, end, (&tip, &certificate(&old, 5, 3)), &Zip215), other_header);
}

#[test]
fn a_step_that_is_left_out_exchanged_or_signed_by_too_few_leads_nowhere() {
    let genesis = set(0, 1);
    let turns = [turn(0, 8, 1, 2), turn(1, 20, 2, 5)];
    let refused = |turns: &[Turn]| walk(CHAIN, &genesis, turns, &Zip215).unwrap_err();
    assert!(matches!(refused(&turns[1..]), FinalityError::OtherHeader { epoch: Epoch(0), .. }));
    let mut other = turns.clone();
    other[1].set.validators.pop();
    assert_eq!(refused(&other), FinalityError::OtherSet { epoch: Epoch(2) });
    let mut other = turns.clone();
    other[0].certificate = certificate(&other[0].last, 1, 2);
    assert_eq!(refused(&other), FinalityError::NoQuorum { height: Height(8), epoch: Epoch(0) });
    // A header that names an epoch further on, signed or not.
    let ahead = set(3, 5);
    let last = header(1, 20, &ahead);
    let skips = Turn { certificate: certificate(&last, 2, 3), last, set: ahead };
    assert_eq!(refused(&[turns[0].clone(), skips]), FinalityError::OtherSet { epoch: Epoch(3) });
    assert!(walk(ChainId([4; 32]), &genesis, &turns, &Zip215).is_err(), "another chain");
}
