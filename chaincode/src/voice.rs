//! Who speaks for a patient, and in whose word: it stays with what was said for ever.
//!
//! Three may: the own key, a representative in force, and (most patients hold no key) a member of a caring
//! organisation who attests a signed document. A fourth, the holder of a delegable grant, passes on ([`crate::consent`]).
//! - nobody speaks for a patient in what concerns themselves;
//! - once a patient holds a key, paper can only take access away;
//! - what a minor may keep from a parent, the parent does not open to others either.
//!
//! Tested by `tests/consent.rs`, `tests/representation.rs` and `tests/machines.rs`.

use epione_types::Hash;
use epione_types::call::{Labels, Person};
use epione_types::codes::{Category, Refusal, RepresentationKind, Role};
use epione_types::id::{OrgId, PatientId, PractitionerId};
use serde::{Deserialize, Serialize};

use crate::access::decide::MINOR_SENSITIVE;
use crate::host::{Done, Host, require};
use crate::identity::{self, Member, Patient, PatientStatus, Practitioner};
use crate::keys;
use crate::machine::Actor;

/// In whose word something was said for a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// The patient's own key.
    OwnKey,
    /// A representative in force.
    Representative(Person),
    /// A member of a caring organisation attests a signed document.
    Attested {
        /// The organisation.
        organisation: OrgId,
        /// Its member.
        practitioner: PractitionerId,
        /// Hash of the document.
        document: Hash,
    },
    /// The holder of the parent grant.
    Delegated {
        /// The organisation.
        organisation: OrgId,
        /// Its member.
        practitioner: PractitionerId,
    },
}

impl Basis {
    /// The patient's word, or a representative's.
    pub(crate) const fn is_the_patients(&self) -> bool {
        matches!(self, Self::OwnKey | Self::Representative(_))
    }

    pub(crate) const fn actor(&self) -> Actor {
        match self {
            Self::OwnKey => Actor::Patient,
            Self::Representative(_) => Actor::Representative,
            Self::Attested { .. } => Actor::Attestant,
            Self::Delegated { .. } => Actor::Holder,
        }
    }
}

/// What is to be said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matter<'a> {
    /// Kinds of record that it is about; empty: all.
    pub(crate) categories: &'a [Category],
    /// Labels that it opens.
    pub(crate) labels: &'a Labels,
    /// About a service that a minor consented to alone.
    pub(crate) minor_consented: bool,
    /// Whom it concerns in person.
    pub(crate) concerns: Option<Person>,
    /// Does it open access?
    pub(crate) opens: bool,
    /// May a document say it?
    pub(crate) on_paper: bool,
    /// The document's hash.
    pub(crate) document: Option<Hash>,
}

/// No labels.
const NONE: &Labels = &Labels::Only(Vec::new());

impl Matter<'_> {
    /// About the patient as a whole; opens nothing.
    pub(crate) const fn general(document: Option<Hash>) -> Self {
        Self {
            categories: &[],
            labels: NONE,
            minor_consented: false,
            concerns: None,
            opens: false,
            on_paper: true,
            document,
        }
    }
}

/// In whose word `member` says this for the patient; none if `member` does not speak for the patient.
pub(crate) fn speaks_for(
    host: &Host<'_, '_>,
    member: Member,
    id: PatientId,
    patient: &Patient,
    matter: &Matter<'_>,
) -> Done<Option<Basis>> {
    if member == Member::Patient(id) && patient.status == PatientStatus::Active {
        return Ok(Some(Basis::OwnKey));
    }
    let Some(person) = member.person() else { return Ok(None) };
    let concerns_themselves = matter.concerns == Some(person);

    if let Some(representation) = host.get(&keys::representation(id, person))? {
        let in_scope = representation.categories.is_empty()
            || (!matter.categories.is_empty()
                && matter.categories.iter().all(|category| representation.categories.contains(category)));
        let minors_own =
            (representation.minor_has_privacy(host.now()) && matter.opens && opens_minors_own(matter.labels))
                || (representation.kind == RepresentationKind::Parent && matter.minor_consented);
        let speaks = representation.is_active(host.now()) && in_scope && !concerns_themselves && !minors_own;
        return Ok(speaks.then_some(Basis::Representative(person)));
    }

    let Member::Practitioner(organisation, practitioner) = member else { return Ok(None) };
    if !patient.is_cared_for_by(organisation) || !matter.on_paper {
        return Ok(None);
    }
    let at_work = identity::practitioner_at_work(host, organisation, practitioner)?;
    let own_word_needed = patient.key.is_some() && matter.opens;
    if !may_attest(&at_work) || concerns_themselves || own_word_needed {
        return Ok(None);
    }
    let document = matter.document.filter(|hash| *hash != Hash::ZERO).ok_or(Refusal::AuthElementMissing)?;
    Ok(Some(Basis::Attested { organisation, practitioner, document }))
}

/// As [`speaks_for`], by the sender, who must.
pub(crate) fn spoken(
    host: &Host<'_, '_>,
    id: PatientId,
    patient: &Patient,
    matter: &Matter<'_>,
) -> Done<Basis> {
    let member = identity::sender(host)?;
    Ok(speaks_for(host, member, id, patient, matter)?.ok_or(Refusal::NotGrantor)?)
}

/// In whose word something happens that the sender, `attestant`, does at the patient's wish: somebody who speaks for
/// the patient signs with them. A document does for those who hold no key, or hold it no more.
pub(crate) fn wished(
    host: &Host<'_, '_>,
    (organisation, practitioner): (OrgId, PractitionerId),
    id: PatientId,
    patient: &Patient,
    document: Option<Hash>,
) -> Done<Basis> {
    let matter = Matter { on_paper: false, ..Matter::general(None) };
    for signer in host.signers() {
        if let Some(member) = identity::member_of(host.state(), signer)?
            && let Some(basis) = speaks_for(host, member, id, patient, &matter)?
        {
            return Ok(basis);
        }
    }
    let own_word_needed = patient.key.is_some() && patient.status == PatientStatus::Active;
    require(!own_word_needed, Refusal::SignatureMissing)?;
    let document = document.filter(|hash| *hash != Hash::ZERO).ok_or(Refusal::AuthElementMissing)?;
    Ok(Basis::Attested { organisation, practitioner, document })
}

/// The sender, if a member of an organisation that cares for the patient, who may attest documents.
pub(crate) fn attestant(host: &Host<'_, '_>, patient: &Patient) -> Done<(OrgId, PractitionerId)> {
    let Member::Practitioner(organisation, practitioner) = identity::sender(host)? else {
        return Err(Refusal::NotAuthorised.into());
    };
    let at_work = identity::practitioner_at_work(host, organisation, practitioner)?;
    let attests = patient.is_cared_for_by(organisation) && may_attest(&at_work);
    require(attests, Refusal::NotAuthorised)?;
    Ok((organisation, practitioner))
}

/// Do the roles allow to attest a patient's signed document?
pub(crate) fn may_attest(practitioner: &Practitioner) -> bool {
    let attests =
        |role: &Role| identity::is_clinician(*role) || matches!(role, Role::Registrar | Role::PrivacyOfficer);
    practitioner.roles.iter().any(attests)
}

fn opens_minors_own(labels: &Labels) -> bool {
    match labels {
        Labels::Any => true,
        Labels::Only(labels) => {
            labels.iter().any(|label| MINOR_SENSITIVE.iter().any(|minors| label.is_within(*minors)))
        }
    }
}
