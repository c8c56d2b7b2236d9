//! Requests for access, and their answers.

use epione_chaincode::consent::requests::AccessRequest;
use epione_chaincode::keys;
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_types::call::{
    ApproveAccessRequest, Call, GrantKind, RejectAccessRequest, RequestAccess, WithdrawAccessRequest,
};
use epione_types::id::{AccessRequestId, GrantId, PatientId};

use super::{all_pages, done, view};
use crate::args::{Request, RequestAsk};
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;

pub(super) async fn run(command: Request) -> Result<Shown, CliError> {
    match command {
        Request::Ask(args) => {
            let RequestAsk { answer_until, message, rule } = *args;
            let message = message.as_deref().map(|path| request::written("--message", path)).transpose()?;
            let expires_at = request::instant("--answer-until", Some(&answer_until))?;
            let session = Session::open(&rule.write.connect).await?;
            let call = RequestAccess {
                request: request::new_id(AccessRequestId)?,
                patient: session.book.patient(&rule.patient)?,
                rule: request::rule(GrantKind::Permit, &rule, &session.book)?,
                message,
                expires_at: expires_at.unwrap_or_default(),
            };
            let fields = Fields::new().text("request", call.request).text("patient", call.patient);
            done(&session, Call::RequestAccess(call), fields, &rule.write).await
        }
        Request::Approve { request, patient, until, uses, document, write } => {
            let id: AccessRequestId = request::id("REQUEST", &request)?;
            let until = request::instant("--until", until.as_deref())?;
            let document = request::attested(document.as_deref())?;
            let session = Session::open(&write.connect).await?;
            let patient = session.book.patient(&patient)?;
            let mut rule = find(&session, patient, id).await?.rule;
            rule.until = until.or(rule.until);
            rule.max_uses = uses.or(rule.max_uses);
            rule.document = document.or(rule.document);
            let grant = request::new_id(GrantId)?;
            let call = ApproveAccessRequest { patient, request: id, grant, rule };
            let fields = Fields::new().text("request", id).text("grant", grant);
            done(&session, Call::ApproveAccessRequest(call), fields, &write).await
        }
        Request::Reject { request, patient, document, write } => {
            let request = request::id("REQUEST", &request)?;
            let document = request::attested(document.as_deref())?;
            let session = Session::open(&write.connect).await?;
            let patient = session.book.patient(&patient)?;
            let call = Call::RejectAccessRequest(RejectAccessRequest { patient, request, document });
            done(&session, call, Fields::new().text("request", request), &write).await
        }
        Request::Withdraw { request, patient, write } => {
            let request = request::id("REQUEST", &request)?;
            let session = Session::open(&write.connect).await?;
            let patient = session.book.patient(&patient)?;
            let call = Call::WithdrawAccessRequest(WithdrawAccessRequest { patient, request });
            done(&session, call, Fields::new().text("request", request), &write).await
        }
        Request::List(args) => {
            let session = Session::open(&args.connect).await?;
            let patient = session.book.patient(&args.patient)?;
            let mut found = all_pages(async |page| {
                let page = Some(page);
                let request =
                    pb::ListAccessRequestsRequest { patient_id: raw(patient.0), page, options: None };
                let answer = session.client.list_access_requests(request).await?;
                Ok((answer.access_requests, answer.next_page_token))
            })
            .await?;
            // Their ids are random.
            found.sort_by_key(|request| request.created_ms);
            Ok(Shown::many(found.iter().map(view::access_request).collect::<Result<_, _>>()?))
        }
    }
}

async fn find(session: &Session, patient: PatientId, id: AccessRequestId) -> Result<AccessRequest, CliError> {
    let found = session.entry(&keys::access_request(patient, id)).await?;
    found.ok_or_else(|| CliError::not_there("request", id))
}
