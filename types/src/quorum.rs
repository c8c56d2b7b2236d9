//! Quorum arithmetic (R1): the one place that counts.
//!
//! For every n: two quorums share f+1 validators, a quorum can be met without the faulty ones,
//! and it holds f+1 correct ones.

/// Most validators in one epoch. Bounds every certificate.
pub const MAX_VALIDATORS: usize = 128;

/// How many validators may be Byzantine: floor((n-1)/3).
#[must_use]
pub const fn faults(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// Votes that decide: ceil((n+f+1)/2).
#[must_use]
pub const fn quorum(n: usize) -> usize {
    (n + faults(n) + 1).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r01_quorums_intersect_in_a_correct_validator_and_can_be_met() {
        for n in 1..=MAX_VALIDATORS {
            let (f, q) = (faults(n), quorum(n));
            assert!(2 * q > n + f, "n={n}: two quorums share f+1");
            assert!(q <= n - f, "n={n}: met without the faulty");
            assert!(q > 2 * f || n < 4, "n={n}: f+1 correct in a quorum");
        }
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 10].map(quorum), [1, 2, 2, 3, 4, 4, 5, 7]);
    }
}
