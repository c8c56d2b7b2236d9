//! The corpora bite: without a guard of the protocol, some input that was kept breaks a property.
//! `cargo test -p epione-fuzz --features teeth --test teeth`
#![cfg(feature = "teeth")]
#![allow(clippy::unwrap_used, reason = "a test may panic; that is how it fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use epione_consensus::guard::{Guard, without};
use epione_fuzz::{TARGETS, seeds};

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::env::var("EPIONE_CORPUS")
        .map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus"), PathBuf::from);
    let mut inputs: Vec<_> =
        seeds(target).into_iter().enumerate().map(|(i, seed)| (format!("seed {i}"), seed)).collect();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    inputs.extend(files.into_iter().map(|file| {
        (file.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(file).unwrap())
    }));
    inputs
}

#[test]
fn every_guard() {
    for (target, check) in TARGETS {
        seeds(target).first().map(|seed| check(seed)); // what honest validators said, with every guard in place
    }
    std::panic::set_hook(Box::new(|_| {}));
    for guard in Guard::ALL {
        let mut found = Vec::new();
        for (target, check) in TARGETS {
            let broken = inputs(target).into_iter().find_map(|(name, bytes)| {
                let run = catch_unwind(AssertUnwindSafe(|| without(*guard, || check(&bytes))));
                run.err().map(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    (
                        name,
                        text.unwrap_or_default()
                            .lines()
                            .next()
                            .unwrap_or_default()
                            .chars()
                            .take(90)
                            .collect::<String>(),
                    )
                })
            });
            found.extend(broken.map(|(name, text)| format!("{target}/{name}: {text}")));
        }
        println!(
            "{guard:?}: {}",
            if found.is_empty() { "unnoticed".to_owned() } else { found.join("\n      ") }
        );
    }
}
