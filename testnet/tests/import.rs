//! Import of bundles: nothing is refused, nothing personal gets through, damage is refused and not quoted.

use std::collections::BTreeMap;

use epione_client::fhir::{Import, ImportPlan, RecordFile, Tables, read_bundle};
use epione_testnet::bundles::{bundle, phi_needles};
use epione_types::call::{Call, Month};
use epione_types::codes::{Category, Label, Role};
use epione_types::{Domain, Hash, codec};
use proptest::prelude::*;

fn undated() -> Option<Month> {
    Month::new(2026, 1)
}

fn plan(bytes: &[u8]) -> ImportPlan {
    read_bundle(bytes, &Tables::built_in(), undated()).expect("a good bundle")
}

fn sealed(bytes: &[u8]) -> Import {
    let Ok(import) = plan(bytes).seal(Role::Physician, Hash([7; 32]), &mut Seeded(bytes.to_vec(), 0));
    import
}

/// The same draws for the same bundle: five digits of a postal code may stand in random ids by accident.
struct Seeded(Vec<u8>, u64);

impl rand_core::TryRng for Seeded {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unimplemented!("bytes only")
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unimplemented!("bytes only")
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(Hash::LEN) {
            self.1 += 1;
            let drawn = Domain::COMMITMENT.hash(&[&self.1.to_be_bytes(), self.0.as_slice()].concat());
            chunk.iter_mut().zip(drawn.0).for_each(|(byte, drawn)| *byte = drawn);
        }
        Ok(())
    }
}
impl rand_core::TryCryptoRng for Seeded {}

/// Everything of an import that leaves the custodian, as stored and as printed.
fn public(import: Import) -> Vec<Vec<u8>> {
    let private_printed = format!("{import:?}").into_bytes();
    let patients = import.patients.into_iter().map(|(call, _)| Call::RegisterPatient(call));
    let records = import.records.into_iter().map(|record| Call::RegisterRecord(record.call));
    let calls = patients.chain(records);
    calls.map(|call| codec::encode(&call)).chain([private_printed]).collect()
}

fn find<'a>(needles: &'a [String], haystacks: &[Vec<u8>]) -> Option<&'a str> {
    let found = |needle: &&String| {
        haystacks.iter().any(|hay| hay.windows(needle.len()).any(|window| window == needle.as_bytes()))
    };
    needles.iter().find(found).map(String::as_str)
}

#[test]
fn one_seed_gives_one_bundle() {
    assert_eq!(bundle(7, 0), bundle(7, 0));
    assert_ne!(bundle(7, 0), bundle(7, 1));
    assert_ne!(bundle(7, 0), bundle(8, 0));
}

#[test]
fn generated_bundles_are_imported_whole() {
    let mut labels = BTreeMap::new();
    let mut categories = BTreeMap::new();
    for patient in 0..40 {
        let bundle = bundle(1, patient);
        let entries = bundle["entry"].as_array().unwrap().len();
        let plan = plan(bundle.to_string().as_bytes());
        assert_eq!((plan.patients.len(), plan.references), (1, 2));
        assert_eq!(plan.records.len(), entries - 3);
        for record in plan.records {
            record.labels.iter().for_each(|label| *labels.entry(*label).or_insert(0) += 1);
            *categories.entry(record.category).or_insert(0) += 1;
        }
    }
    assert_eq!(labels, BTreeMap::from([(Label::Hiv, 10), (Label::OpioidUd, 10)]));
    for category in [Category::Lab, Category::Observation, Category::Diagnosis, Category::Billing] {
        assert!(categories[&category] >= 40);
    }
}

#[test]
fn nothing_personal_leaves_in_a_call_or_a_debug_print() {
    for patient in 0..20 {
        let bundle = bundle(2, patient);
        let needles = phi_needles(&bundle);
        assert!(needles.len() >= 14, "a scan without needles proves nothing: {}", needles.len());
        let bytes = bundle.to_string().into_bytes();
        for needle in &needles {
            assert!(
                find(std::slice::from_ref(needle), std::slice::from_ref(&bytes)).is_some(),
                "the scan finds"
            );
        }
        assert_eq!(find(&needles, &public(sealed(&bytes))), None);
    }
}

#[test]
fn files_kept_open_as_registered() {
    let import = sealed(bundle(3, 1).to_string().as_bytes());
    for record in import.records {
        let file = RecordFile::open(record.file.bytes().to_vec(), record.call.commitment).unwrap();
        assert!(file.body().starts_with(b"{\""));
        assert!(file.bytes().len() <= 1 << record.call.size_class);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_damaged_bundle_is_read_or_refused_and_never_quoted(patient in 0u64..8, at in any::<prop::sample::Index>(), with in any::<u8>(), cut: bool) {
        let bundle = bundle(4, patient);
        let mut bytes = bundle.to_string().into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = with;
        }
        if let Err(error) = read_bundle(&bytes, &Tables::built_in(), undated()) {
            let (needles, printed) = (phi_needles(&bundle), format!("{error} {error:?}").into_bytes());
            prop_assert_eq!(find(&needles, &[printed]), None);
        }
    }
}

/// `EPIONE_BUNDLES=folder cargo test -p epione-testnet --test import -- --ignored --nocapture`: every bundle of a
/// folder is imported, scanned, and counted.
#[test]
#[ignore = "needs a folder of bundles: EPIONE_BUNDLES=path"]
fn bundles_of_a_folder() {
    let folder = std::env::var("EPIONE_BUNDLES").expect("EPIONE_BUNDLES names a folder");
    let (mut files, mut patients, mut references) = (0, 0, 0);
    let (mut categories, mut types, mut labels) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (mut sizes, mut origins) = (BTreeMap::new(), BTreeMap::new());
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let needles = phi_needles(&serde_json::from_slice(&bytes).unwrap());
        let plan = plan(&bytes);
        files += 1;
        patients += plan.patients.len();
        references += plan.references;
        for record in &plan.records {
            *types.entry(record.resource_type.clone()).or_insert(0) += 1;
            *categories.entry(record.category).or_insert(0) += 1;
            *origins.entry(format!("{:?}", record.dated)).or_insert(0) += 1;
            record.labels.iter().for_each(|label| *labels.entry(*label).or_insert(0) += 1);
        }
        let import = plan.seal(Role::Physician, Hash([7; 32]), &mut getrandom::SysRng).unwrap();
        import.records.iter().for_each(|record| *sizes.entry(record.call.size_class).or_insert(0) += 1);
        assert_eq!(find(&needles, &public(import)), None);
    }
    let records: usize = types.values().sum();
    println!("{files} bundles: {patients} patients, {records} records, {references} of the directory");
    println!(
        "types {types:?}\ncategories {categories:?}\nlabels {labels:?}\nsize classes {sizes:?}\ndated {origins:?}"
    );
}
