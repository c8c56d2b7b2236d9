//! Emergency accesses and their review.

use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::Height;
use epione_types::call::{Call, ReviewOverride};

use super::{all_pages, done, view};
use crate::args::Emergency;
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;

pub(super) async fn run(command: Emergency) -> Result<Shown, CliError> {
    match command {
        Emergency::List(args) => {
            let session = Session::open(&args.connect).await?;
            let patient = session.book.patient(&args.patient)?;
            let found = all_pages(async |page| {
                let request =
                    pb::ListOverridesRequest { patient_id: raw(patient.0), page: Some(page), options: None };
                let answer = session.client.list_overrides(request).await?;
                Ok((answer.overrides, answer.next_page_token))
            })
            .await?;
            Ok(Shown::many(found.iter().map(view::emergency).collect::<Result<_, _>>()?))
        }
        Emergency::Reviews { org, overdue, connect } => {
            let session = Session::open(&connect).await?;
            let org = session.book.org(&org)?;
            let found = all_pages(async |page| {
                let (org_id, page) = (raw(org.0), Some(page));
                let request =
                    pb::ListOpenReviewsRequest { org_id, overdue_only: overdue, page, options: None };
                let answer = session.client.list_open_reviews(request).await?;
                Ok((answer.overrides, answer.next_page_token))
            })
            .await?;
            let row = |it: &pb::Override| {
                Ok(view::emergency(it)?.text("patient", crate::session::hex(&it.patient_id)))
            };
            Ok(Shown::many(found.iter().map(row).collect::<Result<_, CliError>>()?))
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
