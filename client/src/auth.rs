//! Who calls: a short-lived EdDSA JWT that the caller signs itself with the key registered on chain.
//!
//! ```text
//! header   {"alg":"EdDSA","typ":"JWT"}
//! payload  {"sub": public key, hex; "aud": chain id, hex; "iat", "exp": seconds since 1970}
//! ```
//!
//! It says that whoever sends it held the key within the last minutes, and nothing more: the key's registration
//! says who that is, and a transaction carries its own signatures. The audience keeps a token of one chain from
//! another. The signed text is base64url, so it can never be a transaction's or a vote's message, which begin with
//! a tag that has `/` and zero bytes. Exactly this header and these four claims are accepted: no algorithm to
//! choose, none to confuse. Tested below and by `tests/hostile.rs`; used by the clients here and by the node.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use epione_types::sign::Zip215;
use epione_types::{ChainId, PublicKey, Signature, Signer, TimestampMs, Verifier as _};
use serde::{Deserialize, Serialize};

/// Longest token accepted, in bytes; ours have about 400.
pub const TOKEN_BYTES_MAX: usize = 1_024;
/// Longest life of a token, in seconds.
pub const LIFETIME_MAX_S: u64 = 600;
/// How far the caller's clock may be ahead, in seconds.
pub const CLOCK_AHEAD_MAX_S: u64 = 30;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
}

/// Who a valid token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The key; its registration says who it is.
    pub key: PublicKey,
    /// End of the token, exclusive.
    pub expires: TimestampMs,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("token has {found} bytes; at most {TOKEN_BYTES_MAX}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not three base64url parts, or not exactly our header and claims.
    #[error("token is malformed: {0}")]
    Malformed(&'static str),
    /// For another chain.
    #[error("token is for another chain")]
    OtherAudience,
    /// Its end has come.
    #[error("token expired at {exp}, it is {now} (seconds since 1970)")]
    Expired {
        /// Its end.
        exp: u64,
        /// The verifier's clock.
        now: u64,
    },
    /// Its beginning lies in the future.
    #[error("token is from {iat}, it is {now} (seconds since 1970): the caller's clock is ahead")]
    NotYet {
        /// Its beginning.
        iat: u64,
        /// The verifier's clock.
        now: u64,
    },
    /// Longer than [`LIFETIME_MAX_S`], or ends before it begins.
    #[error("token is for {exp} - {iat} seconds; 1 to {LIFETIME_MAX_S}")]
    Lifetime {
        /// Its beginning.
        iat: u64,
        /// Its end.
        exp: u64,
    },
    /// Not signed by its subject, or by a weak key.
    #[error("token is not signed by its subject")]
    BadSignature,
}

impl TokenError {
    /// Stable reason for `ErrorInfo`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::Malformed(_) => "TOKEN_MALFORMED",
            Self::OtherAudience => "TOKEN_AUDIENCE",
            Self::Expired { .. } => "TOKEN_EXPIRED",
            Self::NotYet { .. } => "TOKEN_NOT_YET_VALID",
            Self::Lifetime { .. } => "TOKEN_LIFETIME",
            Self::BadSignature => "TOKEN_SIGNATURE",
        }
    }
}

/// A token of `key` for `chain`, valid from `now` for `lifetime_s` seconds (at most [`LIFETIME_MAX_S`]).
///
/// ```
/// use epione_client::auth;
/// use epione_types::{ChainId, SecretKey, Signer, TimestampMs};
///
/// let (key, chain, now) = (SecretKey::from_seed(&[1; 32]), ChainId([2; 32]), TimestampMs(1_700_000_000_000));
/// let token = auth::create(&key, chain, now, 300);
/// assert_eq!(auth::verify(&token, chain, now).unwrap().key, key.public_key());
/// assert!(auth::verify(&token, chain, now.plus(300_000)).is_err());
/// ```
#[must_use]
pub fn create(key: &dyn Signer, chain: ChainId, now: TimestampMs, lifetime_s: u64) -> String {
    let iat = now.0 / 1_000;
    let exp = iat.saturating_add(lifetime_s.min(LIFETIME_MAX_S));
    let (sub, aud) = (key.public_key(), chain);
    // Hex and numbers need no escaping.
    let header = BASE64.encode(br#"{"alg":"EdDSA","typ":"JWT"}"#);
    let claims = BASE64.encode(format!(r#"{{"sub":"{sub}","aud":"{aud}","iat":{iat},"exp":{exp}}}"#));
    let signed = format!("{header}.{claims}");
    let signature = BASE64.encode(key.sign(signed.as_bytes()).0);
    format!("{signed}.{signature}")
}

/// Checks a token for `chain` at `now`.
///
/// # Errors
/// [`TokenError`]; never says more than the caller knows already.
pub fn verify(token: &str, chain: ChainId, now: TimestampMs) -> Result<Caller, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong { found: token.len() });
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("it has three parts"))?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed("it has three parts"))?;
    let header: Header = part(header, TokenError::Malformed("header"))?;
    if header.alg != "EdDSA" || header.typ != "JWT" {
        return Err(TokenError::Malformed("header; alg is EdDSA and typ is JWT"));
    }
    let claims: Claims = part(claims, TokenError::Malformed("claims are sub, aud, iat, exp"))?;
    let key: PublicKey =
        claims.sub.parse().map_err(|_| TokenError::Malformed("sub is a public key in hex"))?;
    if claims.aud.parse() != Ok(chain) {
        return Err(TokenError::OtherAudience);
    }
    let (now, iat, exp) = (now.0 / 1_000, claims.iat, claims.exp);
    if exp.checked_sub(iat).is_none_or(|life| life == 0 || life > LIFETIME_MAX_S) {
        return Err(TokenError::Lifetime { iat, exp });
    }
    if iat > now.saturating_add(CLOCK_AHEAD_MAX_S) {
        return Err(TokenError::NotYet { iat, now });
    }
    if exp <= now {
        return Err(TokenError::Expired { exp, now });
    }
    let mut bytes = [0u8; Signature::LEN];
    let length = BASE64.decode_slice(signature, &mut bytes).map_err(|_| TokenError::BadSignature)?;
    let valid = length == Signature::LEN && Zip215.verify(&key, signed.as_bytes(), &Signature(bytes));
    // Under the chain's rule anything verifies for a weak key.
    if !valid || key.is_weak() {
        return Err(TokenError::BadSignature);
    }
    Ok(Caller { key, expires: TimestampMs(exp.saturating_mul(1_000)) })
}

fn part<T: for<'de> Deserialize<'de>>(text: &str, error: TokenError) -> Result<T, TokenError> {
    // serde would take a list of the fields' values for the object.
    let object = BASE64.decode(text).ok().filter(|bytes| bytes.starts_with(b"{"));
    object.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_types::SecretKey;

    const CHAIN: ChainId = ChainId([2; 32]);
    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    fn key() -> SecretKey {
        SecretKey::from_seed(&[1; 32])
    }

    fn signed(header: &str, claims: &str) -> String {
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = key().sign(text.as_bytes());
        format!("{text}.{}", BASE64.encode(signature.0))
    }

    fn claims(iat: u64, exp: u64) -> String {
        format!(r#"{{"sub":"{}","aud":"{CHAIN}","iat":{iat},"exp":{exp}}}"#, key().public_key())
    }

    const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

    #[test]
    fn it_lives_from_iat_until_exp() {
        let token = create(&key(), CHAIN, NOW, 300);
        assert!(token.len() < TOKEN_BYTES_MAX);
        assert!(verify(&token, CHAIN, NOW.minus(CLOCK_AHEAD_MAX_S * 1_000)).is_ok());
        assert!(matches!(
            verify(&token, CHAIN, NOW.minus((CLOCK_AHEAD_MAX_S + 1) * 1_000)),
            Err(TokenError::NotYet { .. })
        ));
        let caller = verify(&token, CHAIN, NOW.plus(299_999)).unwrap();
        assert_eq!(caller, Caller { key: key().public_key(), expires: NOW.plus(300_000) });
        assert!(matches!(verify(&token, CHAIN, NOW.plus(300_000)), Err(TokenError::Expired { .. })));
    }

    #[test]
    fn it_is_for_one_chain_and_minutes_long() {
        let token = create(&key(), CHAIN, NOW, 300);
        assert_eq!(verify(&token, ChainId([3; 32]), NOW), Err(TokenError::OtherAudience));
        let now = NOW.0 / 1_000;
        for (iat, exp) in [(now, now + LIFETIME_MAX_S + 1), (now, now), (now, now - 1), (0, u64::MAX)] {
            let error = verify(&signed(HEADER, &claims(iat, exp)), CHAIN, NOW).unwrap_err();
            assert_eq!(error, TokenError::Lifetime { iat, exp });
        }
    }

    #[test]
    fn no_changed_byte_passes() {
        let token = create(&key(), CHAIN, NOW, 300);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            // The signature's last character has bits that are no part of it; those must be zero.
            assert!(verify(std::str::from_utf8(&bytes).unwrap(), CHAIN, NOW).is_err(), "byte {at}");
        }
    }

    #[test]
    fn no_other_algorithm_header_or_claim_passes() {
        let now = NOW.0 / 1_000;
        let good = claims(now, now + 60);
        assert!(verify(&signed(HEADER, &good), CHAIN, NOW).is_ok());
        for header in [
            r#"{"alg":"none","typ":"JWT"}"#,
            r#"{"alg":"HS256","typ":"JWT"}"#,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"1"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","alg":"EdDSA","typ":"JWT"}"#,
            r#"["EdDSA","JWT"]"#,
            "null",
        ] {
            assert!(
                matches!(verify(&signed(header, &good), CHAIN, NOW), Err(TokenError::Malformed(_))),
                "{header}"
            );
        }
        let more = good.replace('}', r#","admin":true}"#);
        assert!(matches!(verify(&signed(HEADER, &more), CHAIN, NOW), Err(TokenError::Malformed(_))));
    }

    #[test]
    fn another_subject_or_a_weak_one_is_refused() {
        let now = NOW.0 / 1_000;
        let mine = key().public_key().to_string();
        let other = SecretKey::from_seed(&[9; 32]).public_key().to_string();
        let spoofed = signed(HEADER, &claims(now, now + 60).replace(&mine, &other));
        assert_eq!(verify(&spoofed, CHAIN, NOW), Err(TokenError::BadSignature));
        // The identity point: R = identity, S = 0 verifies over any message.
        let weak = format!("01{}", "00".repeat(31));
        let token = signed(HEADER, &claims(now, now + 60).replace(&mine, &weak));
        let (text, _) = token.rsplit_once('.').unwrap();
        let mut forged = [0u8; 64];
        forged[0] = 1;
        let token = format!("{text}.{}", BASE64.encode(forged));
        assert_eq!(verify(&token, CHAIN, NOW), Err(TokenError::BadSignature));
    }

    #[test]
    fn garbage_is_refused() {
        for token in ["", ".", "..", "a.b.c", "....", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(verify(token, CHAIN, NOW).is_err(), "{token}");
        }
    }
}
