//! The tree against the definition in `state_proof`, written down once more and slowly.

use std::collections::BTreeMap;

use epione_types::Hash;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::state_proof::{EMPTY, Held, StateProof, bit, inner, path, value_hash};

type Set = BTreeMap<Hash, Hash>;

/// The definition, without any cleverness.
fn naive_root(set: &Set, depth: usize) -> Hash {
    match set.len() {
        0 => EMPTY,
        1 => set.iter().map(|(path, value)| StateLeaf { path: *path, value: *value }.hash()).next().unwrap(),
        _ => {
            let (right, left): (Set, Set) =
                set.iter().map(|(path, value)| (*path, *value)).partition(|(path, _)| bit(path, depth));
            inner(&naive_root(&left, depth + 1), &naive_root(&right, depth + 1))
        }
    }
}

fn put(set: &mut Set, changes: &Changes) {
    for change in changes.as_slice() {
        match change.value {
            Some(value) => set.insert(change.path, value),
            None => set.remove(&change.path),
        };
    }
}

fn loaded(set: &Set) -> StateTree {
    let leaves = set.iter().map(|(path, value)| StateLeaf { path: *path, value: *value });
    StateTree::load(Height(0), leaves).unwrap()
}

/// Paths that agree in their first bits as hashes of keys never do: few bits to choose from, at the top and the end.
fn crowded_path() -> impl Strategy<Value = Hash> {
    (0u8..4, 0u8..4, prop_oneof![Just(0u8), Just(8), Just(31)]).prop_map(|(top, low, place)| {
        let mut path = [0; 32];
        path[0] = top << 6;
        path[usize::from(place)] |= low;
        Hash(path)
    })
}

/// One block over few keys, so that later blocks overwrite, delete and restore.
fn block() -> impl Strategy<Value = Changes> {
    let hashed = (0u8..60).prop_map(|key| path(&[key]));
    let change = (prop_oneof![hashed, crowded_path()], prop::option::of(0u8..3))
        .prop_map(|(path, value)| Change { path, value: value.map(|value| value_hash(&[value])) });
    vec(change, 0..40).prop_map(Changes::sorted)
}

proptest! {
    #[test]
    fn every_root_is_the_definition_and_every_proof_fits_its_height(blocks in vec(block(), 1..12)) {
        let mut tree = StateTree::empty(Height(0));
        let mut sets = vec![Set::new()];
        for block in &blocks {
            let mut set = sets.last().unwrap().clone();
            put(&mut set, block);
            prop_assert_eq!(tree.apply(block), naive_root(&set, 0));
            sets.push(set);
        }
        let paths: Vec<Hash> = (0..80).map(|key| path(&[key]))
            .chain(blocks.iter().flat_map(|block| block.as_slice()).map(|change| change.path)).collect();
        for (height, set) in (0..).map(Height).zip(&sets) {
            let root = tree.root_at(height).unwrap();
            for path in &paths {
                let held = set.get(path).map_or(Held::Nothing, |value| Held::Value(*value));
                prop_assert_eq!(tree.prove(height, path).unwrap().held_at(&root, path), Ok(held));
            }
        }
    }

    #[test]
    fn the_root_after_changes_and_what_a_path_holds_are_known_without_making_them(
        blocks in vec(block(), 1..6), other in block(),
    ) {
        let mut tree = StateTree::empty(Height(0));
        let mut sets = vec![Set::new()];
        for block in &blocks {
            let mut set = sets.last().unwrap().clone();
            put(&mut set, block);
            tree.apply(block);
            sets.push(set);
        }
        let (root, size) = (tree.root(), tree.size());
        for (height, before) in (0..).map(Height).zip(&sets) {
            let mut set = before.clone();
            put(&mut set, &other);
            prop_assert_eq!(tree.root_after(height, &other).unwrap(), naive_root(&set, 0));
            prop_assert_eq!(tree.root_after(height, &Changes::default()), tree.root_at(height));
        }
        // An inner node of which one leaf is left, or none, is none any more.
        let last = sets.last().unwrap();
        for kept in 0..last.len().min(3) {
            let gone = last.keys().skip(kept).map(|path| Change { path: *path, value: None }).collect();
            let set: Set = last.iter().take(kept).map(|(path, value)| (*path, *value)).collect();
            let found = tree.root_after(tree.height(), &Changes::sorted(gone)).unwrap();
            prop_assert_eq!(found, naive_root(&set, 0));
        }
        prop_assert_eq!((tree.root(), tree.size()), (root, size), "nothing was made");
        for path in (0..80).map(|key| path(&[key])).chain(last.keys().copied()) {
            prop_assert_eq!(tree.value_at(&path), last.get(&path).copied());
        }
        prop_assert!(tree.root_after(tree.height().next(), &other).is_err());
    }

    #[test]
    fn history_leaves_no_mark_on_root_or_memory(blocks in vec(block(), 1..12)) {
        let mut tree = StateTree::empty(Height(0));
        let mut set = Set::new();
        for block in &blocks {
            tree.apply(block);
            put(&mut set, block);
        }
        tree.forget_below(tree.height());
        let fresh = loaded(&set);
        prop_assert_eq!(tree.root(), fresh.root());
        let counts = |tree: &StateTree| { let size = tree.size(); (size.inners, size.buckets, size.leaves) };
        prop_assert_eq!(counts(&tree), counts(&fresh)); // neither a leak nor another shape
    }

    #[test]
    fn a_tampered_proof_shows_nothing_new(
        block in block(), key in 0u8..80, at in any::<prop::sample::Index>(), byte in 0usize..32, flip in 1u8..,
    ) {
        let mut tree = StateTree::empty(Height(0));
        let root = tree.apply(&block);
        let path = path(&[key]);
        let proof = tree.prove(Height(1), &path).unwrap();
        let truth = proof.held_at(&root, &path).unwrap();
        let refused = |forged: StateProof| match forged.held_at(&root, &path) {
            Err(_) => true,
            Ok(held) => held == truth && forged == proof,
        };

        let mut forged = proof.clone();
        if !forged.siblings.is_empty() {
            let at = at.index(forged.siblings.len());
            forged.siblings[at].0[byte] ^= flip;
            prop_assert!(refused(forged.clone()));
            forged = proof.clone();
            forged.siblings.remove(at);
            prop_assert!(refused(forged.clone()));
            forged = proof.clone();
            forged.siblings.insert(at, Hash([flip; 32]));
            prop_assert!(refused(forged.clone()));
            forged = proof.clone();
            forged.siblings.swap(0, at);
            prop_assert!(refused(forged));
        }
        // A node shown as a leaf, a leaf left out, another value, another key's leaf.
        let leaves = [None, Some(StateLeaf { path, value: Hash([flip; 32]) })].into_iter()
            .chain(block.as_slice().iter().map(|change| change.leaf()));
        for leaf in leaves {
            let without = StateProof { leaf, siblings: vec![] };
            let with = StateProof { leaf, ..proof.clone() };
            prop_assert!(refused(with));
            prop_assert!(refused(without));
        }
    }

    #[test]
    fn leaves_come_in_order_and_in_pages(block in block(), limit in 1usize..9) {
        let mut tree = StateTree::empty(Height(0));
        let mut set = Set::new();
        put(&mut set, &block);
        tree.apply(&block);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = tree.leaves_after(Height(1), after.as_ref(), limit).unwrap();
            prop_assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.path);
            found.extend(page);
        }
        prop_assert_eq!(found.into_iter().map(|leaf| (leaf.path, leaf.value)).collect::<Vec<_>>(), set.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn changes_come_back_from_the_store(block in block(), cut in any::<prop::sample::Index>(), flip in 2u8..) {
        let bytes = block.encode();
        prop_assert_eq!(Changes::decode(&bytes).unwrap(), block.clone());
        if !bytes.is_empty() {
            let at = cut.index(bytes.len());
            // A cut between two changes is a shorter list; elsewhere it is damage.
            prop_assert!(Changes::decode(&bytes[..at]).map_or(true, |cut| cut.as_slice().len() < block.as_slice().len()));
            let mut bytes = bytes;
            bytes[Hash::LEN] = flip;
            prop_assert_eq!(Changes::decode(&bytes), Err(ChangesError { at: 0 }));
        }
    }
}

#[test]
fn keys_that_part_at_the_last_bit_are_told_apart() {
    let paths: Vec<Hash> = (0..2).map(|low| Hash(std::array::from_fn(|i| u8::from(i == 31) * low))).collect();
    let changes = paths.iter().map(|path| Change { path: *path, value: Some(EMPTY) }).collect();
    let mut tree = StateTree::empty(Height(0));
    let root = tree.apply(&Changes::sorted(changes));
    let proof = tree.prove(Height(1), &paths[1]).unwrap();
    assert_eq!(proof.siblings.len(), 256);
    assert_eq!(proof.held_at(&root, &paths[1]), Ok(Held::Value(EMPTY)));
}

#[test]
fn of_two_writes_in_one_block_the_last_counts() {
    let changes =
        Changes::of([(b"k".as_slice(), Some(b"1".as_slice())), (b"k", Some(b"2")), (b"gone", None)]);
    let mut tree = StateTree::empty(Height(0));
    let root = tree.apply(&changes);
    let prove = |key| tree.prove(Height(1), &path(key)).unwrap();
    assert_eq!(prove(b"k").verify(&root, b"k", Some(b"2")), Ok(()));
    assert_eq!(prove(b"gone").verify(&root, b"gone", None), Ok(()));
}

/// Once, a half whose last key went passed for untouched, and the root kept the key.
#[test]
fn a_half_that_empties_has_changed() {
    let keys: Vec<[u8; 1]> = (0..20).map(|key| [key]).collect();
    let mut tree = StateTree::empty(Height(0));
    tree.apply(&Changes::of(keys.iter().map(|key| (key.as_slice(), Some(key.as_slice())))));
    let left = keys.iter().filter(|key| !bit(&path(*key), 0));
    let root = tree.apply(&Changes::of(left.map(|key| (key.as_slice(), None))));
    let right = keys.iter().filter(|key| bit(&path(*key), 0));
    let set: Set = right.map(|key| (path(key), value_hash(key))).collect();
    assert_eq!(root, naive_root(&set, 0));
}

#[test]
fn blocks_merged_are_the_blocks_one_by_one() {
    let block = |first: u8, value: Option<&'static [u8]>| {
        let keys: Vec<[u8; 1]> = (first..first + 9).map(|key| [key]).collect();
        Changes::of(keys.iter().map(|key| (key.as_slice(), value)))
    };
    let blocks = [block(0, Some(b"a")), block(5, Some(b"b")), block(3, None), block(7, Some(b"c"))];
    let (mut one_by_one, mut at_once) = (StateTree::empty(Height(0)), StateTree::empty(Height(0)));
    for block in &blocks {
        one_by_one.apply(block);
    }
    let then = blocks.iter().fold(Changes::default(), Changes::then);
    assert_eq!(then, Changes::merged(blocks));
    assert_eq!(at_once.apply(&then), one_by_one.root());
}

#[test]
fn a_block_that_writes_what_is_there_copies_nothing() {
    let changes = Changes::of([(b"a".as_slice(), Some(b"1".as_slice())), (b"b", Some(b"2"))]);
    let mut tree = StateTree::empty(Height(0));
    tree.apply(&changes);
    let before = tree.size();
    tree.apply(&changes);
    tree.apply(&Changes::of([(b"never there".as_slice(), None)]));
    assert_eq!(tree.size(), before);
}

#[test]
fn a_forgotten_height_is_named_and_a_thousand_blocks_take_no_more_memory_than_ten() {
    let mut tree = StateTree::empty(Height(0));
    let mut sizes = Vec::new();
    for block in 0u64..1000 {
        let writes: Vec<_> = (0..20u64).map(|n| ((block * 7 + n) % 100).to_be_bytes()).collect();
        let value = block.to_be_bytes();
        tree.apply(&Changes::of(writes.iter().map(|key| (key.as_slice(), Some(value.as_slice())))));
        tree.forget_below(Height(tree.height().0.saturating_sub(9)));
        sizes.push(tree.size().leaves);
    }
    assert_eq!(tree.oldest(), Height(991));
    let error = tree.prove(Height(990), &path(b"k")).unwrap_err();
    assert_eq!(error, NoSuchVersion { asked: Height(990), first: Height(991), last: Height(1000) });
    assert!(
        sizes.iter().all(|leaves| *leaves <= 100 + 9 * 20),
        "at most the live keys and nine blocks' old leaves"
    );
}

#[test]
fn leaves_out_of_order_are_not_a_tree() {
    let leaf = |byte| StateLeaf { path: Hash([byte; 32]), value: EMPTY };
    let refused = |leaves: &[u8]| StateTree::load(Height(0), leaves.iter().map(|byte| leaf(*byte))).err();
    assert_eq!(refused(&[1, 2, 2]), Some(LeavesOutOfOrder { index: 2 }));
    assert_eq!(refused(&[2, 1]), Some(LeavesOutOfOrder { index: 1 }));
    assert_eq!(refused(&[1, 2, 3]), None);
}

/// More keys than a slice of `load` or `apply` holds, so that the joints between slices are tested too.
#[test]
fn slices_meet() {
    let keys: Vec<[u8; 4]> = (0u32..20_000).map(u32::to_be_bytes).collect();
    let writes =
        |keys: &[[u8; 4]]| Changes::of(keys.iter().map(|key| (key.as_slice(), Some(b"v".as_slice()))));
    let mut set = Set::new();
    put(&mut set, &writes(&keys));
    let mut tree = StateTree::empty(Height(0));
    for keys in keys.chunks(6_000) {
        tree.apply(&writes(keys));
    }
    assert_eq!(tree.root(), naive_root(&set, 0));
    assert_eq!(loaded(&set).root(), tree.root());
    let gone = Changes::of(keys[..19_990].iter().map(|key| (key.as_slice(), None)));
    put(&mut set, &gone);
    assert_eq!(tree.apply(&gone), naive_root(&set, 0));
}
