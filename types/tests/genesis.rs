//! A genesis that could never run is refused, with every fault at once; each limit itself is allowed. Whatever stands in
//! a genesis file is read or refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod samples;

use epione_types::call::RegisterOrganisation;
use epione_types::genesis::{GenesisError, IN_FLIGHT_BYTES_MAX, MAX_GENESIS_BYTES, WINDOW_MAX};
use epione_types::id::OrgId;
use epione_types::quorum::MAX_VALIDATORS;
use epione_types::*;
use proptest::prelude::*;
use proptest::sample::Index;
use samples::{genesis, key, organisation, validators};
use serde_json::{Value, json};

const DAY: u64 = 86_400_000;

type Change = fn(&mut Genesis);

/// One change to a good genesis, and the one fault it makes.
const REFUSED: &[(Change, &str)] = &[
    (|it| it.version = 2, "version is 2, this build reads 1"),
    (
        |it| it.timestamp = TimestampMs(u64::MAX),
        "timestamp is 18446744073709551615; at most 253402300799999, the year 9999",
    ),
    (|it| it.validators.epoch = Epoch(1), "epoch is 1, genesis starts epoch 0"),
    (|it| it.validators.validators[2].public_key = PublicKey([0; 32]), "validator 2: public_key is weak"),
    (|it| it.validators.validators[2].network_key = PublicKey([0; 32]), "validator 2: network_key is weak"),
    (|it| it.validators.validators[2].public_key = key(1), "validator 2: public_key appears twice"),
    (|it| it.validators.validators[2].network_key = key(51), "validator 2: network_key appears twice"),
    (
        |it| it.validators.validators[2].organisation = OrgId([9; 16]),
        "validator 2: organisation 09090909090909090909090909090909 is not among organisations",
    ),
    (|it| it.validators.params.execution_version = 2, "params.execution_version is 2; this build executes 1"),
    (|it| it.validators.params.window = 0, "params.window is 0; 1 to 32"),
    (
        |it| (it.validators.params.window, it.validators.params.batch_bytes_max) = (33, 65_536),
        "params.window is 33; 1 to 32",
    ),
    (|it| it.validators.params.batch_txs_max = 0, "params.batch_txs_max is 0; 1 to 100000"),
    (|it| it.validators.params.batch_txs_max = 100_001, "params.batch_txs_max is 100001; 1 to 100000"),
    (|it| it.validators.params.batch_bytes_max = 65_535, "params.batch_bytes_max is 65535; 65536 to 8388608"),
    (
        |it| (it.validators.params.window, it.validators.params.batch_bytes_max) = (1, (8 << 20) + 1),
        "params.batch_bytes_max is 8388609; 65536 to 8388608",
    ),
    (
        |it| (it.validators.params.window, it.validators.params.batch_bytes_max) = (5, 8 << 20),
        "params.window times params.batch_bytes_max is 41943040; at most 33554432 bytes in flight",
    ),
    (|it| it.validators.params.max_clock_skew_ms = 9, "params.max_clock_skew_ms is 9; 10 to 600000"),
    (
        |it| it.validators.params.max_clock_skew_ms = 600_001,
        "params.max_clock_skew_ms is 600001; 10 to 600000",
    ),
    // A transaction of a sender whose clock is as wrong as it may be would always be expired, or too far ahead.
    (
        |it| it.validators.params.expiry_ahead_max_ms = 10_000,
        "params.expiry_ahead_max_ms is 10000; 10001 to 2678400000",
    ),
    (
        |it| it.validators.params.expiry_ahead_max_ms = 31 * DAY + 1,
        "params.expiry_ahead_max_ms is 2678400001; 10001 to 2678400000",
    ),
    (|it| it.validators.params.view_timeout_ms = 9, "params.view_timeout_ms is 9; 10 to 60000"),
    (
        |it| {
            (it.validators.params.view_timeout_ms, it.validators.params.view_timeout_max_ms) =
                (60_001, 60_001)
        },
        "params.view_timeout_ms is 60001; 10 to 60000",
    ),
    (
        |it| it.validators.params.view_timeout_max_ms = 999,
        "params.view_timeout_max_ms is 999; 1000 to 3600000",
    ),
    (
        |it| it.validators.params.view_timeout_max_ms = 3_600_001,
        "params.view_timeout_max_ms is 3600001; 1000 to 3600000",
    ),
    (
        |it| it.validators.params.time_block_interval_ms = 99,
        "params.time_block_interval_ms is 99; 100 to 3600000",
    ),
    (
        |it| it.validators.params.time_block_interval_ms = 3_600_001,
        "params.time_block_interval_ms is 3600001; 100 to 3600000",
    ),
    // With none, anybody founds an organisation; with more than there are, nobody.
    (|it| it.policy.organisation_signatures = 0, "policy.organisation_signatures is 0; 1 to 4"),
    (|it| it.policy.organisation_signatures = 5, "policy.organisation_signatures is 5; 1 to 4"),
    (
        |it| {
            // Four validators of two organisations: two can sign.
            it.validators.validators[2].organisation = OrgId([1; 16]);
            it.validators.validators[3].organisation = OrgId([2; 16]);
            it.policy.organisation_signatures = 3;
        },
        "policy.organisation_signatures is 3; 1 to 2",
    ),
    (|it| it.policy.override_open_ms = 0, "policy.override_open_ms is 0; 60000 to 2678400000"),
    (
        |it| (it.policy.override_open_ms, it.policy.override_review_ms) = (31 * DAY + 1, 31 * DAY + 1),
        "policy.override_open_ms is 2678400001; 60000 to 2678400000",
    ),
    // A review that is due before the access has ended.
    (
        |it| it.policy.override_review_ms = it.policy.override_open_ms - 1,
        "policy.override_review_ms is 14399999; 14400000 to 31622400000",
    ),
    (
        |it| it.policy.override_review_ms = 366 * DAY + 1,
        "policy.override_review_ms is 31622400001; 14400000 to 31622400000",
    ),
    // With none, nobody would ever have emergency access.
    (|it| it.policy.overdue_reviews_max = 0, "policy.overdue_reviews_max is 0; 1 to 1000"),
    (|it| it.policy.overdue_reviews_max = 1_001, "policy.overdue_reviews_max is 1001; 1 to 1000"),
    (|it| it.organisations[1].admins.clear(), "organisation 1: 0 admins; there must be 1 to 8"),
    (
        |it| it.organisations[1].admins = (200..209).map(key).collect(),
        "organisation 1: 9 admins; there must be 1 to 8",
    ),
    (|it| it.organisations[1].admin_threshold = 0, "organisation 1: admin_threshold is 0; 1 to 2"),
    (|it| it.organisations[1].admin_threshold = 3, "organisation 1: admin_threshold is 3; 1 to 2"),
    (|it| it.organisations[1].admins[1] = PublicKey([0; 32]), "organisation 1: admin 1: weak key"),
    (|it| it.organisations[1].admins[1] = key(102), "organisation 1: admin 1: key appears twice"),
    (|it| it.organisations[1].admins[1] = key(101), "organisation 1: an admin key is another organisation's"),
    (
        |it| {
            it.organisations
                .push(RegisterOrganisation { admins: vec![key(200), key(201)], ..organisation(4) })
        },
        "organisation 4: id appears twice",
    ),
];

/// At the limits, and still a chain.
const ALLOWED: &[Change] = &[
    |it| it.timestamp = TimestampMs(253_402_300_799_999),
    |it| {
        let params = &mut it.validators.params;
        (params.window, params.batch_txs_max, params.batch_bytes_max) = (1, 1, 65_536);
        (params.max_clock_skew_ms, params.expiry_ahead_max_ms) = (10, 21);
        (params.view_timeout_ms, params.view_timeout_max_ms, params.time_block_interval_ms) = (10, 10, 100);
    },
    |it| {
        let params = &mut it.validators.params;
        (params.window, params.batch_txs_max) = (WINDOW_MAX, 100_000);
        params.batch_bytes_max = u32::try_from(IN_FLIGHT_BYTES_MAX / WINDOW_MAX).unwrap();
        (params.max_clock_skew_ms, params.expiry_ahead_max_ms) = (600_000, 31 * DAY);
        (params.view_timeout_ms, params.view_timeout_max_ms) = (60_000, 3_600_000);
        params.time_block_interval_ms = 3_600_000;
    },
    |it| (it.validators.params.window, it.validators.params.batch_bytes_max) = (4, 8 << 20),
    |it| {
        let policy = &mut it.policy;
        (policy.organisation_signatures, policy.overdue_reviews_max) = (1, 1);
        (policy.override_open_ms, policy.override_review_ms) = (60_000, 60_000);
    },
    |it| {
        let policy = &mut it.policy;
        (policy.organisation_signatures, policy.overdue_reviews_max) = (4, 1_000);
        (policy.override_open_ms, policy.override_review_ms) = (31 * DAY, 366 * DAY);
    },
    |it| it.organisations[1].admin_threshold = 1,
];

#[test]
fn every_field_has_its_limits() {
    assert_eq!(genesis().check(), Ok(()));
    for (change, fault) in REFUSED {
        let mut it = genesis();
        change(&mut it);
        assert_eq!(it.check(), Err(GenesisError(vec![(*fault).to_owned()])));
        assert_ne!(it.chain_id(), genesis().chain_id(), "{fault}: another chain");
        let of_params = it.validators.params.check();
        assert_eq!(of_params.is_err(), fault.starts_with("params."), "{fault}");
    }
    for (number, change) in ALLOWED.iter().enumerate() {
        let mut it = genesis();
        change(&mut it);
        assert_eq!(it.check(), Ok(()), "allowed change {number}");
    }
}

#[test]
fn validators_are_one_to_the_most() {
    let faults = |count: u8| {
        let mut it = genesis();
        it.policy.organisation_signatures = 1;
        it.validators = validators(count);
        it.validators.validators.iter_mut().for_each(|validator| validator.organisation = OrgId([1; 16]));
        it.validators
            .validators
            .iter_mut()
            .zip(0..)
            .for_each(|(validator, i)| validator.network_key = many(i));
        it.check()
    };
    let most = u8::try_from(MAX_VALIDATORS).unwrap();
    assert_eq!((faults(1), faults(most)), (Ok(()), Ok(())));
    assert_eq!(faults(0), Err(GenesisError(vec!["0 validators; there must be 1 to 128".to_owned()])));
    assert_eq!(
        faults(most + 1),
        Err(GenesisError(vec!["129 validators; there must be 1 to 128".to_owned()]))
    );
}

/// Keys of their own, beyond those of the samples.
fn many(number: u32) -> PublicKey {
    let mut seed = [0xee; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(&seed).public_key()
}

#[test]
fn all_faults_are_told_at_once() {
    let mut it = genesis();
    it.version = 9;
    it.validators.params.window = 0;
    it.policy.organisation_signatures = 0;
    it.organisations[0].admin_threshold = 9;
    let error = it.check().unwrap_err();
    assert_eq!(error.0.len(), 4);
    let text = error.to_string();
    for word in ["version", "window", "organisation_signatures", "admin_threshold"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn the_largest_genesis_fits_its_file() {
    let mut it = genesis();
    it.organisations = (0..128u32)
        .map(|i| RegisterOrganisation {
            admins: (0..8).map(|k| many(i * 8 + k)).collect(),
            ..organisation(1)
        })
        .collect();
    it.validators.validators = (0..128u32)
        .map(|i| Validator {
            organisation: OrgId([1; 16]),
            public_key: many(i),
            network_key: many(i + 1_000),
        })
        .collect();
    assert!(serde_json::to_vec_pretty(&it).unwrap().len() < MAX_GENESIS_BYTES);
}

// The file, from anybody.

/// Every place of a JSON value, by its path.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| places(value, &format!("{path}/{key}"), found));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| places(value, &format!("{path}/{i}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What somebody may write in place of something else.
fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9a-f]{0,70}".prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[]], {"": [null]}])),
    ]
}

/// Reads a genesis as a node or client would; whether it can be used.
fn usable(text: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(genesis) = serde_json::from_slice::<Genesis>(text) else { return Ok(false) };
    let checked = genesis.check();
    if let Err(GenesisError(faults)) = &checked {
        // A few per entry of the file, whatever stands in it.
        prop_assert!(!faults.is_empty() && faults.len() <= 20 + text.len() / 10);
    }
    let again = serde_json::to_vec(&genesis).expect("it was read");
    prop_assert_eq!(
        serde_json::from_slice::<Genesis>(&again).expect("and reads back").chain_id(),
        genesis.chain_id()
    );
    let decoded = codec::decode::<Genesis>(&codec::encode(&genesis), MAX_GENESIS_BYTES);
    prop_assert_eq!(decoded, Ok(genesis));
    Ok(checked.is_ok())
}

proptest! {
    #[test]
    fn a_genesis_file_with_parts_exchanged_is_read_or_refused(changes in proptest::collection::vec((any::<Index>(), anything()), 1..4)) {
        let mut file = serde_json::to_value(genesis()).unwrap();
        for (place, value) in changes {
            let mut paths = Vec::new();
            places(&file, "", &mut paths);
            *file.pointer_mut(&paths[place.index(paths.len())]).unwrap() = value;
        }
        usable(file.to_string().as_bytes())?;
    }

    #[test]
    fn a_genesis_file_with_damaged_bytes_is_read_or_refused(flips in proptest::collection::vec((any::<Index>(), 0u8..8), 1..6), cut: Option<Index>) {
        let mut text = serde_json::to_vec(&genesis()).unwrap();
        for (at, bit) in flips {
            let length = text.len();
            text[at.index(length)] ^= 1 << bit;
        }
        let length = text.len();
        text.truncate(cut.map_or(length, |cut| cut.index(length)));
        let same = serde_json::from_slice::<Genesis>(&text).is_ok_and(|found| found == genesis());
        let used = usable(&text)?;
        // What can be used all the same is another chain, unless nothing was changed that means anything (a hex digit's case).
        let other = serde_json::from_slice::<Genesis>(&text).is_ok_and(|found| found.chain_id() != genesis().chain_id());
        prop_assert!(!used || same || other);
    }
}

#[test]
fn a_genesis_file_of_depth_doubles_or_unknown_words_is_refused() {
    assert!(usable(&serde_json::to_vec(&genesis()).unwrap()).unwrap());
    let text = serde_json::to_string(&genesis()).unwrap();
    let depth = format!("{}{}", "[".repeat(MAX_GENESIS_BYTES / 2), "]".repeat(MAX_GENESIS_BYTES / 2));
    let cases = [
        depth,
        text.replacen('{', "{\"version\":1,", 1),
        text.replacen('{', "{\"colour\":1,", 1),
        text.replacen("\"policy\":{", "\"policy\":{\"colour\":1,", 1),
        text.replacen("\"params\":{", "\"params\":{\"window\":8,", 1),
        format!("{text} x"),
        text.replacen("\"window\":8", "\"window\":8.0", 1),
        text.replacen("\"window\":8", "\"window\":-8", 1),
        text.replacen("\"window\":8", "\"window\":18446744073709551616", 1),
    ];
    for case in cases {
        assert!(
            serde_json::from_str::<Genesis>(&case).is_err(),
            "{}",
            case.chars().take(300).collect::<String>()
        );
    }
}
