//! Who may call what, and what a denial tells: every method by every kind of caller, as `docs/authorisation.md` has it.
//!
//! The methods come from the descriptors: one without a question falls. Every question is asked twice, about something that
//! exists and about something that does not; whoever may not have the first answer gets the second's very words.
//! `EPIONE_BLESS=1 cargo test -p epione-node --test rpc authorisation` writes the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use epione_chaincode::keys;
use epione_client::{auth, tx};
use epione_node::rpc::Limits;
use epione_proto::ApiError;
use epione_proto::convert::{code_to_wire, raw};
use epione_proto::v1::event_service_client::EventServiceClient;
use epione_proto::v1::{self as pb, subscribe_request::Start, subscribe_response::Message};
use epione_types::call::{
    AddRepresentation, Call, CreateGuestLink, GrantKind, Person, RecordAccess, RegisterDevice,
    SetPractitionerStatus,
};
use epione_types::codes::{
    Action, Decision, DeviceKind, PractitionerStatus, Purpose, Reason, RepresentationKind, Role,
};
use epione_types::holding::Holder;
use epione_types::id::{DeviceId, LinkId, PractitionerId, RepresentativeId};
use epione_types::{SignedTx, Signer as _};
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::auth::methods;
use crate::raw;
use crate::support::{hash, id16, key};
use crate::world::{
    World, access, emergency_call, grant, grant_call, org, patient, record, record_call, request_call, soon,
    with_token,
};

/// A kind of caller.
struct Caller {
    /// In the table.
    title: &'static str,
    token: Option<String>,
    /// In which capacity they ask for a record, and for what.
    role: Role,
    purpose: Purpose,
    link: Option<LinkId>,
}

/// Everybody, from nobody to the operator.
fn callers(world: &World) -> Vec<Caller> {
    let expired = auth::create(&key("anna"), world.genesis.chain_id(), tx::now().minus(600_000), 300);
    let by = |title, token, role: Role, purpose| Caller { title, token, role, purpose, link: None };
    let staff = |title, name: &str, role| by(title, Some(world.token(name)), role, Purpose::Treat);
    let office = |title, name: &str, role| by(title, Some(world.token(name)), role, Purpose::Hoperat);
    let person = |title, name: &str, role| by(title, Some(world.token(name)), role, Purpose::PatRqt);
    vec![
        by("nobody", None, Role::Physician, Purpose::Treat),
        by("expired token", Some(expired), Role::Patient, Purpose::PatRqt),
        staff("key that is not registered", "stranger", Role::Physician),
        person("the patient", "anna", Role::Patient),
        person("another patient", "bela", Role::Patient),
        person("representative", "rep", Role::Representative),
        Caller {
            link: Some(LinkId(id16("link"))),
            ..person("guest, of the first record", "link", Role::Guest)
        },
        staff("custodian's physician", "drA", Role::Physician),
        staff("custodian's suspended physician", "drS", Role::Physician),
        office("custodian's registrar", "regA", Role::Registrar),
        office("custodian's privacy officer", "offA", Role::PrivacyOfficer),
        office("validator's auditor", "audA", Role::Auditor),
        staff("custodian's device", "device", Role::Physician),
        staff("grantee, of the first record", "drC", Role::Physician),
        staff("foreign physician, denied by the patient", "drD", Role::Physician),
        office("clinic's auditor", "audC", Role::Auditor),
        office("clinic's administrator", "clinic.admin", Role::Auditor),
        office("validator's administrator", "hospital0.admin", Role::Auditor),
    ]
}

/// The hospital and the clinic, with one of each kind; anna's records anna1, which a grant and a link open, and anna2.
async fn world() -> (World, SignedTx) {
    let limits = Limits { heartbeat: Duration::from_millis(20), bad_tokens_max: 10_000, ..Limits::default() };
    let world = World::new(limits).await;
    for (organisation, name, role) in [
        ("hospital0", "offA", Role::PrivacyOfficer),
        ("hospital0", "drS", Role::Physician),
        ("clinic", "drD", Role::Physician),
        ("clinic", "audC", Role::Auditor),
    ] {
        world.staff(organisation, name, role).await;
    }
    world.emergency_physician("clinic", "drE").await;
    let bela = epione_types::call::RegisterPatient {
        patient: patient("bela"),
        key: Some(key("bela").public_key()),
        notice_hash: hash("notice"),
    };
    let (rep, device) = (RepresentativeId(id16("rep")), DeviceId(id16("device")));
    let representation = AddRepresentation {
        patient: patient("anna"),
        person: Person::Representative(rep),
        key: Some(key("rep").public_key()),
        kind: RepresentationKind::Attorney,
        from: None,
        until: None,
        minor_privacy_from: None,
        categories: vec![],
        evidence: hash("evidence"),
    };
    let link = CreateGuestLink {
        link: LinkId(id16("link")),
        patient: patient("anna"),
        record: record("anna1"),
        key: key("link").public_key(),
        grant: grant("link"),
        until: tx::now().plus(3_600_000),
        max_uses: 3,
        document: None,
    };
    let device = RegisterDevice {
        device,
        kind: DeviceKind::ALL[0],
        key: key("device").public_key(),
        practitioner: PractitionerId(id16("drA")),
    };
    let suspended = SetPractitionerStatus {
        practitioner: PractitionerId(id16("drS")),
        status: PractitionerStatus::Suspended,
    };
    let mut permit = grant_call("anna", "for drC", GrantKind::Permit);
    if let Call::CreateGrant(call) = &mut permit {
        call.rule.records = vec![record("anna1")];
    }
    let mut deny = grant_call("anna", "against drD", GrantKind::Deny);
    if let Call::CreateGrant(call) = &mut deny {
        let person = Person::Practitioner(org("clinic"), PractitionerId(id16("drD")));
        call.rule.to = epione_types::call::Grantee::Person(person);
    }
    for (signers, call) in [
        (&["regA", "bela"][..], Call::RegisterPatient(bela)),
        (&["drA"], record_call("anna", "anna2")),
        (&["anna"], permit),
        (&["anna"], deny),
        (&["regA", "rep", "anna"], Call::AddRepresentation(representation)),
        (&["anna", "link"], Call::CreateGuestLink(link)),
        (&["hospital0.admin", "device"], Call::RegisterDevice(device)),
        (&["hospital0.admin"], Call::SetPractitionerStatus(suspended)),
        (&["drC"], Call::RecordAccess(access("anna1"))),
        (&["drC"], Call::RecordAccess(access("anna2"))),
        (&["drD"], Call::RecordAccess(access("nothing"))),
        (&["drD"], request_call("anna", "drD", "asked")),
        (&["drE"], emergency_call("anna1")),
    ] {
        world.ok(signers, call).await;
    }
    let asked = world.tx(&["drD"], Call::RecordAccess(access("anna1")));
    world.run(&asked).await;
    (world, asked)
}

type Ask = Box<dyn Fn(&Caller, bool) -> Option<Bytes>>;

/// One question: how it is put, and what the answer comes to.
struct Question {
    method: &'static str,
    about: &'static str,
    /// Of what exists, and of what does not (if that is a question).
    ask: Ask,
    read: fn(&Bytes) -> String,
}

fn question<Q: prost::Message>(
    method: &'static str,
    about: &'static str,
    read: fn(&Bytes) -> String,
    ask: impl Fn(&Caller, bool) -> Option<Q> + 'static,
) -> Question {
    let ask = Box::new(move |caller: &Caller, there: bool| {
        ask(caller, there).map(|message| Bytes::from(message.encode_to_vec()))
    });
    Question { method, about, ask, read }
}

fn yes(_: &Bytes) -> String {
    "yes".to_owned()
}

/// An answer that is a list: how many.
macro_rules! count {
    ($answer:ident . $list:ident) => {
        |bytes: &Bytes| pb::$answer::decode(bytes.clone()).unwrap().$list.len().to_string()
    };
}

/// An answer that is a transaction's status.
macro_rules! state {
    ($answer:ident) => {
        |bytes: &Bytes| {
            let state = pb::$answer::decode(bytes.clone()).unwrap().status.unwrap().state();
            state.as_str_name().trim_start_matches("TRANSACTION_STATE_").to_lowercase()
        }
    };
}

fn decision(bytes: &Bytes) -> String {
    decided(pb::CheckAccessResponse::decode(bytes.clone()).unwrap())
}

fn first_decision(bytes: &Bytes) -> String {
    decided(pb::CheckAccessStreamResponse::decode(bytes.clone()).unwrap().answer.unwrap())
}

fn decided(answer: pb::CheckAccessResponse) -> String {
    let name = |number: i32| {
        Reason::ALL.iter().find(|reason| code_to_wire(**reason) == number).map_or("?", |it| it.name())
    };
    let permit = answer.decision == code_to_wire(Decision::Permit);
    format!("{} {}", if permit { "permit" } else { "deny" }, name(answer.reason))
}

fn value(bytes: &Bytes) -> String {
    let proof = pb::GetProofResponse::decode(bytes.clone()).unwrap().proof.unwrap();
    if proof.value.is_some() { "value".to_owned() } else { "absence".to_owned() }
}

fn questions(sent: &SignedTx) -> Vec<Question> {
    let whose = |there| raw(patient(if there { "anna" } else { "nothing" }).0);
    let which = |name: &str, there| raw(record(if there { name } else { "nothing" }).0);
    let gave = |name: &str, there| raw(grant(if there { name } else { "nothing" }).0);
    let ask = |caller: &Caller, there: bool, own: bool| {
        let access = RecordAccess {
            record: record(if there { "anna2" } else { "nothing" }),
            role: if own { caller.role } else { Role::Physician },
            action: Action::Read,
            purpose: if own { caller.purpose } else { Purpose::Btg },
            link: caller.link,
            ..access("anna2")
        };
        Some(pb::CheckAccessRequest { access: Some((&access).into()), options: None })
    };
    let (id, wait) = (raw(sent.id().0), pb::WaitLevel::Committed.into());
    let seen = move |there| if there { id.clone() } else { raw([7; 32]) };
    let (submitted, streamed) = (pb::SignedTransaction::from(sent), pb::SignedTransaction::from(sent));
    let (seen2, prove) = (seen.clone(), |key: &[u8]| {
        Some(pb::GetProofRequest { key: Bytes::copy_from_slice(key), height: 0 })
    });
    let block = |whole| {
        move |_: &Caller, there: bool| {
            let height = if there { 1 } else { 1 << 40 };
            Some(pb::GetBlockRequest { height, with_transactions: whole, with_receipts: whole })
        }
    };
    vec![
        question("SubmissionService.Submit", "", state!(SubmitResponse), move |_, there| {
            there.then(|| pb::SubmitRequest { transaction: Some(submitted.clone()), wait })
        }),
        question("SubmissionService.SubmitStream", "", yes, move |_, there| {
            there.then(|| pb::SubmitStreamRequest { transaction: Some(streamed.clone()), wait })
        }),
        question("SubmissionService.GetReceipt", "", yes, move |_, there| {
            Some(pb::GetReceiptRequest { transaction_id: seen(there), wait: 0 })
        }),
        question("SubmissionService.WatchReceipt", "", yes, move |_, there| {
            Some(pb::WatchReceiptRequest { transaction_id: seen2(there) })
        }),
        question("IdentityService.GetOrg", "", yes, |_, there| {
            let org_id = raw(org(if there { "clinic" } else { "nothing" }).0);
            Some(pb::GetOrgRequest { org_id, options: None })
        }),
        question("IdentityService.GetPractitioner", "", yes, |_, there| {
            let practitioner_id = raw(id16(if there { "drC" } else { "nothing" }));
            Some(pb::GetPractitionerRequest { org_id: raw(org("clinic").0), practitioner_id, options: None })
        }),
        question("IdentityService.GetPatient", "", yes, move |_, there| {
            Some(pb::GetPatientRequest { patient_id: whose(there), options: None })
        }),
        question(
            "IdentityService.ListRepresentations",
            "",
            count!(ListRepresentationsResponse.representations),
            move |_, there| {
                Some(pb::ListRepresentationsRequest { patient_id: whose(there), ..Default::default() })
            },
        ),
        question("IdentityService.WhoAmI", "", yes, |_, there| there.then_some(pb::WhoAmIRequest {})),
        question("RecordService.GetRecord", "the first", yes, move |_, there| {
            Some(pb::GetRecordRequest { record_id: which("anna1", there), options: None })
        }),
        question("RecordService.GetRecord", "the second", yes, move |_, there| {
            Some(pb::GetRecordRequest { record_id: which("anna2", there), options: None })
        }),
        question("RecordService.ListRecords", "", count!(ListRecordsResponse.records), move |_, there| {
            Some(pb::ListRecordsRequest { patient_id: whose(there), ..Default::default() })
        }),
        question("ConsentService.GetGrant", "to the grantee", yes, move |_, there| {
            let grant_id = gave("for drC", there);
            Some(pb::GetGrantRequest { patient_id: whose(true), grant_id, options: None })
        }),
        question("ConsentService.GetGrant", "a denial", yes, move |_, there| {
            let grant_id = gave("against drD", there);
            Some(pb::GetGrantRequest { patient_id: whose(true), grant_id, options: None })
        }),
        question("ConsentService.ListGrants", "", count!(ListGrantsResponse.grants), move |_, there| {
            Some(pb::ListGrantsRequest { patient_id: whose(there), ..Default::default() })
        }),
        question(
            "ConsentService.CheckAccess",
            "the second record, in the own role",
            decision,
            move |caller, there| ask(caller, there, true),
        ),
        question(
            "ConsentService.CheckAccess",
            "as a physician in an emergency, without grounds",
            decision,
            move |caller, there| ask(caller, there, false),
        ),
        question(
            "ConsentService.CheckAccessStream",
            "the second record, in the own role",
            first_decision,
            move |caller, there| Some(pb::CheckAccessStreamRequest { check: ask(caller, there, true) }),
        ),
        question(
            "ConsentService.ListAccessRequests",
            "",
            count!(ListAccessRequestsResponse.access_requests),
            move |_, there| {
                Some(pb::ListAccessRequestsRequest { patient_id: whose(there), ..Default::default() })
            },
        ),
        question(
            "AuditService.ListAccessEvents",
            "",
            count!(ListAccessEventsResponse.events),
            move |_, there| {
                Some(pb::ListAccessEventsRequest { patient_id: whose(there), ..Default::default() })
            },
        ),
        question(
            "AuditService.ListOverrides",
            "",
            count!(ListOverridesResponse.overrides),
            move |_, there| Some(pb::ListOverridesRequest { patient_id: whose(there), ..Default::default() }),
        ),
        question(
            "AuditService.ListOpenReviews",
            "of the clinic",
            count!(ListOpenReviewsResponse.overrides),
            |_, there| {
                let org_id = raw(org(if there { "clinic" } else { "nothing" }).0);
                Some(pb::ListOpenReviewsRequest { org_id, ..Default::default() })
            },
        ),
        question("AuditService.ListNotices", "", count!(ListNoticesResponse.notices), move |_, there| {
            Some(pb::ListNoticesRequest { patient_id: whose(there), ..Default::default() })
        }),
        question("LedgerService.GetStatus", "", yes, |_, there| there.then_some(pb::GetStatusRequest {})),
        question("LedgerService.GetBlock", "", yes, block(false)),
        question("LedgerService.GetBlock", "with what it holds", yes, block(true)),
        question("LedgerService.GetHeader", "", yes, |_, there| {
            Some(pb::GetHeaderRequest { height: u64::from(there) + (u64::from(!there) << 40) })
        }),
        question("LedgerService.ListHeaders", "", yes, |_, there| {
            there.then_some(pb::ListHeadersRequest { from_height: 1, page_size: 1 })
        }),
        question("LedgerService.GetProof", "of an organisation", value, move |_, there| {
            prove(keys::organisation(org(if there { "clinic" } else { "nothing" })).as_bytes())
        }),
        question("LedgerService.GetProof", "of the patient", value, move |_, there| {
            prove(keys::patient(patient(if there { "anna" } else { "nothing" })).as_bytes())
        }),
        question("LedgerService.GetProof", "of the second record", value, move |_, there| {
            prove(keys::record(record(if there { "anna2" } else { "nothing" })).as_bytes())
        }),
        question("LedgerService.GetProof", "of the grantee's grant", value, move |_, there| {
            let whose = patient(if there { "anna" } else { "nothing" });
            prove(keys::grant(whose, grant("for drC")).as_bytes())
        }),
        question("LedgerService.GetProof", "of the denial", value, move |_, there| {
            prove(
                keys::grant(patient("anna"), grant(if there { "against drD" } else { "nothing" })).as_bytes(),
            )
        }),
        question("LedgerService.GetProof", "of what the grantee's clinic holds", value, move |_, there| {
            let whose = patient(if there { "anna" } else { "nothing" });
            prove(keys::holding(whose, Holder::Organisation(org("clinic"))).as_bytes())
        }),
        question(
            "LedgerService.GetProof",
            "that the second record is the patient's",
            value,
            move |_, there| {
                let whose = patient(if there { "anna" } else { "nothing" });
                prove(keys::record_of_patient(whose, record("anna2")).as_bytes())
            },
        ),
        question("LedgerService.GetProof", "of the guest link", value, move |_, there| {
            prove(keys::guest_link(LinkId(id16(if there { "link" } else { "nothing" }))).as_bytes())
        }),
        question("LedgerService.GetValidators", "", yes, |_, there| {
            Some(pb::GetValidatorsRequest { epoch: Some(if there { 0 } else { 9 }) })
        }),
        question("LedgerService.GetGenesis", "", yes, |_, there| there.then_some(pb::GetGenesisRequest {})),
        question("LedgerService.ListEvidence", "", yes, |_, there| {
            there.then_some(pb::ListEvidenceRequest { page: None })
        }),
        question(
            "EventService.Subscribe",
            "the patient's",
            |bytes| bytes[0].to_string(),
            move |_, there| {
                let filter = pb::EventFilter { patient_ids: vec![whose(there)], ..Default::default() };
                Some(pb::SubscribeRequest { start: Some(Start::FromHeight(1)), filter: Some(filter) })
            },
        ),
        question(
            "EventService.Subscribe",
            "the second record's",
            |bytes| bytes[0].to_string(),
            move |_, there| {
                let filter =
                    pb::EventFilter { record_ids: vec![which("anna2", there)], ..Default::default() };
                Some(pb::SubscribeRequest { start: Some(Start::FromHeight(1)), filter: Some(filter) })
            },
        ),
        question("OperatorService.GetNodeStatus", "", yes, |_, there| {
            there.then_some(pb::GetNodeStatusRequest {})
        }),
        question("OperatorService.MakeSnapshot", "", yes, |_, there| {
            there.then_some(pb::MakeSnapshotRequest {})
        }),
        question("OperatorService.Explain", "", yes, |_, there| there.then_some(pb::ExplainRequest {})),
    ]
}

/// How many of the events up to now a subscriber is shown.
async fn subscribed(channel: &Channel, head: u64, request: Request<Bytes>) -> Result<Bytes, Status> {
    let (metadata, extensions, message) = request.into_parts();
    let message = pb::SubscribeRequest::decode(message).unwrap();
    let request = Request::from_parts(metadata, extensions, message);
    let mut stream = EventServiceClient::new(channel.clone()).subscribe(request).await?.into_inner();
    let mut count = 0;
    loop {
        match stream.message().await?.unwrap().message.unwrap() {
            Message::Event(_) => count += 1,
            Message::Heartbeat(beat) if beat.cursor.unwrap().height >= head => return Ok(vec![count].into()),
            Message::Heartbeat(_) => {}
        }
    }
}

async fn answer(
    channel: &Channel,
    head: u64,
    question: &Question,
    caller: &Caller,
    there: bool,
) -> Option<Result<Bytes, Status>> {
    let message = (question.ask)(caller, there)?;
    let request = match &caller.token {
        Some(token) => with_token(token, message),
        None => Request::new(message),
    };
    let (service, method) = question.method.split_once('.').unwrap();
    Some(if method == "Subscribe" {
        soon(subscribed(channel, head, request)).await
    } else {
        soon(raw::call(channel, &format!("/epione.v1.{service}/{method}"), request)).await
    })
}

/// What a caller hears. Two calls may fall into two seconds, and an expired token is told the time.
fn told(denial: &Status) -> ApiError {
    let mut error = ApiError::from(denial);
    if error.reason == "TOKEN_EXPIRED" {
        error.message = words(&error.message);
    }
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_by_every_caller_is_as_the_page_says() {
    let (world, sent) = world().await;
    let (public, operators) = (world.channel(), world.operator_channel());
    let head = world.node.as_ref().unwrap().handle().progress().borrow().height.0;
    let questions = questions(&sent);
    let asked: BTreeSet<String> =
        questions.iter().map(|it| format!("/epione.v1.{}", it.method.replace('.', "/"))).collect();
    assert_eq!(asked, methods().into_iter().collect(), "every method has a question here");

    let callers = callers(&world);
    let mut text = String::from(HEADER);
    let mut service = "";
    let mut reasons = BTreeSet::new();
    for question in &questions {
        let (of, method) = question.method.split_once('.').unwrap();
        if of != service {
            service = of;
            writeln!(text, "\n## {service}\n\n| method | answer | callers |\n|---|---|---|").unwrap();
        }
        let about = if question.about.is_empty() { String::new() } else { format!(" ({})", question.about) };
        let channel = if of == "OperatorService" { &operators } else { &public };
        // Callers by what they get.
        let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
        for caller in &callers {
            let there = answer(channel, head, question, caller, true).await.unwrap();
            let absent = answer(channel, head, question, caller, false).await;
            let name = format!("{} {} by {}", question.method, question.about, caller.title);
            let cell = match (&there, &absent) {
                (Err(hidden), absent) => {
                    let hidden = told(hidden);
                    if let Some(absent) = absent {
                        let absent = absent.as_ref().expect_err(&name);
                        assert_eq!(told(absent), hidden, "{name}: a denial tells hidden from absent");
                    }
                    reasons.insert(format!(
                        "`{}`: {:?}, \"{}\"",
                        hidden.reason,
                        hidden.code,
                        words(&hidden.message)
                    ));
                    hidden.reason
                }
                (Ok(there), Some(Ok(absent))) => {
                    let (there, absent) = ((question.read)(there), (question.read)(absent));
                    let denied = there.starts_with("deny");
                    let precise = denied && there != absent;
                    // Only who reads precise reasons is told another one than of nothing.
                    let knows = matches!(
                        caller.title,
                        "the patient"
                            | "representative"
                            | "custodian's physician"
                            | "custodian's registrar"
                            | "custodian's privacy officer"
                            | "validator's auditor"
                    );
                    assert!(!precise || knows, "{name}: {there}, and {absent} of what does not exist");
                    there
                }
                (Ok(there), _) => (question.read)(there),
            };
            if let Some((_, refused)) = STRANGERS.iter().find(|(title, _)| *title == caller.title) {
                assert_eq!(cell, *refused, "{name}");
                continue;
            }
            match rows.iter_mut().find(|(found, _)| *found == cell) {
                Some((_, titles)) => titles.push(caller.title),
                None => rows.push((cell, vec![caller.title])),
            }
        }
        // Whoever gets something is named.
        rows.sort_by_key(|(cell, _)| matches!(cell.as_str(), "0" | "NOT_ALLOWED"));
        let many = rows.len();
        for (number, (cell, titles)) in rows.into_iter().enumerate() {
            let method = if number == 0 { format!("{method}{about}") } else { String::new() };
            let titles = match () {
                () if many == 1 => "everybody enrolled".to_owned(),
                () if number + 1 == many && matches!(cell.as_str(), "0" | "NOT_ALLOWED") => {
                    "everybody else".to_owned()
                }
                () => titles.join("; "),
            };
            let cell = if cell.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
                format!("denied: `{cell}`")
            } else {
                cell
            };
            writeln!(text, "| {method} | {cell} | {titles} |").unwrap();
        }
    }
    writeln!(text, "\n## Denials\n").unwrap();
    for reason in reasons {
        writeln!(text, "* {reason}").unwrap();
    }
    world.stop().await;

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/authorisation.md");
    if std::env::var_os("EPIONE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    for (number, (found, text)) in found.lines().zip(text.lines()).enumerate() {
        assert_eq!(
            text,
            found,
            "docs/authorisation.md line {}: run with EPIONE_BLESS=1, and read",
            number + 1
        );
    }
    assert_eq!(text.lines().count(), found.lines().count(), "docs/authorisation.md: run with EPIONE_BLESS=1");
}

/// Who gets nothing whatsoever, and what they are told.
const STRANGERS: [(&str, &str); 3] = [
    ("nobody", "TOKEN_MISSING"),
    ("expired token", "TOKEN_EXPIRED"),
    ("key that is not registered", "KEY_NOT_REGISTERED"),
];

/// Without what differs from run to run.
fn words(message: &str) -> String {
    let number = |word: &str| word.trim_end_matches([',', ';']).bytes().all(|byte| byte.is_ascii_digit());
    message.split(' ').map(|word| if number(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
}

const HEADER: &str = "\
# Who may call what

<!-- Generated: EPIONE_BLESS=1 cargo test -p epione-node --test rpc authorisation -->

Every method of the API was called by one of each kind of caller, as `node/tests/rpc/authorisation.rs` sets them up, and
this is what they got. The patient has two records at the *custodian*, a hospital with a validator; a grant opens the first
one to the *grantee*, a physician of a clinic without a validator, and a guest link opens it too; a denial is addressed to the
*foreign physician*, a colleague, who asked the patient for access. Both had asked for records before, with and without
success; another colleague, who is no caller here, broke the glass. A number is how many entries were shown.

**What a denial tells.** Everything was asked for again with an id that there is nothing of: whoever was denied got the
same error, to the word. A decision (`CheckAccess`, and the receipt of a `RecordAccess`) has a public reason, the same for a
record that is hidden and for one that is not there; the precise one is for the patient, unlimited representatives, the
custodian's clinicians, registrars, officers, and auditors of validators' organisations.

Whoever shows no token, one that is not valid, or one signed by a key that is not registered, is refused by every method
before the message is read, and is not listed. Asked were: the patient; another patient; a representative; a guest; of the
custodian a physician, a suspended one, a registrar, a privacy officer, an auditor, a device and the administrator (it runs a
validator); of the clinic a grantee, a colleague, an auditor and the administrator.

Health and reflection are open to anybody at both addresses. The operator service is at an address of its own.
";
