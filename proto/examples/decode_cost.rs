//! What it costs to decode and to encode one transaction body of each kind. `cargo run --release -p epione-proto --example decode_cost`

use std::hint::black_box;
use std::time::{Duration, Instant};

#[path = "../tests/common/mod.rs"]
mod common;

use epione_proto::{decode_body, encode_body};
use epione_types::call::Call;

fn best_ns(mut work: impl FnMut()) -> u128 {
    const ROUNDS: u32 = 200;
    let round = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        start.elapsed()
    };
    (0..5_000).map(|_| round(&mut work)).min().unwrap_or(Duration::MAX).as_nanos() / u128::from(ROUNDS)
}

fn main() {
    println!("{:<22} {:>6} {:>10} {:>10}", "call", "bytes", "decode ns", "encode ns");
    for which in 0..common::CALLS {
        let body = common::Draw::new(5).body(which);
        let bytes = encode_body(&body);
        let name = match body.call {
            Call::RegisterOrganisation(_) => "register_org",
            Call::RegisterPractitioner(_) => "register_practitioner",
            Call::RegisterPatient(_) => "register_patient",
            Call::RegisterRecord(_) => "register_record",
            Call::CreateGrant(_) => "create_grant",
            Call::RevokeGrant(_) => "revoke_grant",
            Call::RecordAccess(_) => "record_access",
        };
        let decode = best_ns(|| drop(black_box(decode_body(black_box(&bytes)))));
        let encode = best_ns(|| drop(black_box(encode_body(black_box(&body)))));
        println!("{name:<22} {:>6} {decode:>10} {encode:>10}", bytes.len());
    }
}
