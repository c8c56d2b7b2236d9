//! Nothing personal leaves the custodian: after loading bundles, no stored byte, log line or error names anybody.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::path::{Path, PathBuf};

use epione_testnet::bundles::{bundle, phi_needles};
use support::{Testnet, arg};

const SEED: u64 = 77;

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// The first needle in the bytes.
fn find<'a>(needles: &'a [String], bytes: &[u8]) -> Option<&'a str> {
    let found = |needle: &&String| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    needles.iter().find(found).map(String::as_str)
}

#[test]
fn no_stored_byte_log_line_or_error_names_anybody() {
    let net = Testnet::up(4);
    let folder = net.beside("bundles");
    std::fs::create_dir(&folder).unwrap();
    let mut needles = Vec::new();
    let mut inputs = Vec::new();
    let (mut patients, mut records) = (0, 0);
    for patient in 0..6 {
        let bundle = bundle(SEED, patient);
        needles.extend(phi_needles(&bundle));
        let entries = bundle["entry"].as_array().unwrap();
        let kinds: Vec<&str> =
            entries.iter().map(|entry| entry["resource"]["resourceType"].as_str().unwrap()).collect();
        patients += kinds.iter().filter(|kind| **kind == "Patient").count();
        records +=
            kinds.iter().filter(|kind| !["Patient", "Organization", "Practitioner"].contains(kind)).count();
        let text = bundle.to_string();
        std::fs::write(folder.join(format!("{patient}.json")), &text).unwrap();
        inputs.push(text);
    }
    assert!(needles.len() > 60, "a scan without needles proves nothing: {}", needles.len());
    assert!(
        inputs.iter().all(|text| find(&needles, text.as_bytes()).is_some()),
        "the scan finds what is there"
    );

    let args = ["record", "register", arg(&folder), "--discard", "--month", "2026-01"];
    let output = net.as_("hospital0/doctor", &args).ok();
    let loaded = output.json();
    assert_eq!(
        (loaded["patients"].as_u64(), loaded["records"].as_u64()),
        (Some(patients as u64), Some(records as u64))
    );
    let mut said = vec![output.stdout, output.stderr];

    // Errors about the same bundles: damaged, truncated, of nobody.
    let good = &inputs[0];
    let damaged = [
        good.replace("\"subject\"", "\"object\""),
        good.get(..good.len() / 2).unwrap().to_owned(),
        good.replace("urn:uuid:", "urn:uuid:0"),
        good.replace("\"birthDate\"", "\"subject\""),
    ];
    for (number, text) in damaged.iter().enumerate() {
        let path = net.file(&format!("damaged{number}.json"), text.as_bytes());
        let output = net.as_("hospital0/doctor", &["record", "register", arg(&path), "--discard"]);
        said.extend([output.stdout, output.stderr]);
    }
    net.run(&["testnet", "down"], "--dir").ok();

    for text in &said {
        assert_eq!(find(&needles, text.as_bytes()), None, "in: {text}");
    }
    let mut files = Vec::new();
    files_below(&net.dir(), &mut files);
    assert!(files.iter().any(|path| path.ends_with("node3/node.log")));
    let mut scanned = 0;
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        scanned += bytes.len();
        assert_eq!(find(&needles, &bytes), None, "in {}", path.display());
    }
    assert!(scanned > 1 << 20, "the nodes stored something: {scanned} bytes");
}
