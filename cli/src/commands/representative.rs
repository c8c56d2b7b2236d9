//! Who may act for a patient.

use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::Signer as _;
use epione_types::call::{AddRepresentation, Call, Grantee, Person, RevokeRepresentation};
use epione_types::id::RepresentativeId;

use super::{all_pages, done, view};
use crate::args::{Representative, RepresentativeAdd};
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;

pub(super) async fn run(command: Representative) -> Result<Shown, CliError> {
    match command {
        Representative::Add(args) => add(args).await,
        Representative::Revoke { person, patient, document, write } => {
            let document = request::attested(document.as_deref())?;
            let session = Session::open(&write.connect).await?;
            let call = RevokeRepresentation {
                patient: session.book.patient(&patient)?,
                person: request::person("PERSON", &session.book, &person)?,
                document,
            };
            let fields = Fields::new().text("revoked", view::grantee(Grantee::Person(call.person)));
            done(&session, Call::RevokeRepresentation(call), fields, &write).await
        }
        Representative::List(args) => {
            let session = Session::open(&args.connect).await?;
            let patient = session.book.patient(&args.patient)?;
            let found = all_pages(async |page| {
                let page = Some(page);
                let request =
                    pb::ListRepresentationsRequest { patient_id: raw(patient.0), page, options: None };
                let answer = session.client.list_representations(request).await?;
                Ok((answer.representations, answer.next_page_token))
            })
            .await?;
            Ok(Shown::many(found.iter().map(view::representation).collect::<Result<_, _>>()?))
        }
    }
}

async fn add(args: RepresentativeAdd) -> Result<Shown, CliError> {
    let evidence = request::written("--evidence", &args.evidence)?;
    let mut session = Session::open(&args.write.connect).await?;
    let (person, key) = match &args.person {
        Some(text) => (request::person("--person", &session.book, text)?, None),
        None => {
            let full = args.name.as_deref().map(|name| format!("representatives/{name}"));
            let key = session.member_key(args.member_key.as_deref(), full.as_deref())?;
            (Person::Representative(request::new_id(RepresentativeId)?), Some(key))
        }
    };
    let call = AddRepresentation {
        patient: session.book.patient(&args.patient)?,
        person,
        key: key.as_ref().map(|key| key.public_key()),
        kind: args.kind,
        from: request::instant("--from", args.from.as_deref())?,
        until: request::instant("--until", args.until.as_deref())?,
        minor_privacy_from: request::instant("--minor-privacy-from", args.minor_privacy_from.as_deref())?,
        categories: args.categories.clone(),
        evidence,
    };
    let fields = Fields::new().with("person", view::grantee(Grantee::Person(person)));
    let keys: Vec<_> = key.into_iter().collect();
    let done = session.submit(Call::AddRepresentation(call), &keys, &args.write).await?;
    if let (Some(name), Person::Representative(id)) = (args.name, person) {
        session.book.representatives.insert(name, id);
        session.book.save()?;
    }
    Ok(Shown::one(fields.and(done.fields())))
}
