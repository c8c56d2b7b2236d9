//! Reports: the patient sees them first, and says who else does.
//!
//! ```text
//! DRAFT ─submit▶ SUBMITTED ─approve▶ APPROVED        the record comes into force, with a grant for each viewer
//!                 ▲   │ └─after the deadline▶ UNREVIEWED     in force, without viewers
//!                 └─ CHANGES_REQUESTED ─withdraw▶ WITHDRAWN
//! ```
//!
//! The patient signs the hash of the exact list of viewers, and the commitment of the exact body: a list that changed
//! meanwhile is not what was approved. Tested by `tests/reports.rs` and `tests/machines.rs`.

use epione_types::call::{
    AnchorUnreviewed, ApproveReport, DraftReport, GrantKind, Grantee, Labels, Person, Purposes,
    RequestChanges, Rule, SubmitReport, Viewer, WithdrawReport, viewers_hash,
};
use epione_types::codes::{Action, NoticeKind, Purpose, Refusal, ReportStatus};
use epione_types::event::Event;
use epione_types::id::RecordId;
use epione_types::{Hash, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::access::notices::{self, About};
use crate::consent::{self, rule};
use crate::host::{Done, Host, require};
use crate::identity::{self, Member, patients};
use crate::keys;
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::records::{self, Record};
use crate::voice::{self, Basis, Matter};

use ReportStatus::{Approved, ChangesRequested, Draft, Submitted, Unreviewed, Withdrawn};

/// What may be done to a report.
pub const MACHINE: Machine<ReportStatus> = Machine {
    entity: "Report",
    note: "Coming into force without review needs the end of the patient's time for it.",
    rows: ROWS,
};

const ROWS: &[Row<ReportStatus>] = &[
    row(None, Verb::Draft, Draft, &[Actor::Writer]),
    row(Some(Draft), Verb::Submit, Submitted, &[Actor::Author]),
    row(Some(Submitted), Verb::Submit, Submitted, &[Actor::Author]),
    row(Some(ChangesRequested), Verb::Submit, Submitted, &[Actor::Author]),
    row(Some(Submitted), Verb::Approve, Approved, &[Actor::Patient, Actor::Representative, Actor::Attestant]),
    row(
        Some(Submitted),
        Verb::RequestChanges,
        ChangesRequested,
        &[Actor::Patient, Actor::Representative, Actor::Attestant],
    ),
    row(Some(Draft), Verb::Withdraw, Withdrawn, &[Actor::Author]),
    row(Some(Submitted), Verb::Withdraw, Withdrawn, &[Actor::Author]),
    row(Some(ChangesRequested), Verb::Withdraw, Withdrawn, &[Actor::Author]),
    row(Some(Submitted), Verb::AnchorUnreviewed, Unreviewed, &[Actor::Author]),
];

/// Most viewers of a report.
pub const MAX_VIEWERS: usize = 32;

/// A report: beside its record, which is a draft until the report is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where it stands.
    pub status: ReportStatus,
    /// Who is to see it.
    pub viewers: Vec<Viewer>,
    /// How often it was submitted.
    pub round: u32,
    /// Until when the patient has time, from its submission on.
    pub deadline: Option<TimestampMs>,
    /// Commitment to what the patient wants changed.
    pub changes: Option<Hash>,
    /// When the patient answered last, and in whose word.
    pub answered: Option<(TimestampMs, Basis)>,
}

/// Sent by the author.
pub(crate) fn draft(host: &mut Host<'_, '_>, call: &DraftReport) -> Done {
    let status = MACHINE.step(None, Verb::Draft, Actor::Writer)?;
    let record_status = records::MACHINE.step(None, Verb::Draft, Actor::Writer)?;
    let by_hand = matches!(identity::sender(host)?, Member::Practitioner(..));
    require(by_hand, Refusal::NotAuthorised)?;
    let record = records::make(host, &call.record, record_status)?;
    let report =
        Report { status, viewers: Vec::new(), round: 0, deadline: None, changes: None, answered: None };
    save(host, &record, &report);
    Ok(())
}

fn save(host: &mut Host<'_, '_>, record: &Record, report: &Report) {
    host.put(&keys::report(record.id), report);
    let Record { id: record, patient, custodian, .. } = *record;
    let Report { status, round, .. } = *report;
    host.emit(Event::ReportChanged { record, patient, custodian, status, round });
}

fn find(host: &Host<'_, '_>, id: RecordId) -> Done<(Record, Report)> {
    let report = host.get(&keys::report(id))?.ok_or(Refusal::Unknown)?;
    let record = host.get(&keys::record(id))?.ok_or(Refusal::Unknown)?;
    Ok((record, report))
}

/// The report, if its author sent this.
fn by_author(host: &Host<'_, '_>, id: RecordId) -> Done<(Record, Report)> {
    let (record, report) = find(host, id)?;
    let author = identity::sender(host)? == Member::Practitioner(record.custodian, record.author);
    require(author, Refusal::NotAuthorised)?;
    identity::practitioner_at_work(host, record.custodian, record.author)?;
    Ok((record, report))
}

/// Sent by the author.
pub(crate) fn submit(host: &mut Host<'_, '_>, call: &SubmitReport) -> Done {
    let (mut record, mut report) = by_author(host, call.record)?;
    report.status = MACHINE.step(Some(report.status), Verb::Submit, Actor::Author)?;
    record.status = records::MACHINE.step(Some(record.status), Verb::Submit, Actor::Author)?;
    require((12..=40).contains(&call.body.size_class), Refusal::InvalidField)?;
    require(call.viewers.len() <= MAX_VIEWERS, Refusal::TooMany)?;
    let grants: Vec<_> = call.viewers.iter().map(|viewer| viewer.grant).collect();
    require(identity::is_distinct(&grants), Refusal::InvalidField)?;
    for viewer in &call.viewers {
        let named = matches!(viewer.to, Grantee::Org(_) | Grantee::Role(..) | Grantee::Person(_));
        require(named, Refusal::InvalidField)?;
        rule::check(host, &viewer_rule(&record, viewer, None))?;
    }
    record.commitment = call.body.commitment;
    record.ciphertext_hash = call.body.ciphertext_hash;
    record.size_class = call.body.size_class;
    record.pointer = call.body.pointer;
    host.put(&keys::record(call.record), &record);

    report.viewers.clone_from(&call.viewers);
    report.round = report.round.saturating_add(1);
    report.deadline = Some(host.now().plus(host.constants().report_review_ms));
    save(host, &record, &report);
    tell(host, &record, NoticeKind::ReportSubmitted);
    Ok(())
}

fn tell(host: &mut Host<'_, '_>, record: &Record, kind: NoticeKind) {
    let practitioner = Some((record.custodian, record.author));
    notices::give(host, record.patient, kind, About { practitioner, record: Some(record.id) });
}

/// What a viewer may do: read this record for treatment, with the labels that it carries.
fn viewer_rule(record: &Record, viewer: &Viewer, document: Option<Hash>) -> Rule {
    Rule {
        kind: GrantKind::Permit,
        to: viewer.to,
        purposes: Purposes::Only(vec![Purpose::Treat]),
        actions: vec![Action::Read],
        categories: Vec::new(),
        records: vec![record.id],
        labels: Labels::Only(record.labels.clone()),
        data_period: None,
        from: None,
        until: viewer.until,
        max_uses: None,
        delegable: false,
        parent: None,
        policy: None,
        document,
    }
}

/// In whose word the patient answers: never the author's own.
fn answer(host: &Host<'_, '_>, record: &Record, opens: bool, document: Option<Hash>) -> Done<Basis> {
    let patient = patients::known(host, record.patient)?;
    let matter = Matter {
        categories: &[record.category],
        labels: &Labels::Only(record.labels.clone()),
        minor_consented: record.minor_consented,
        concerns: Some(Person::Practitioner(record.custodian, record.author)),
        opens,
        on_paper: true,
        document,
    };
    voice::spoken(host, record.patient, &patient, &matter)
}

/// Signed by whoever speaks for the patient: the record is in force, each viewer has a grant, all in one.
pub(crate) fn approve(host: &mut Host<'_, '_>, call: &ApproveReport) -> Done {
    let (mut record, mut report) = find(host, call.record)?;
    let basis = answer(host, &record, true, call.document)?;
    report.status = MACHINE.step(Some(report.status), Verb::Approve, basis.actor())?;
    record.status = records::MACHINE.step(Some(record.status), Verb::Approve, basis.actor())?;
    let same = viewers_hash(&report.viewers) == call.viewers_hash && record.commitment == call.commitment;
    require(same, Refusal::ViewerSetChanged)?;
    report.answered = Some((host.now(), basis));
    host.put(&keys::record(call.record), &record);
    let now = host.now();
    for viewer in report.viewers.iter().filter(|it| it.until.is_none_or(|until| now < until)) {
        let rule = viewer_rule(&record, viewer, call.document);
        rule::check(host, &rule)?;
        rule::check_authorization(&rule)?;
        consent::make(host, record.patient, viewer.grant, rule, basis)?;
    }
    save(host, &record, &report);
    records::changed(host, &record);
    Ok(())
}

/// Signed by whoever speaks for the patient.
pub(crate) fn request_changes(host: &mut Host<'_, '_>, call: &RequestChanges) -> Done {
    let (record, mut report) = find(host, call.record)?;
    let basis = answer(host, &record, false, call.document)?;
    report.status = MACHINE.step(Some(report.status), Verb::RequestChanges, basis.actor())?;
    report.changes = call.text_commitment;
    report.answered = Some((host.now(), basis));
    save(host, &record, &report);
    Ok(())
}

/// Sent by the author.
pub(crate) fn withdraw(host: &mut Host<'_, '_>, call: &WithdrawReport) -> Done {
    let (record, mut report) = by_author(host, call.record)?;
    report.status = MACHINE.step(Some(report.status), Verb::Withdraw, Actor::Author)?;
    save(host, &record, &report);
    Ok(())
}

/// Sent by the author, once the patient's time is over: in force, and nobody sees it who would not without it.
pub(crate) fn anchor_unreviewed(host: &mut Host<'_, '_>, call: &AnchorUnreviewed) -> Done {
    let (mut record, mut report) = by_author(host, call.record)?;
    report.status = MACHINE.step(Some(report.status), Verb::AnchorUnreviewed, Actor::Author)?;
    record.status = records::MACHINE.step(Some(record.status), Verb::AnchorUnreviewed, Actor::Author)?;
    require(report.deadline.is_some_and(|deadline| deadline <= host.now()), Refusal::TooEarly)?;
    host.put(&keys::record(call.record), &record);
    report.viewers.clear();
    save(host, &record, &report);
    records::changed(host, &record);
    tell(host, &record, NoticeKind::ReportUnreviewed);
    Ok(())
}
