//! Organisations of the consortium: let in, suspended and resumed by several, free to leave.
//!
//! Tested by `tests/identity.rs` and `tests/machines.rs`.

use epione_types::call::{RegisterOrganisation, SetOrganisationStatus};
use epione_types::codes::{OrganisationKind, OrganisationStatus, Refusal};
use epione_types::event::Event;
use epione_types::id::OrgId;
use epione_types::{PublicKey, TimestampMs};
use serde::{Deserialize, Serialize};

use super::Member;
use crate::host::{Done, Host, Overlay, require};
use crate::machine::{Actor, Machine, Row, Verb, row};
use crate::{config, identity, keys};

use OrganisationStatus::{Active, Exited, Suspended};

/// What may be done to an organisation.
pub const MACHINE: Machine<OrganisationStatus> = Machine {
    entity: "Organisation",
    note: "The organisation concerned does not count among the consortium. Enough validators' organisations must remain to undo it.",
    rows: ROWS,
};

const ROWS: &[Row<OrganisationStatus>] = &[
    row(None, Verb::Register, Active, &[Actor::Consortium]),
    row(Some(Active), Verb::Suspend, Suspended, &[Actor::Consortium]),
    row(Some(Suspended), Verb::Resume, Active, &[Actor::Consortium]),
    row(Some(Active), Verb::Leave, Exited, &[Actor::Consortium, Actor::Admin]),
    row(Some(Suspended), Verb::Leave, Exited, &[Actor::Consortium, Actor::Admin]),
    row(Some(Active), Verb::RotateKey, Active, &[Actor::Owner]),
];

/// An organisation of the consortium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its kind.
    pub kind: OrganisationKind,
    /// Where it stands.
    pub status: OrganisationStatus,
    /// Keys of its administrators.
    pub admins: Vec<PublicKey>,
    /// How many of them sign together.
    pub admin_threshold: u8,
    /// May its staff break the glass?
    pub break_glass: bool,
    /// Since when.
    pub registered_at: TimestampMs,
}

impl Organisation {
    /// Takes part now?
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == OrganisationStatus::Active
    }

    fn new(call: &RegisterOrganisation, now: TimestampMs) -> Self {
        Self {
            kind: call.kind,
            status: OrganisationStatus::Active,
            admins: call.admins.clone(),
            admin_threshold: call.admin_threshold,
            break_glass: call.break_glass,
            registered_at: now,
        }
    }

    fn approved_by(&self, signers: &[PublicKey]) -> bool {
        let signed = self.admins.iter().filter(|admin| signers.contains(admin)).count();
        signed >= usize::from(self.admin_threshold)
    }
}

/// A founding organisation.
pub(crate) fn found(overlay: &mut Overlay<'_>, call: &RegisterOrganisation, now: TimestampMs) {
    overlay.put(&keys::organisation(call.organisation), &Organisation::new(call, now));
    for admin in &call.admins {
        overlay.put(&keys::member(admin), &Member::Admin(call.organisation));
    }
}

/// Signed by enough validators' organisations, each by its own admin threshold, and by the new admins' threshold.
pub(crate) fn register(host: &mut Host<'_, '_>, call: &RegisterOrganisation) -> Done {
    require(call.check().is_ok(), Refusal::InvalidField)?;
    require(!host.has(&keys::organisation(call.organisation))?, Refusal::OrgExists)?;
    for admin in &call.admins {
        require(!host.has(&keys::member(admin))?, Refusal::KeyInUse)?;
    }
    let organisation = Organisation::new(call, host.now());
    require(organisation.approved_by(host.signers()), Refusal::KeyProof)?;
    require(consortium_signed(host, None)?, Refusal::SignatureMissing)?;
    MACHINE.step(None, Verb::Register, Actor::Consortium)?;

    host.put(&keys::organisation(call.organisation), &organisation);
    for admin in &call.admins {
        host.put(&keys::member(admin), &Member::Admin(call.organisation));
    }
    host.emit(Event::OrganisationRegistered { organisation: call.organisation });
    Ok(())
}

/// Suspended, resumed, gone.
pub(crate) fn set_status(host: &mut Host<'_, '_>, call: &SetOrganisationStatus) -> Done {
    let Member::Admin(admin_of) = identity::sender(host)? else { return Err(Refusal::NotAuthorised.into()) };
    let key = keys::organisation(call.organisation);
    let mut organisation = host.get(&key)?.ok_or(Refusal::Unknown)?;
    let verb = match call.status {
        OrganisationStatus::Active => Verb::Resume,
        OrganisationStatus::Suspended => Verb::Suspend,
        OrganisationStatus::Exited => Verb::Leave,
    };
    let actor = if consortium_signed(host, Some(call.organisation))? {
        Actor::Consortium
    } else {
        require(admin_of == call.organisation, Refusal::SignatureMissing)?;
        require(organisation.approved_by(host.signers()), Refusal::SignatureMissing)?;
        Actor::Admin
    };
    organisation.status = MACHINE.step(Some(organisation.status), verb, actor)?;
    host.put(&key, &organisation);
    // Whoever suspends must leave enough to resume.
    require(validators_active(host)? >= signatures_needed(host, None)?, Refusal::BadState)?;
    host.emit(Event::OrganisationChanged { organisation: call.organisation, status: organisation.status });
    Ok(())
}

/// Have enough validators' organisations signed, each by its own threshold? `concerned` has no say.
fn consortium_signed(host: &Host<'_, '_>, concerned: Option<OrgId>) -> Done<bool> {
    let mut approvals = 0;
    for id in config::validator_organisations(host.state())? {
        let validator = host.get(&keys::organisation(id))?;
        let signed = validator.is_some_and(|it| it.is_active() && it.approved_by(host.signers()));
        approvals += usize::from(signed && concerned != Some(id));
    }
    Ok(approvals >= signatures_needed(host, concerned)?)
}

/// A consortium smaller than the policy's number asks all of its organisations.
fn signatures_needed(host: &Host<'_, '_>, concerned: Option<OrgId>) -> Done<usize> {
    let mut validators = config::validator_organisations(host.state())?;
    validators.retain(|id| concerned != Some(*id));
    Ok(usize::from(host.policy().organisation_signatures).min(validators.len()).max(1))
}

fn validators_active(host: &Host<'_, '_>) -> Done<usize> {
    let mut active = 0;
    for id in config::validator_organisations(host.state())? {
        let validator = host.get(&keys::organisation(id))?;
        active += usize::from(validator.is_some_and(|it| it.is_active()));
    }
    Ok(active)
}

/// An organisation that takes part.
pub(crate) fn active(host: &Host<'_, '_>, id: OrgId) -> Done<Organisation> {
    let organisation = host.get(&keys::organisation(id))?.ok_or(Refusal::OrgInactive)?;
    require(organisation.is_active(), Refusal::OrgInactive)?;
    Ok(organisation)
}

/// The active organisation of the admin who sent this, if its threshold signed.
pub(crate) fn of_admin(host: &Host<'_, '_>) -> Done<OrgId> {
    let Member::Admin(id) = identity::sender(host)? else { return Err(Refusal::NotAuthorised.into()) };
    let organisation = active(host, id)?;
    require(organisation.approved_by(host.signers()), Refusal::SignatureMissing)?;
    Ok(id)
}
