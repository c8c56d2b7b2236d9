//! Teeth: guards of the protocol that a test can take out, to see that it would be noticed.
//!
//! Without the feature `teeth`, which only tests turn on, [`holds`] is constant and compiles to nothing. With it, one guard
//! at a time can be removed on this thread, for as long as [`without`] runs. The simulator's tests remove each and
//! require the violation; this crate's tests pass with the feature on and nothing removed.

macro_rules! guards {
    ($($(#[doc = $what:literal])+ $guard:ident,)+) => {
        /// A guard, the rule it stands for, and what breaks without it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Guard { $($(#[doc = $what])+ $guard,)+ }

        impl Guard {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$guard),+];
        }
    };
}

guards! {
    /// R3. A failed sync does not stop the step: messages leave that the disk knows nothing of, and after a restart the
    /// replica says something else.
    DurableFirst,
    /// R4. What the log says is not taken in at a restart: the replica votes again, differently.
    RestoredVotes,
    /// R4. Acceptances are not logged: a restarted replica accepts another digest for the slot.
    AcceptedLogged,
    /// R4. Prepared certificates are not logged: after restarts a view change does not see what was committed.
    PreparedLogged,
    /// R4, R13. Seals are not logged: after a restart another header can be sealed at the height.
    SealedLogged,
    /// R4, R17. The ViewChange is not logged: a restarted replica votes on in the view that it left.
    AskedLogged,
    /// R4, R19. The NewView is not logged: a restarted replica enters the view with another list.
    EnteredLogged,
    /// R7. A later proposal for a slot replaces the first: two votes of one validator, two digests in one view.
    VoteOnce,
    /// R1. f+1 votes decide: two quorums need not share a correct validator.
    Quorum,
    /// R6. The primary's Prepare counts besides its PrePrepare: q-1 validators pass for q.
    PrimaryCountsOnce,
    /// R18. A NewView may count one ViewChange several times: a primary alone opens its view and drops what it likes.
    DistinctViewChanges,
    /// R6. Certificates of one signature pass.
    CertificateSize,
    /// R5. The signatures in certificates are not looked at: certificates can be invented.
    CertificateSignatures,
    /// R5. The signatures of messages are not looked at: anybody speaks for anybody.
    MessageSignature,
    /// R5. Statements of another epoch are counted: certificates come about that nobody can verify.
    Epoch,
    /// R20. Votes go on above the last height of the epoch: two sets of validators decide one height.
    EpochEnds,
    /// R20. That an epoch has begun is not logged: what was said in it is forgotten with a restart.
    EpochLogged,
    /// R7, R18. Anybody proposes and opens views, not the primary alone.
    OnlyPrimary,
    /// R18. The NewView's list is not recomputed: its primary drops or replaces what may be committed.
    NewViewList,
    /// R17. Prepared certificates are left out of ViewChanges: the next view orders something else.
    PreparedCarried,
    /// R18. Of several prepared digests any is carried, not that of the highest view, which alone may be committed.
    HighestPrepared,
    /// R19. Proposals at or below the NewView's base are accepted: votes against a certified block.
    NewViewBase,
    /// R19. A view is entered again with every NewView of it: its list changes under the votes.
    FirstNewView,
    /// R17. Votes go on in a view that was left: they commit what the ViewChange did not show.
    VotingEnds,
    /// R14. One validator's word moves others to another view: it need not be a correct one.
    ViewJump,
    /// R2. Votes above the window: a ViewChange, which shows W heights, does not show all that is committed.
    Window,
    /// R2, R28. Votes for any height are kept: memory is what a peer makes it.
    KeptHeights,
    /// R28. Votes of any view are kept: memory is what a peer makes it.
    KeptViews,
    /// R9. Any stamp is accepted: a primary moves time, and with it expiry, where it likes.
    Stamp,
    /// R8. An invalid batch is taken for valid: forged transactions are executed.
    InvalidBatch,
    /// R13. A certificate for another header than the one executed here is adopted.
    HeaderAgrees,
    /// R23. Fetched blocks need not lead to the certificate that comes with them: any blocks are executed.
    BlocksCertified,
    /// R23. Fetched blocks need not be a chain: all but the last may be anything.
    ParentLinks,
    /// R23. A fetched block's batch need not be its header's.
    BodyDigest,
    /// R22. A peer is not sent what it lacks: what was lost once is lost for ever.
    Resend,
}

/// Is the guard in place?
#[cfg(not(feature = "teeth"))]
#[inline]
#[must_use]
pub const fn holds(_: Guard) -> bool {
    true
}

#[cfg(feature = "teeth")]
pub use teeth::{holds, without};

#[cfg(feature = "teeth")]
mod teeth {
    use std::cell::Cell;

    use super::Guard;

    thread_local!(static REMOVED: Cell<Option<Guard>> = const { Cell::new(None) });

    /// Is the guard in place?
    #[must_use]
    pub fn holds(guard: Guard) -> bool {
        REMOVED.get() != Some(guard)
    }

    /// Runs `what` without a guard, on this thread. The guard is back afterwards, after a panic too.
    pub fn without<T>(guard: Guard, what: impl FnOnce() -> T) -> T {
        struct PutBack(Option<Guard>);
        impl Drop for PutBack {
            fn drop(&mut self) {
                REMOVED.set(self.0);
            }
        }
        let _put_back = PutBack(REMOVED.replace(Some(guard)));
        what()
    }
}

#[cfg(all(test, feature = "teeth"))]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_back_afterwards_even_after_a_panic() {
        assert!(Guard::ALL.iter().all(|guard| holds(*guard)));
        let seen = without(Guard::Quorum, || (holds(Guard::Quorum), holds(Guard::Epoch)));
        assert_eq!(seen, (false, true));
        let panicked = std::panic::catch_unwind(|| without(Guard::Quorum, || panic!("caught")));
        assert!(panicked.is_err() && holds(Guard::Quorum));
    }
}
