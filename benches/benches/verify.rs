//! Signature checks: one by one, and in batches as the node gathers them.
//!
//! `cargo bench -p epione-benches --bench verify [-- --keys 200]`
//!
//! The chain's own predicate (ZIP-215), one thread; messages of 336 bytes by so many signers in turn.

use std::hint::black_box;

use epione_benches::{Random, Samples, Table, option};
use epione_types::sign::Zip215;
use epione_types::{PublicKey, SecretKey, Signature, Signer as _, Verifier as _};

const MESSAGE: usize = 336;
const ROUNDS: usize = 15;

fn main() {
    let keys = option("--keys", 200);
    let mut random = Random(3);
    let keys: Vec<SecretKey> = (0..keys).map(|_| SecretKey::from_seed(&random.bytes())).collect();
    let messages: Vec<[u8; MESSAGE]> = (0..1_000).map(|_| random.bytes()).collect();
    let mut signing = Samples::default();
    let items: Vec<(PublicKey, &[u8], Signature)> = keys
        .iter()
        .cycle()
        .zip(&messages)
        .map(|(key, message)| (key.public_key(), message.as_slice(), signing.time(|| key.sign(message))))
        .collect();

    let mut table = Table::new(&format!("per signature, {} keys, {MESSAGE} bytes", keys.len()));
    let mut single = Samples::default();
    for (key, message, signature) in items.iter().cycle().take(2 * items.len()) {
        assert!(single.time(|| Zip215.verify(key, message, signature)));
    }
    table.row("single", &single, 1);
    for size in [32, 128, 1_000] {
        let mut samples = Samples::default();
        for _ in 0..ROUNDS {
            for batch in items.chunks_exact(size) {
                assert!(samples.time(|| black_box(Zip215.verify_all(batch))));
            }
        }
        table.row(&format!("batch of {size}"), &samples, size);
    }
    // One bad signature costs the batch, then every single check.
    let mut bad: Vec<_> = items.iter().take(128).copied().collect();
    if let Some((_, _, signature)) = bad.first_mut() {
        signature.0[40] ^= 1;
    }
    let mut samples = Samples::default();
    for _ in 0..ROUNDS {
        let verdicts = samples.time(|| Zip215.verify_each(&bad));
        assert_eq!(verdicts.iter().filter(|good| !**good).count(), 1);
    }
    table.row("batch of 128 with a bad one, each judged", &samples, 128);
    table.row("signing", &signing, 1);
}
