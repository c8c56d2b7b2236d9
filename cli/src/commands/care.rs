//! A patient's life on the ledger after enrolment: who cares, what is told and seen, and the end.

use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::Hash;
use epione_types::call::{
    AcknowledgeNotice, Call, ErasePatient, LinkCare, MarkDeceased, TakeOver, UnlinkCare,
};
use epione_types::{Height, Signer as _};

use super::{all_pages, done, history, view};
use crate::args::{PatientAcknowledge, PatientHistory, PatientSaid, PatientTakeOver, PatientUnlink};
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::{PATIENTS, Session};

/// A step that is said of a patient, with a document where one is attested.
pub(super) enum Step {
    Link,
    Deceased,
    Erase,
}

pub(super) async fn step(step: Step, said: PatientSaid) -> Result<Shown, CliError> {
    let document = request::attested(said.document.as_deref())?;
    let session = Session::open(&said.write.connect).await?;
    let patient = session.book.patient(&said.patient)?;
    let call = match step {
        Step::Link => Call::LinkCare(LinkCare { patient, document }),
        Step::Deceased => {
            Call::MarkDeceased(MarkDeceased { patient, document: needed(document, "the certificate")? })
        }
        Step::Erase => Call::ErasePatient(ErasePatient { patient, document }),
    };
    done(&session, call, Fields::new().text("patient", patient), &said.write).await
}

fn needed(document: Option<Hash>, what: &str) -> Result<Hash, CliError> {
    document.ok_or_else(|| CliError::usage(format!("--document is missing: {what}, as a file or its hash")))
}

pub(super) async fn unlink(args: PatientUnlink) -> Result<Shown, CliError> {
    let PatientUnlink { said, org } = args;
    let document = request::attested(said.document.as_deref())?;
    let session = Session::open(&said.write.connect).await?;
    let (patient, organisation) = (session.book.patient(&said.patient)?, session.book.org(&org)?);
    let call = Call::UnlinkCare(UnlinkCare { patient, organisation, document });
    let fields = Fields::new().text("patient", patient).text("org", organisation);
    done(&session, call, fields, &said.write).await
}

pub(super) async fn take_over(args: PatientTakeOver) -> Result<Shown, CliError> {
    let PatientTakeOver { said, member_key } = args;
    let document = needed(request::attested(said.document.as_deref())?, "what identified the patient")?;
    let session = Session::open(&said.write.connect).await?;
    let patient = session.book.patient(&said.patient)?;
    let name = format!("{PATIENTS}/{}", said.patient);
    let key = session.member_key(member_key.as_deref(), Some(&name))?;
    let call = Call::TakeOver(TakeOver { patient, key: key.public_key(), document });
    let done = session.submit(call, &[key], &said.write).await?;
    Ok(Shown::one(Fields::new().text("patient", patient).and(done.fields())))
}

pub(super) async fn acknowledge(args: PatientAcknowledge) -> Result<Shown, CliError> {
    let PatientAcknowledge { said, notice } = args;
    let place = notice.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (height, index) = place.ok_or_else(|| {
        CliError::usage(format!("--notice '{notice}': write HEIGHT/INDEX, as `epione patient notices` shows"))
    })?;
    let document = request::attested(said.document.as_deref())?;
    let session = Session::open(&said.write.connect).await?;
    let patient = session.book.patient(&said.patient)?;
    let call = AcknowledgeNotice { patient, height: Height(height), index, document };
    let fields = Fields::new().text("acknowledged", &notice);
    done(&session, Call::AcknowledgeNotice(call), fields, &said.write).await
}

pub(super) async fn events(args: PatientHistory) -> Result<Shown, CliError> {
    let session = Session::open(&args.connect).await?;
    let patient = session.book.patient(&args.patient)?;
    let events = history::of(&session, patient, &[]).await?;
    Ok(Shown::many(events.iter().map(view::event).collect::<Result<_, _>>()?))
}

/// What the patient was told, by calls and by time.
pub(super) async fn notices(args: PatientHistory) -> Result<Shown, CliError> {
    let session = Session::open(&args.connect).await?;
    let patient = session.book.patient(&args.patient)?;
    let found = all_pages(async |page| {
        let request = pb::ListNoticesRequest { patient_id: raw(patient.0), page: Some(page), options: None };
        let answer = session.client.list_notices(request).await?;
        Ok((answer.notices, answer.next_page_token))
    })
    .await?;
    Ok(Shown::many(found.iter().map(view::notice).collect::<Result<_, _>>()?))
}
