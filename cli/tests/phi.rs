//! Nothing personal leaves the custodian: after loading bundles, no stored byte, log line, message or error names
//! anybody. The bundles' files are named after their patients, as exporters name them, so that a path shown is found.
//!
//! Strings shorter than 5 bytes (a name such as "Ana", a house number) are not looked for: among megabytes of stored
//! bytes and hex digits they are found by chance. Their owner is still looked for by id, birth date and numbers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use epione_testnet::bundles::{bundle, phi_needles};
use serde_json::Value;
use support::{Output, Testnet, arg, epione};

const SEED: u64 = 77;

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// Strings to look for, by their first bytes: a folder of bundles has thousands.
struct Needles(HashMap<[u8; HEAD], Vec<String>>);

/// No needle is shorter.
const HEAD: usize = 5;

impl Needles {
    fn new(needles: impl IntoIterator<Item = String>) -> Self {
        let mut by_head: HashMap<[u8; HEAD], Vec<String>> = HashMap::new();
        for needle in needles {
            by_head.entry(*needle.as_bytes().first_chunk().unwrap()).or_default().push(needle);
        }
        Self(by_head)
    }

    /// The first needle in the bytes.
    fn find(&self, bytes: &[u8]) -> Option<&str> {
        bytes.windows(HEAD).enumerate().find_map(|(at, head)| {
            let candidates = self.0.get::<[u8; HEAD]>(head.try_into().unwrap())?;
            let found = |needle: &&String| {
                bytes[at..].starts_with(needle.as_bytes()) && !by_chance(bytes, at, needle)
            };
            candidates.iter().find(found).map(String::as_str)
        })
    }
}

/// A postal code within a key's or id's hex digits is no postal code.
fn by_chance(bytes: &[u8], at: usize, needle: &str) -> bool {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    let within = before.is_some_and(is_hex) || bytes.get(at + needle.len()).is_some_and(is_hex);
    within && needle.len() < 12 && needle.as_bytes().iter().all(is_hex)
}

#[test]
fn no_stored_byte_log_line_or_error_names_anybody() {
    // Of the last patient there are three files.
    let patients = [0, 1, 2, 3, 4, 5, 5, 5];
    let bundles = patients.map(|patient| bundle(SEED, patient).to_string().into_bytes());
    let needles = load_and_scan(&bundles);
    assert!(needles > 60, "a scan without needles proves nothing: {needles}");
}

/// What patients are called on this machine is a matter of this machine's folder: a message repeats what was typed,
/// and nobody else's name.
#[test]
fn a_mistyped_patient_brings_no_other_patients_name_to_light() {
    let net = Testnet::up(1);
    net.as_("hospital0/admin", &["patient", "register", "--name", "wilhelmina"]).ok();
    let typed = [
        ("hospital0/admin", ["patient", "show", "wilhelma"].as_slice(), "book.json"),
        ("patients/wilhelma", &["block", "show"], "patients/NAME"),
    ];
    for (who, args, hint) in typed {
        let output = net.as_(who, args).fails(2, &["wilhelma", hint]);
        assert!(!format!("{output:?}").contains("wilhelmina"), "{output:?}");
    }
    let book = net.dir().join("book.json");
    let damaged =
        std::fs::read_to_string(&book).unwrap().replace("\"wilhelmina\": \"", "\"ledger\": \"wilhelmina");
    std::fs::write(&book, damaged).unwrap();
    let output = net.as_("hospital0/admin", &["patient", "show", "ledger"]).fails(1, &["book.json", "line "]);
    assert!(!format!("{output:?}").contains("wilhelmina"), "{output:?}");
}

/// `EPIONE_BUNDLES=folder cargo test -p epione-cli --test phi -- --ignored --nocapture`
#[test]
#[ignore = "needs a folder of bundles: EPIONE_BUNDLES=path"]
fn nor_anybody_of_a_folder_of_bundles() {
    let folder = std::env::var("EPIONE_BUNDLES").expect("EPIONE_BUNDLES names a folder");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let bundles: Vec<Vec<u8>> = files.map(|path| std::fs::read(path).unwrap()).collect();
    println!("{} bundles, {} needles", bundles.len(), load_and_scan(&bundles));
}

/// What exporters call a bundle's file: the patient's names and id, and which of the patient's files it is.
fn file_name(number: usize, bundle: &Value) -> String {
    let resources = bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]);
    let first = resources.clone().find(|resource| resource["resourceType"] == "Patient");
    let (person, text) = (first.unwrap_or(&bundle["entry"][0]["resource"]), |value: &Value| {
        value.to_string().replace('"', "")
    });
    let name = &person["name"][0];
    format!("{}_{}_{}_{number}.json", text(&name["given"][0]), text(&name["family"]), text(&person["id"]))
}

/// Loads bundles into a testnet, provokes errors with damaged ones, and looks for everybody they name in all that the nodes
/// stored and all that anybody said. How many strings were looked for.
fn load_and_scan(bundles: &[Vec<u8>]) -> usize {
    let net = Testnet::up(4);
    let folder = net.beside("bundles");
    std::fs::create_dir(&folder).unwrap();
    let mut needles = Vec::new();
    let (mut patients, mut records) = (0, 0);
    for (number, bytes) in bundles.iter().enumerate() {
        let bundle: Value = serde_json::from_slice(bytes).unwrap();
        let of_bundle = phi_needles(&bundle);
        if let Some(needle) = of_bundle.first() {
            assert_eq!(
                Needles::new([needle.clone()]).find(bytes),
                Some(needle.as_str()),
                "the scan finds what is there"
            );
        }
        needles.extend(of_bundle);
        let entries = bundle["entry"].as_array().unwrap();
        let kinds: Vec<&str> =
            entries.iter().map(|entry| entry["resource"]["resourceType"].as_str().unwrap()).collect();
        patients += kinds.iter().filter(|kind| **kind == "Patient").count() as u64;
        let elsewhere = ["Patient", "Organization", "Practitioner"];
        records += kinds.iter().filter(|kind| !elsewhere.contains(kind)).count() as u64;
        std::fs::write(folder.join(file_name(number, &bundle)), bytes).unwrap();
    }
    needles.sort_unstable();
    needles.dedup();
    let count = needles.len();
    let needles = Needles::new(needles);

    let args = ["record", "register", arg(&folder), "--discard", "--month", "2026-01"];
    let output = net.as_("hospital0/doctor", &args).ok();
    let loaded = output.json();
    assert_eq!((loaded["patients"].as_u64(), loaded["records"].as_u64()), (Some(patients), Some(records)));
    let mut said = vec![output.stdout, output.stderr];

    // Errors about the same bundles, under their names: damaged, truncated, of nobody, empty, no bundle, too large,
    // gone. One alone, one among others, one in a demo.
    let good = bundles.iter().max_by_key(|bytes| bytes.len()).unwrap();
    let good: Value = serde_json::from_slice(good).unwrap();
    let (name, good) = (file_name(0, &good), good.to_string());
    assert!(needles.find(name.as_bytes()).is_some(), "{name} names somebody");
    let damaged = [
        good.replace("\"subject\"", "\"object\""),
        good.chars().take(good.len() / 2).collect(),
        good.replace("\"reference\":\"", "\"reference\":\"0"),
        good.replace("DateTime\":\"", "DateTime\":\"born "),
        String::new(),
        good.replace("\"Bundle\"", "\"Basket\""),
        " ".repeat(epione_client::fhir::MAX_BUNDLE_BYTES + 1),
    ];
    let mut fails = |output: Output, place: &str| {
        let output = output.fails(1, &[place]);
        said.extend([output.stdout, output.stderr]);
    };
    let register = |path: &Path| net.as_("hospital0/doctor", &["record", "register", arg(path), "--discard"]);
    for (number, text) in damaged.iter().enumerate() {
        let folder = net.beside(&format!("damaged{number}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("0.json"), &good).unwrap();
        std::fs::write(folder.join(&name), text).unwrap();
        fails(register(&folder), "2 of 2");
        fails(epione(&["demo", "--bundles", arg(&folder)]), "2 of 2");
    }
    fails(register(&net.beside(&name)), "file 1 of 1");
    // What anybody may ask of the nodes: every event, figures and counts, what a node says of itself.
    for args in [
        ["events", "--from", "1"].as_slice(),
        &["node", "status", "--node", "1"],
        &["node", "explain", "--node", "1"],
        &["validator", "list"],
        &["policy", "show"],
    ] {
        let output =
            net.as_(if args[0] == "node" { "hospital1/admin" } else { "hospital0/admin" }, args).ok();
        assert!(output.stdout.len() > 40, "{output:?}");
        said.extend([output.stdout, output.stderr]);
    }
    net.run(&["testnet", "down"], "--dir").ok();

    for text in &said {
        assert_eq!(needles.find(text.as_bytes()), None, "in: {text}");
    }
    let mut files = Vec::new();
    files_below(&net.dir(), &mut files);
    assert!(files.iter().any(|path| path.ends_with("node3/node.log")));
    let mut scanned = 0;
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        scanned += bytes.len();
        assert_eq!(needles.find(&bytes), None, "in {}", path.display());
    }
    assert!(scanned > 1 << 18, "the nodes stored something: {scanned} bytes");
    count
}
