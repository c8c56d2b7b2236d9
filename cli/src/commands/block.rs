//! Blocks.

use epione_proto::v1 as pb;
use epione_types::{Height, Outcome, Receipt};

use super::view;
use crate::args::Block;
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::session::Session;

pub(super) async fn run(command: Block) -> Result<Shown, CliError> {
    let Block::Show { height, transactions, connect } = command;
    let session = Session::open(&connect).await?;
    // The header is verified first; the rest is the node's word about it.
    let proven = session.client.certified_header(height.map(Height)).await?;
    let request = pb::GetBlockRequest {
        height: proven.height.0,
        with_transactions: false,
        with_receipts: transactions,
    };
    let block = session.client.get_block(request).await?.block.unwrap_or_default();
    let header = block.header.clone().unwrap_or_default();
    if block.hash != proven.hash().as_bytes().as_slice() {
        return Err(CliError::not_proven(format!(
            "block {} is not the one whose header is certified: do not trust this node",
            proven.height
        )));
    }
    let signers = block.certificate.as_ref().map(|certificate| {
        certificate.signatures.iter().map(|one| one.validator.to_string()).collect::<Vec<_>>().join(", ")
    });
    let mut fields = view::header(&header, &block.hash)?
        .with("transactions", block.transaction_count)
        .maybe("sealed_by", signers);
    if transactions {
        let mut list = Vec::new();
        for receipt in block.receipts {
            let receipt = Receipt::try_from(receipt)?;
            let outcome = match receipt.outcome {
                Outcome::Ok => "APPLIED",
                Outcome::Refused(refusal) => refusal.name(),
            };
            list.push(serde_json::json!({"transaction": receipt.tx_id, "outcome": outcome}));
        }
        fields = fields.with("receipts", list);
    }
    Ok(Shown::one(Fields::new().and(fields))
        .note("Certified: a quorum of validators signed this header or a descendant."))
}
