//! Organisations, practitioners, patients.

use epione_client::keys;
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::call::{
    Call, RegisterOrganisation, RegisterPatient, RegisterPractitioner, SetOrganisationStatus,
    SetPractitionerStatus, UpdatePractitioner,
};
use epione_types::codes::{OrganisationStatus, PractitionerStatus};
use epione_types::id::{OrgId, PatientId, PractitionerId};
use epione_types::{SecretKey, Signer as _};

use super::care::{self, Step};
use super::{done, enrol, view};
use crate::args::{self, Org, OrgStatus, Patient, Practitioner, PractitionerUpdate};
use crate::book::PractitionerName;
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::{PATIENTS, Session, checked_name};

pub(super) async fn org(command: Org) -> Result<Shown, CliError> {
    match command {
        Org::Register { kind, name, admins, threshold, break_glass, write } => {
            let mut session = Session::open(&write.connect).await?;
            let admin_keys = if admins.is_empty() {
                let name = name
                    .as_deref()
                    .map(|name| checked_name(name).map(|name| format!("{name}/admin")))
                    .transpose()?;
                vec![session.member_key(None, name.as_deref())?]
            } else {
                admins.iter().map(|path| keys::read(path)).collect::<Result<Vec<SecretKey>, _>>()?
            };
            let call = RegisterOrganisation {
                organisation: request::new_id(OrgId)?,
                kind,
                admins: admin_keys.iter().map(|key| key.public_key()).collect(),
                admin_threshold: threshold,
                break_glass,
            };
            let of = call.admins.len();
            if !(1..=of).contains(&usize::from(threshold)) {
                return Err(CliError::usage(format!(
                    "--threshold {threshold}: 1 to {of}, the number of admin keys; name more with --admin"
                )));
            }
            call.check()
                .map_err(|why| CliError::usage(format!("--admin: {why}; name 1 to 8 distinct keys")))?;
            let id = call.organisation;
            let done = session.submit(Call::RegisterOrganisation(call), &admin_keys, &write).await?;
            if let Some(name) = name {
                session.book.orgs.insert(name, id);
                session.book.save()?;
            }
            Ok(Shown::one(Fields::new().text("org", id).and(done.fields())))
        }
        Org::Suspend(args) => org_status(args, OrganisationStatus::Suspended).await,
        Org::Resume(args) => org_status(args, OrganisationStatus::Active).await,
        Org::Leave(args) => org_status(args, OrganisationStatus::Exited).await,
        Org::Show { org, connect } => {
            let session = Session::open(&connect).await?;
            let request = pb::GetOrgRequest { org_id: raw(session.book.org(&org)?.0), options: None };
            let answer = session.client.get_org(request).await?;
            Ok(Shown::one(
                view::org(&answer.org.unwrap_or_default())?.and(view::context(answer.context.as_ref())),
            ))
        }
    }
}

async fn org_status(args: OrgStatus, status: OrganisationStatus) -> Result<Shown, CliError> {
    let session = Session::open(&args.write.connect).await?;
    let organisation = session.book.org(&args.org)?;
    let call = Call::SetOrganisationStatus(SetOrganisationStatus { organisation, status });
    let fields = Fields::new().text("org", organisation).text("status", status);
    done(&session, call, fields, &args.write).await
}

async fn practitioner_status(
    args: args::PractitionerStatus,
    status: PractitionerStatus,
) -> Result<Shown, CliError> {
    let session = Session::open(&args.write.connect).await?;
    let practitioner = session.book.practitioner(&args.practitioner)?.practitioner;
    let call = Call::SetPractitionerStatus(SetPractitionerStatus { practitioner, status });
    let fields = Fields::new().text("practitioner", practitioner).text("status", status);
    done(&session, call, fields, &args.write).await
}

async fn update(args: PractitionerUpdate) -> Result<Shown, CliError> {
    let key = args.member_key.as_deref().map(keys::read).transpose()?;
    let session = Session::open(&args.write.connect).await?;
    let call = UpdatePractitioner {
        practitioner: session.book.practitioner(&args.practitioner)?.practitioner,
        roles: args.roles,
        capabilities: args.capabilities,
        credential_until: request::instant("--until", args.until.as_deref())?,
        key: key.as_ref().map(|key| key.public_key()),
    };
    let fields = Fields::new().text("practitioner", call.practitioner);
    let keys: Vec<SecretKey> = key.into_iter().collect();
    let done = session.submit(Call::UpdatePractitioner(call), &keys, &args.write).await?;
    Ok(Shown::one(fields.and(done.fields())))
}

pub(super) async fn practitioner(command: Practitioner) -> Result<Shown, CliError> {
    match command {
        Practitioner::Register { name, member_key, roles, capabilities, until, commitment, write } => {
            let mut session = Session::open(&write.connect).await?;
            let org = enrol::admin_of(&session).await?;
            // Among the keys of the admin's organisation, by its name here.
            let full = name.as_deref().map(|name| enrol::full_name(&session, org, name));
            let key = session.member_key(member_key.as_deref(), full.as_deref())?;
            let call = RegisterPractitioner {
                practitioner: request::new_id(PractitionerId)?,
                key: key.public_key(),
                roles,
                capabilities,
                credential_until: request::instant("--until", until.as_deref())?,
                identity_commitment: commitment.map_or_else(request::empty_commitment, Ok)?,
            };
            let practitioner = call.practitioner;
            let done = session.submit(Call::RegisterPractitioner(call), &[key], &write).await?;
            if let Some(full) = full {
                session.book.practitioners.insert(full, PractitionerName { org, practitioner });
                session.book.save()?;
            }
            Ok(Shown::one(
                Fields::new().text("org", org).text("practitioner", practitioner).and(done.fields()),
            ))
        }
        Practitioner::Update(args) => update(args).await,
        Practitioner::Suspend(args) => practitioner_status(args, PractitionerStatus::Suspended).await,
        Practitioner::Resume(args) => practitioner_status(args, PractitionerStatus::Active).await,
        Practitioner::Retire(args) => practitioner_status(args, PractitionerStatus::Retired).await,
        Practitioner::Show { practitioner, connect } => {
            let session = Session::open(&connect).await?;
            let name = session.book.practitioner(&practitioner)?;
            let request = pb::GetPractitionerRequest {
                org_id: raw(name.org.0),
                practitioner_id: raw(name.practitioner.0),
                options: None,
            };
            let answer = session.client.get_practitioner(request).await?;
            let fields = view::practitioner(&answer.practitioner.unwrap_or_default())?;
            Ok(Shown::one(fields.and(view::context(answer.context.as_ref()))))
        }
    }
}

pub(super) async fn patient(command: Patient) -> Result<Shown, CliError> {
    match command {
        Patient::Register { name, member_key, custodial, notice, write } => {
            let mut session = Session::open(&write.connect).await?;
            let key = if custodial {
                None
            } else {
                let full = name.as_deref().map(|name| format!("{PATIENTS}/{name}"));
                Some(session.member_key(member_key.as_deref(), full.as_deref())?)
            };
            let call = RegisterPatient {
                patient: request::new_id(PatientId)?,
                key: key.as_ref().map(|key| key.public_key()),
                notice_hash: request::notice(notice.as_deref())?,
            };
            let id = call.patient;
            let keys: Vec<SecretKey> = key.into_iter().collect();
            let done = session.submit(Call::RegisterPatient(call), &keys, &write).await?;
            if let Some(name) = name {
                session.book.patients.insert(name, id);
                session.book.save()?;
            }
            Ok(Shown::one(Fields::new().text("patient", id).with("custodial", custodial).and(done.fields())))
        }
        Patient::Link(args) => care::step(Step::Link, args).await,
        Patient::Unlink(args) => care::unlink(args).await,
        Patient::TakeOver(args) => care::take_over(args).await,
        Patient::Deceased(args) => care::step(Step::Deceased, args).await,
        Patient::Erase(args) => care::step(Step::Erase, args).await,
        Patient::Notices(args) => care::notices(args).await,
        Patient::Acknowledge(args) => care::acknowledge(args).await,
        Patient::History(args) => care::events(args).await,
        Patient::Show { patient, connect } => {
            let session = Session::open(&connect).await?;
            let request =
                pb::GetPatientRequest { patient_id: raw(session.book.patient(&patient)?.0), options: None };
            let answer = session.client.get_patient(request).await?;
            let fields = view::patient(&answer.patient.unwrap_or_default())?;
            Ok(Shown::one(fields.and(view::context(answer.context.as_ref()))))
        }
    }
}
