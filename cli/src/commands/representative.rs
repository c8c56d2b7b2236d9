//! Who may act for a patient.

use std::collections::BTreeMap;

use epione_proto::v1::EventKind;
use epione_types::Signer as _;
use epione_types::call::{AddRepresentation, Call, Grantee, Person, RevokeRepresentation};
use epione_types::event::Event;
use epione_types::id::RepresentativeId;

use super::{done, history, view};
use crate::args::{Representative, RepresentativeAdd};
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;
use crate::time;

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
            let mut last = BTreeMap::new();
            for it in history::of(&session, patient, &[EventKind::RepresentationChanged]).await? {
                let Event::RepresentationChanged { person, kind, status, .. } = it.event else { continue };
                last.insert(view::grantee(Grantee::Person(person)), (kind, status, it.time));
            }
            let row = |(person, (kind, status, since))| {
                let fields = Fields::new().with("person", person);
                fields.text("kind", kind).text("status", status).text("since", time::show(since))
            };
            Ok(Shown::many(last.into_iter().map(row).collect())
                .note("What ends with its time is shown as it was made."))
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
