//! The kinds of things, each with a way into every state and a call for every verb.

use epione_chaincode::keys;
use epione_chaincode::machine::{Actor, Table, Verb};
use epione_types::Hash;
use epione_types::call::*;
use epione_types::codes::*;
use epione_types::id::{AccessRequestId, DeviceId, Height, LinkId, ProposalId, RecordId};

use crate::Thing;
use crate::support::*;

type Asked = Option<(Call, Vec<&'static str>)>;

/// Executes a call that must be applied.
#[track_caller]
fn ok(world: &mut World, signers: &[&str], call: Call) {
    let tx = world.tx(signers, call);
    world.ok(tx);
}

fn attests(who: &str) -> bool {
    matches!(who, "regA" | "drA" | "nurA" | "offA")
}

/// Paper opens nothing for anna, who has a key: those who attest deal with karl.
fn patient_of(who: &str) -> &'static str {
    if attests(who) { "karl" } else { "anna" }
}

fn document() -> Option<Hash> {
    Some(hash("document"))
}

fn role_of(who: &str) -> Role {
    if who.starts_with("nur") { Role::Nurse } else { Role::Physician }
}

fn organisation_of(who: &str) -> &'static str {
    if who.ends_with('A') { "hospA" } else { "hospB" }
}

pub(crate) struct Organisation;

impl Organisation {
    fn set(status: OrganisationStatus) -> Call {
        Call::SetOrganisationStatus(SetOrganisationStatus { organisation: org("clinic"), status })
    }
}

impl Thing for Organisation {
    fn table(&self) -> Table {
        epione_chaincode::identity::organisations::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        let tx =
            world.organisation("clinic", &["hospA.admin0", "hospB.admin0", "clinic.admin0", "clinic.admin1"]);
        world.ok(tx);
        match state {
            "SUSPENDED" => {
                ok(world, &["hospA.admin0", "hospB.admin0"], Self::set(OrganisationStatus::Suspended));
            }
            "EXITED" => ok(world, &["hospA.admin0", "hospB.admin0"], Self::set(OrganisationStatus::Exited)),
            _ => {}
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        get(&world.state, &keys::organisation(org("clinic"))).map(|it| it.status.name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        // Its own admins are two of three.
        let own = if who == "owner" { vec!["clinic.admin1"] } else { vec![] };
        Some(match verb {
            Verb::Register => {
                let call = organisation_call("clinic", OrganisationKind::Clinic, 3, 2);
                (Call::RegisterOrganisation(call), vec!["clinic.admin0", "clinic.admin1"])
            }
            Verb::Suspend => (Self::set(OrganisationStatus::Suspended), own),
            Verb::Resume => (Self::set(OrganisationStatus::Active), own),
            Verb::Leave => (Self::set(OrganisationStatus::Exited), own),
            Verb::RotateKey if who == "owner" => {
                (Call::RotateKey(RotateKey { key: key("fresh") }), vec!["fresh"])
            }
            _ => return None,
        })
    }
    fn actors(&self, _verb: Verb, _from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        match who {
            "owner" => vec![Actor::Owner, Actor::Admin],
            "hospA.admin0" => vec![], // not its admin
            _ => usual.to_vec(),
        }
    }
    fn owner(&self) -> Option<&'static str> {
        Some("clinic.admin0")
    }
}

pub(crate) struct Practitioner;

impl Practitioner {
    fn set(status: PractitionerStatus) -> Call {
        let practitioner = practitioner("temp");
        Call::SetPractitionerStatus(SetPractitionerStatus { practitioner, status })
    }
}

impl Thing for Practitioner {
    fn table(&self) -> Table {
        epione_chaincode::identity::practitioners::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        let tx = world.practitioner("hospA", "temp", &[Role::Nurse], false);
        world.ok(tx);
        match state {
            "SUSPENDED" => ok(world, &["hospA.admin0"], Self::set(PractitionerStatus::Suspended)),
            "RETIRED" => ok(world, &["hospA.admin0"], Self::set(PractitionerStatus::Retired)),
            _ => {}
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        get(&world.state, &keys::practitioner(org("hospA"), practitioner("temp"))).map(|it| it.status.name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        Some(match verb {
            // Another organisation's admins enrol another one of the same id.
            Verb::Register if who == "hospB.admin0" || who == "consortium" => return None,
            Verb::Register => {
                (Call::RegisterPractitioner(practitioner_call("temp", &[Role::Nurse], false)), vec!["temp"])
            }
            Verb::Update => (
                Call::UpdatePractitioner(UpdatePractitioner {
                    practitioner: practitioner("temp"),
                    roles: vec![Role::Physician],
                    capabilities: vec![],
                    credential_until: None,
                    key: None,
                }),
                vec![],
            ),
            Verb::Suspend => (Self::set(PractitionerStatus::Suspended), vec![]),
            Verb::Resume => (Self::set(PractitionerStatus::Active), vec![]),
            Verb::Retire => (Self::set(PractitionerStatus::Retired), vec![]),
            Verb::RotateKey if who == "owner" => {
                (Call::RotateKey(RotateKey { key: key("fresh") }), vec!["fresh"])
            }
            _ => return None,
        })
    }
    fn owner(&self) -> Option<&'static str> {
        Some("temp")
    }
}

pub(crate) struct Device;

impl Thing for Device {
    fn table(&self) -> Table {
        epione_chaincode::identity::devices::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        let (call, _) = self.call(world, Verb::Register, "", None).unwrap();
        ok(world, &["hospA.admin0", "device"], call);
        if state == "REVOKED" {
            let (call, _) = self.call(world, Verb::Revoke, "", None).unwrap();
            ok(world, &["hospA.admin0"], call);
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        let id = DeviceId(id16("device"));
        get(&world.state, &keys::device(org("hospA"), id)).map(|it| it.status.name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        let device = DeviceId(id16("device"));
        Some(match verb {
            Verb::Register => {
                let (key, practitioner) = (key("device"), practitioner("drA"));
                let call = RegisterDevice { device, kind: DeviceKind::Monitor, key, practitioner };
                (Call::RegisterDevice(call), vec!["device"])
            }
            Verb::Revoke => (Call::RevokeDevice(RevokeDevice { device }), vec![]),
            Verb::RotateKey if who == "owner" => {
                (Call::RotateKey(RotateKey { key: key("fresh") }), vec!["fresh"])
            }
            _ => return None,
        })
    }
    fn owner(&self) -> Option<&'static str> {
        Some("device")
    }
}

/// `pat` has a key, `cust` is in custody; neither has records.
pub(crate) struct Patient;

impl Patient {
    fn name(verb: Verb) -> &'static str {
        if verb == Verb::TakeOver { "cust" } else { "pat" }
    }
}

impl Thing for Patient {
    fn table(&self) -> Table {
        epione_chaincode::identity::patients::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, verb: Verb) -> bool {
        let Some(state) = state else { return true };
        for (name, own) in [("pat", Some("pat")), ("cust", None)] {
            let tx = world.patient(name, own, "regA");
            world.ok(tx);
        }
        let guardian = AddRepresentation {
            person: Person::Patient(patient("gus3")),
            key: None,
            ..representation_call("pat", "gus3", RepresentationKind::Guardian)
        };
        ok(world, &["regA"], Call::AddRepresentation(guardian));
        if verb == Verb::UnlinkCare {
            ok(world, &["regB", "pat"], Call::LinkCare(LinkCare { patient: patient("pat"), document: None }));
        }
        for name in ["pat", "cust"] {
            let (patient, document) = (patient(name), hash("document"));
            if state == "DECEASED" || state == "ERASED" {
                ok(world, &["drA"], Call::MarkDeceased(MarkDeceased { patient, document }));
            }
            if state == "ERASED" {
                let document = Some(document);
                ok(world, &["drA"], Call::ErasePatient(ErasePatient { patient, document }));
            }
        }
        true
    }
    fn state(&self, world: &World, verb: Verb, _who: &str) -> Option<&'static str> {
        get(&world.state, &keys::patient(patient(Self::name(verb)))).map(|it| it.status.name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        let patient = patient(Self::name(verb));
        Some(match verb {
            Verb::Register => (
                Call::RegisterPatient(RegisterPatient {
                    patient,
                    key: Some(key("pat")),
                    notice_hash: hash("notice"),
                }),
                vec!["pat"],
            ),
            Verb::TakeOver => {
                let call = TakeOver { patient, key: key("cust"), document: hash("document") };
                (Call::TakeOver(call), vec!["cust"])
            }
            Verb::RotateKey if who == "owner" => {
                (Call::RotateKey(RotateKey { key: key("fresh") }), vec!["fresh"])
            }
            Verb::SetGuardians if who != "anna" && who != "gus3" => {
                let guardians = vec![hash("g1"), hash("g2")];
                (Call::SetGuardians(SetGuardians { guardians, threshold: 2 }), vec![])
            }
            Verb::LinkCare => (Call::LinkCare(LinkCare { patient, document: None }), vec!["pat"]),
            Verb::UnlinkCare => {
                let call = UnlinkCare { patient, organisation: org("hospB"), document: document() };
                (Call::UnlinkCare(call), vec![])
            }
            Verb::MarkDeceased => {
                (Call::MarkDeceased(MarkDeceased { patient, document: hash("document") }), vec![])
            }
            Verb::Erase => (Call::ErasePatient(ErasePatient { patient, document: document() }), vec!["pat"]),
            _ => return None,
        })
    }
    fn actors(&self, verb: Verb, _from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        match (verb, who) {
            (_, "owner") => vec![Actor::Owner, Actor::Patient],
            (_, "anna") => vec![], // another patient
            (Verb::Register, "hospB.admin0" | "consortium") => vec![Actor::Admin],
            (Verb::Register | Verb::LinkCare, "drB" | "nurB") => vec![Actor::Enroller],
            (Verb::LinkCare, _) => vec![], // cares already, or is of none
            (_, "mother") => vec![],       // represents anna
            (_, "gus3") => vec![Actor::Representative],
            // hospB begins to care in order to be sent away again, and may attest that too.
            (Verb::UnlinkCare, "drB" | "nurB" | "offB") => vec![Actor::Attestant],
            _ => usual.to_vec(),
        }
    }
    fn owner(&self) -> Option<&'static str> {
        Some("pat")
    }
}

/// anna's power of attorney to `aunt`.
pub(crate) struct Representation;

impl Thing for Representation {
    fn table(&self) -> Table {
        epione_chaincode::identity::representation::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        let call = representation_call("anna", "aunt", RepresentationKind::Attorney);
        ok(world, &["regA", "aunt", "anna"], Call::AddRepresentation(call));
        if state == "REVOKED" {
            let (call, _) = self.call(world, Verb::Revoke, "", None).unwrap();
            ok(world, &["anna"], call);
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        let person = Person::Representative(representative("aunt"));
        let found = get(&world.state, &keys::representation(patient("anna"), person))?;
        Some(if found.revoked_at.is_some() { "REVOKED" } else { "ACTIVE" })
    }
    fn call(&self, _world: &World, verb: Verb, _who: &str, from: Option<&str>) -> Asked {
        Some(match verb {
            Verb::Register => {
                let call = representation_call("anna", "aunt", RepresentationKind::Attorney);
                let key = call.key.filter(|_| from.is_none());
                (Call::AddRepresentation(AddRepresentation { key, ..call }), vec!["anna", "aunt"])
            }
            Verb::Revoke => (
                Call::RevokeRepresentation(RevokeRepresentation {
                    patient: patient("anna"),
                    person: Person::Representative(representative("aunt")),
                    document: document(),
                }),
                vec![],
            ),
            _ => return None,
        })
    }
    fn actors(&self, _verb: Verb, from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        match who {
            "mother" => vec![], // another representative
            "owner" if from.is_some() => vec![Actor::Representative],
            "owner" => vec![],
            _ => usual.to_vec(),
        }
    }
    fn owner(&self) -> Option<&'static str> {
        Some("aunt")
    }
}

/// anna's guardians are gus1 to gus3, two of them together; gus1 begins, gus2 signs.
pub(crate) struct Recovery;

fn salt(name: &str) -> Hash {
    hash(&format!("salt of {name}"))
}

impl Thing for Recovery {
    fn table(&self) -> Table {
        epione_chaincode::identity::recovery::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let commitment =
            |name: &&str| Guardian::Person(Person::Patient(patient(name))).commitment(&salt(name));
        let guardians = ["gus1", "gus2", "gus3"].iter().map(commitment).collect();
        ok(world, &["anna"], Call::SetGuardians(SetGuardians { guardians, threshold: 2 }));
        let Some(state) = state else { return true };
        let (patient, key) = (patient("anna"), key("fresh"));
        let start = StartRecovery { patient, key, salt: salt("gus1") };
        ok(world, &["gus1", "fresh"], Call::StartRecovery(start));
        let approve = ApproveRecovery { patient, key, salt: salt("gus2") };
        ok(world, &["gus2"], Call::ApproveRecovery(approve));
        world.block_after(72 * HOUR, &[]);
        match state {
            "CANCELLED" => ok(world, &["anna"], Call::CancelRecovery(CancelRecovery { patient })),
            "FINISHED" => ok(world, &["gus2"], Call::FinishRecovery(FinishRecovery { patient })),
            _ => {}
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        get(&world.state, &keys::recovery(patient("anna"))).map(|it| it.status.name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, from: Option<&str>) -> Asked {
        let patient = patient("anna");
        // After it is finished anna's old key is nobody's: she signs with the new one.
        if from == Some("FINISHED") && who == "anna" {
            return None;
        }
        let new = if from == Some("FINISHED") { "other" } else { "fresh" };
        Some(match verb {
            Verb::Start => {
                let call = StartRecovery { patient, key: key(new), salt: salt(who) };
                (Call::StartRecovery(call), vec![new])
            }
            Verb::Approve => {
                let call = ApproveRecovery { patient, key: key("fresh"), salt: salt(who) };
                (Call::ApproveRecovery(call), vec![])
            }
            Verb::Cancel => (Call::CancelRecovery(CancelRecovery { patient }), vec![]),
            Verb::Finish => (Call::FinishRecovery(FinishRecovery { patient }), vec![]),
            _ => return None,
        })
    }
}

/// A record of anna's, or karl's, by drA.
pub(crate) struct Record;

impl Record {
    fn id(who: &str) -> (RecordId, &'static str) {
        let patient = patient_of(who);
        (record(&format!("new {patient}")), patient)
    }
}

impl Thing for Record {
    fn table(&self) -> Table {
        epione_chaincode::records::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        if state == "SUPERSEDED" {
            return false;
        }
        for patient in ["anna", "karl"] {
            let name = format!("new {patient}");
            if state == "DRAFT" {
                Report::draft(world, patient, &name);
                Report::submit(world, &name);
                continue;
            }
            let tx = world.record("drA", patient, &name, &[]);
            world.ok(tx);
            let record = record(&name);
            match state {
                "ENTERED_IN_ERROR" => {
                    let call = MarkEnteredInError { record, version: 1, role: Role::Physician };
                    ok(world, &["drA"], Call::MarkEnteredInError(call));
                }
                "ERASED" => {
                    let call = EraseRecord { record, document: document() };
                    ok(world, &["offA", "anna"], Call::EraseRecord(call));
                }
                _ => {}
            }
        }
        if state == "DRAFT" {
            world.block_after(15 * 24 * HOUR, &[]);
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, who: &str) -> Option<&'static str> {
        get(&world.state, &keys::record(Self::id(who).0)).map(|it| it.status.name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        let (record, patient) = Self::id(who);
        let role = role_of(who);
        let register = || RegisterRecord { role, ..record_call(patient, &format!("new {patient}"), &[]) };
        Some(match verb {
            Verb::Register => (Call::RegisterRecord(register()), vec![]),
            Verb::Draft => (Call::DraftReport(DraftReport { record: register() }), vec![]),
            Verb::Submit | Verb::Approve | Verb::AnchorUnreviewed => {
                return Report::call_on(verb, record);
            }
            Verb::Supersede => (
                Call::SupersedeRecord(SupersedeRecord {
                    record,
                    version: 1,
                    role,
                    category: Category::Lab,
                    labels: vec![],
                    service_month: Month::new(2026, 3).unwrap(),
                    body: body("second"),
                    minor_consented: false,
                }),
                vec![],
            ),
            Verb::MarkError => {
                (Call::MarkEnteredInError(MarkEnteredInError { record, version: 1, role }), vec![])
            }
            Verb::Hold => {
                let until = epione_types::TimestampMs(START + 1_000 * 24 * HOUR);
                (Call::SetRetention(SetRetention { record, until: Some(until) }), vec![])
            }
            Verb::Erase => (Call::EraseRecord(EraseRecord { record, document: document() }), vec!["anna"]),
            _ => return None,
        })
    }
    fn actors(&self, _verb: Verb, _from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        match who {
            "drA" => vec![Actor::Author, Actor::Writer], // attests nothing of the own
            _ => usual.to_vec(),
        }
    }
}

/// A report on anna, or karl, by drA, for drB.
pub(crate) struct Report;

impl Report {
    fn draft(world: &mut World, patient: &str, name: &str) {
        let call = DraftReport { record: record_call(patient, name, &[]) };
        ok(world, &["drA"], Call::DraftReport(call));
    }
    fn viewers(record: RecordId) -> Vec<Viewer> {
        let grant = epione_types::id::GrantId(record.0);
        vec![Viewer { grant, to: person("hospB", "drB"), until: None }]
    }
    fn submit(world: &mut World, name: &str) {
        let (call, _) = Self::call_on(Verb::Submit, record(name)).unwrap();
        ok(world, &["drA"], call);
    }
    fn call_on(verb: Verb, record: RecordId) -> Asked {
        let call = match verb {
            Verb::Submit => {
                let viewers = Self::viewers(record);
                Call::SubmitReport(SubmitReport { record, body: body("report"), viewers })
            }
            Verb::Approve => Call::ApproveReport(ApproveReport {
                record,
                commitment: body("report").commitment,
                viewers_hash: viewers_hash(&Self::viewers(record)),
                document: document(),
            }),
            Verb::RequestChanges => {
                Call::RequestChanges(RequestChanges { record, text_commitment: None, document: document() })
            }
            Verb::Withdraw => Call::WithdrawReport(WithdrawReport { record }),
            Verb::AnchorUnreviewed => Call::AnchorUnreviewed(AnchorUnreviewed { record }),
            _ => return None,
        };
        Some((call, vec![]))
    }
}

impl Thing for Report {
    fn table(&self) -> Table {
        epione_chaincode::reports::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        for patient in ["anna", "karl"] {
            let name = format!("new {patient}");
            let by = if patient == "anna" { "anna" } else { "nurA" };
            Self::draft(world, patient, &name);
            if state != "DRAFT" {
                Self::submit(world, &name);
            }
            let (verb, by) = match state {
                "APPROVED" => (Verb::Approve, by),
                "CHANGES_REQUESTED" => (Verb::RequestChanges, by),
                "WITHDRAWN" => (Verb::Withdraw, "drA"),
                "UNREVIEWED" => {
                    world.block_after(15 * 24 * HOUR, &[]);
                    (Verb::AnchorUnreviewed, "drA")
                }
                _ => continue,
            };
            let (call, _) = Self::call_on(verb, record(&name)).unwrap();
            ok(world, &[by], call);
        }
        world.block_after(15 * 24 * HOUR, &[]);
        true
    }
    fn state(&self, world: &World, _verb: Verb, who: &str) -> Option<&'static str> {
        get(&world.state, &keys::report(Record::id(who).0)).map(|it| it.status.name())
    }
    fn call(&self, world: &World, verb: Verb, who: &str, from: Option<&str>) -> Asked {
        match verb {
            Verb::Draft => Record.call(world, verb, who, from),
            _ => Self::call_on(verb, Record::id(who).0),
        }
    }
    fn actors(&self, verb: Verb, from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        Record.actors(verb, from, who, usual)
    }
}

/// A link to anna's record.
pub(crate) struct Link;

impl Thing for Link {
    fn table(&self) -> Table {
        epione_chaincode::links::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        let (call, _) = self.call(world, Verb::Create, "", None).unwrap();
        ok(world, &["anna", "link"], call);
        if state == "CLOSED" {
            let (call, _) = self.call(world, Verb::Close, "", None).unwrap();
            ok(world, &["anna"], call);
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        get(&world.state, &keys::guest_link(LinkId(id16("link")))).map(|it| it.status.name())
    }
    fn call(&self, world: &World, verb: Verb, _who: &str, _from: Option<&str>) -> Asked {
        let link = LinkId(id16("link"));
        Some(match verb {
            Verb::Create => (
                Call::CreateGuestLink(CreateGuestLink {
                    link,
                    patient: patient("anna"),
                    record: record("anna1"),
                    key: key("link"),
                    grant: grant("link"),
                    until: epione_types::TimestampMs(world.now + 24 * HOUR),
                    max_uses: 2,
                    document: None,
                }),
                vec!["link"],
            ),
            Verb::Close => (Call::CloseGuestLink(CloseGuestLink { link }), vec![]),
            _ => return None,
        })
    }
}

/// A permit of anna's or, by paper, karl's; drB passes on and takes back his own.
pub(crate) struct Grant;

impl Grant {
    fn of(who: &str) -> (&'static str, epione_types::id::GrantId) {
        (patient_of(who), grant(if who == "drB" { "passed on" } else { "g" }))
    }
    fn rule(who: &str) -> Rule {
        if who == "drB" {
            return Rule { parent: Some(grant("parent")), ..permit(person("hospB", "drB2")) };
        }
        Rule { document: document(), ..permit(Grantee::Org(org("hospC"))) }
    }
}

impl Thing for Grant {
    fn table(&self) -> Table {
        epione_chaincode::consent::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let parent = Rule { delegable: true, ..permit(Grantee::Org(org("hospB"))) };
        let tx = world.grant("anna", "anna", "parent", parent);
        world.ok(tx);
        let Some(state) = state else { return true };
        for who in ["anna", "regA", "drB"] {
            for (verb, wanted) in [(Verb::Create, true), (Verb::Revoke, state == "REVOKED")] {
                if wanted {
                    let (call, _) = self.call(world, verb, who, None).unwrap();
                    ok(world, &[who], call);
                }
            }
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, who: &str) -> Option<&'static str> {
        let (whose, id) = Self::of(who);
        get(&world.state, &keys::grant(patient(whose), id)).map(|it| it.status().name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        let (whose, grant) = Self::of(who);
        let patient = patient(whose);
        let call = match verb {
            Verb::Create => Call::CreateGrant(CreateGrant { grant, patient, rule: Self::rule(who) }),
            Verb::Revoke => Call::RevokeGrant(RevokeGrant { patient, grant, document: document() }),
            _ => return None,
        };
        Some((call, vec![]))
    }
}

/// drB asks anna, and karl.
pub(crate) struct Request;

impl Request {
    const NAME: &str = "request";
}

impl Thing for Request {
    fn table(&self) -> Table {
        epione_chaincode::consent::requests::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        // For anna, and for karl by somebody who attests.
        for who in ["anna", "regA"] {
            let request = AccessRequestId(id16(Self::NAME));
            let (call, _) = self.call(world, Verb::Ask, "drB", None).unwrap();
            let Call::RequestAccess(call) = call else { panic!() };
            let patient = patient(patient_of(who));
            ok(world, &["drB"], Call::RequestAccess(RequestAccess { patient, request, ..call }));
            let (verb, by) = match state {
                "APPROVED" => (Verb::Approve, who),
                "REJECTED" => (Verb::Reject, who),
                "WITHDRAWN" => (Verb::Withdraw, "drB"),
                _ => continue,
            };
            let (call, _) = match verb {
                Verb::Withdraw => {
                    (Call::WithdrawAccessRequest(WithdrawAccessRequest { patient, request }), vec![])
                }
                _ => self.call(world, verb, who, None).unwrap(),
            };
            ok(world, &[by], call);
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, who: &str) -> Option<&'static str> {
        let id = AccessRequestId(id16(Self::NAME));
        get(&world.state, &keys::access_request(patient(patient_of(who)), id)).map(|it| it.status.name())
    }
    fn call(&self, world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        let (patient, request) = (patient(patient_of(who)), AccessRequestId(id16(Self::NAME)));
        let rule = permit(Grantee::Org(org(organisation_of(who))));
        let call = match verb {
            Verb::Ask => Call::RequestAccess(RequestAccess {
                request,
                patient,
                rule: permit(Grantee::Org(org(if who == "audC" { "hospC" } else { organisation_of(who) }))),
                message: None,
                expires_at: epione_types::TimestampMs(world.now + 24 * HOUR),
            }),
            Verb::Approve => Call::ApproveAccessRequest(ApproveAccessRequest {
                patient,
                request,
                grant: grant("answer"),
                rule: Rule { to: Grantee::Org(org("hospB")), document: document(), ..rule },
            }),
            Verb::Reject => {
                Call::RejectAccessRequest(RejectAccessRequest { patient, request, document: document() })
            }
            Verb::Withdraw => Call::WithdrawAccessRequest(WithdrawAccessRequest { patient, request }),
            _ => return None,
        };
        Some((call, vec![]))
    }
    fn actors(&self, verb: Verb, _from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        let practitioner = attests(who) || matches!(who, "bilA" | "drB" | "nurB" | "offB" | "audC");
        // Whoever practises may ask.
        if verb == Verb::Ask && practitioner { vec![Actor::Requester] } else { usual.to_vec() }
    }
}

/// drB broke the glass on anna's record in the block after [`World::cast`].
pub(crate) struct Override;

fn override_height() -> Height {
    static CAST: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| World::cast().height);
    Height(*CAST + 1)
}

impl Thing for Override {
    fn table(&self) -> Table {
        epione_chaincode::access::review::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, _verb: Verb) -> bool {
        let Some(state) = state else { return true };
        let tx = world.emergency("drB", "anna1");
        world.ok(tx);
        match state {
            "ENDED" => drop(world.block_after(4 * HOUR, &[])),
            "OVERDUE" => drop(world.block_after(72 * HOUR, &[])),
            "REVIEWED_OK" | "REVIEWED_MISUSE" => {
                world.block_after(4 * HOUR, &[]);
                let verb = if state == "REVIEWED_OK" { Verb::FindOk } else { Verb::FindMisuse };
                let (call, _) = self.call(world, verb, "", None).unwrap();
                ok(world, &["offA"], call);
            }
            _ => {}
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        let who = (org("hospB"), practitioner("drB"));
        let found = get(&world.state, &keys::emergency(patient("anna"), override_height(), who))?;
        let now = epione_types::TimestampMs(world.now);
        let status = epione_chaincode::access::review::status(&world.state, patient("anna"), &found, now);
        Some(status.unwrap().name())
    }
    fn call(&self, _world: &World, verb: Verb, who: &str, _from: Option<&str>) -> Asked {
        let review = |verdict| {
            Call::ReviewOverride(ReviewOverride {
                patient: patient("anna"),
                height: override_height(),
                organisation: org("hospB"),
                practitioner: practitioner("drB"),
                verdict,
                text_commitment: None,
            })
        };
        let call = match verb {
            Verb::Open => Call::RecordAccess(RecordAccess {
                emergency: Some(Emergency {
                    reason: EmergencyReason::LifeThreat,
                    text_commitment: Some(hash("text")),
                }),
                ..access_call("anna1", role_of(who), Purpose::Btg)
            }),
            Verb::FindOk => review(Verdict::Ok),
            Verb::FindMisuse => review(Verdict::Misuse),
            _ => return None,
        };
        Some((call, vec![]))
    }
    fn actors(&self, _verb: Verb, from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        match who {
            "audC" if from == Some("OVERDUE") => vec![Actor::Reviewer],
            _ => usual.to_vec(),
        }
    }
}

/// hospA proposes, and votes for it thereby; three of four decide.
pub(crate) struct Proposal;

impl Proposal {
    fn vote(accept: bool) -> Call {
        Call::Vote(Vote { proposal: ProposalId(id16("proposal")), accept })
    }

    /// hospB is to run a second validator.
    fn join() -> Call {
        let add = epione_types::Validator {
            organisation: org("hospB"),
            public_key: key("hospB.second"),
            network_key: key("hospB.second.network"),
        };
        let action = ProposalAction::ChangeValidators { remove: None, add: Some(add) };
        Call::Propose(Propose { proposal: ProposalId(id16("proposal")), action })
    }
}

impl Thing for Proposal {
    fn table(&self) -> Table {
        epione_chaincode::governance::MACHINE.table()
    }
    fn reach(&self, world: &mut World, state: Option<&str>, verb: Verb) -> bool {
        let Some(state) = state else { return true };
        let (call, _) = self.call(world, Verb::Propose, "", None).unwrap();
        // Only who is to join has something to confirm.
        let call = if verb == Verb::Confirm { Self::join() } else { call };
        ok(world, &["hospA.admin0"], call);
        if verb == Verb::Confirm && state == "PASSED" {
            let (call, others) = self.call(world, Verb::Confirm, "", None).unwrap();
            ok(world, &[&["hospB.admin0"], others.as_slice()].concat(), call);
        }
        let hospital = |name: &str| format!("{name}.admin0");
        let votes: &[(&str, bool)] = match (state, verb) {
            // One vote short of a decision.
            ("OPEN", Verb::Pass) => &[("hospC", true)],
            ("OPEN", Verb::Decline) => &[("hospC", false)],
            ("PASSED", _) => &[("hospB", true), ("hospC", true)],
            ("REJECTED", _) => &[("hospB", false), ("hospC", false)],
            _ => &[],
        };
        for (name, accept) in votes {
            ok(world, &[&hospital(name)], Self::vote(*accept));
        }
        if state == "WITHDRAWN" {
            let (call, _) = self.call(world, Verb::Withdraw, "", None).unwrap();
            ok(world, &["hospA.admin0"], call);
        }
        true
    }
    fn state(&self, world: &World, _verb: Verb, _who: &str) -> Option<&'static str> {
        let id = ProposalId(id16("proposal"));
        get(&world.state, &keys::proposal(id)).map(|it| it.status.name())
    }
    fn call(&self, world: &World, verb: Verb, _who: &str, _from: Option<&str>) -> Asked {
        let proposal = ProposalId(id16("proposal"));
        if verb == Verb::Confirm {
            let height = epione_types::Height(world.height);
            let call = Call::ConfirmReadiness(ConfirmReadiness { proposal, height });
            return Some((call, vec!["hospB.second"]));
        }
        let call = match verb {
            Verb::Propose => Call::Propose(Propose {
                proposal,
                action: ProposalAction::SetConstant { constant: PolicyConstant::OverdueReviewsMax, value: 5 },
            }),
            Verb::Approve | Verb::Pass => Self::vote(true),
            Verb::Reject | Verb::Decline => Self::vote(false),
            Verb::Withdraw => Call::WithdrawProposal(WithdrawProposal { proposal }),
            _ => return None,
        };
        Some((call, vec![]))
    }
    fn actors(&self, verb: Verb, _from: Option<&str>, who: &str, usual: &[Actor]) -> Vec<Actor> {
        if verb == Verb::Confirm {
            return if who == "hospB.admin0" { vec![Actor::Joining] } else { vec![] };
        }
        let voted = who == "hospA.admin0" && !matches!(verb, Verb::Propose | Verb::Withdraw);
        if voted { vec![] } else { usual.to_vec() }
    }
}
