//! That an organisation holds no permit: proven, kept as a file, verified without any node.
//!
//! A kept proof is one encoded `epione.v1.NoGrantProof`.

use std::path::Path;

use epione_client::{ClientError, Trust, verify::VerifyError};
use epione_proto::v1 as pb;
use epione_types::id::{OrgId, PatientId, RecordId};
use epione_types::{BlockHeader, ChainId, Height};
use prost::Message as _;

use crate::args::consent::ProveNone;
use crate::commands::receipt;
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::session::Session;
use crate::{request, time};

/// Whom and what it is about.
struct Subject {
    patient: PatientId,
    record: RecordId,
    organisation: OrgId,
}

impl Subject {
    /// As the proof's keys name it: [`Trust::no_grant`] holds them against these ids again.
    fn of(proof: &pb::NoGrantProof) -> Option<Self> {
        let (_, record) = proof.record.as_ref()?.key.split_at_checked(4)?;
        let (patient, record) = record.split_at_checked(PatientId::LEN)?;
        let organisation = proof.organisation.as_ref()?.key.last_chunk::<16>()?;
        Some(Self {
            patient: patient.try_into().ok()?,
            record: record.try_into().ok()?,
            organisation: OrgId(*organisation),
        })
    }

    fn shown(&self, header: &BlockHeader, chain: ChainId) -> Fields {
        Fields::new()
            .text("organisation", self.organisation)
            .with("permits_in_force", 0)
            .text("record", self.record)
            .text("patient", self.patient)
            .with("height", header.height.0)
            .text("block_time", time::show(header.timestamp))
            .text("chain", chain)
    }
}

pub(super) async fn prove(args: &ProveNone) -> Result<Shown, CliError> {
    let session = Session::open(&args.connect).await?;
    let subject = Subject {
        patient: session.book.patient(&args.patient)?,
        record: request::id("RECORD", &args.record)?,
        organisation: session.book.org(&args.organisation)?,
    };
    let of = (subject.patient, subject.record);
    let proven = session.client.no_grant(of, subject.organisation, args.height.map(Height)).await;
    if let Err(ClientError::Proof(error @ VerifyError::Held { .. })) = &proven {
        return Err(CliError::not_proven(error.to_string()));
    }
    let (proof, header) = proven?;
    let mut shown = subject.shown(&header, session.client.trust().chain_id());
    if let Some(path) = &args.out {
        std::fs::write(path, proof.encode_to_vec()).about(path.display())?;
        shown = shown.text("kept_as", path.display());
    }
    Ok(Shown::one(shown))
}

pub(super) fn verify(file: &Path, genesis: &Path) -> Result<Shown, CliError> {
    let trust = Trust::new(&request::genesis(genesis)?)?;
    let broken = |error: String| CliError::not_proven(format!("the proof does not verify: {error}"));
    let proof = pb::NoGrantProof::decode(receipt::read(file)?.as_slice())
        .map_err(|error| broken(error.to_string()))?;
    let subject = Subject::of(&proof).ok_or_else(|| broken("it names no record and organisation".into()))?;
    let header = trust
        .no_grant((subject.patient, subject.record), subject.organisation, &proof)
        .map_err(|error| broken(error.to_string()))?;
    Ok(Shown::one(subject.shown(&header, trust.chain_id())).note(
        "Verified: a quorum of the validators that follow from this genesis vouches for it. Permits to a study are the study's.",
    ))
}
