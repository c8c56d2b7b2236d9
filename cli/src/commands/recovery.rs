//! A patient's lost key, restored by guardians.
//!
//! The ledger knows guardians by salted commitments alone. Each salt is a file that the patient gives to its guardian.

use std::path::Path;

use epione_chaincode::keys as state_keys;
use epione_client::keys;
use epione_types::call::{
    ApproveRecovery, Call, CancelRecovery, FinishRecovery, SetGuardians, StartRecovery,
};
use epione_types::{Hash, Signer as _};

use super::done;
use crate::args::Recovery;
use crate::error::{About as _, CliError};
use crate::output::{Fields, Shown};
use crate::session::Session;
use crate::{import, request, time};

pub(super) async fn run(command: Recovery) -> Result<Shown, CliError> {
    match command {
        Recovery::Guardians { guardians, threshold, salts, write } => {
            let session = Session::open(&write.connect).await?;
            let named = guardians.iter().map(|text| request::guardian(&session.book, text));
            let named = named.collect::<Result<Vec<_>, _>>()?;
            std::fs::create_dir(&salts).about(format_args!("--salts {}", salts.display()))?;
            let mut commitments = Vec::new();
            for (guardian, number) in named.iter().zip(1..) {
                let salt = Hash(request::salt()?);
                import::write(&salts.join(format!("{number}.salt")), salt.to_string().as_bytes())?;
                commitments.push(guardian.commitment(&salt));
            }
            let fields = Fields::new().with("guardians", commitments.len()).with("threshold", threshold);
            let call = Call::SetGuardians(SetGuardians { guardians: commitments, threshold });
            let note = format!("Give each guardian the file of its number in {}.", salts.display());
            Ok(done(&session, call, fields, &write).await?.note(note))
        }
        Recovery::Start { patient, salt, new_key, write } => {
            let (salt, key) = (read_salt(&salt)?, keys::read(&new_key)?);
            let session = Session::open(&write.connect).await?;
            let patient = session.book.patient(&patient)?;
            let fields = Fields::new().text("patient", patient).text("new_public_key", key.public_key());
            let call = Call::StartRecovery(StartRecovery { patient, key: key.public_key(), salt });
            let done = session.submit(call, &[key], &write).await?;
            Ok(Shown::one(fields.and(done.fields())))
        }
        Recovery::Approve { patient, salt, new_public_key, write } => {
            let salt = read_salt(&salt)?;
            let session = Session::open(&write.connect).await?;
            let patient = session.book.patient(&patient)?;
            let call = Call::ApproveRecovery(ApproveRecovery { patient, key: new_public_key, salt });
            done(&session, call, Fields::new().text("patient", patient), &write).await
        }
        Recovery::Cancel(step) => {
            let session = Session::open(&step.write.connect).await?;
            let patient = session.book.patient(&step.patient)?;
            let call = Call::CancelRecovery(CancelRecovery { patient });
            done(&session, call, Fields::new().text("patient", patient), &step.write).await
        }
        Recovery::Finish(step) => {
            let session = Session::open(&step.write.connect).await?;
            let patient = session.book.patient(&step.patient)?;
            let call = Call::FinishRecovery(FinishRecovery { patient });
            done(&session, call, Fields::new().text("patient", patient), &step.write).await
        }
        Recovery::Show(args) => {
            let session = Session::open(&args.connect).await?;
            let patient = session.book.patient(&args.patient)?;
            let found = session.entry(&state_keys::recovery(patient)).await?;
            let found = found.ok_or_else(|| CliError::not_there("recovery of the key of", patient))?;
            Ok(Shown::one(
                Fields::new()
                    .text("patient", patient)
                    .text("status", found.status)
                    .text("new_public_key", found.key)
                    .text("started", time::show(found.started))
                    .text("can_finish", time::show(found.due))
                    .with("approvals", found.approvals.len()),
            ))
        }
    }
}

fn read_salt(path: &Path) -> Result<Hash, CliError> {
    let text = String::from_utf8_lossy(&import::read("--salt", path)?).trim().to_owned();
    text.parse().map_err(|_| {
        CliError::usage("--salt: the file holds no 64 hex digits; name the one you were given as a guardian")
    })
}
