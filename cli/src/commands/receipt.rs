//! Receipts: fetched with their proof, kept as a file, verified without any node.
//!
//! A kept proof is one encoded `epione.v1.ReceiptProof`, so that every language can read it.

use std::path::Path;

use epione_client::{Trust, TxStatus};
use epione_proto::v1 as pb;
use epione_types::TxId;
use prost::Message as _;

use crate::args::Receipt;
use crate::error::{About as _, CliError, EXIT_UNKNOWN};
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::{Session, events, receipt_fields};
use crate::time;

/// Largest kept proof read, in bytes; real ones have a few thousand.
const PROOF_BYTES_MAX: u64 = 4 << 20;

pub(super) async fn run(command: Receipt) -> Result<Shown, CliError> {
    match command {
        Receipt::Get { transaction, out, connect } => {
            let session = Session::open(&connect).await?;
            let (receipt, proof) = match session.client.receipt(transaction, None).await? {
                TxStatus::Certified { receipt, proof } => (receipt, Some(proof)),
                TxStatus::Committed(receipt) => (receipt, None),
                TxStatus::Expired(_) => {
                    return Ok(Shown::one(expired(transaction)).note(
                        "So this node says. Its proof holds for those alone who kept the transaction's bytes.",
                    ));
                }
                TxStatus::Pending { durable } => {
                    let fields = Fields::new()
                        .text("transaction", transaction)
                        .with("state", "PENDING")
                        .with("durable", durable);
                    return Ok(Shown::one(fields)
                        .note("It waits to be ordered: ask again.")
                        .exit(EXIT_UNKNOWN));
                }
                TxStatus::Unknown => {
                    let text = format!(
                        "this node has not seen transaction {transaction}: ask the node it was submitted to (--node, --endpoint), or submit it again"
                    );
                    return Err(CliError::unknown(text).reason("UNKNOWN"));
                }
            };
            let state = if proof.is_some() { "CERTIFIED" } else { "COMMITTED" };
            let mut shown = Fields::new()
                .with("state", state)
                .and(receipt_fields(&receipt))
                .with("events", events(&receipt));
            match (&out, &proof) {
                (Some(path), Some(proof)) => {
                    std::fs::write(path, proof.encode_to_vec()).about(path.display())?;
                    shown = shown.text("kept_as", path.display());
                }
                (Some(_), None) => {
                    let text =
                        format!("transaction {transaction} has no certificate yet: ask again in a moment");
                    return Err(CliError::unknown(text).reason("NOT_CERTIFIED"));
                }
                (None, _) => {}
            }
            Ok(Shown::one(shown))
        }
        Receipt::Verify { file, genesis } => {
            let trust = Trust::new(&request::genesis(&genesis)?)?;
            let (receipt, header) = verify(&trust, &read(&file)?)?;
            let shown = receipt_fields(&receipt)
                .text("block_time", time::show(header.timestamp))
                .text("chain", trust.chain_id())
                .with("events", events(&receipt));
            Ok(Shown::one(shown)
                .note("Verified: a quorum of the validators that follow from this genesis vouches for it."))
        }
    }
}

/// That it can never commit is proven to whoever knows when it expires: that stands in its bytes, not in its id.
fn expired(transaction: TxId) -> Fields {
    Fields::new().text("transaction", transaction).with("state", "EXPIRED").with("proven", false)
}

/// A kept proof.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let length = std::fs::metadata(path).about(path.display())?.len();
    if length > PROOF_BYTES_MAX {
        return Err(CliError::failed(format!(
            "{} has {length} bytes, a kept proof at most {PROOF_BYTES_MAX}: name a file that --receipt or --out wrote",
            path.display()
        )));
    }
    std::fs::read(path).about(path.display())
}

/// What a kept proof proves. Needs nothing but the genesis.
pub(crate) fn verify(
    trust: &Trust,
    bytes: &[u8],
) -> Result<(epione_types::Receipt, epione_types::BlockHeader), CliError> {
    let broken = |error: String| CliError::not_proven(format!("the receipt does not verify: {error}"));
    let proof = pb::ReceiptProof::decode(bytes).map_err(|error| broken(error.to_string()))?;
    trust.receipt(&proof).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_that_nobody_could_verify_does_not_pass_for_proven() {
        let shown = crate::output::to_json(&expired(TxId([7; 32])));
        assert!(shown.contains(r#""state":"EXPIRED","proven":false"#), "{shown}");
    }
}
