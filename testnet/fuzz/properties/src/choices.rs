//! Bytes as decisions. What is used up reads as zero, so that every input is a whole story.

/// A reader of decisions.
#[derive(Debug)]
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`; 0 if there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let high = if bound > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (high | usize::from(self.byte())).checked_rem(bound).unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn pick<'b, T>(&mut self, list: &'b [T]) -> Option<&'b T> {
        list.get(self.below(list.len()))
    }

    /// What is left, as it is.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Numbers that bounds are made of.
    pub(crate) fn number(&mut self) -> u64 {
        const EDGES: [u64; 10] = [0, 1, 2, 17, 255, 1 << 16, 1 << 32, (1 << 32) + 1, u64::MAX / 2, u64::MAX];
        EDGES.get(self.below(2 * EDGES.len())).copied().unwrap_or_else(|| self.byte().into())
    }

    /// Changes bytes somewhere, a few times.
    pub(crate) fn edit(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(5) {
            let (what, at) = (self.below(7), self.below(bytes.len().max(1)));
            match what {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), self.byte()),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => {
                    let number = self.number().to_le_bytes();
                    bytes.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
                }
                4 => {
                    let end = bytes.len().min(at + 1 + self.below(64));
                    bytes.extend_from_within(at..end);
                }
                _ => {
                    let bit = 1 << self.below(8);
                    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
                }
            }
        }
    }
}
