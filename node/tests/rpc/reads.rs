//! Who may read what.

use epione_client::{auth, tx};
use epione_node::rpc::Limits;
use epione_proto::ApiError;
use epione_proto::convert::{code_to_wire, raw};
use epione_proto::v1::audit_service_client::AuditServiceClient;
use epione_proto::v1::consent_service_client::ConsentServiceClient;
use epione_proto::v1::identity_service_client::IdentityServiceClient;
use epione_proto::v1::ledger_service_client::LedgerServiceClient;
use epione_proto::v1::record_service_client::RecordServiceClient;
use epione_proto::v1::{self as pb, member::Member as MemberKind};
use epione_types::call::{
    AcknowledgeNotice, AddRepresentation, Call, GrantKind, Person, RejectAccessRequest, RevokeGrant,
    RevokeRepresentation, RotateKey, WithdrawAccessRequest,
};
use epione_types::codes::{AccessRequestStatus, Decision, Reason, RepresentationKind, Role};
use epione_types::id::{AccessRequestId, RepresentativeId};
use epione_types::{Genesis, Height, Signer as _};
use tonic::{Code, Status};

use crate::support::{hash, id16, key};
use crate::world::{
    World, access, emergency_call, grant, grant_call, org, patient, record, record_call, request_call, soon,
    told, with_token,
};

/// What a caller gets of anna, and of a patient and a record that do not exist: the name of each read and its answer.
async fn looks(
    world: &World,
    who: &str,
    patient_name: &str,
    record_name: &str,
) -> Vec<(&'static str, Result<usize, Status>)> {
    let channel = world.channel();
    let id = || raw(patient(patient_name).0);
    let mut identity = IdentityServiceClient::new(channel.clone());
    let mut records = RecordServiceClient::new(channel.clone());
    let mut consent = ConsentServiceClient::new(channel.clone());
    let mut audit = AuditServiceClient::new(channel.clone());
    let mut ledger = LedgerServiceClient::new(channel);
    let got_patient =
        soon(identity.get_patient(world.by(who, pb::GetPatientRequest { patient_id: id(), options: None })))
            .await;
    let got_record = soon(records.get_record(
        world.by(who, pb::GetRecordRequest { record_id: raw(record(record_name).0), options: None }),
    ))
    .await;
    let listed = soon(
        records
            .list_records(world.by(who, pb::ListRecordsRequest { patient_id: id(), ..Default::default() })),
    )
    .await;
    let grants = soon(
        consent.list_grants(world.by(who, pb::ListGrantsRequest { patient_id: id(), ..Default::default() })),
    )
    .await;
    let accesses = soon(audit.list_access_events(
        world.by(who, pb::ListAccessEventsRequest { patient_id: id(), ..Default::default() }),
    ))
    .await;
    let overrides =
        soon(audit.list_overrides(
            world.by(who, pb::ListOverridesRequest { patient_id: id(), ..Default::default() }),
        ))
        .await;
    let requests = soon(consent.list_access_requests(
        world.by(who, pb::ListAccessRequestsRequest { patient_id: id(), ..Default::default() }),
    ))
    .await;
    let representations = soon(identity.list_representations(
        world.by(who, pb::ListRepresentationsRequest { patient_id: id(), ..Default::default() }),
    ))
    .await;
    let notices = soon(
        audit.list_notices(world.by(who, pb::ListNoticesRequest { patient_id: id(), ..Default::default() })),
    )
    .await;
    let prove = |key: Vec<u8>| pb::GetProofRequest { key: key.into(), height: 0 };
    let key = epione_chaincode::keys::patient(patient(patient_name)).as_bytes().to_vec();
    let proof = soon(ledger.get_proof(world.by(who, prove(key)))).await;
    let key = epione_chaincode::keys::record(record(record_name)).as_bytes().to_vec();
    let record_proof = soon(ledger.get_proof(world.by(who, prove(key)))).await;
    vec![
        ("patient", got_patient.map(|_| 1)),
        ("record", got_record.map(|_| 1)),
        ("records", listed.map(|found| found.into_inner().records.len())),
        ("grants", grants.map(|found| found.into_inner().grants.len())),
        ("accesses", accesses.map(|found| found.into_inner().events.len())),
        ("overrides", overrides.map(|found| found.into_inner().overrides.len())),
        ("requests", requests.map(|found| found.into_inner().access_requests.len())),
        ("representations", representations.map(|found| found.into_inner().representations.len())),
        ("notices", notices.map(|found| found.into_inner().notices.len())),
        ("proof of the patient", proof.map(|_| 1)),
        ("proof of the record", record_proof.map(|_| 1)),
    ]
}

fn counts(looks: &[(&str, Result<usize, Status>)]) -> Vec<Option<usize>> {
    let count = |(name, look): &(&str, Result<usize, Status>)| match look {
        Ok(count) => Some(*count),
        Err(status) => {
            assert_eq!(told(status), (Code::PermissionDenied, "NOT_ALLOWED".to_owned()), "{name}");
            None
        }
    };
    looks.iter().map(count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sees_what_is_theirs_and_nothing_tells_hidden_from_absent() {
    let world = World::new(Limits::default()).await;
    // drC asks and is denied; anna forbids drC karl's doctor's other record; then grants.
    world.ok(&["drC"], Call::RecordAccess(access("anna1"))).await;
    // drD asks anna for a grant, and rep becomes her attorney.
    world.staff("clinic", "drD", Role::Physician).await;
    world.ok(&["drD"], request_call("anna", "drD", "asked")).await;
    world.ok(&["regA", "rep", "anna"], attorney_call("anna", "rep")).await;
    let seen = |records, grants, accesses, rest: [usize; 3]| {
        let lists = [records, grants, accesses, 0].into_iter().chain(rest);
        [1, 1].into_iter().chain(lists).chain([1, 1]).map(Some).collect::<Vec<_>>()
    };
    let all = |records, grants, accesses| seen(records, grants, accesses, [1, 1, 2]);
    let nothing = vec![None; 11];
    let see = async |who| counts(&looks(&world, who, "anna", "anna1").await);
    assert_eq!(see("anna").await, all(1, 0, 1), "the patient");
    assert_eq!(see("drA").await, all(1, 0, 1), "cares");
    assert_eq!(see("audA").await, all(1, 0, 1), "audits");
    for stranger in ["drC", "clinic.admin"] {
        assert_eq!(see(stranger).await, nothing, "{stranger}");
        // The very same words for a patient that there is none of.
        let there = looks(&world, stranger, "anna", "anna1").await;
        let nowhere = looks(&world, stranger, "nobody", "nobody1").await;
        for ((name, hidden), (_, absent)) in there.iter().zip(&nowhere) {
            let (hidden, absent) = (hidden.as_ref().unwrap_err(), absent.as_ref().unwrap_err());
            assert_eq!(ApiError::from(hidden), ApiError::from(absent), "{name}");
        }
    }
    // A grant opens what it names, until it is revoked.
    world.ok(&["drA"], record_call("anna", "anna2")).await;
    world.ok(&["anna"], grant_call("anna", "for drC", GrantKind::Permit)).await;
    assert_eq!(see("drC").await, seen(2, 1, 1, [0; 3]), "a grantee: their own access");
    assert_eq!(see("clinic.admin").await, nothing, "the grant is drC's, not the clinic's");
    let revoke = RevokeGrant { patient: patient("anna"), grant: grant("for drC"), document: None };
    world.ok(&["anna"], Call::RevokeGrant(revoke)).await;
    assert_eq!(see("drC").await, nothing);
    assert_eq!(see("anna").await, all(2, 1, 1), "revoked grants stay in the patient's list");
    // A patient sees nothing of another.
    assert_eq!(counts(&looks(&world, "anna", "karl", "karl1").await), nothing);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_is_checked_with_the_public_reason_and_a_denial_tells_nothing() {
    let world = World::new(Limits::default()).await;
    let mut consent = ConsentServiceClient::new(world.channel());
    let mut check = async |who: &str, name: &str| {
        let request = pb::CheckAccessRequest { access: Some((&access(name)).into()), options: None };
        let answer = soon(consent.check_access(world.by(who, request))).await.unwrap().into_inner();
        (answer.decision, answer.reason, answer.grant_id)
    };
    let (permit, deny) = (code_to_wire(Decision::Permit), code_to_wire(Decision::Deny));
    let denied = (deny, code_to_wire(Reason::AccessDenied), None);
    assert_eq!(check("drC", "anna1").await, denied);
    assert_eq!(check("drC", "nobody1").await, denied, "no such record: the same words");
    assert_eq!(check("drA", "anna1").await.0, permit);
    world.ok(&["anna"], grant_call("anna", "g", GrantKind::Permit)).await;
    let granted = (permit, code_to_wire(Reason::PermitGrant), Some(raw(grant("g").0)));
    assert_eq!(check("drC", "anna1").await, granted);
    world.ok(&["anna"], grant_call("anna", "never", GrantKind::Deny)).await;
    assert_eq!(check("drC", "anna1").await, denied);

    // What was decided stands in the audit trail: the patient reads why, the requester does not.
    world.ok(&["drC"], Call::RecordAccess(access("anna1"))).await;
    let mut audit = AuditServiceClient::new(world.channel());
    let list = || pb::ListAccessEventsRequest { patient_id: raw(patient("anna").0), ..Default::default() };
    let reasons = |answer: tonic::Response<pb::ListAccessEventsResponse>| -> Vec<i32> {
        answer.into_inner().events.iter().map(|event| event.reason).collect()
    };
    let precise = reasons(soon(audit.list_access_events(world.by("anna", list()))).await.unwrap());
    assert_eq!(precise, [code_to_wire(Reason::DenyExplicit)]);
    let own = soon(audit.list_access_events(world.by("drC", list()))).await.map(reasons);
    if let Ok(own) = own {
        assert_eq!(own, [0; 0], "that it was denied does not tell whose record it is");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_that_lose_and_repeat_nothing() {
    let world = World::new(Limits::default()).await;
    let mut ids = vec![record("anna1").0.to_vec()];
    for number in 2..=7 {
        let name = format!("anna{number}");
        world.ok(&["drA"], record_call("anna", &name)).await;
        ids.push(record(&name).0.to_vec());
    }
    ids.sort_unstable();
    let mut records = RecordServiceClient::new(world.channel());
    let list = |page_size, page_token: bytes::Bytes| pb::ListRecordsRequest {
        patient_id: raw(patient("anna").0),
        page: Some(pb::PageRequest { page_size, page_token }),
        options: None,
    };
    for size in [1, 3, 7, 500] {
        let (mut found, mut token) = (Vec::new(), bytes::Bytes::new());
        loop {
            let page =
                soon(records.list_records(world.by("anna", list(size, token)))).await.unwrap().into_inner();
            assert!(page.records.len() <= size as usize);
            found.extend(page.records.iter().map(|record| record.record_id.to_vec()));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, ids, "by {size}");
    }
    let with_proof = pb::ReadOptions { min_height: 0, with_proof: true };
    let proven = pb::ListRecordsRequest { options: Some(with_proof), ..list(1, bytes::Bytes::new()) };
    let refusals = [
        (list(501, bytes::Bytes::new()), "OUT_OF_RANGE", "page.page_size"),
        (list(1, b"rbp/another list".as_ref().into()), "BAD_PAGE_TOKEN", "page.page_token"),
        (list(1, vec![b'r'; 300].into()), "BAD_PAGE_TOKEN", "page.page_token"),
        (proven, "NO_PROOFS", "options.with_proof"),
        (
            pb::ListRecordsRequest { patient_id: vec![1; 15].into(), ..Default::default() },
            "WRONG_LENGTH",
            "patient_id",
        ),
    ];
    for (request, reason, field) in refusals {
        let error = ApiError::from(&soon(records.list_records(world.by("anna", request))).await.unwrap_err());
        assert_eq!(
            (error.code, error.reason.as_str(), error.field.as_str()),
            (Code::InvalidArgument, reason, field)
        );
    }
    world.stop().await;
}

/// All pages of a list, by so many entries.
macro_rules! pages {
    ($world:ident, $client:ident . $method:ident by $who:expr, $size:expr,
     $request:ident { $($field:ident: $value:expr),* } -> $list:ident) => {{
        let (mut found, mut page_token) = (Vec::new(), bytes::Bytes::new());
        loop {
            let page = Some(pb::PageRequest { page_size: $size, page_token });
            let request = pb::$request { $($field: $value,)* page, ..Default::default() };
            let answer = soon($client.$method($world.by($who, request))).await.unwrap().into_inner();
            assert!(answer.$list.len() <= $size as usize);
            found.extend(answer.$list);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break found;
            }
        }
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asked_sees_that_they_did_and_of_other_patients_nothing() {
    let world = World::new(Limits::default()).await;
    for name in ["drD", "drE"] {
        world.staff("clinic", name, Role::Physician).await;
    }
    // Three by drC, two of which were answered; one by drD.
    let id = |name: &str| AccessRequestId(id16(name));
    world.ok(&["drC"], request_call("anna", "drC", "first")).await;
    let reject = RejectAccessRequest { patient: patient("anna"), request: id("first"), document: None };
    world.ok(&["anna"], Call::RejectAccessRequest(reject)).await;
    world.ok(&["drC"], request_call("anna", "drC", "second")).await;
    let withdraw = WithdrawAccessRequest { patient: patient("anna"), request: id("second") };
    world.ok(&["drC"], Call::WithdrawAccessRequest(withdraw)).await;
    world.ok(&["drC"], request_call("anna", "drC", "third")).await;
    world.ok(&["drD"], request_call("anna", "drD", "drD's")).await;

    let mut consent = ConsentServiceClient::new(world.channel());
    for size in [1, 2, 500] {
        let mut list = async |who: &str| -> Vec<(bytes::Bytes, i32)> {
            let found = pages!(world, consent.list_access_requests by who, size,
                ListAccessRequestsRequest { patient_id: raw(patient("anna").0) } -> access_requests);
            found.into_iter().map(|it| (it.access_request_id, it.status)).collect()
        };
        let expected = |names: &[(&str, AccessRequestStatus)]| {
            let mut all: Vec<_> =
                names.iter().map(|(name, status)| (raw(id(name).0), code_to_wire(*status))).collect();
            all.sort_unstable();
            all
        };
        let (rejected, withdrawn) = (AccessRequestStatus::Rejected, AccessRequestStatus::Withdrawn);
        let pending = AccessRequestStatus::Pending;
        let own = [("first", rejected), ("second", withdrawn), ("third", pending)];
        assert_eq!(list("drC").await, expected(&own), "without a grant; by {size}");
        assert_eq!(list("drD").await, expected(&[("drD's", pending)]), "by {size}");
        let all = [own.as_slice(), &[("drD's", pending)]].concat();
        for who in ["anna", "drA", "audA"] {
            assert_eq!(list(who).await, expected(&all), "{who} by {size}");
        }
    }
    // Who did not ask is told the same of her, of karl, and of a patient that there is none of.
    let ask =
        |name: &str| pb::ListAccessRequestsRequest { patient_id: raw(patient(name).0), ..Default::default() };
    let mut told = Vec::new();
    for (who, name) in [("drE", "anna"), ("drC", "karl"), ("drC", "nobody"), ("clinic.admin", "anna")] {
        let refused = soon(consent.list_access_requests(world.by(who, ask(name)))).await.unwrap_err();
        told.push(ApiError::from(&refused));
    }
    assert_eq!(told[0].reason, "NOT_ALLOWED");
    assert!(told.iter().all(|other| *other == told[0]), "{told:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_is_told_of_emergencies_and_an_organisation_of_the_reviews_that_it_owes() {
    let world = World::new(Limits::default()).await;
    world.staff("clinic", "offC", Role::PrivacyOfficer).await;
    world.staff("clinic", "audC", Role::Auditor).await;
    let mut opened = Vec::new();
    for name in ["drE", "drF"] {
        world.emergency_physician("clinic", name).await;
        for whose in ["anna", "karl"] {
            let receipt = world.ok(&[name], emergency_call(&format!("{whose}1"))).await;
            opened.push((name, whose, receipt.height.0));
        }
    }
    opened.sort_by_key(|(name, _, height)| (id16(name), *height));
    let row = |it: &pb::Override| {
        let name =
            |of: &[&'static str], id: &[u8]| of.iter().find(|name| id16(name) == *id).copied().unwrap();
        let who = it.practitioner.as_ref().unwrap();
        assert_eq!(
            (it.status(), who.org_id.as_ref()),
            (pb::OverrideStatus::Open, org("clinic").0.as_slice())
        );
        (name(&["drE", "drF"], &who.practitioner_id), name(&["anna", "karl"], &it.patient_id), it.height)
    };
    let mut audit = AuditServiceClient::new(world.channel());
    for (size, who) in [(1, "clinic.admin"), (3, "offC"), (500, "audC"), (2, "audA"), (4, "hospital0.admin")]
    {
        let owed = pages!(world, audit.list_open_reviews by who, size,
            ListOpenReviewsRequest { org_id: raw(org("clinic").0) } -> overrides);
        assert_eq!(owed.iter().map(row).collect::<Vec<_>>(), opened, "{who} by {size}");
        let overdue = pages!(world, audit.list_open_reviews by who, size,
            ListOpenReviewsRequest { org_id: raw(org("clinic").0), overdue_only: true } -> overrides);
        assert!(overdue.is_empty(), "{who}");
    }
    // Not for those whom they are about, nor for another organisation's officers; nor with another list's token.
    let list = |page_token: bytes::Bytes, overdue_only| pb::ListOpenReviewsRequest {
        org_id: raw(org("clinic").0),
        page: Some(pb::PageRequest { page_size: 1, page_token }),
        overdue_only,
        ..Default::default()
    };
    for who in ["drE", "anna", "drA", "regA"] {
        let refused = soon(audit.list_open_reviews(world.by(who, list(Default::default(), false)))).await;
        assert_eq!(told(&refused.unwrap_err()), (Code::PermissionDenied, "NOT_ALLOWED".to_owned()), "{who}");
    }
    let first = soon(audit.list_open_reviews(world.by("offC", list(Default::default(), false)))).await;
    let token = first.unwrap().into_inner().next_page_token;
    let refused = soon(audit.list_open_reviews(world.by("offC", list(token, true)))).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "BAD_PAGE_TOKEN".to_owned()));

    // Told to the patient: two emergencies, each with the record that was asked for.
    let (_, _, height) = *opened.iter().find(|it| (it.0, it.1) == ("drE", "anna")).unwrap();
    let mut told_to = async |who: &str, size| {
        pages!(world, audit.list_notices by who, size,
            ListNoticesRequest { patient_id: raw(patient("anna").0) } -> notices)
    };
    for size in [1, 2, 500] {
        let notices = told_to("anna", size).await;
        let told: Vec<_> = notices.iter().map(|it| (it.kind(), it.record_id.clone())).collect();
        let emergency = (pb::NoticeKind::EmergencyAccess, Some(raw(record("anna1").0)));
        assert_eq!(told, [emergency.clone(), emergency], "by {size}");
        assert!(notices.iter().all(|it| it.acknowledged_ms.is_none()));
        assert!(notices.iter().any(|it| it.height == height));
    }
    // The registrar, who reads no record, is not told which one.
    assert!(told_to("regA", 500).await.iter().all(|it| it.record_id.is_none()));
    let seen =
        AcknowledgeNotice { patient: patient("anna"), height: Height(height), index: 0, document: None };
    world.ok(&["anna"], Call::AcknowledgeNotice(seen)).await;
    let seen: Vec<_> = told_to("anna", 500)
        .await
        .iter()
        .map(|it| (it.height == height, it.acknowledged_ms.is_some()))
        .collect();
    assert!(seen.iter().all(|(this, acknowledged)| this == acknowledged), "{seen:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_acts_for_a_patient_is_listed_with_where_it_stands() {
    let world = World::new(Limits::default()).await;
    for name in ["rep1", "rep2", "rep3"] {
        world.ok(&["regA", name, "anna"], attorney_call("anna", name)).await;
    }
    let person = |name: &str| Person::Representative(RepresentativeId(id16(name)));
    let revoke = RevokeRepresentation { patient: patient("anna"), person: person("rep2"), document: None };
    world.ok(&["anna"], Call::RevokeRepresentation(revoke)).await;
    let mut identity = IdentityServiceClient::new(world.channel());
    for size in [1, 2, 500] {
        let mut list = async |who: &str| -> Vec<(Person, pb::RepresentationStatus)> {
            let found = pages!(world, identity.list_representations by who, size,
                ListRepresentationsRequest { patient_id: raw(patient("anna").0) } -> representations);
            let row = |it: &pb::Representation| {
                assert_eq!(it.attested_by_org_id, raw(org("hospital0").0));
                assert_eq!(it.status() == pb::RepresentationStatus::Revoked, it.revoked_ms.is_some());
                (it.person.clone().unwrap().try_into().unwrap(), it.status())
            };
            found.iter().map(row).collect()
        };
        let (active, revoked) = (pb::RepresentationStatus::Active, pb::RepresentationStatus::Revoked);
        let mut all = vec![("rep1", active), ("rep2", revoked), ("rep3", active)];
        all.sort_by_key(|(name, _)| id16(name));
        let all: Vec<_> = all.into_iter().map(|(name, status)| (person(name), status)).collect();
        for who in ["anna", "rep1", "drA"] {
            assert_eq!(list(who).await, all, "{who} by {size}");
        }
    }
    world.stop().await;
}

/// An attorney of a patient, signed by both.
fn attorney_call(patient_name: &str, name: &str) -> Call {
    Call::AddRepresentation(AddRepresentation {
        patient: patient(patient_name),
        person: Person::Representative(RepresentativeId(id16(name))),
        key: Some(epione_types::Signer::public_key(&key(name))),
        kind: RepresentationKind::Attorney,
        from: None,
        until: None,
        minor_privacy_from: None,
        categories: vec![],
        evidence: hash("evidence"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_enrolled_knows_who_is_who_and_reads_their_own_writes() {
    let world = World::new(Limits::default()).await;
    let mut identity = IdentityServiceClient::new(world.channel());
    let members = [
        ("clinic.admin", MemberKind::AdminOfOrgId(raw(org("clinic").0))),
        ("anna", MemberKind::PatientId(raw(patient("anna").0))),
        (
            "drC",
            MemberKind::Practitioner(pb::PractitionerRef {
                org_id: raw(org("clinic").0),
                practitioner_id: raw(id16("drC")),
            }),
        ),
    ];
    for (name, expected) in members {
        let answer =
            soon(identity.who_am_i(world.by(name, pb::WhoAmIRequest {}))).await.unwrap().into_inner();
        assert_eq!(answer.public_key, raw(epione_types::Signer::public_key(&key(name)).0));
        assert_eq!(answer.members, [pb::Member { member: Some(expected) }], "{name}");
    }
    // With a proof that the SDK's verifier accepts, as of a certified block.
    let options = Some(pb::ReadOptions { min_height: 0, with_proof: true });
    let request = pb::GetOrgRequest { org_id: raw(org("clinic").0), options };
    let answer = soon(identity.get_org(world.by("anna", request))).await.unwrap().into_inner();
    let context = answer.context.unwrap();
    let trust = epione_client::Trust::new(&world.genesis).unwrap();
    let (value, header) = trust.value(context.proof.as_ref().unwrap()).unwrap();
    assert_eq!((header.height.0, value.is_some()), (context.height, true));
    assert_eq!(answer.org.unwrap().status(), pb::MemberStatus::Active);

    let request = pb::GetPractitionerRequest {
        org_id: raw(org("clinic").0),
        practitioner_id: raw(id16("drA")),
        options: None,
    };
    let missing = soon(identity.get_practitioner(world.by("anna", request))).await.unwrap_err();
    assert_eq!(told(&missing), (Code::NotFound, "NOT_FOUND".to_owned()), "drA is of the hospital");
    let receipt = world.ok(&["drA"], record_call("karl", "karl2")).await;
    let get = |height: Height| pb::GetRecordRequest {
        record_id: raw(record("karl2").0),
        options: Some(pb::ReadOptions { min_height: height.0, with_proof: false }),
    };
    let mut records = RecordServiceClient::new(world.channel());
    let read = soon(records.get_record(world.by("drA", get(receipt.height)))).await.unwrap().into_inner();
    assert!(read.context.unwrap().height >= receipt.height.0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_open_and_what_blocks_hold_is_for_overseers() {
    let world = World::new(Limits::default()).await;
    let mut ledger = LedgerServiceClient::new(world.channel());
    let status =
        soon(ledger.get_status(world.by("anna", pb::GetStatusRequest {}))).await.unwrap().into_inner();
    assert!(status.synced);
    let head = status.height;
    let block =
        |height, whole| pb::GetBlockRequest { height, with_transactions: whole, with_receipts: whole };
    for who in ["anna", "drC", "clinic.admin", "drA"] {
        let open = soon(ledger.get_block(world.by(who, block(1, false)))).await.unwrap().into_inner();
        let open = open.block.unwrap();
        assert!(open.batch.is_none() && open.receipts.is_empty() && open.transaction_count == 1, "{who}");
        let refused = soon(ledger.get_block(world.by(who, block(1, true)))).await.unwrap_err();
        assert_eq!(told(&refused), (Code::PermissionDenied, "NOT_ALLOWED".to_owned()), "{who}");
        // Accesses stand in the state too: nobody else proves anything of them.
        let key = epione_chaincode::keys::accesses(patient("anna")).from().to_vec();
        let request = pb::GetProofRequest { key: key.into(), height: 0 };
        let refused = soon(ledger.get_proof(world.by(who, request))).await.unwrap_err();
        assert_eq!(told(&refused).1, "NOT_ALLOWED", "{who}");
    }
    for who in ["hospital0.admin", "audA"] {
        let whole = soon(ledger.get_block(world.by(who, block(1, true)))).await.unwrap().into_inner();
        let whole = whole.block.unwrap();
        assert!(whole.batch.is_some() && whole.receipts.len() == 1, "{who}");
    }
    let missing = soon(ledger.get_block(world.by("anna", block(head + 1, false)))).await.unwrap_err();
    assert_eq!(told(&missing), (Code::NotFound, "NOT_FOUND".to_owned()));

    let headers = pb::ListHeadersRequest { from_height: 2, page_size: 3 };
    let headers = soon(ledger.list_headers(world.by("anna", headers))).await.unwrap().into_inner().headers;
    let heights: Vec<u64> = headers.iter().map(|it| it.header.as_ref().unwrap().height).collect();
    assert_eq!(heights, [2, 3, 4]);
    let end = pb::ListHeadersRequest { from_height: u64::MAX, page_size: 0 };
    assert!(soon(ledger.list_headers(world.by("anna", end))).await.unwrap().into_inner().headers.is_empty());

    let genesis =
        soon(ledger.get_genesis(world.by("anna", pb::GetGenesisRequest {}))).await.unwrap().into_inner();
    let read: Genesis = serde_json::from_slice(&genesis.genesis_json).unwrap();
    assert_eq!(
        (read.chain_id(), genesis.chain_id),
        (world.genesis.chain_id(), raw(world.genesis.chain_id().0))
    );
    let validators = |epoch| pb::GetValidatorsRequest { epoch };
    let set = soon(ledger.get_validators(world.by("anna", validators(None)))).await.unwrap().into_inner();
    assert_eq!(set.validators.unwrap().validators.len(), 1);
    let none = soon(ledger.get_validators(world.by("anna", validators(Some(1))))).await.unwrap_err();
    assert_eq!(told(&none).0, Code::NotFound);
    let evidence = soon(ledger.list_evidence(world.by("anna", pb::ListEvidenceRequest { page: None }))).await;
    assert!(evidence.unwrap().into_inner().evidence.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_of_a_stream_are_answered_in_order_and_as_one_by_one() {
    let world = World::new(Limits::default()).await;
    world.ok(&["anna"], grant_call("anna", "g", GrantKind::Permit)).await;
    let mut consent = ConsentServiceClient::new(world.channel());
    let check = |name: &str, min_height| pb::CheckAccessRequest {
        access: Some((&access(name)).into()),
        options: Some(pb::ReadOptions { min_height, with_proof: false }),
    };
    let mut one_by_one = Vec::new();
    for name in ["anna1", "karl1", "nobody1"] {
        one_by_one
            .push(soon(consent.check_access(world.by("drC", check(name, 0)))).await.unwrap().into_inner());
    }
    // More than are read together, and then one that is none.
    let mut requests: Vec<_> =
        ["anna1", "karl1", "nobody1"].iter().cycle().take(300).map(|name| check(name, 1)).collect();
    requests.push(pb::CheckAccessRequest::default());
    requests.push(check("anna1", 0));
    let requests = requests.into_iter().map(|check| pb::CheckAccessStreamRequest { check: Some(check) });
    let stream = futures::stream::iter(requests);
    let mut answers = soon(consent.check_access_stream(world.by("drC", stream))).await.unwrap().into_inner();
    for number in 0..300 {
        let answered = soon(answers.message()).await.unwrap().unwrap();
        assert_eq!(answered.answer.as_ref(), Some(&one_by_one[number % 3]), "{number}");
    }
    let end = soon(answers.message()).await.unwrap_err();
    assert_eq!(told(&end), (Code::InvalidArgument, "MISSING_FIELD".to_owned()));
    assert_eq!(soon(answers.message()).await.unwrap(), None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_checks_ends_with_its_token_and_with_its_key() {
    let world = World::new(Limits::default()).await;
    let mut consent = ConsentServiceClient::new(world.channel());
    let ask = || pb::CheckAccessStreamRequest {
        check: Some(pb::CheckAccessRequest { access: Some((&access("anna1")).into()), options: None }),
    };
    let mut open = async |token: &str| {
        let (to, requests) = tokio::sync::mpsc::channel(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
        let answers = soon(consent.check_access_stream(with_token(token, stream))).await.unwrap();
        (to, answers.into_inner())
    };
    // The token ends, whether anything is asked or not.
    let chain = world.genesis.chain_id();
    let (to, mut answers) = open(&auth::create(&key("drA"), chain, tx::now(), 4)).await;
    to.send(ask()).await.unwrap();
    assert!(soon(answers.message()).await.unwrap().is_some());
    let ended = (Code::Unauthenticated, "TOKEN_EXPIRED".to_owned());
    assert_eq!(told(&soon(answers.message()).await.unwrap_err()), ended);
    let (to, mut answers) = open(&auth::create(&key("drA"), chain, tx::now(), 4)).await;
    let status = soon(async {
        loop {
            drop(to.send(ask()).await); // nobody takes it any more once the stream has ended
            match answers.message().await {
                Ok(answer) => assert!(answer.is_some()),
                Err(status) => return status,
            }
        }
    });
    assert_eq!(told(&status.await), ended);
    // The key is replaced.
    let (to, mut answers) = open(&world.token("drC")).await;
    to.send(ask()).await.unwrap();
    assert!(soon(answers.message()).await.unwrap().is_some());
    let rotate = RotateKey { key: key("drC, later").public_key() };
    world.ok(&["drC", "drC, later"], Call::RotateKey(rotate)).await;
    to.send(ask()).await.unwrap();
    let struck = (Code::Unauthenticated, "KEY_NOT_REGISTERED".to_owned());
    assert_eq!(told(&soon(answers.message()).await.unwrap_err()), struck);
    world.stop().await;
}
