//! Guest links: one record, for whoever holds the link's key, until a time and a number of uses.
//!
//! The ledger keeps the public key that is derived from the link's secret, never the secret. The link is a grant like
//! any other, so that the access decision counts its uses and its end. Tested by `tests/links.rs` and `tests/machines.rs`.

use epione_types::call::{CloseGuestLink, CreateGuestLink, GrantKind, Grantee, Labels, Purposes, Rule};
use epione_types::codes::{Action, LinkStatus, Purpose, RecordStatus, Refusal};
use epione_types::event::Event;
use epione_types::id::{GrantId, LinkId, PatientId, RecordId};
use epione_types::{PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::consent::{self, rule};
use crate::host::{Done, Host, require};
use crate::identity::{self, Member, patients};
use crate::keys;
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::records;
use crate::voice::{self, Basis, Matter};

/// What may be done to a guest link.
pub const MACHINE: Machine<LinkStatus> = Machine {
    entity: "Guest link",
    note: "It also lapses with its time, its uses, and the revocation of its grant.",
    rows: ROWS,
};

const ROWS: &[Row<LinkStatus>] = &[
    row(None, Verb::Create, LinkStatus::Live, &[Actor::Patient, Actor::Representative]),
    row(Some(LinkStatus::Live), Verb::Close, LinkStatus::Closed, &[Actor::Patient, Actor::Representative]),
];

/// A guest link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLink {
    /// Whose record.
    pub patient: PatientId,
    /// Which.
    pub record: RecordId,
    /// The grant that opens it.
    pub grant: GrantId,
    /// Derived from the link's secret.
    pub key: PublicKey,
    /// Where it stands.
    pub status: LinkStatus,
    /// Since when, and in whose word.
    pub created: (TimestampMs, Basis),
    /// Its end, and in whose word.
    pub closed: Option<(TimestampMs, Basis)>,
}

/// Signed by the patient or a representative, and by the link's key.
pub(crate) fn create(host: &mut Host<'_, '_>, call: &CreateGuestLink) -> Done {
    let patient = patients::known(host, call.patient)?;
    let record = host.get(&keys::record(call.record))?.ok_or(Refusal::LinkNeedsRecord)?;
    let opens = record.patient == call.patient
        && record.status == RecordStatus::Active
        && !record.is_psychotherapy_note(); // what the patient may not read, no guest may
    require(opens, Refusal::LinkNeedsRecord)?;
    let labels = Labels::Only(record.labels.clone());
    let matter = Matter {
        categories: &[record.category],
        labels: &labels,
        minor_consented: record.minor_consented,
        concerns: None,
        opens: true,
        on_paper: false,
        document: call.document,
    };
    let basis = voice::spoken(host, call.patient, &patient, &matter)?;
    let key = keys::guest_link(call.link);
    require(!host.has(&key)?, Refusal::Exists)?;
    let status = MACHINE.step(None, Verb::Create, basis.actor())?;
    require(host.now() < call.until && call.max_uses > 0, Refusal::BadPeriod)?;
    require(call.until <= host.now().plus(host.constants().link_ms), Refusal::LinkTooLong)?;
    require(records::may_stand_in_clear(host.policy(), &record.labels), Refusal::SensitiveInClear)?;
    let strict = record.labels.iter().any(|label| label.is_strict());
    require(!strict || call.document.is_some(), Refusal::AuthElementMissing)?;
    identity::enrol_key(host, &call.key, Member::Guest(call.link))?;
    let rule = Rule {
        kind: GrantKind::Permit,
        to: Grantee::Guest(call.link),
        purposes: Purposes::Only(vec![Purpose::PatRqt]),
        actions: vec![Action::Read],
        categories: Vec::new(),
        records: vec![call.record],
        labels,
        data_period: None,
        from: None,
        until: Some(call.until),
        max_uses: Some(call.max_uses),
        delegable: false,
        parent: None,
        policy: None,
        document: call.document,
    };
    rule::check(host, &rule)?;
    consent::make(host, call.patient, call.grant, rule, basis)?;
    let CreateGuestLink { link, patient, record, grant, key: public, .. } = *call;
    let created = (host.now(), basis);
    save(host, link, &GuestLink { patient, record, grant, key: public, status, created, closed: None });
    Ok(())
}

fn save(host: &mut Host<'_, '_>, link: LinkId, entry: &GuestLink) {
    host.put(&keys::guest_link(link), entry);
    let GuestLink { patient, record, status, .. } = *entry;
    host.emit(Event::LinkChanged { link, patient, record, status });
}

/// Signed by the patient or a representative: its grant ends with it.
pub(crate) fn close(host: &mut Host<'_, '_>, call: &CloseGuestLink) -> Done {
    let mut entry = host.get(&keys::guest_link(call.link))?.ok_or(Refusal::Unknown)?;
    let patient = patients::known(host, entry.patient)?;
    let category = host.get(&keys::record(entry.record))?.map(|record| record.category);
    let matter = Matter { categories: category.as_slice(), on_paper: false, ..Matter::general(None) };
    let basis = voice::spoken(host, entry.patient, &patient, &matter)?;
    entry.status = MACHINE.step(Some(entry.status), Verb::Close, basis.actor())?;
    entry.closed = Some((host.now(), basis));
    let grant = host.get(&keys::grant(entry.patient, entry.grant))?;
    if let Some(grant) = grant.filter(|it| it.revoked.is_none()) {
        consent::end(host, entry.patient, grant, basis)?;
    }
    save(host, call.link, &entry);
    Ok(())
}
