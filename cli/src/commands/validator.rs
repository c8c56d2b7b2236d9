//! Who validates: shown, and put to the vote; a change that would leave too few that are live is refused before it is proposed.
//! Tested by `cli/tests/membership.rs`.

use std::collections::BTreeMap;

use epione_client::keys;
use epione_proto::v1 as pb;
use epione_types::call::{Call, ConfirmReadiness, ProposalAction, Propose};
use epione_types::id::ProposalId;
use epione_types::{Height, PublicKey, Signer as _, Validator as Member, ValidatorSet};

use super::done;
use crate::args::Validator;
use crate::args::validator::{Change, ValidatorAdd, ValidatorRemove};
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::{Door, Session};

/// Who signs now is seen in the certificates of so many blocks.
const LOOK_BACK: u64 = 50;
/// How long a node may take to tell who is live, in seconds.
const LIVE_WITHIN_S: u64 = 5;

pub(super) async fn run(command: Validator) -> Result<Shown, CliError> {
    match command {
        Validator::List(args) => {
            let session = Session::open(&args.connect).await?;
            let set = in_force(&session).await?;
            let (seen, signed) = signers(&session).await?;
            let row = |(place, one): (u16, &Member)| {
                Fields::new()
                    .with("validator", place)
                    .text("org", one.organisation)
                    .text("voting_key", one.public_key)
                    .text("network_key", one.network_key)
                    .with("signed", signed.get(&place).copied().unwrap_or_default())
                    .with("of", seen)
            };
            let rows = (0..).zip(&set.validators).map(row).collect();
            Ok(Shown::many(rows).note(format!(
                "Epoch {}: {} validators, {} decide, {} may be faulty. A certificate needs no more signatures than decide.",
                set.epoch,
                set.len(),
                set.quorum(),
                set.faults()
            )))
        }
        Validator::Add(ValidatorAdd { org, voting_key, network_key, instead_of, change }) => {
            let session = Session::open(&change.write.connect).await?;
            let organisation = session.book.org(&org)?;
            let add = Member { organisation, public_key: voting_key, network_key };
            propose(&session, instead_of, Some(add), &change).await
        }
        Validator::Remove(ValidatorRemove { voting_key, change }) => {
            let session = Session::open(&change.write.connect).await?;
            propose(&session, Some(voting_key), None, &change).await
        }
        Validator::Params { values, write } => {
            let session = Session::open(&write.connect).await?;
            let set = in_force(&session).await?;
            let mut params = serde_json::to_value(&set.params).about("the parameters in force")?;
            for text in &values {
                let usage = |why: &str| CliError::usage(format!("'{text}': {why}"));
                let (name, value) = text.split_once('=').ok_or_else(|| usage("write NAME=VALUE"))?;
                let value: u64 = value.parse().map_err(|_| usage("the value is a whole number"))?;
                let known = params.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>().join(", "));
                let place = params.get_mut(name);
                let place =
                    place.ok_or_else(|| usage(&format!("known are {}", known.unwrap_or_default())))?;
                *place = value.into();
            }
            let usage = |error: String| CliError::usage(error);
            let params: epione_types::Params =
                serde_json::from_value(params).map_err(|error| usage(error.to_string()))?;
            params.check().map_err(|error| usage(error.to_string()))?;
            let proposal = request::new_id(ProposalId)?;
            let call = Call::Propose(Propose { proposal, action: ProposalAction::SetParams { params } });
            done(&session, call, Fields::new().text("proposal", proposal), &write).await
        }
        Validator::Ready { proposal, joining, voting_key_file, write } => {
            let proposal: ProposalId = request::id("PROPOSAL", &proposal)?;
            let voting = keys::read(&voting_key_file)?;
            let session = Session::open(&write.connect).await?;
            let connect = write.connect.at(&joining);
            let there = Session::open(&connect).await?;
            let status = there.client.get_status(pb::GetStatusRequest {}).await?;
            if !status.synced {
                return Err(CliError::failed(format!(
                    "the node is at height {} and has not caught up: ask again later",
                    status.height
                ))
                .reason("NOT_SYNCED"));
            }
            let call = Call::ConfirmReadiness(ConfirmReadiness { proposal, height: Height(status.height) });
            let key = voting.public_key();
            let sent = session.submit(call, &[voting], &write).await?;
            let fields = Fields::new().text("proposal", proposal).text("voting_key", key);
            Ok(Shown::one(fields.with("ready_at", status.height).and(sent.fields())))
        }
    }
}

async fn in_force(session: &Session) -> Result<ValidatorSet, CliError> {
    let answer = session.client.get_validators(pb::GetValidatorsRequest { epoch: None }).await?;
    let set = answer.validators.unwrap_or_default();
    ValidatorSet::try_from(set).map_err(|error| CliError::failed(format!("the node's validators: {error}")))
}

/// How many of the last blocks of this epoch have a certificate, and how many of those each validator signed.
async fn signers(session: &Session) -> Result<(u64, BTreeMap<u16, u64>), CliError> {
    let status = session.client.get_status(pb::GetStatusRequest {}).await?;
    let from_height = status.certified_height.saturating_sub(LOOK_BACK).max(1);
    let request =
        pb::ListHeadersRequest { from_height, page_size: u32::try_from(LOOK_BACK + 1).unwrap_or(1) };
    let headers = session.client.list_headers(request).await?.headers;
    let mut seen = 0;
    let mut signed: BTreeMap<u16, u64> = BTreeMap::new();
    for certificate in headers.into_iter().filter_map(|header| header.certificate) {
        if certificate.epoch != status.epoch {
            continue;
        }
        seen += 1;
        for one in &certificate.signatures {
            if let Ok(place) = u16::try_from(one.validator) {
                *signed.entry(place).or_default() += 1;
            }
        }
    }
    Ok((seen, signed))
}

/// Who is live, of the validators in force.
struct Live {
    silent: Vec<PublicKey>,
    /// What the silent ones lack, for people.
    lack: String,
    /// How it is known.
    by: &'static str,
    /// Why no better way was taken; empty if none is.
    note: String,
}

/// Which network keys are ready, as a node's operators' address tells; itself included. None if no such address is known.
async fn ready(set: &ValidatorSet, change: &Change) -> Result<Option<BTreeMap<Vec<u8>, bool>>, CliError> {
    let mut connect = change.write.connect.clone();
    if let Some(operator) = &change.operator {
        connect = connect.at(operator);
    } else if !connect.endpoints.is_empty() {
        return Ok(None); // those are addresses for clinics
    }
    connect.timeout = connect.timeout.min(LIVE_WITHIN_S);
    let session = Session::lazy(&connect, Door::Operators)?;
    let status = session.client.get_node_status(pb::GetNodeStatusRequest {}).await?;
    let mut ready: BTreeMap<_, _> =
        status.peers.into_iter().map(|peer| (peer.network_key.to_vec(), peer.ready)).collect();
    let place = status.validator.filter(|_| status.epoch == set.epoch.0);
    let itself = place.and_then(|place| set.validators.get(usize::try_from(place).ok()?));
    ready.extend(itself.map(|one| (one.network_key.0.to_vec(), status.ready)));
    Ok(Some(ready))
}

/// By the links and votes that a node sees now; or by the last certificates, which hold no more signatures than they need,
/// so that it takes many of them to know who does not sign.
async fn live(session: &Session, set: &ValidatorSet, change: &Change) -> Result<Live, CliError> {
    let note = match ready(set, change).await {
        Ok(Some(ready)) => {
            let is_ready = |one: &&Member| ready.get(one.network_key.0.as_slice()) == Some(&true);
            let silent = set.validators.iter().filter(|one| !is_ready(one)).map(|one| one.public_key);
            let silent: Vec<PublicKey> = silent.collect();
            if set.len().saturating_sub(silent.len()) >= set.quorum() {
                let lack = "have no link to the node asked, or have not voted lately".to_owned();
                return Ok(Live { silent, lack, by: "links and votes", note: String::new() });
            }
            "the node asked sees no quorum itself".to_owned()
        }
        Ok(None) => "name a node's operators' address with --operator to know more".to_owned(),
        Err(error) if change.operator.is_some() => return Err(error.during("asking who is live")),
        Err(error) => format!("the node's operators' address does not answer: {}", error.message),
    };
    let (seen, signed) = signers(session).await?;
    // Nobody is known to be silent while no block of this epoch has shown it.
    let signs = |place: u16| seen == 0 || signed.contains_key(&place);
    let silent = (0..).zip(&set.validators).filter(|(place, _)| !signs(*place));
    Ok(Live {
        silent: silent.map(|(_, one)| one.public_key).collect(),
        lack: format!("have signed none of the last {seen} blocks"),
        by: "certificates",
        note: format!(" Who is live is judged by certificates alone: {note}."),
    })
}

/// Says what a change does, and proposes it unless those that are live now would be no quorum.
async fn propose(
    session: &Session,
    remove: Option<PublicKey>,
    add: Option<Member>,
    change: &Change,
) -> Result<Shown, CliError> {
    let set = in_force(session).await?;
    if let Some(key) = &remove
        && set.index_of(key).is_none()
    {
        return Err(CliError::not_there("validator", key));
    }
    let Live { silent, lack, by, note } = live(session, &set, change).await?;
    let missing: Vec<PublicKey> = silent.into_iter().filter(|key| Some(*key) != remove).collect();
    // Whoever joins has to prove that it is there before anything passes.
    let n = set.len() - usize::from(remove.is_some()) + usize::from(add.is_some());
    let live = n - missing.len();
    let quorum = epione_types::quorum::quorum(n);
    let fields = Fields::new()
        .with("validators_now", set.len())
        .with("decide_now", set.quorum())
        .with("validators_then", n)
        .with("decide_then", quorum)
        .with("may_be_faulty_then", epione_types::quorum::faults(n))
        .with("sign_then", live)
        .list("missing_then", &missing)
        .text("judged_by", by);
    let enough = live >= quorum && n > 0;
    let trouble = format!(
        "of {n} validators {quorum} must sign, and {live} would: of those that stay the others {lack}"
    );
    if change.dry_run {
        let told =
            if enough { "It keeps a quorum.".to_owned() } else { format!("It loses the quorum: {trouble}.") };
        return Ok(Shown::one(fields).note(told + &note));
    }
    if !enough && !change.force {
        let why = format!("{trouble}; bring those back first, or --force.{note}");
        return Err(CliError::failed(why).reason("QUORUM_LOST"));
    }
    let proposal = request::new_id(ProposalId)?;
    let action = ProposalAction::ChangeValidators { remove, add };
    let call = Call::Propose(Propose { proposal, action });
    let fields = Fields::new().text("proposal", proposal).and(fields);
    let shown = done(session, call, fields, &change.write).await?;
    Ok(match remove {
        Some(_) => shown.note(
            "Keep the node that leaves running until its `epione node explain` says that it may be switched off.",
        ),
        None => shown,
    })
}
