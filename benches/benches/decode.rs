//! Bodies of transactions: strict decoding, and encoding.
//!
//! `cargo bench -p epione-benches --bench decode`
//!
//! A node decodes each body once, a client encodes it. The grant has every field set.

use std::hint::black_box;

use epione_benches::clinic::Clinic;
use epione_benches::{Samples, Table};
use epione_proto::{decode_body, encode_body};

/// Bodies timed together: the clock is too coarse for one.
const TOGETHER: usize = 200;
const ROUNDS: usize = 2_000;

fn main() {
    let (mut clinic, _) = Clinic::open(8, 8);
    let txs = [
        ("register_record", clinic.record()),
        ("record_access", clinic.access()),
        ("create_grant", clinic.grant()),
    ];
    let mut table = Table::new("per body");
    for (name, tx) in txs {
        let (mut decoding, mut encoding) = (Samples::default(), Samples::default());
        for _ in 0..ROUNDS {
            decoding.time(|| {
                (0..TOGETHER).for_each(|_| drop(black_box(decode_body(black_box(&tx.signed.body)))))
            });
            encoding.time(|| {
                (0..TOGETHER).for_each(|_| drop(black_box(encode_body(black_box(&tx.decoded.body)))))
            });
        }
        let bytes = tx.signed.body.len();
        table.row(&format!("{name}, {bytes} bytes, decode"), &decoding, TOGETHER);
        table.row(&format!("{name}, {bytes} bytes, encode"), &encoding, TOGETHER);
    }
}
