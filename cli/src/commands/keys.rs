//! Signing keys.

use epione_client::keys;
use epione_types::Signer as _;
use epione_types::call::{Call, RotateKey};

use crate::args::{Keys, KeysRotate};
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::session::{self, Session};

pub(super) async fn run(command: Keys) -> Result<Shown, CliError> {
    let (file, key) = match command {
        Keys::New { file } => {
            let key = session::new_key(&file)?;
            (file, key)
        }
        Keys::Show { file } => {
            let key = keys::read(&file)?;
            (file, key)
        }
        Keys::Rotate(args) => {
            let KeysRotate { file, write } = *args;
            let key = keys::read(&file)?;
            let session = Session::open(&write.connect).await?;
            let fields = Fields::new().text("public_key", key.public_key());
            let call = Call::RotateKey(RotateKey { key: key.public_key() });
            let done = session.submit(call, &[key], &write).await?;
            let note = format!("Sign with {} from now on (--key).", file.display());
            return Ok(Shown::one(fields.and(done.fields())).note(note));
        }
    };
    Ok(Shown::one(Fields::new().text("file", file.display()).text("public_key", key.public_key())))
}
