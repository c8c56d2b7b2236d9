//! Nodes by number: an arena that grows in chunks, so that ten million leaves are never copied to grow by one.

/// Entries per chunk: 2 MiB of 64-byte nodes, and a table of chunks that stays in the cache.
const CHUNK: usize = 1 << 15;

/// Values of one type under 31-bit numbers; a freed number is given out again.
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T: Copy> Slab<T> {
    /// The number that no value has.
    pub(super) const NONE: u32 = (1 << 31) - 1;

    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new() }
    }

    /// Stores a value and returns its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = value;
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last_mut().expect("pushed when there was none");
        let id = u32::try_from(before + last.len()).ok().filter(|id| *id < Self::NONE);
        last.push(value);
        id.expect("two thousand million nodes do not fit the memory of a validator")
    }

    /// The value under a number that [`Self::insert`] gave and nobody freed.
    pub(super) fn get(&self, id: u32) -> &T {
        let (chunk, at) = place(id);
        self.chunks.get(chunk).and_then(|chunk| chunk.get(at)).expect("a number that was given out")
    }

    /// The same, to finish a value that nobody has seen yet.
    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        let (chunk, at) = place(id);
        self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(at)).expect("a number that was given out")
    }

    /// Gives numbers back. Each at most once.
    pub(super) fn free(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.free.extend(ids);
    }

    /// Values in use.
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum::<usize>() - self.free.len()
    }

    /// Memory touched, in bytes, free places included.
    pub(super) fn bytes(&self) -> usize {
        (self.len() + self.free.len()) * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

const fn place(id: u32) -> (usize, usize) {
    (id as usize / CHUNK, id as usize % CHUNK)
}
