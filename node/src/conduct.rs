//! What peers do wrong: a name for each offence and, for each peer, a count of each (R28).
//!
//! A *strike* is what no correct validator does. [`STRIKES_MAX`] strikes in a short time and the peer is cut off; one strike
//! is forgiven every [`FORGIVEN_AFTER_MS`], so a few in a year mean nothing. Every other offence is only counted: a correct
//! peer that is late, ahead, or asks twice commits it too, and nobody is cut off for that.
//!
//! How it cannot go wrong: a peer costs one counter for each name, whatever it sends; counts only grow; nothing of what it
//! sent is kept. Tested below and, one row for each kind of bad input, by `tests/rpc/bad_peer.rs`.

use std::collections::BTreeMap;

use epione_consensus::Rejected;
use epione_types::tx::{MAX_BODY_BYTES, TxShapeError};

use crate::ports::{Admitted, Refused};
use crate::validate::Malformed;

/// Strikes after which a peer is cut off.
pub const STRIKES_MAX: u64 = 3;
/// How long it takes until a strike is forgiven, in ms.
pub const FORGIVEN_AFTER_MS: u64 = 60_000;
/// For how long after it was cut off a peer gets no strikes, in ms: what comes then was sent, or signed, before.
const QUIET_MS: u64 = 5_000;

macro_rules! offences {
    ($($(#[$doc:meta])* $name:ident $reason:literal $strike:literal),+ $(,)?) => {
        /// Something that a peer did wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Offence { $($(#[$doc])* $name),+ }

        impl Offence {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its stable name, for operators.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason),+ }
            }

            /// Does no correct validator do it?
            #[must_use]
            pub const fn is_strike(self) -> bool {
                match self { $(Self::$name => $strike),+ }
            }
        }
    };
}

offences! {
    /// A stream declared an empty frame or one beyond its class's limit. The network cuts off at once.
    FrameLength "FRAME_LENGTH" true,
    /// A second stream of one class on one connection. The network cuts off at once.
    StreamTwice "STREAM_TWICE" true,
    /// A stream ended inside a frame: the peer died, or pretends.
    FrameTruncated "FRAME_TRUNCATED" false,

    /// It belongs to another chain, by its genesis: there is no link.
    OtherChain "OTHER_CHAIN" false,

    /// A frame that does not decode.
    FrameUndecodable "FRAME_UNDECODABLE" true,
    /// A frame on the stream of another class.
    WrongStream "WRONG_STREAM" true,

    /// A message that its signer did not sign, or not for this chain: the chain is part of what is signed.
    MessageSignature "MESSAGE_SIGNATURE" true,
    /// A message that is not what it should be.
    MessageMalformed "MESSAGE_MALFORMED" true,
    /// A certificate short of a quorum.
    ShortCertificate "SHORT_CERTIFICATE" true,
    /// A message by somebody who is no validator.
    NotValidator "NOT_VALIDATOR" true,
    /// A PrePrepare or NewView by another than its view's primary.
    NotPrimary "NOT_PRIMARY" true,
    /// Another validator's Status played back: it would use up that one's answers (R22).
    StatusReplayed "STATUS_REPLAYED" true,
    /// A message of another epoch: the peer is ahead or behind.
    OtherEpoch "OTHER_EPOCH" false,
    /// Two contradicting votes signed by this validator, whoever showed them; the proof is kept.
    Contradiction "CONTRADICTION" false,

    /// A forwarded transaction whose shape or body is wrong.
    TxMalformed "TX_MALFORMED" true,
    /// One with too large a body.
    TxOversized "TX_OVERSIZED" true,
    /// One for another chain.
    TxOtherChain "TX_OTHER_CHAIN" true,
    /// One without a signature that its body asks for.
    TxSignatureMissing "TX_SIGNATURE_MISSING" true,
    /// One with an invalid signature.
    TxSignature "TX_SIGNATURE" true,
    /// One that has expired: the peer's blocks or clock are behind.
    TxExpired "TX_EXPIRED" false,
    /// One that expires too late: the peer's clock is ahead.
    TxTooFarAhead "TX_TOO_FAR_AHEAD" false,
    /// One that waits here already: sent again (R24), or taken in by two nodes.
    TxDuplicate "TX_DUPLICATE" false,
    /// One that has a receipt already.
    TxExecuted "TX_EXECUTED" false,
    /// One for which the peer's part of the mempool has no room.
    TxOverQuota "TX_OVER_QUOTA" false,

    /// A request for blocks that names none.
    RequestEmpty "REQUEST_EMPTY" false,
    /// A request while the peer's earlier ones are still being answered.
    RequestTooMany "REQUEST_TOO_MANY" false,
    /// Blocks that were not asked for, or come after another was asked.
    BlocksUnasked "BLOCKS_UNASKED" false,
    /// Blocks that do not verify.
    BlocksInvalid "BLOCKS_INVALID" true,
    /// A snapshot's manifest or chunk that was not asked for.
    SnapshotUnasked "SNAPSHOT_UNASKED" false,
    /// A snapshot's manifest or chunk that does not verify.
    SnapshotInvalid "SNAPSHOT_INVALID" true,
    /// What was executed at a height, not asked for, or after another was asked.
    ExecutionUnasked "EXECUTION_UNASKED" false,
    /// What was executed at a height, and is not what the header says that a quorum sealed.
    ExecutionInvalid "EXECUTION_INVALID" true,
}

impl From<&Rejected> for Offence {
    fn from(why: &Rejected) -> Self {
        match why {
            Rejected::Signature => Self::MessageSignature,
            Rejected::NotMember => Self::NotValidator,
            Rejected::Epoch => Self::OtherEpoch,
            Rejected::NotPrimary => Self::NotPrimary,
            Rejected::ShortCertificate => Self::ShortCertificate,
            Rejected::Malformed(_) => Self::MessageMalformed,
        }
    }
}

impl From<&Malformed> for Offence {
    fn from(why: &Malformed) -> Self {
        match why {
            Malformed::Shape(TxShapeError::BodySize { found }) if *found > MAX_BODY_BYTES => {
                Self::TxOversized
            }
            Malformed::Shape(_) | Malformed::Body(_) => Self::TxMalformed,
            Malformed::OtherChain { .. } => Self::TxOtherChain,
            Malformed::SenderDidNotSign(_) | Malformed::Signers { .. } => Self::TxSignatureMissing,
            Malformed::Signature => Self::TxSignature,
        }
    }
}

impl Offence {
    /// What the door's word on a forwarded transaction says of who forwarded it.
    pub(crate) const fn of(word: &Result<Admitted, Refused>) -> Option<Self> {
        Some(match word {
            // Nobody who forwards is told of a request id: the contracts refuse it.
            Ok(Admitted::New { .. }) | Err(Refused::Unavailable(_) | Refused::RequestIdTaken) => return None,
            Ok(Admitted::Pending) => Self::TxDuplicate,
            Ok(Admitted::Executed) => Self::TxExecuted,
            Err(Refused::Full(_)) => Self::TxOverQuota,
            Err(Refused::Signature) => Self::TxSignature,
            Err(Refused::Expired { .. }) => Self::TxExpired,
            Err(Refused::TooFarAhead { .. }) => Self::TxTooFarAhead,
        })
    }
}

/// What one peer did wrong since this node was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conduct {
    counts: BTreeMap<Offence, u64>,
    cut_offs: u64,
    strikes: u64,
    /// Monotone time since when the next strike is being forgiven, in ms.
    forgiving_since: u64,
    /// Until then it gets no strikes.
    quiet_until: u64,
}

impl Conduct {
    /// Every offence that was committed, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (Offence, u64)> + '_ {
        self.counts.iter().map(|(offence, count)| (*offence, *count))
    }

    /// How often this one was.
    #[must_use]
    pub fn count(&self, offence: Offence) -> u64 {
        self.counts.get(&offence).copied().unwrap_or_default()
    }

    /// How often the peer was to be cut off.
    #[must_use]
    pub const fn cut_offs(&self) -> u64 {
        self.cut_offs
    }

    /// Counts an offence at `now`, in ms of a monotone clock. True: the peer is to be cut off.
    pub(crate) fn note(&mut self, offence: Offence, now: u64) -> bool {
        let count = self.counts.entry(offence).or_default();
        *count = count.saturating_add(1);
        if !offence.is_strike() || now < self.quiet_until {
            return false;
        }
        let forgiven = now.saturating_sub(self.forgiving_since) / FORGIVEN_AFTER_MS;
        self.strikes = self.strikes.saturating_sub(forgiven);
        self.forgiving_since = match self.strikes {
            0 => now,
            _ => self.forgiving_since.saturating_add(forgiven.saturating_mul(FORGIVEN_AFTER_MS)),
        };
        self.strikes += 1;
        if self.strikes < STRIKES_MAX {
            return false;
        }
        self.strikes = 0;
        self.cut_offs = self.cut_offs.saturating_add(1);
        self.quiet_until = now.saturating_add(QUIET_MS);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const STRIKE: Offence = Offence::MessageSignature;

    #[test]
    fn three_strikes_cut_off_and_what_was_under_way_counts_no_more() {
        let mut peer = Conduct::default();
        assert_eq!([5, 5, 6].map(|now| peer.note(STRIKE, now)), [false, false, true]);
        assert!((0..100).all(|_| !peer.note(STRIKE, 6 + QUIET_MS - 1)), "sent before it was cut off");
        assert_eq!([0, 0, 0].map(|_| peer.note(STRIKE, 6 + QUIET_MS)), [false, false, true]);
        assert_eq!((peer.count(STRIKE), peer.cut_offs()), (106, 2));
    }

    #[test]
    fn strikes_are_forgiven_one_at_a_time() {
        let mut slow = Conduct::default();
        assert!((0..1_000).all(|at| !slow.note(STRIKE, at * FORGIVEN_AFTER_MS)), "one a minute");
        let mut peer = Conduct::default();
        assert!(!peer.note(STRIKE, 0) && !peer.note(STRIKE, 0));
        assert!(!peer.note(STRIKE, FORGIVEN_AFTER_MS), "one of two was forgiven");
        assert!(peer.note(STRIKE, 2 * FORGIVEN_AFTER_MS - 1), "and the next not yet");
    }

    #[test]
    fn what_a_late_peer_does_is_counted_and_forgiven() {
        let mut peer = Conduct::default();
        let harmless: Vec<Offence> = Offence::ALL.iter().copied().filter(|it| !it.is_strike()).collect();
        for offence in &harmless {
            assert!((0..100).all(|_| !peer.note(*offence, 1)));
        }
        assert!(peer.counts().eq(harmless.into_iter().map(|offence| (offence, 100))));
    }

    #[test]
    fn reasons_are_distinct_and_screaming() {
        let reasons: BTreeSet<_> = Offence::ALL.iter().map(|offence| offence.reason()).collect();
        assert_eq!(reasons.len(), Offence::ALL.len());
        assert!(reasons.iter().all(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
    }
}
