//! What a transaction's own bytes decide (R8), and the types that remember that it was decided.
//!
//! ```text
//!  SignedTx ── parse: shape, body, chain, sender ──▶ Parsed ── verify: every signature ──▶ Checked
//! ```
//!
//! A [`Checked`] exists only with valid signatures and travels from the mempool into the batch and on to execution, so a
//! signature is verified once per node. Nothing here knows the state or a clock: correct validators agree on a batch for ever.
//! Tested below; that single and batch verification agree is tested with the predicate itself, in `types`.

use std::sync::Arc;

use epione_chaincode::DecodedTx;
use epione_consensus::Payload;
use epione_proto::ConvertError;
use epione_types::tx::{TxShapeError, signing_bytes};
use epione_types::{Batch, ChainId, Params, PublicKey, Signature, SignedTx, TimestampMs, TxId, Verifier};

/// A transaction and what its bytes mean.
#[derive(Debug, PartialEq, Eq)]
pub struct Tx {
    /// As submitted.
    pub signed: SignedTx,
    /// As the contracts see it.
    pub decoded: DecodedTx,
}

impl Tx {
    /// Hash of the body.
    #[must_use]
    pub const fn id(&self) -> TxId {
        self.decoded.id
    }
    /// Last block time at which it may commit.
    #[must_use]
    pub const fn expires_at(&self) -> TimestampMs {
        self.decoded.body.expires_at
    }
    /// Who sends it.
    #[must_use]
    pub const fn sender(&self) -> &PublicKey {
        &self.decoded.body.sender
    }
}

/// Right in everything but its signatures, which were not looked at.
#[derive(Debug)]
pub struct Parsed(Arc<Tx>);

/// Right in everything that depends on its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked(Arc<Tx>);

impl core::ops::Deref for Parsed {
    type Target = Tx;
    fn deref(&self) -> &Tx {
        &self.0
    }
}
impl core::ops::Deref for Checked {
    type Target = Tx;
    fn deref(&self) -> &Tx {
        &self.0
    }
}

/// Why a transaction is not what it should be. The same on every node, for ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Sizes, or signers that are not distinct.
    #[error(transparent)]
    Shape(#[from] TxShapeError),
    /// The body is no transaction body.
    #[error(transparent)]
    Body(#[from] ConvertError),
    /// For another chain.
    #[error("chain_id is {found}, this chain is {expected}")]
    OtherChain {
        /// This chain.
        expected: ChainId,
        /// What the body names.
        found: ChainId,
    },
    /// The sender did not sign.
    #[error("sender {0} is not among the signers")]
    SenderDidNotSign(PublicKey),
    /// The signatures are not those that the body names.
    #[error("{found} signatures are not by the sender and the body's {wanted} co_signers, in this order")]
    Signers {
        /// Co-signers that the body names.
        wanted: usize,
        /// Signatures there are.
        found: usize,
    },
    /// A signature is not valid.
    #[error("a signature is not valid for the body and its key")]
    Signature,
}

/// Reads a transaction; says nothing of its signatures.
///
/// # Errors
/// [`Malformed`], naming field, limit and value.
pub fn parse(signed: SignedTx, chain: ChainId) -> Result<Parsed, Malformed> {
    signed.check_shape()?;
    let body = epione_proto::decode_body(&signed.body)?;
    if body.chain_id != chain {
        return Err(Malformed::OtherChain { expected: chain, found: body.chain_id });
    }
    if !signed.signed_by(&body.sender) {
        return Err(Malformed::SenderDidNotSign(body.sender));
    }
    let signers: Vec<PublicKey> = signed.signatures.iter().map(|one| one.public_key).collect();
    if !core::iter::once(&body.sender).chain(&body.co_signers).eq(&signers) {
        return Err(Malformed::Signers { wanted: body.co_signers.len(), found: signers.len() });
    }
    let decoded = DecodedTx { id: signed.id(), body, signers };
    Ok(Parsed(Arc::new(Tx { signed, decoded })))
}

/// Verifies all signatures of all transactions together: big batches pay. The answer for each is its own; none for one with
/// a bad signature.
pub fn verify(parsed: Vec<Parsed>, verifier: &impl Verifier) -> Vec<Option<Checked>> {
    let messages: Vec<Vec<u8>> = parsed.iter().map(|tx| signing_bytes(&tx.signed.body)).collect();
    let mut items: Vec<(PublicKey, &[u8], Signature)> = Vec::with_capacity(parsed.len());
    for (tx, message) in parsed.iter().zip(&messages) {
        items.extend(
            tx.signed.signatures.iter().map(|one| (one.public_key, message.as_slice(), one.signature)),
        );
    }
    let mut verdicts = verifier.verify_each(&items).into_iter();
    parsed
        .into_iter()
        .map(|tx| {
            // Every verdict is taken, a bad first one or not: the next transaction's come after.
            let valid = verdicts.by_ref().take(tx.signed.signatures.len()).filter(|valid| *valid).count();
            (valid == tx.signed.signatures.len()).then_some(Checked(tx.0))
        })
        .collect()
}

/// Why a batch is invalid (R8).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatch {
    /// Too many transactions.
    #[error("{found} transactions; at most {limit}")]
    Count {
        /// Limit of the epoch.
        limit: u32,
        /// Found.
        found: usize,
    },
    /// Too many bytes.
    #[error("{found} bytes; at most {limit}")]
    Bytes {
        /// Limit of the epoch.
        limit: u32,
        /// Found.
        found: usize,
    },
    /// One id twice.
    #[error("transaction {0} stands in it twice")]
    Twice(TxId),
    /// A transaction is malformed or wrongly signed.
    #[error("transaction {index}: {why}")]
    Transaction {
        /// Its place.
        index: usize,
        /// What is wrong.
        why: Malformed,
    },
    /// `expires_at` is before the stamp or too far after it.
    #[error("transaction {index}: expires_at is {expires_at}; stamp {stamp} to {limit} ms later")]
    Expiry {
        /// Its place.
        index: usize,
        /// Its expiry.
        expires_at: TimestampMs,
        /// The batch's stamp.
        stamp: TimestampMs,
        /// `expiry_ahead_max_ms`.
        limit: u64,
    },
}

/// Is `expires_at` one that a batch with this stamp may hold?
#[must_use]
pub fn expiry_fits(expires_at: TimestampMs, stamp: TimestampMs, params: &Params) -> bool {
    stamp <= expires_at && expires_at <= stamp.plus(params.expiry_ahead_max_ms)
}

/// R8: a pure function of the batch's bytes and the epoch's parameters. `known` gives, for each place, a transaction that
/// was checked before, if there is one with this id; it counts only if it is the same to the last signature byte.
///
/// # Errors
/// The first thing wrong.
pub fn validate_batch(
    payload: &Payload,
    known: &[Option<Checked>],
    chain: ChainId,
    params: &Params,
    verifier: &impl Verifier,
) -> Result<Vec<Checked>, InvalidBatch> {
    let (stamp, txs) = match payload.batch() {
        Batch::Null => return Ok(Vec::new()),
        Batch::Proposed { stamp, txs, .. } => (*stamp, txs),
    };
    let (count, bytes) = (txs.len(), payload.bytes().len());
    if count > params.batch_txs_max as usize {
        return Err(InvalidBatch::Count { limit: params.batch_txs_max, found: count });
    }
    if bytes > params.batch_bytes_max as usize {
        return Err(InvalidBatch::Bytes { limit: params.batch_bytes_max, found: bytes });
    }
    let mut checked: Vec<Option<Checked>> = Vec::with_capacity(count);
    let (mut parsed, mut places) = (Vec::new(), Vec::new());
    let known = known.iter().map(Option::as_ref).chain(core::iter::repeat(None));
    for (index, (tx, known)) in txs.iter().zip(known).enumerate() {
        let known = known.filter(|known| known.signed == *tx).cloned();
        if known.is_none() {
            let fresh = parse(tx.clone(), chain).map_err(|why| InvalidBatch::Transaction { index, why })?;
            parsed.push(fresh);
            places.push(index);
        }
        checked.push(known);
    }
    for (index, verdict) in places.into_iter().zip(verify(parsed, verifier)) {
        let good = verdict.ok_or(InvalidBatch::Transaction { index, why: Malformed::Signature })?;
        if let Some(place) = checked.get_mut(index) {
            *place = Some(good);
        }
    }
    let checked: Vec<Checked> = checked.into_iter().flatten().collect();
    let mut ids = std::collections::BTreeSet::new();
    for (index, tx) in checked.iter().enumerate() {
        if !ids.insert(tx.id()) {
            return Err(InvalidBatch::Twice(tx.id()));
        }
        if !expiry_fits(tx.expires_at(), stamp, params) {
            let (expires_at, limit) = (tx.expires_at(), params.expiry_ahead_max_ms);
            return Err(InvalidBatch::Expiry { index, expires_at, stamp, limit });
        }
    }
    Ok(checked)
}

/// Reads the transactions of a batch that a quorum vouches for: what its signatures are worth is decided already (R23).
///
/// # Errors
/// A transaction that does not parse: more than f validators, or this binary, are wrong.
pub fn parse_vouched(payload: &Payload, chain: ChainId) -> Result<Vec<DecodedTx>, InvalidBatch> {
    let parse = |(index, tx): (usize, &SignedTx)| {
        let parsed = parse(tx.clone(), chain).map_err(|why| InvalidBatch::Transaction { index, why })?;
        Ok(parsed.0.decoded.clone())
    };
    payload.batch().txs().iter().enumerate().map(parse).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use epione_types::call::{Call, RegisterPatient, TxBody};
    use epione_types::id::{PatientId, RequestId};
    use epione_types::sign::Zip215;
    use epione_types::{Hash, SecretKey, Signer, ValidatorIndex};

    pub(crate) const CHAIN: ChainId = ChainId([7; 32]);

    pub(crate) fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    pub(crate) fn signed(chain: ChainId, sender: &SecretKey, number: u64, expires_at: u64) -> SignedTx {
        let mut request = [0; 16];
        request[..8].copy_from_slice(&number.to_le_bytes());
        let body = TxBody {
            chain_id: chain,
            sender: sender.public_key(),
            request_id: RequestId(request),
            co_signers: Vec::new(),
            expires_at: TimestampMs(expires_at),
            call: Call::RegisterPatient(RegisterPatient {
                patient: PatientId(request),
                key: None,
                notice_hash: Hash([3; 32]),
            }),
        };
        SignedTx::sign(epione_proto::encode_body(&body), &[sender])
    }

    pub(crate) fn checked(sender: &SecretKey, number: u64, expires_at: u64) -> Checked {
        let parsed = parse(signed(CHAIN, sender, number, expires_at), CHAIN).unwrap();
        verify(vec![parsed], &Zip215).remove(0).unwrap()
    }

    fn batch(stamp: u64, txs: Vec<SignedTx>) -> Payload {
        Payload::new(Batch::Proposed { proposer: ValidatorIndex(0), stamp: TimestampMs(stamp), txs })
    }

    fn validate(payload: &Payload, known: &[Option<Checked>]) -> Result<usize, InvalidBatch> {
        validate_batch(payload, known, CHAIN, &Params::default(), &Zip215).map(|txs| txs.len())
    }

    #[test]
    fn a_transaction_is_refused_for_what_is_wrong_with_it() {
        let good = signed(CHAIN, &key(1), 1, 50);
        assert!(parse(good.clone(), CHAIN).is_ok());
        assert!(matches!(parse(good.clone(), ChainId([8; 32])), Err(Malformed::OtherChain { .. })));
        let mut other = good.clone();
        other.signatures[0].public_key = key(2).public_key();
        assert!(matches!(parse(other, CHAIN), Err(Malformed::SenderDidNotSign(_))));
        let none = SignedTx { signatures: Vec::new(), ..good.clone() };
        assert!(matches!(parse(none, CHAIN), Err(Malformed::Shape(_))));
        let garbage = SignedTx { body: bytes::Bytes::from_static(&[0xff; 40]), ..good };
        assert!(matches!(parse(garbage, CHAIN), Err(Malformed::Body(_))));
    }

    #[test]
    fn one_bad_signature_among_many_is_found_and_the_others_stand() {
        let mut txs: Vec<SignedTx> = (0..9).map(|i| signed(CHAIN, &key(1), i, 50)).collect();
        txs[4].signatures[0].signature.0[0] ^= 1;
        let parsed = txs.iter().map(|tx| parse(tx.clone(), CHAIN).unwrap()).collect();
        let good: Vec<bool> = verify(parsed, &Zip215).iter().map(Option::is_some).collect();
        assert_eq!(good, [true, true, true, true, false, true, true, true, true]);
        let error = validate(&batch(10, txs), &[]).unwrap_err();
        assert_eq!(error, InvalidBatch::Transaction { index: 4, why: Malformed::Signature });
    }

    #[test]
    fn a_verdict_is_remembered_for_the_very_same_bytes_only() {
        struct Nobody;
        impl Verifier for Nobody {
            fn verify(&self, _: &PublicKey, _: &[u8], _: &Signature) -> bool {
                false
            }
        }
        let known = checked(&key(1), 1, 50);
        let payload = batch(10, vec![known.signed.clone()]);
        let ask = |payload: &Payload| {
            validate_batch(payload, &[Some(known.clone())], CHAIN, &Params::default(), &Nobody)
        };
        assert_eq!(ask(&payload).unwrap(), std::slice::from_ref(&known), "verified before");
        let mut resigned = known.signed.clone();
        resigned.signatures[0].signature.0[0] ^= 1;
        assert_eq!(resigned.id(), known.id());
        assert!(ask(&batch(10, vec![resigned])).is_err(), "same id, other signature: looked at anew");
    }

    #[test]
    fn batches_are_bounded_in_time_and_hold_an_id_once() {
        let params = Params::default();
        let at = |expires: u64| validate(&batch(1_000, vec![signed(CHAIN, &key(1), 1, expires)]), &[]);
        assert_eq!(at(1_000), Ok(1));
        assert_eq!(at(1_000 + params.expiry_ahead_max_ms), Ok(1));
        assert!(matches!(at(999), Err(InvalidBatch::Expiry { index: 0, .. })));
        assert!(matches!(at(1_001 + params.expiry_ahead_max_ms), Err(InvalidBatch::Expiry { .. })));
        let tx = signed(CHAIN, &key(1), 1, 50);
        let twice = batch(10, vec![tx.clone(), tx.clone()]);
        assert_eq!(validate(&twice, &[]), Err(InvalidBatch::Twice(tx.id())));
        let small = Params { batch_txs_max: 1, batch_bytes_max: 100, ..params };
        let two = batch(10, vec![tx, signed(CHAIN, &key(1), 2, 50)]);
        let refused = |params: &Params| validate_batch(&two, &[], CHAIN, params, &Zip215).unwrap_err();
        assert!(matches!(refused(&small), InvalidBatch::Count { limit: 1, found: 2 }));
        let thin = Params { batch_txs_max: 2, ..small };
        assert!(matches!(refused(&thin), InvalidBatch::Bytes { limit: 100, .. }));
        assert_eq!(validate(&Payload::new(Batch::Null), &[]), Ok(0));
        assert_eq!(validate(&batch(10, Vec::new()), &[]), Ok(0));
    }
}
