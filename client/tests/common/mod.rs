//! A small chain made by hand: four validators, blocks with receipts, state roots and certificates.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "test helpers; each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use bytes::Bytes;
use epione_client::Trust;
use epione_proto::convert::{bytes_of_header, bytes_of_receipt, bytes_of_validators};
use epione_proto::v1 as pb;
use epione_types::block::{HEADER_VERSION, seal_bytes};
use epione_types::call::{Call, RegisterOrganisation, RevokeGrant};
use epione_types::codes::{OrganisationKind, Refusal};
use epione_types::genesis::{GENESIS_VERSION, Params, Policy};
use epione_types::id::{GrantId, OrgId, PatientId, RequestId, ValidatorIndex};
use epione_types::receipt::RECEIPT_VERSION;
use epione_types::state_proof::{StateLeaf, StateProof, path, value_hash};
use epione_types::{
    BlockHeader, Certificate, Epoch, Genesis, Hash, Height, Outcome, Receipt, SecretKey, SignedTx, Signer,
    TimestampMs, Validator, ValidatorSet, merkle,
};

pub const GENESIS_TIME: TimestampMs = TimestampMs(1_000_000);

/// Voting keys of an epoch's four validators.
pub fn voters(epoch: u8) -> Vec<SecretKey> {
    (0..4).map(|i| SecretKey::from_seed(&[10 * epoch + i + 1; 32])).collect()
}

pub fn set(epoch: u8) -> ValidatorSet {
    let validator = |key: &SecretKey| Validator {
        organisation: OrgId([1; 16]),
        public_key: key.public_key(),
        network_key: SecretKey::from_seed(&[key.seed()[0] + 100; 32]).public_key(),
    };
    ValidatorSet {
        epoch: Epoch(epoch.into()),
        validators: voters(epoch).iter().map(validator).collect(),
        params: Params::default(),
    }
}

pub fn genesis() -> Genesis {
    let admin = SecretKey::from_seed(&[99; 32]).public_key();
    Genesis {
        version: GENESIS_VERSION,
        timestamp: GENESIS_TIME,
        validators: set(0),
        policy: Policy { organisation_signatures: 1, ..Policy::default() },
        organisations: vec![RegisterOrganisation {
            organisation: OrgId([1; 16]),
            kind: OrganisationKind::Hospital,
            admins: vec![admin],
            admin_threshold: 1,
            break_glass: true,
        }],
    }
}

pub fn trust() -> Trust {
    Trust::new(&genesis()).unwrap()
}

/// A header at `height`, one second per block.
pub fn header(height: u64, parent: Hash) -> BlockHeader {
    BlockHeader {
        version: HEADER_VERSION,
        height: Height(height),
        epoch: Epoch::ZERO,
        parent,
        timestamp: GENESIS_TIME.plus(height * 1_000),
        batch_digest: Hash([1; 32]),
        txs_root: Hash([2; 32]),
        receipts_root: Hash([3; 32]),
        state_root: Hash::ZERO,
        next_epoch_hash: set(0).hash(),
    }
}

/// Signed by these of the header's epoch's validators.
pub fn certificate(header: &BlockHeader, who: &[u16]) -> Certificate {
    let hash = header.hash();
    let message = seal_bytes(genesis().chain_id(), header.epoch, header.height, hash);
    let keys = voters(u8::try_from(header.epoch.0).unwrap());
    Certificate {
        epoch: header.epoch,
        height: header.height,
        header_hash: hash,
        signatures: who.iter().map(|i| (ValidatorIndex(*i), keys[usize::from(*i)].sign(&message))).collect(),
    }
}

pub fn certified(header: &BlockHeader) -> pb::CertifiedHeader {
    pb::CertifiedHeader {
        epochs: Vec::new(),
        header_bytes: bytes_of_header(header),
        descendant_bytes: Vec::new(),
        certificate: Some((&certificate(header, &[0, 2, 3])).into()),
    }
}

/// The change from epoch 0 to epoch 1 after this height.
pub fn step(height: u64) -> (BlockHeader, pb::EpochStep) {
    let last = BlockHeader { next_epoch_hash: set(1).hash(), ..header(height, Hash([4; 32])) };
    let step = pb::EpochStep {
        header_bytes: bytes_of_header(&last),
        certificate: Some((&certificate(&last, &[0, 1, 2])).into()),
        validator_set_bytes: bytes_of_validators(&set(1)),
    };
    (last, step)
}

/// A transaction that expires at this time.
pub fn transaction(expires_at: TimestampMs, id: u8) -> SignedTx {
    let call = RevokeGrant { patient: PatientId([1; 16]), grant: GrantId([2; 16]), document: None };
    epione_client::TxBuilder::new(genesis().chain_id(), Call::RevokeGrant(call))
        .request_id(RequestId([id; 16]))
        .expires_at(expires_at)
        .sign(&SecretKey::from_seed(&[50; 32]), &[])
        .unwrap()
}

/// A block at `height` with receipts of these transactions, one after another applied and refused.
pub fn block(height: u64, txs: &[SignedTx]) -> (BlockHeader, Vec<Receipt>) {
    let receipt = |(index, tx): (usize, &SignedTx)| Receipt {
        version: RECEIPT_VERSION,
        tx_id: tx.id(),
        height: Height(height),
        index: u32::try_from(index).unwrap(),
        outcome: if index % 2 == 0 { Outcome::Ok } else { Outcome::Refused(Refusal::GrantUnknown) },
        events: Vec::new(),
    };
    let receipts: Vec<Receipt> = txs.iter().enumerate().map(receipt).collect();
    let leaves: Vec<Hash> = receipts.iter().map(Receipt::leaf).collect();
    let header = BlockHeader { receipts_root: merkle::root(&leaves), ..header(height, Hash([5; 32])) };
    (header, receipts)
}

pub fn receipt_proof(header: &BlockHeader, receipts: &[Receipt], index: usize) -> pb::ReceiptProof {
    let leaves: Vec<Hash> = receipts.iter().map(Receipt::leaf).collect();
    pb::ReceiptProof {
        receipt_bytes: bytes_of_receipt(&receipts[index]),
        path: Some((&merkle::path(&leaves, index).unwrap()).into()),
        header: Some(certified(header)),
    }
}

/// A state of one key: its root and the proof that any other key is absent.
pub fn lone_state(key: &[u8], value: &[u8]) -> (Hash, StateProof) {
    let leaf = StateLeaf { path: path(key), value: value_hash(value) };
    (leaf.hash(), StateProof { siblings: Vec::new(), leaf: Some(leaf) })
}

/// Headers around an expiry, and the proof that no transaction's id stands under the first past it.
pub fn expiry_proof(height: u64) -> pb::ExpiryProof {
    expiry_proof_of_state(height, &lone_state(b"another key", b"value"))
}

/// The same in any state.
pub fn expiry_proof_of_state(height: u64, state: &(Hash, StateProof)) -> pb::ExpiryProof {
    let parent = header(height - 1, Hash([6; 32]));
    let parent_hash = if height == 1 { Hash(genesis().chain_id().0) } else { parent.hash() };
    let header = BlockHeader { state_root: state.0, ..header(height, parent_hash) };
    pb::ExpiryProof {
        header: Some(certified(&header)),
        parent_header_bytes: if height == 1 { Bytes::new() } else { bytes_of_header(&parent) },
        absence: Some((&state.1).into()),
    }
}
