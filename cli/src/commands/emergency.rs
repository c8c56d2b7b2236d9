//! Emergency accesses and their review.

use std::collections::BTreeMap;

use epione_client::tx::now;
use epione_proto::convert::{fixed, raw};
use epione_proto::v1::{self as pb, EventKind};
use epione_types::call::{Call, Grantee, Person, ReviewOverride};
use epione_types::codes::{EmergencyReason, OverrideStatus, Verdict};
use epione_types::event::Event;
use epione_types::id::{OrgId, PatientId, PractitionerId};
use epione_types::{Height, TimestampMs};

use super::{done, history, view};
use crate::args::Emergency;
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;
use crate::time;

pub(super) async fn run(command: Emergency) -> Result<Shown, CliError> {
    match command {
        Emergency::List(args) => {
            let session = Session::open(&args.connect).await?;
            let patient = session.book.patient(&args.patient)?;
            list(&session, patient).await
        }
        Emergency::Review { height, patient, holder, verdict, findings, write } => {
            let text_commitment =
                findings.as_deref().map(|path| request::written("--findings", path)).transpose()?;
            let session = Session::open(&write.connect).await?;
            let holder = session.book.practitioner(&holder)?;
            let call = ReviewOverride {
                patient: session.book.patient(&patient)?,
                height: Height(height),
                organisation: holder.org,
                practitioner: holder.practitioner,
                verdict,
                text_commitment,
            };
            let fields = Fields::new().with("reviewed", height).text("verdict", verdict);
            done(&session, Call::ReviewOverride(call), fields, &write).await
        }
    }
}

/// Each override with what its review found, or where time has brought it.
async fn list(session: &Session, patient: PatientId) -> Result<Shown, CliError> {
    let mut found: BTreeMap<(Height, OrgId, PractitionerId), Verdict> = BTreeMap::new();
    for it in history::of(session, patient, &[EventKind::OverrideReviewed]).await? {
        let Event::OverrideReviewed { organisation, practitioner, height, verdict, .. } = it.event else {
            continue;
        };
        found.insert((height, organisation, practitioner), verdict);
    }
    let mut rows = Vec::new();
    let mut page_token = bytes::Bytes::new();
    loop {
        let request = pb::ListOverridesRequest {
            patient_id: raw(patient.0),
            page: Some(pb::PageRequest { page_size: 500, page_token }),
            options: None,
        };
        let page = session.client.list_overrides(request).await?;
        for it in &page.overrides {
            let who = it.practitioner.clone().unwrap_or_default();
            let org = fixed("org_id", &who.org_id)?;
            let practitioner = fixed("practitioner_id", &who.practitioner_id)?;
            let verdict = found.get(&(Height(it.height), org, practitioner)).copied();
            rows.push(
                Fields::new()
                    .with("height", it.height)
                    .with("holder", view::grantee(Grantee::Person(Person::Practitioner(org, practitioner))))
                    .with("grounds", view::name::<EmergencyReason>("reason", it.reason)?)
                    .text("status", status(verdict, it, now()))
                    .text("opened", time::show(TimestampMs(it.opened_ms)))
                    .text("ends", time::show(TimestampMs(it.expires_ms)))
                    .text("review_until", time::show(TimestampMs(it.review_due_ms))),
            );
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(Shown::many(rows));
        }
    }
}

fn status(verdict: Option<Verdict>, it: &pb::Override, now: TimestampMs) -> OverrideStatus {
    match verdict {
        Some(Verdict::Ok) => OverrideStatus::ReviewedOk,
        Some(Verdict::Misuse) => OverrideStatus::ReviewedMisuse,
        None if now.0 < it.expires_ms => OverrideStatus::Open,
        None if now.0 < it.review_due_ms => OverrideStatus::Ended,
        None => OverrideStatus::Overdue,
    }
}
