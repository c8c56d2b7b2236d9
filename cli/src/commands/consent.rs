//! Grants and denials.

mod none;

use epione_proto::v1 as pb;
use epione_types::call::{Call, CreateGrant, GrantKind, RevokeGrant, SetOptOut};
use epione_types::event::Event;
use epione_types::id::{GrantId, PatientId};

use super::{all_pages, fhir, view};
use crate::args::{Consent, Delegate, OptOut, Rule};
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;

pub(super) async fn run(command: Consent, json: bool) -> Result<Shown, CliError> {
    match command {
        Consent::Grant(rule) => create(GrantKind::Permit, rule).await,
        Consent::Deny(rule) => create(GrantKind::Deny, rule).await,
        Consent::Revoke { grant, patient, document, write } => {
            let grant: GrantId = request::id("GRANT", &grant)?;
            let document =
                document.as_deref().map(|text| request::document("--document", text)).transpose()?;
            let session = Session::open(&write.connect).await?;
            let call = RevokeGrant { patient: session.book.patient(&patient)?, grant, document };
            let done = session.submit(Call::RevokeGrant(call), &[], &write).await?;
            Ok(Shown::one(Fields::new().text("revoked", grant).and(done.fields())))
        }
        Consent::OptOut(args) => opt_out(args).await,
        Consent::Delegate(Delegate { grant, mut rule }) => {
            rule.parent = Some(grant);
            create(GrantKind::Permit, rule).await
        }
        Consent::ProveNone(args) => none::prove(&args).await,
        Consent::VerifyNone { file, genesis } => none::verify(&file, &genesis),
        Consent::Import(args) => fhir::import_consent(&args, json).await,
        Consent::Export(args) => fhir::export_consents(&args).await,
        Consent::List { patient, connect } => {
            let session = Session::open(&connect).await?;
            let patient = session.book.patient(&patient)?;
            let found = grants(&session, patient).await?;
            Ok(Shown::many(found.iter().map(view::grant).collect::<Result<_, _>>()?))
        }
    }
}

/// All grants of a patient that the caller may know of.
pub(super) async fn grants(session: &Session, patient: PatientId) -> Result<Vec<pb::Grant>, CliError> {
    all_pages(async |page| {
        let request = pb::ListGrantsRequest {
            patient_id: epione_proto::convert::raw(patient.0),
            page: Some(page),
            options: None,
        };
        let answer = session.client.list_grants(request).await?;
        Ok((answer.grants, answer.next_page_token))
    })
    .await
}

async fn opt_out(args: OptOut) -> Result<Shown, CliError> {
    let document = request::attested(args.document.as_deref())?;
    let session = Session::open(&args.write.connect).await?;
    let patient = session.book.patient(&args.patient)?;
    let grant = request::new_id(GrantId)?;
    let call = SetOptOut { patient, grant, keep_permits: args.keep_permits, document };
    let done = session.submit(Call::SetOptOut(call), &[], &args.write).await?;
    let ended = done.receipt.events.iter().find_map(|event| {
        let Event::OptedOut { revoked, still_open, .. } = event else { return None };
        Some((*revoked, still_open.clone()))
    });
    let (revoked, still_open) = ended.unwrap_or_default();
    let note =
        if still_open.is_empty() { "" } else { "Permits still open go on opening: revoke each to end it." };
    let fields = Fields::new().text("grant", grant).with("revoked", revoked).list("still_open", still_open);
    Ok(Shown::one(fields.and(done.fields())).note(note))
}

async fn create(kind: GrantKind, args: Rule) -> Result<Shown, CliError> {
    let session = Session::open(&args.write.connect).await?;
    let grant = request::new_id(GrantId)?;
    let patient = session.book.patient(&args.patient)?;
    let rule = request::rule(kind, &args, &session.book)?;
    let done =
        session.submit(Call::CreateGrant(CreateGrant { grant, patient, rule }), &[], &args.write).await?;
    Ok(Shown::one(Fields::new().text("grant", grant).text("patient", patient).and(done.fields())))
}
