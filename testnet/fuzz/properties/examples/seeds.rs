//! Writes the inputs that fuzzing begins with: `cargo run -p epione-fuzz --example seeds -- FOLDER`, then
//! `cargo +nightly fuzz run NAME FOLDER/NAME`.
#![allow(clippy::unwrap_used, reason = "a tool for developers")]

#[path = "../../../../proto/tests/common/mod.rs"]
mod bodies;

use std::path::Path;

fn main() {
    let folder = std::env::args().nth(1).expect("a folder");
    for (target, _) in epione_fuzz::TARGETS {
        let mut seeds = epione_fuzz::seeds(target);
        if target == "bodies" {
            let body = |i: u64| epione_proto::encode_body(&bodies::Draw::new(i).body(i));
            seeds.extend((0..10 * bodies::CALLS).map(body).filter(|body| body.len() < 4_096));
        }
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (i, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i:03}")), seed).unwrap();
        }
        println!("{target}: {}", seeds.len());
    }
}
