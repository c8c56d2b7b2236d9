//! Signing keys.

use epione_client::keys;
use epione_types::Signer as _;

use crate::args::Keys;
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::session;

pub(super) fn run(command: Keys) -> Result<Shown, CliError> {
    let (file, key) = match command {
        Keys::New { file } => {
            let key = session::new_key(&file)?;
            (file, key)
        }
        Keys::Show { file } => {
            let key = keys::read(&file)?;
            (file, key)
        }
    };
    Ok(Shown::one(Fields::new().text("file", file.display()).text("public_key", key.public_key())))
}
