//! Enrolment that commands and the demo share.

use epione_client::{EpioneClient, TxBuilder, Wait};
use epione_proto::convert::fixed;
use epione_proto::v1::{self as pb, member::Member};
use epione_types::call::{Call, RegisterPractitioner};
use epione_types::codes::{Capability, Role};
use epione_types::id::{OrgId, PractitionerId};
use epione_types::{Outcome, SecretKey, Signer as _};

use crate::error::CliError;
use crate::request;
use crate::session::Session;

/// The organisation that this session's key administers.
pub(crate) async fn admin_of(session: &Session) -> Result<OrgId, CliError> {
    let answer = session.client.who_am_i(pb::WhoAmIRequest {}).await?;
    let admin = answer.members.into_iter().find_map(|member| match member.member {
        Some(Member::AdminOfOrgId(id)) => Some(id),
        _ => None,
    });
    let id = admin.ok_or_else(|| {
        CliError::usage("your key is no administrator's: practitioners are enrolled by an admin of their organisation (--as hospital0/admin)")
    })?;
    Ok(fixed("admin_of_org_id", &id)?)
}

/// What a member is called in the book: by the organisation's name here, if it has one.
pub(crate) fn full_name(session: &Session, org: OrgId, name: &str) -> String {
    let known = session.book.orgs.iter().find(|(_, id)| **id == org).map(|(name, _)| name.clone());
    format!("{}/{name}", known.unwrap_or_else(|| org.to_string()))
}

/// Enrols a physician who may break the glass.
pub(crate) async fn physician(
    client: &EpioneClient,
    admin: &SecretKey,
    key: &SecretKey,
) -> Result<PractitionerId, CliError> {
    let practitioner = request::new_id(PractitionerId)?;
    let call = RegisterPractitioner {
        practitioner,
        key: key.public_key(),
        roles: vec![Role::Physician],
        capabilities: vec![Capability::BreakGlass],
        credential_until: None,
        identity_commitment: request::empty_commitment()?,
    };
    let tx = TxBuilder::new(client.chain_id(), Call::RegisterPractitioner(call)).sign(admin, &[key])?;
    let status = client.submit(&tx, Wait::Certified).await?;
    match status.receipt().map(|receipt| receipt.outcome) {
        Some(Outcome::Ok) => Ok(practitioner),
        outcome => Err(CliError::failed(format!("enrolment of a physician came to {outcome:?}"))),
    }
}
