//! Building transactions: one intent, encoded once, signed by all who must.
//!
//! The signed bytes are the transaction. After an unknown outcome send the same [`SignedTx`] again; a new build
//! would be a new intent with a new request id.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use epione_proto::convert::is_text;
use epione_proto::encode_body;
use epione_types::call::{Call, TxBody};
use epione_types::id::RequestId;
use epione_types::{ChainId, SignedTx, Signer, TimestampMs};
use rand_core::TryCryptoRng;

use crate::ClientError;

/// How long a transaction may take to commit, unless said otherwise.
pub const EXPIRES_IN: Duration = Duration::from_secs(300);

/// This machine's clock.
#[must_use]
pub fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Sixteen random bytes: a new id.
///
/// # Errors
/// When the operating system gives none.
pub fn random_id() -> Result<[u8; 16], ClientError> {
    draw(&mut getrandom::SysRng).map_err(|error| ClientError::Randomness(error.to_string()))
}

/// Random bytes that no node takes for text, as it would one draw of sixteen in seven million.
pub(crate) fn draw<const N: usize, R: TryCryptoRng>(random: &mut R) -> Result<[u8; N], R::Error> {
    loop {
        let mut bytes = [0; N];
        random.try_fill_bytes(&mut bytes)?;
        if !is_text(&bytes) {
            return Ok(bytes);
        }
    }
}

/// Builds one transaction.
///
/// ```
/// use epione_client::{TxBuilder, tx::random_id};
/// use epione_types::call::{Call, RevokeGrant};
/// use epione_types::{ChainId, SecretKey, id::{GrantId, PatientId}};
///
/// let patient = SecretKey::from_seed(&[1; 32]);
/// let call = Call::RevokeGrant(RevokeGrant { patient: PatientId([2; 16]), grant: GrantId([3; 16]), document: None });
/// let tx = TxBuilder::new(ChainId([4; 32]), call).sign(&patient, &[])?;
/// assert_eq!(tx.signatures.len(), 1);
/// # Ok::<(), epione_client::ClientError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is signed before `sign`"]
pub struct TxBuilder {
    chain: ChainId,
    call: Call,
    request_id: Option<RequestId>,
    expires_at: Option<TimestampMs>,
}

impl TxBuilder {
    /// A call on a chain; expires in [`EXPIRES_IN`], with a random request id.
    pub const fn new(chain: ChainId, call: Call) -> Self {
        Self { chain, call, request_id: None, expires_at: None }
    }

    /// Under this request id: the same id again is the same intent, until it expires.
    pub const fn request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }

    /// Last block time at which it may still commit.
    pub const fn expires_at(mut self, time: TimestampMs) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Encodes the body once and signs it: the sender, and whoever else must. A cosigner that signed already is skipped.
    ///
    /// # Errors
    /// [`ClientError::Config`] for more signers or a larger body than a transaction may have;
    /// [`ClientError::Randomness`].
    pub fn sign(self, sender: &dyn Signer, cosigners: &[&dyn Signer]) -> Result<SignedTx, ClientError> {
        let request_id = self.request_id.map_or_else(|| random_id().map(RequestId), Ok)?;
        let ahead = u64::try_from(EXPIRES_IN.as_millis()).unwrap_or(u64::MAX);
        let mut signers: Vec<&dyn Signer> = vec![sender];
        for cosigner in cosigners {
            if signers.iter().all(|signer| signer.public_key() != cosigner.public_key()) {
                signers.push(*cosigner);
            }
        }
        let body = TxBody {
            chain_id: self.chain,
            sender: sender.public_key(),
            co_signers: signers.iter().skip(1).map(|signer| signer.public_key()).collect(),
            request_id,
            expires_at: self.expires_at.unwrap_or_else(|| now().plus(ahead)),
            call: self.call,
        };
        let tx = SignedTx::sign(encode_body(&body), &signers);
        tx.check_shape().map_err(|error| ClientError::Config(error.to_string()))?;
        Ok(tx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_proto::decode_body;
    use epione_types::SecretKey;
    use epione_types::call::RevokeGrant;
    use epione_types::id::{GrantId, PatientId};
    use epione_types::sign::{Verifier as _, Zip215};
    use epione_types::tx::signing_bytes;

    fn builder() -> TxBuilder {
        let call = RevokeGrant { patient: PatientId([2; 16]), grant: GrantId([3; 16]), document: None };
        TxBuilder::new(ChainId([4; 32]), Call::RevokeGrant(call))
    }

    #[test]
    fn all_sign_the_same_bytes_once() {
        let keys: Vec<SecretKey> = (1..4).map(|seed| SecretKey::from_seed(&[seed; 32])).collect();
        let tx = builder().sign(&keys[0], &[&keys[1], &keys[0], &keys[2], &keys[1]]).unwrap();
        let signers: Vec<_> = tx.signatures.iter().map(|one| one.public_key).collect();
        assert_eq!(signers, keys.iter().map(Signer::public_key).collect::<Vec<_>>());
        let message = signing_bytes(&tx.body);
        assert!(tx.signatures.iter().all(|one| Zip215.verify(&one.public_key, &message, &one.signature)));
        assert_eq!(decode_body(&tx.body).unwrap().sender, keys[0].public_key());
    }

    #[test]
    fn each_build_is_a_new_intent_unless_told_otherwise() {
        let key = SecretKey::from_seed(&[1; 32]);
        let at = TimestampMs(1);
        let build = |id: Option<RequestId>| {
            let builder = builder().expires_at(at);
            id.map_or(builder.clone(), |id| builder.request_id(id)).sign(&key, &[]).unwrap().id()
        };
        assert_ne!(build(None), build(None));
        assert_eq!(build(Some(RequestId([5; 16]))), build(Some(RequestId([5; 16]))));
    }

    /// Draws a name first.
    struct Named(Vec<[u8; 16]>);
    impl rand_core::TryRng for Named {
        type Error = core::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unimplemented!("bytes only")
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unimplemented!("bytes only")
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.copy_from_slice(&self.0.remove(0));
            Ok(())
        }
    }
    impl TryCryptoRng for Named {}

    #[test]
    fn a_draw_that_would_be_refused_as_text_is_drawn_again() {
        let random = *b"\x07not text at all";
        assert_eq!(draw(&mut Named(vec![*b"q7!Zk0_)mW.3+xT~", random])), Ok(random));
    }

    #[test]
    fn too_many_signers_are_an_error() {
        let keys: Vec<SecretKey> = (0..17).map(|seed| SecretKey::from_seed(&[seed; 32])).collect();
        let cosigners: Vec<&dyn Signer> = keys.iter().skip(1).map(|key| key as &dyn Signer).collect();
        let error = builder().sign(&keys[0], &cosigners).unwrap_err();
        assert_eq!(error.to_string(), "17 signatures; there must be 1 to 16");
    }
}
