//! Constants of policy: shown, and changed by vote.

use epione_chaincode::keys;
use epione_types::call::{Call, ProposalAction, Propose, Vote, WithdrawProposal};
use epione_types::id::ProposalId;
use epione_types::{TimestampMs, codes::PolicyConstant};

use super::done;
use crate::args::Policy;
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;
use crate::time;

pub(super) async fn run(command: Policy) -> Result<Shown, CliError> {
    match command {
        Policy::Show(args) => {
            let session = Session::open(&args.connect).await?;
            let policy = session.entry(&keys::policy()).await?;
            let policy = policy.ok_or_else(|| CliError::failed("the chain has no policy"))?;
            let constants = session.entry(&keys::constants()).await?.unwrap_or_default();
            let settings = epione_chaincode::config::Settings { policy, constants };
            let row = |constant: &PolicyConstant| {
                Fields::new().text("constant", constant).with("value", settings.get(*constant))
            };
            Ok(Shown::many(PolicyConstant::ALL.iter().map(row).collect()))
        }
        Policy::Propose { constant, value, write } => {
            let value = number(&value)?;
            let session = Session::open(&write.connect).await?;
            let proposal = request::new_id(ProposalId)?;
            let action = ProposalAction::SetConstant { constant, value };
            let fields = Fields::new().text("proposal", proposal).text("constant", constant);
            let call = Call::Propose(Propose { proposal, action });
            done(&session, call, fields.with("value", value), &write).await
        }
        Policy::Vote { proposal, reject, write } => {
            let proposal = request::id("PROPOSAL", &proposal)?;
            let session = Session::open(&write.connect).await?;
            let fields = Fields::new().text("proposal", proposal).with("accept", !reject);
            done(&session, Call::Vote(Vote { proposal, accept: !reject }), fields, &write).await
        }
        Policy::Withdraw { proposal, write } => {
            let proposal = request::id("PROPOSAL", &proposal)?;
            let session = Session::open(&write.connect).await?;
            let call = Call::WithdrawProposal(WithdrawProposal { proposal });
            done(&session, call, Fields::new().text("proposal", proposal), &write).await
        }
        Policy::Proposal { proposal, connect } => {
            let id: ProposalId = request::id("PROPOSAL", &proposal)?;
            let session = Session::open(&connect).await?;
            let found = session.entry(&keys::proposal(id)).await?;
            let found = found.ok_or_else(|| CliError::not_there("proposal", id))?;
            let votes = |wanted: bool| {
                let voters = found.votes.iter().filter(move |(_, accept)| **accept == wanted);
                voters.map(|(org, _)| *org).collect::<Vec<_>>()
            };
            let action = serde_json::to_value(&found.action).about("the proposal cannot be shown")?;
            Ok(Shown::one(
                Fields::new()
                    .text("proposal", id)
                    .text("status", found.status)
                    .with("action", action)
                    .text("proposer", found.proposer)
                    .text("vote_until", time::show(found.expires))
                    .list("accepted", votes(true))
                    .list("declined", votes(false)),
            ))
        }
    }
}

/// A number, or a duration in milliseconds.
fn number(text: &str) -> Result<u64, CliError> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let duration = text.ends_with(['s', 'm', 'h', 'd']).then(|| time::parse(text, TimestampMs::default()));
    match duration {
        Some(Ok(duration)) => Ok(duration.0),
        _ => {
            Err(CliError::usage(format!("VALUE '{text}': write a number, or a duration such as 48h or 30d")))
        }
    }
}
