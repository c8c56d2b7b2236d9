//! A patient's life on the ledger after enrolment: who cares, what is told and seen, and the end.

use epione_proto::v1::EventKind;
use epione_types::Hash;
use epione_types::call::{
    AcknowledgeNotice, Call, ErasePatient, LinkCare, MarkDeceased, TakeOver, UnlinkCare,
};
use epione_types::event::Event;
use epione_types::{Height, Signer as _};

use super::{done, history, view};
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

/// What the patient was told by calls. What time alone tells (a review that is overdue) is in no event.
pub(super) async fn notices(args: PatientHistory) -> Result<Shown, CliError> {
    let session = Session::open(&args.connect).await?;
    let patient = session.book.patient(&args.patient)?;
    let kinds = [EventKind::NoticeGiven, EventKind::NoticeAcknowledged];
    let events = history::of(&session, patient, &kinds).await?;
    let seen = |height, index| {
        let place = (height, index);
        let is_about = |event: &Event| matches!(*event, Event::NoticeAcknowledged { height, index, .. } if (height, index) == place);
        events.iter().any(|it| is_about(&it.event))
    };
    let mut rows = Vec::new();
    for event in &events {
        let Event::NoticeGiven { kind, .. } = event.event else { continue };
        // A notice stands at the place of its transaction, which the receipt tells.
        let status = session.client.receipt(event.tx_id, None).await?;
        let Some(receipt) = status.receipt() else { continue };
        rows.push(
            Fields::new()
                .text("notice", format_args!("{}/{}", receipt.height, receipt.index))
                .text("time", crate::time::show(event.time))
                .text("kind", kind)
                .with("seen", seen(receipt.height, receipt.index)),
        );
    }
    Ok(Shown::many(rows))
}
