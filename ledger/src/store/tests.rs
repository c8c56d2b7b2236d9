//! The stores against a map, and sled killed in the middle of its work.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use super::*;

fn stores() -> (tempfile::TempDir, Vec<Box<dyn Store>>) {
    let dir = tempfile::tempdir().unwrap();
    let sled = SledStore::open(&dir.path().join("store"), 1 << 20).unwrap();
    let gathered = Gathered::new(Arc::new(MemoryStore::new()));
    gathered.gather();
    (dir, vec![Box::new(MemoryStore::new()), Box::new(sled), Box::new(gathered)])
}

fn batch(writes: &[(u8, Option<u16>)]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in writes {
        match value {
            Some(value) => batch.put([*key], value.to_be_bytes()),
            None => batch.delete([*key]),
        }
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_stores_are_an_ordered_map(
        batches in vec(vec((0u8..24, prop::option::of(any::<u16>())), 0..12), 1..8),
        from in 0u8..24, to in prop::option::of(0u8..26), limit in 1usize..8,
    ) {
        let (_dir, stores) = stores();
        let mut model = BTreeMap::new();
        for writes in &batches {
            for (key, value) in writes {
                match value {
                    Some(value) => model.insert(vec![*key], value.to_be_bytes().to_vec()),
                    None => model.remove([*key].as_slice()),
                };
            }
        }
        let wanted: Vec<Row> = model.clone().into_iter()
            .filter(|(key, _)| key[0] >= from && to.is_none_or(|to| key[0] < to)).collect();
        for store in &stores {
            batches.iter().for_each(|writes| store.apply(batch(writes)).unwrap());
            store.sync().unwrap();
            for key in 0..24 {
                prop_assert_eq!(store.get(&[key]).unwrap(), model.get([key].as_slice()).cloned());
            }
            let (mut rows, mut next) = (Vec::new(), Some(vec![from]));
            while let Some(start) = next {
                let page = store.scan(&start, to.as_ref().map(std::slice::from_ref), limit).unwrap();
                prop_assert!(page.rows.len() <= limit);
                prop_assert!(page.next.is_none() || page.rows.len() == limit);
                rows.extend(page.rows);
                next = page.next;
            }
            prop_assert_eq!(&rows, &wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever waits and whatever was settled, together they are the map; the store behind has what was settled.
    #[test]
    fn what_waits_is_seen_in_front_of_the_store(
        steps in vec((vec((0u8..24, prop::option::of(any::<u16>())), 0..12), any::<bool>(), any::<bool>()), 1..8),
        from in 0u8..24, to in prop::option::of(0u8..26), limit in 0usize..8,
    ) {
        let (behind, whole) = (MemoryStore::new(), MemoryStore::new());
        let store = Gathered::new(Arc::new(behind.clone()));
        let all = |store: &dyn Store| store.scan(b"", None, usize::MAX).unwrap().rows;
        for (writes, gathers, settles) in &steps {
            if *gathers {
                store.gather();
            }
            let before = all(&behind);
            store.apply(batch(writes)).unwrap();
            whole.apply(batch(writes)).unwrap();
            if *gathers {
                prop_assert_eq!(all(&behind), before, "it waits");
            }
            for key in 0..24 {
                prop_assert_eq!(store.get(&[key]).unwrap(), whole.get(&[key]).unwrap());
            }
            let to = to.as_ref().map(std::slice::from_ref);
            prop_assert_eq!(store.scan(&[from], to, limit).unwrap(), whole.scan(&[from], to, limit).unwrap());
            if *settles {
                store.settle().unwrap();
                prop_assert_eq!(all(&behind), all(&whole));
                prop_assert_eq!(store.rows(), 0);
            }
        }
        store.sync().unwrap();
        behind.crash(|_| 0);
        prop_assert_eq!(all(&behind), all(&whole), "what is synced was settled");
    }
}

#[test]
fn a_page_of_long_rows_that_wait_is_bounded_too() {
    let store = Gathered::new(Arc::new(MemoryStore::new()));
    for part in 0u16..3 {
        let mut batch = Batch::new();
        for key in 0u16..300 {
            batch.put((key * 3 + part).to_be_bytes(), vec![1; VALUE_BYTES_MAX]);
        }
        store.apply(batch).unwrap();
        store.gather(); // two parts of three wait
    }
    let page = store.scan(b"", None, usize::MAX).unwrap();
    let bytes: usize = page.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!((PAGE_BYTES_MAX..PAGE_BYTES_MAX + VALUE_BYTES_MAX + KEY_BYTES_MAX).contains(&bytes), "{bytes}");
    assert_eq!(page.next.unwrap(), u16::try_from(page.rows.len()).unwrap().to_be_bytes());
}

#[test]
fn a_batch_with_one_bad_row_writes_nothing() {
    let (_dir, stores) = stores();
    for store in &stores {
        let mut batch = Batch::new();
        batch.put(*b"a", *b"fits");
        batch.put(*b"b", vec![0; VALUE_BYTES_MAX + 1]);
        assert!(matches!(store.apply(batch), Err(StoreError::TooLong { part: "value", .. })));
        let mut batch = Batch::new();
        batch.put(vec![b'k'; KEY_BYTES_MAX + 1], *b"");
        assert!(matches!(store.apply(batch), Err(StoreError::TooLong { part: "key", .. })));
        assert_eq!(store.scan(b"", None, 9).unwrap(), Page::default());
    }
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let (_dir, stores) = stores();
    for store in &stores {
        let mut batch = Batch::new();
        for key in 0u16..300 {
            batch.put(key.to_be_bytes(), vec![1; VALUE_BYTES_MAX]);
        }
        store.apply(batch).unwrap();
        let page = store.scan(b"", None, usize::MAX).unwrap();
        let bytes: usize = page.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!((PAGE_BYTES_MAX..PAGE_BYTES_MAX + VALUE_BYTES_MAX + KEY_BYTES_MAX).contains(&bytes));
        assert_eq!(page.next.unwrap(), u16::try_from(page.rows.len()).unwrap().to_be_bytes());
    }
}

#[test]
fn a_range_that_ends_before_it_starts_is_empty() {
    let (_dir, stores) = stores();
    for store in &stores {
        store.apply(batch(&[(1, Some(1))])).unwrap();
        assert_eq!(store.scan(&[2], Some(&[1]), 9).unwrap(), Page::default());
        assert_eq!(store.scan(&[1], Some(&[1]), 9).unwrap(), Page::default());
    }
}

#[test]
fn a_prefix_ends_where_the_next_one_begins() {
    assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
    assert_eq!(prefix_end(&[1, 255, 255]), Some(vec![2]));
    assert_eq!(prefix_end(&[255, 255]), None);
    assert_eq!(prefix_end(b""), None);
}

#[test]
fn a_power_cut_takes_whole_batches_from_the_memory_store() {
    let store = MemoryStore::new();
    store.apply(batch(&[(1, Some(1)), (2, Some(1))])).unwrap();
    store.sync().unwrap();
    store.apply(batch(&[(1, Some(2)), (3, Some(2))])).unwrap();
    store.apply(batch(&[(2, None), (3, None), (3, Some(9)), (3, None)])).unwrap();
    let rows = |store: &MemoryStore| {
        store
            .scan(b"", None, 9)
            .unwrap()
            .rows
            .into_iter()
            .map(|(key, value)| (key[0], value[1]))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&store), [(1, 2)]);
    store.crash(|unsynced| unsynced - 1);
    assert_eq!(rows(&store), [(1, 2), (2, 1), (3, 2)]);
    store.apply(batch(&[(1, None)])).unwrap();
    store.crash(|_| 0);
    assert_eq!(rows(&store), [(1, 2), (2, 1), (3, 2)]);
}

#[test]
fn sled_keeps_what_was_synced_and_names_files_that_are_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = SledStore::open(&path, 1 << 20).unwrap();
    store.apply(batch(&[(1, Some(7))])).unwrap();
    store.sync().unwrap();
    assert!(store.size_bytes().unwrap() > 0);
    drop(store);
    let store = SledStore::open(&path, 1 << 20).unwrap();
    assert_eq!(store.get(&[1]).unwrap(), Some(vec![0, 7]));
    drop(store);
    std::fs::write(path.join("conf"), b"not a configuration").unwrap();
    assert!(matches!(
        SledStore::open(&path, 1 << 20),
        Err(StoreError::Damaged { .. } | StoreError::Disk { .. })
    ));
}

/// The longest values, many at once, overwritten in another order: none may become a file of its own.
#[test]
fn sled_puts_nothing_into_files_it_does_not_sync() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = SledStore::open(&path, 1 << 20).unwrap();
    for round in 0u8..3 {
        let mut batch = Batch::new();
        for key in 0u16..200 {
            batch.put((key * 77 % 200).to_be_bytes(), vec![round; VALUE_BYTES_MAX]);
        }
        store.apply(batch).unwrap();
        store.sync().unwrap();
    }
    assert_eq!(std::fs::read_dir(path.join("blobs")).unwrap().count(), 0);
}

#[test]
fn who_opens_a_store_while_it_is_let_go_of_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let held = SledStore::open(&path, 1 << 20).unwrap();
    let (tells, told) = std::sync::mpsc::channel();
    let opening = std::thread::spawn(move || {
        tells.send(()).unwrap();
        SledStore::open(&path, 1 << 20).map(drop)
    });
    told.recv().unwrap();
    held.apply(batch(&[(1, Some(1))])).unwrap();
    held.sync().unwrap();
    drop(held);
    opening.join().unwrap().unwrap();
}

#[test]
fn a_store_that_somebody_keeps_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let _held = SledStore::open(&path, 1 << 20).unwrap();
    let refused = SledStore::open(&path, 1 << 20).unwrap_err();
    assert!(matches!(refused, StoreError::Disk { doing: "opening", .. }), "{refused}");
}
