//! What the API shows, and to whom.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use epione_chaincode::identity::{Member, Representation};
use epione_chaincode::keys;
use epione_chaincode::read::{self, Page, Reader};
use epione_types::TimestampMs;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::id::{AccessRequestId, PatientId, RepresentativeId};
use support::*;

fn staff(hospital: &str, name: &str) -> Member {
    Member::Practitioner(org(hospital), practitioner(name))
}

fn open<'a>(world: &'a World, who: Member) -> Option<Reader<'a>> {
    Reader::open(&world.state, TimestampMs(world.now), who, patient("anna")).unwrap()
}

/// How many records, grants, accesses and overrides are shown.
fn counts(world: &World, who: Member) -> Option<[usize; 4]> {
    let reader = open(world, who)?;
    Some([
        all(|after| reader.records(after, 2).unwrap()).len(),
        all(|after| reader.grants(after, 2).unwrap()).len(),
        all(|after| reader.accesses(after, 2).unwrap()).len(),
        all(|after| reader.overrides(after, 2).unwrap()).len(),
    ])
}

fn all<T>(page: impl Fn(Option<&[u8]>) -> Page<T>) -> Vec<T> {
    let (mut items, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = page(after.as_deref());
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return items,
        }
    }
}

/// anna's records anna1 (plain) and hiv; a grant to drB for plain ones, a denial to drB2; accesses by drA and drB, an emergency by drB2.
fn world() -> World {
    let mut world = World::new();
    let txs = [
        world.practitioner("hospA", "audA", &[Role::Auditor], false),
        world.practitioner("hospC", "audC", &[Role::Auditor], false),
        world.practitioner("hospA", "offA", &[Role::PrivacyOfficer], false),
        world.record("drA", "anna", "hiv", &[Label::Hiv]),
        world.grant("anna", "anna", "g", permit(person("hospB", "drB"))),
        world.grant("anna", "anna", "d", deny(person("hospB", "drB2"))),
        world.access("drA", "anna1", Purpose::Treat),
        world.access("drB", "anna1", Purpose::Treat),
        world.access("drB", "hiv", Purpose::Treat),
        world.emergency("drB2", "hiv"),
    ];
    for tx in txs {
        world.ok(tx);
    }
    world
}

#[test]
fn who_sees_how_much() {
    let world = world();
    for (who, expected) in [
        (Member::Patient(patient("anna")), Some([2, 2, 4, 1])),
        (staff("hospA", "offA"), Some([2, 2, 4, 1])),
        (staff("hospA", "audA"), Some([2, 2, 4, 1])),
        (staff("hospC", "audC"), Some([2, 2, 4, 1])), // a validator's auditor
        (staff("hospA", "drA"), Some([2, 2, 4, 1])),
        (staff("hospA", "regA"), Some([0, 2, 0, 1])), // demographics alone
        (staff("hospB", "drB"), Some([1, 1, 1, 0])), // within the grant; that `hiv` was denied does not tell whose it is
        (staff("hospB", "drB2"), Some([2, 0, 1, 1])), // by the open override; the denial is not shown
        (staff("hospA", "bilA"), None),
        (staff("hospB", "nurB"), None),
        (Member::Patient(patient("karl")), None),
        (Member::Admin(org("hospA")), None),
        (staff("hospA", "nobody"), None),
    ] {
        assert_eq!(counts(&world, who), expected, "{who:?}");
    }
    let precise = |who| open(&world, who).unwrap().sees_precise_reasons();
    assert!(precise(Member::Patient(patient("anna"))) && precise(staff("hospA", "drA")));
    assert!(!precise(staff("hospB", "drB")), "a grantee is told no more than the decision told");
}

#[test]
fn a_stranger_learns_not_even_whether_there_is_a_patient() {
    let world = world();
    let who = staff("hospB", "nurB");
    let now = TimestampMs(world.now);
    assert!(Reader::open(&world.state, now, who, patient("anna")).unwrap().is_none());
    assert!(Reader::open(&world.state, now, who, patient("nobody")).unwrap().is_none());
    for name in ["anna1", "nothing"] {
        assert!(read::record(&world.state, now, who, record(name)).unwrap().is_none());
    }
    let doctor = staff("hospB", "drB");
    assert!(read::record(&world.state, now, doctor, record("anna1")).unwrap().is_some());
    assert!(read::record(&world.state, now, doctor, record("hiv")).unwrap().is_none());
}

#[test]
fn what_ends_is_not_shown_any_more() {
    let mut world = world();
    let tx = world.revoke("anna", "anna", "g", None);
    world.ok(tx);
    assert_eq!(counts(&world, staff("hospB", "drB")), None);
    world.block_after(4 * HOUR, &[]);
    assert_eq!(counts(&world, staff("hospB", "drB2")), None, "nor after the override");
    // A denial closes the record's entry to the caring hospital's doctor, too.
    let tx = world.grant("anna", "anna", "d2", deny(person("hospA", "drA")));
    world.ok(tx);
    assert_eq!(counts(&world, staff("hospA", "drA")), Some([0, 3, 1, 1]));
}

#[test]
fn a_parent_sees_what_the_minor_does_not_keep() {
    let mut world = world();
    let mother = RepresentativeId(id16("mother"));
    let mut entry = Representation {
        kind: RepresentationKind::Parent,
        from: TimestampMs(0),
        until: None,
        minor_privacy_from: None,
        categories: vec![],
        revoked_at: None,
        evidence: hash("evidence"),
        organisation: org("hospA"),
    };
    let key = keys::representation(patient("anna"), Person::Representative(mother));
    put(&mut world.state, &key, &entry);
    let who = Member::Representative(mother);
    assert_eq!(counts(&world, who), Some([2, 2, 4, 1]));
    entry.minor_privacy_from = Some(TimestampMs(world.now));
    put(&mut world.state, &key, &entry);
    assert_eq!(counts(&world, who), Some([1, 0, 2, 0]), "without the HIV result, its accesses and who asked");
    entry.until = Some(TimestampMs(world.now));
    put(&mut world.state, &key, &entry);
    assert_eq!(counts(&world, who), None);
}

#[test]
fn pages_are_bounded_and_cursors_from_outside_harmless() {
    let mut world = World::new();
    for i in 0..20 {
        let tx = world.record("drA", "anna", &format!("r{i}"), &[]);
        world.ok(tx);
    }
    let reader = open(&world, Member::Patient(patient("anna"))).unwrap();
    let records = all(|after| reader.records(after, 7).unwrap());
    assert_eq!(records.len(), 21);
    assert!(records.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(reader.records(None, 0).unwrap().items.len(), 1, "at least one");
    assert_eq!(reader.records(None, usize::MAX).unwrap().items.len(), 21);
    let exact = reader.records(None, 21).unwrap();
    assert_eq!((exact.items.len(), exact.next), (21, None));
    for cursor in [&b""[..], b"a", b"rbp/"] {
        assert_eq!(
            reader.records(Some(cursor), 3).unwrap().items.len(),
            3,
            "before the range: its beginning"
        );
    }
    for cursor in [&b"zzz"[..], &[0xff; 300]] {
        assert_eq!(reader.records(Some(cursor), 3).unwrap().items.len(), 0, "behind it: nothing");
    }
}

#[test]
fn accesses_come_oldest_first_with_precise_reasons() {
    let world = world();
    let reader = open(&world, Member::Patient(patient("anna"))).unwrap();
    let reasons: Vec<Reason> =
        all(|after| reader.accesses(after, 3).unwrap()).iter().map(|it| it.reason).collect();
    let expected =
        [Reason::PermitCustodian, Reason::PermitGrant, Reason::DenySensitivity, Reason::PermitBreakGlass];
    assert_eq!(reasons, expected);
}

#[test]
fn a_grantee_by_role_or_label_sees_that() {
    let mut world = world();
    let rule = Rule {
        labels: Labels::Only(vec![Label::Hiv]),
        records: vec![record("hiv")],
        ..permit(Grantee::Role(org("hospB"), Role::Nurse))
    };
    let tx = world.grant("anna", "anna", "nurses", rule);
    world.ok(tx);
    assert_eq!(counts(&world, staff("hospB", "nurB")), Some([1, 1, 0, 0]));
    let call = Call::RecordAccess(access_call("hiv", Role::Nurse, Purpose::Treat));
    let tx = world.tx(&["nurB"], call);
    assert_eq!(world.decided(tx).1, Reason::PermitGrant);
}

/// How much of the rest is shown: representations, requests, notices, key changes, erased records, archived grants,
/// earlier versions of anna1, and whether the report, the link and the recovery are.
fn rest(world: &World, who: Member) -> Option<([usize; 7], [bool; 3])> {
    let reader = open(world, who)?;
    let link = epione_types::id::LinkId(id16("link"));
    Some((
        [
            all(|after| reader.representations(after, 2).unwrap()).len(),
            all(|after| reader.access_requests(after, 2).unwrap()).len(),
            all(|after| reader.notices(after, 2).unwrap()).len(),
            all(|after| reader.key_changes(after, 2).unwrap()).len(),
            all(|after| reader.records_erased(after, 2).unwrap()).len(),
            all(|after| reader.grants_archived(after, 2).unwrap()).len(),
            all(|after| reader.versions(record("anna1"), after, 2).unwrap()).len(),
        ],
        [
            reader.report(record("report")).unwrap().is_some(),
            reader.guest_link(link).unwrap().is_some(),
            reader.recovery().unwrap().is_some(),
        ],
    ))
}

/// One of everything, about anna; `friend` is an attorney for imaging alone.
fn rich() -> World {
    let mut world = World::cast();
    let friend = AddRepresentation {
        categories: vec![Category::Imaging],
        ..representation_call("anna", "friend", RepresentationKind::Attorney)
    };
    let request = RequestAccess {
        request: AccessRequestId(id16("q")),
        patient: patient("anna"),
        rule: permit(person("hospB", "drB2")),
        message: None,
        expires_at: TimestampMs(world.now + 24 * HOUR),
    };
    let guardians = ["gus1", "gus2"]
        .map(|name| Guardian::Person(Person::Patient(patient(name))).commitment(&hash(name)))
        .to_vec();
    let supersede = SupersedeRecord {
        record: record("anna1"),
        version: 1,
        role: Role::Physician,
        category: Category::Lab,
        labels: vec![Label::Hiv],
        service_month: Month::new(2026, 3).unwrap(),
        body: body("second"),
        minor_consented: false,
    };
    let link = CreateGuestLink {
        link: epione_types::id::LinkId(id16("link")),
        patient: patient("anna"),
        record: record("anna1"),
        key: key("link"),
        grant: grant("link"),
        until: TimestampMs(world.now + 24 * HOUR),
        max_uses: 1,
        document: None,
    };
    let start = StartRecovery { patient: patient("anna"), key: key("lost"), salt: hash("gus1") };
    let steps: Vec<(&[&str], Call)> = vec![
        (&["regA", "friend", "anna"], Call::AddRepresentation(friend)),
        (&["drB2"], Call::RequestAccess(request)),
        (&["anna"], Call::SetGuardians(SetGuardians { guardians, threshold: 2 })),
        (&["drA"], Call::RegisterRecord(record_call("anna", "gone", &[]))),
        (&["offA", "anna"], Call::EraseRecord(EraseRecord { record: record("gone"), document: None })),
        (&["drA"], Call::SupersedeRecord(supersede)),
        (&["anna", "link"], Call::CreateGuestLink(link)),
        (
            &["nurA"],
            Call::DraftReport(DraftReport {
                record: RegisterRecord { role: Role::Nurse, ..record_call("anna", "report", &[]) },
            }),
        ),
        (&["gus1", "lost"], Call::StartRecovery(start)),
        (&["anna", "rotated"], Call::RotateKey(RotateKey { key: key("rotated") })),
        (
            &["rotated"],
            Call::CreateGrant(CreateGrant {
                grant: grant("plain"),
                patient: patient("anna"),
                rule: permit(person("hospB", "drB")),
            }),
        ),
    ];
    for (signers, call) in steps {
        let tx = world.tx(signers, call);
        world.ok(tx);
    }
    world
}

#[test]
fn who_sees_how_much_of_the_rest() {
    let world = rich();
    let everything = Some(([2, 1, 4, 1, 1, 0, 1], [true, true, true]));
    let friend = Member::Representative(representative("friend"));
    for (who, expected) in [
        (Member::Patient(patient("anna")), everything),
        (Member::Representative(representative("mother")), everything),
        (staff("hospA", "offA"), everything),
        (staff("hospC", "audC"), everything),
        // The caring doctor sees all but tombstones; the draft is not theirs.
        (staff("hospA", "drA"), Some(([2, 1, 4, 1, 0, 0, 1], [false, true, true]))),
        (staff("hospA", "nurA"), Some(([2, 1, 4, 1, 0, 0, 1], [true, true, true]))), // its author
        (friend, Some(([1, 0, 0, 0, 0, 0, 0], [false; 3]))),
        // Within the grant: the version before the label, not the one that has it.
        (staff("hospB", "drB"), Some(([0, 0, 0, 0, 0, 0, 1], [false; 3]))),
        (staff("hospB", "drB2"), None), // asking shows nothing but the request, below
        (Member::Patient(patient("gus1")), None),
        // One version of the very record that the link opens.
        (Member::Guest(epione_types::id::LinkId(id16("link"))), Some(([0, 0, 0, 0, 0, 0, 1], [false; 3]))),
    ] {
        assert_eq!(rest(&world, who), expected, "{who:?}");
    }
    let request = |who| {
        let (now, id) = (TimestampMs(world.now), AccessRequestId(id16("q")));
        read::access_request(&world.state, now, who, patient("anna"), id).unwrap().is_some()
    };
    assert!(request(staff("hospB", "drB2")) && request(Member::Patient(patient("anna"))));
    assert!(!request(staff("hospB", "drB")) && !request(Member::Patient(patient("gus1"))));
    // The same of the list of those who have no reader.
    let own = |who, whose| {
        let list = |after: Option<&[u8]>| {
            read::own_access_requests(&world.state, who, patient(whose), after, 2).unwrap()
        };
        all(list).len()
    };
    assert_eq!(own(staff("hospB", "drB2"), "anna"), 1);
    for (who, whose) in [
        (staff("hospB", "drB"), "anna"),
        (staff("hospC", "drB2"), "anna"), // somebody else, of the same id
        (staff("hospB", "drB2"), "karl"),
        (staff("hospB", "drB2"), "nobody"),
        (Member::Patient(patient("anna")), "anna"),
        (Member::Admin(org("hospB")), "anna"),
    ] {
        assert_eq!(own(who, whose), 0, "{who:?} of {whose}");
    }
}

#[test]
fn a_notice_names_a_record_to_those_alone_who_may_know_of_it() {
    let world = world();
    let record_of = |who| {
        let notices = all(|after| open(&world, who).unwrap().notices(after, 2).unwrap());
        assert_eq!(notices.len(), 1, "{who:?}");
        (notices[0].kind, notices[0].about.record)
    };
    let named = (NoticeKind::EmergencyAccess, Some(record("hiv")));
    for who in [Member::Patient(patient("anna")), staff("hospA", "drA"), staff("hospA", "offA")] {
        assert_eq!(record_of(who), named, "{who:?}");
    }
    assert_eq!(record_of(staff("hospA", "regA")), (NoticeKind::EmergencyAccess, None));
}

#[test]
fn what_a_review_found_is_with_its_override() {
    let mut world = rich();
    let tx = world.emergency("drB", "karl1");
    world.ok(tx);
    let height = epione_types::Height(world.height);
    world.block_after(4 * HOUR, &[]);
    let review = ReviewOverride {
        patient: patient("karl"),
        height,
        organisation: org("hospB"),
        practitioner: practitioner("drB"),
        verdict: Verdict::Misuse,
        text_commitment: None,
    };
    let tx = world.tx(&["offA"], Call::ReviewOverride(review));
    world.ok(tx);
    let now = TimestampMs(world.now);
    let reader = Reader::open(&world.state, now, staff("hospA", "offA"), patient("karl")).unwrap().unwrap();
    let emergency = reader.overrides(None, 9).unwrap().items.pop().unwrap();
    let (status, found) = reader.review_of(&emergency).unwrap();
    assert_eq!(status, OverrideStatus::ReviewedMisuse);
    assert_eq!(found.unwrap().reviewer, staff("hospA", "offA"));
}

#[test]
fn overdue_reviews_are_for_those_who_answer_for_them() {
    let mut world = rich();
    let tx = world.emergency("drB", "karl1");
    world.ok(tx);
    let due = TimestampMs(world.now + 72 * HOUR);
    world.block_after(72 * HOUR, &[]);
    let seen = |who| {
        let now = TimestampMs(world.now);
        read::escalations(&world.state, now, who, org("hospB"), None, 9).unwrap().map(|page| page.items)
    };
    let overdue =
        read::Escalation { practitioner: (org("hospB"), practitioner("drB")), patient: patient("karl"), due };
    for (who, sees) in [
        (Member::Admin(org("hospB")), true),
        (Member::Admin(org("hospA")), true), // runs a validator
        (staff("hospB", "offB"), true),
        (staff("hospC", "audC"), true),
        (staff("hospA", "offA"), false), // another organisation's privacy officer
        (staff("hospB", "drB"), false),
        (Member::Patient(patient("karl")), false),
        (Member::Patient(patient("anna")), false),
    ] {
        assert_eq!(seen(who), sees.then(|| vec![overdue]), "{who:?}");
        assert_eq!(owed(&world, who, "hospB", true).map(|it| it.len()), sees.then_some(1), "{who:?}");
    }
}

/// The open reviews of an organisation: whose, by whom, and the block that opened it.
fn owed(world: &World, who: Member, of: &str, overdue: bool) -> Option<Vec<(PatientId, Member, u64)>> {
    let now = TimestampMs(world.now);
    let reviews = read::Reviews::open(&world.state, now, who, org(of)).unwrap()?;
    let row = |(patient, it): (PatientId, epione_chaincode::access::Override)| {
        (patient, Member::Practitioner(it.practitioner.0, it.practitioner.1), it.height.0)
    };
    Some(all(|after| reviews.list(overdue, after, 1).unwrap()).into_iter().map(row).collect())
}

#[test]
fn a_review_is_owed_from_the_emergency_until_it_is_done() {
    let mut world = rich();
    let mut opened = Vec::new();
    // Twice by drB on karl, an earlier and a later one; once by drB2 on anna.
    for (name, on, whose) in [("drB", "karl1", "karl"), ("drB2", "anna1", "anna"), ("drB", "karl1", "karl")] {
        let tx = world.emergency(name, on);
        world.ok(tx);
        opened.push((patient(whose), staff("hospB", name), world.height));
        world.block_after(4 * HOUR, &[]);
    }
    let officer = staff("hospB", "offB");
    let sorted = |rows: &[(PatientId, Member, u64)]| {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|(_, who, height)| (who.person(), *height));
        rows
    };
    assert_eq!(owed(&world, officer, "hospB", false), Some(sorted(&opened)));
    assert_eq!(owed(&world, officer, "hospB", true), Some(vec![]));
    assert_eq!(owed(&world, officer, "hospA", false), None);
    assert_eq!(owed(&world, Member::Admin(org("hospA")), "hospC", false), Some(vec![]));

    // Overdue ones oldest first, whoever opened them.
    world.block_after(72 * HOUR, &[]);
    assert_eq!(owed(&world, officer, "hospB", true), Some(opened.clone()));
    let review = ReviewOverride {
        patient: patient("karl"),
        height: epione_types::Height(opened[0].2),
        organisation: org("hospB"),
        practitioner: practitioner("drB"),
        verdict: Verdict::Ok,
        text_commitment: None,
    };
    let tx = world.tx(&["offB"], Call::ReviewOverride(review));
    world.ok(tx);
    assert_eq!(owed(&world, officer, "hospB", true), Some(opened[1..].to_vec()));
    assert_eq!(owed(&world, officer, "hospB", false), Some(sorted(&opened[1..])));
}
