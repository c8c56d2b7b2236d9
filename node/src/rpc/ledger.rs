//! The ledger itself: blocks, headers, proofs, validators.

use epione_chaincode::{host, keys, read};
use epione_consensus::SignedVote;
use epione_proto::convert::raw;
use epione_proto::v1::{self as pb, ledger_service_server::LedgerService};
use epione_types::id::{AccessRequestId, GrantId, PatientId, RecordId};
use epione_types::state_proof::STATE_KEY_BYTES_MAX;
use epione_types::{Batch, Epoch, Height, codec};
use tonic::{Request, Response, Status};

use super::door::caller;
use super::error::RpcError;
use super::health::readiness;
use super::read::{View, page_size_of, view};
use super::{proof, wire};
use crate::handle::{NodeError, NodeHandle};

/// Largest encoded batch that any genesis allows, and then some.
const BATCH_BYTES_MAX: usize = 9 << 20;

#[derive(Debug, Clone)]
pub(super) struct Ledger(pub(super) NodeHandle);

impl Ledger {
    async fn header(&self, height: u64) -> Result<pb::GetHeaderResponse, RpcError> {
        let certified = self.0.progress().borrow().certified;
        let height = if height == 0 { certified } else { Height(height) };
        let found = self.0.read(move |chain| match chain.header(height)? {
            None if height > Height::ZERO && height < chain.base() => Err(NodeError::missing(chain, height)),
            found => Ok(found),
        });
        let header = found.await?.ok_or(RpcError::NotFound("block"))?;
        let finality = self.0.finality(height).await?.ok_or(RpcError::NotCertified(height))?;
        let certified = Some(proof::certified(&header, &finality));
        Ok(pb::GetHeaderResponse { header: Some((&header).into()), certified })
    }
}

/// May the caller see what this key of the state holds, or that it holds nothing? What is hidden and what is absent are
/// refused alike.
fn sees_key(view: &View<'_>, key: &[u8]) -> Result<bool, RpcError> {
    if view.oversees()? {
        return Ok(true);
    }
    let Some((prefix, rest)) = key.split_at_checked(4) else { return Ok(false) };
    let patient = |id: PatientId| match view.patient(id) {
        Ok(reader) => Ok(Some(reader)),
        Err(RpcError::NotAllowed) => Ok(None),
        Err(error) => Err(error),
    };
    Ok(match prefix {
        // Public among the enrolled; whoever names a transaction has seen it.
        b"cfg/" | b"org/" | b"pra/" | b"dev/" | b"prp/" | b"txi/" => true,
        b"key/" => rest == view.caller.key.as_bytes(),
        b"pat/" => match PatientId::try_from(rest) {
            Ok(id) => patient(id)?.is_some(),
            Err(_) => false,
        },
        b"rec/" => match RecordId::try_from(rest) {
            Ok(id) => read::record(view.state, view.now, view.caller.member, id)?.is_some(),
            Err(_) => false,
        },
        b"grt/" => {
            match rest.split_at_checked(PatientId::LEN).map(|(a, b)| (a.try_into(), GrantId::try_from(b))) {
                Some((Ok(id), Ok(grant))) => match patient(id)? {
                    // Whoever sees all grants may prove that there is none.
                    Some(reader) => reader.sees_precise_reasons() || reader.grant(grant)?.is_some(),
                    None => false,
                },
                _ => false,
            }
        }
        // What each holder has, and whose a record is: for those who see all grants.
        b"gro/" | b"rbp/" => match rest.split_at_checked(PatientId::LEN).map(|(id, _)| id.try_into()) {
            Some(Ok(id)) => patient(id)?.is_some_and(|reader| reader.sees_precise_reasons()),
            _ => false,
        },
        b"rpt/" => match RecordId::try_from(rest) {
            Ok(id) => match host::get(view.state, &keys::record(id))? {
                Some(record) => match patient(record.patient)? {
                    Some(reader) => reader.report(id)?.is_some(),
                    None => false,
                },
                None => false,
            },
            Err(_) => false,
        },
        b"arq/" => match rest
            .split_at_checked(PatientId::LEN)
            .map(|(a, b)| (a.try_into(), AccessRequestId::try_from(b)))
        {
            Some((Ok(id), Ok(request))) => {
                read::access_request(view.state, view.now, view.caller.member, id, request)?.is_some()
            }
            _ => false,
        },
        b"rcv/" => match PatientId::try_from(rest) {
            Ok(id) => match patient(id)? {
                Some(reader) => reader.recovery()?.is_some(),
                None => false,
            },
            Err(_) => false,
        },
        _ => false,
    })
}

#[tonic::async_trait]
impl LedgerService for Ledger {
    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        let head = self.0.read(|chain| Ok::<_, NodeError>(chain.head())).await.map_err(RpcError::from)?;
        Ok(Response::new(pb::GetStatusResponse {
            chain_id: raw(self.0.chain_id().0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            height: head.height.0,
            certified_height: self.0.progress().borrow().certified.0,
            block_time_ms: head.timestamp.0,
            epoch: self.0.epoch().set.epoch.0,
            state_root: raw(head.state_root.0),
            synced: readiness(&self.0).synced,
        }))
    }

    async fn get_block(
        &self,
        request: Request<pb::GetBlockRequest>,
    ) -> Result<Response<pb::GetBlockResponse>, Status> {
        let caller = caller(&request)?;
        let pb::GetBlockRequest { height, with_transactions, with_receipts } = request.into_inner();
        let height = Height(height);
        let (block, _) = view(&self.0, &caller, 0, move |view| {
            if (with_transactions || with_receipts) && !view.oversees()? {
                return Err(RpcError::NotAllowed);
            }
            let chain = &view.state.0;
            if height > chain.head().height || height == Height::ZERO {
                return Err(RpcError::NotFound("block"));
            }
            let missing = || NodeError::missing(chain, height);
            let header = chain.header(height).map_err(NodeError::from)?.ok_or_else(missing)?;
            let receipts = chain.receipts(height).map_err(NodeError::from)?.ok_or_else(missing)?;
            let batch = if with_transactions { chain.batch(height).map_err(NodeError::from)? } else { None };
            let decode = |bytes: Vec<u8>| codec::decode::<Batch>(&bytes, BATCH_BYTES_MAX);
            let batch = batch.map(decode).transpose().map_err(|_| NodeError::Missing(height))?;
            Ok(pb::Block {
                hash: raw(header.hash().0),
                certificate: chain.certificate(height).map_err(NodeError::from)?.as_ref().map(Into::into),
                transaction_count: u32::try_from(receipts.len()).unwrap_or(u32::MAX),
                batch: batch.as_ref().map(Into::into),
                receipts: if with_receipts { receipts.iter().map(Into::into).collect() } else { Vec::new() },
                header: Some((&header).into()),
            })
        })
        .await?;
        Ok(Response::new(pb::GetBlockResponse { block: Some(block) }))
    }

    async fn get_header(
        &self,
        request: Request<pb::GetHeaderRequest>,
    ) -> Result<Response<pb::GetHeaderResponse>, Status> {
        Ok(Response::new(self.header(request.into_inner().height).await?))
    }

    async fn list_headers(
        &self,
        request: Request<pb::ListHeadersRequest>,
    ) -> Result<Response<pb::ListHeadersResponse>, Status> {
        let pb::ListHeadersRequest { from_height, page_size } = request.into_inner();
        let size = page_size_of(page_size)?;
        let read = move |chain: &std::sync::Arc<epione_ledger::chain::Chain>| {
            let mut headers = Vec::new();
            for height in (from_height.max(1)..=chain.head().height.0).take(size).map(Height) {
                let header = chain.header(height)?.ok_or_else(|| NodeError::missing(chain, height))?;
                let certificate = chain.certificate(height)?.as_ref().map(Into::into);
                headers.push(pb::SealedHeader { header: Some((&header).into()), certificate });
            }
            Ok::<_, NodeError>(headers)
        };
        let headers = self.0.read(read).await.map_err(RpcError::from)?;
        Ok(Response::new(pb::ListHeadersResponse { headers }))
    }

    async fn get_proof(
        &self,
        request: Request<pb::GetProofRequest>,
    ) -> Result<Response<pb::GetProofResponse>, Status> {
        let caller = caller(&request)?;
        let pb::GetProofRequest { key, height } = request.into_inner();
        if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
            return Err(RpcError::KeyLength { found: key.len(), limit: STATE_KEY_BYTES_MAX }.into());
        }
        // One that is executed is about to be certified: `proof::value` waits for that.
        let last = self.0.progress().borrow().height;
        if height > last.0 {
            let first = last.minus(epione_ledger::chain::PROOF_HEIGHTS);
            return Err(RpcError::Pruned { asked: height, first, last }.into());
        }
        let wanted = key.to_vec();
        let (value, head) = view(&self.0, &caller, 0, move |view| {
            if !sees_key(view, &wanted)? {
                return Err(RpcError::NotAllowed);
            }
            Ok(epione_chaincode::State::get(view.state, &wanted)?)
        })
        .await?;
        let height = if height == 0 { head.height } else { Height(height) };
        let proof = proof::value(&self.0, height, key.to_vec(), value).await?;
        Ok(Response::new(pb::GetProofResponse { proof: Some(proof) }))
    }

    async fn get_validators(
        &self,
        request: Request<pb::GetValidatorsRequest>,
    ) -> Result<Response<pb::GetValidatorsResponse>, Status> {
        let present = self.0.epoch();
        let epoch = request.into_inner().epoch.map_or(present.set.epoch, Epoch);
        let set = if epoch == present.set.epoch {
            Some(present.set.clone())
        } else if epoch == Epoch::ZERO {
            Some(self.0.genesis().validators.clone())
        } else {
            let found = self.0.read(move |chain| Ok::<_, NodeError>(chain.epoch(epoch)?));
            found.await.map_err(RpcError::from)?.map(|(_, set)| set)
        };
        let set = set.ok_or(RpcError::NotFound("epoch"))?;
        Ok(Response::new(pb::GetValidatorsResponse { validators: Some((&set).into()) }))
    }

    async fn get_genesis(
        &self,
        _: Request<pb::GetGenesisRequest>,
    ) -> Result<Response<pb::GetGenesisResponse>, Status> {
        let json = serde_json::to_vec(self.0.genesis()).map_err(|_| RpcError::NotFound("genesis"))?;
        Ok(Response::new(pb::GetGenesisResponse {
            chain_id: raw(self.0.chain_id().0),
            genesis_json: json.into(),
        }))
    }

    async fn list_evidence(
        &self,
        request: Request<pb::ListEvidenceRequest>,
    ) -> Result<Response<pb::ListEvidenceResponse>, Status> {
        let pb::PageRequest { page_size, page_token } = request.into_inner().page.unwrap_or_default();
        let size = page_size_of(page_size)?;
        let from = match page_token.as_ref() {
            [] => 0,
            token => u64::from_be_bytes(token.try_into().map_err(|_| RpcError::PageToken)?),
        };
        let kept = self.0.read(move |chain| chain.evidence(from, size.saturating_add(1)));
        let mut kept = kept.await.map_err(RpcError::from)?;
        let next = kept.get(size).map(|(number, _)| number.to_be_bytes().to_vec());
        kept.truncate(size);
        let evidence = kept.iter().filter_map(|(_, bytes)| {
            let (first, second) = codec::decode::<(SignedVote, SignedVote)>(bytes, 1_024).ok()?;
            wire::evidence(&first, &second)
        });
        Ok(Response::new(pb::ListEvidenceResponse {
            evidence: evidence.collect(),
            next_page_token: next.unwrap_or_default().into(),
        }))
    }
}
