//! From files to transactions: bundles read, sealed, signed; bodies and salts kept by whoever they belong to.
//!
//! Messages name a file by its place ("bundle 3 of 18"), never by its path: tested by `tests/phi.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

use epione_client::fhir::{Import, ImportPlan, MAX_BUNDLE_BYTES, RecordFile, Tables, read_bundle};
use epione_client::{EpioneClient, TxBuilder};
use epione_types::call::{Call, Month};
use epione_types::codes::Role;
use epione_types::{Hash, SecretKey, SignedTx};

use crate::error::{About as _, CliError};

/// A file to register. Shown by its place alone: exporters name bundles after their patients.
pub(crate) struct Source {
    path: PathBuf,
    number: usize,
    of: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.number, self.of)
    }
}

impl Source {
    /// Its bytes, within the limit of a bundle.
    pub(crate) fn read(&self) -> Result<Vec<u8>, CliError> {
        read(&format!("file {self}"), &self.path)
    }
}

/// Files as they are named, and the .json files of a folder in order of their names.
pub(crate) fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).about(path.display())? {
            let file = entry.about(path.display())?.path();
            if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(CliError::failed(format!("{} holds no .json file", path.display())));
        }
        found.sort_unstable();
        files.extend(found);
    }
    let of = files.len();
    Ok(files.into_iter().zip(1..).map(|(path, number)| Source { path, number, of }).collect())
}

/// A file's bytes, within the limit of a bundle. `name` stands for it in errors.
pub(crate) fn read(name: &str, path: &Path) -> Result<Vec<u8>, CliError> {
    let length = std::fs::metadata(path).about(name)?.len();
    if length > MAX_BUNDLE_BYTES as u64 {
        return Err(CliError::failed(format!(
            "{name} has {length} bytes; a file to register has at most {MAX_BUNDLE_BYTES}: export it in parts"
        )));
    }
    std::fs::read(path).about(name)
}

/// Is this a FHIR bundle?
pub(crate) fn is_bundle(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(rename = "resourceType")]
        resource_type: String,
    }
    serde_json::from_slice::<Head>(bytes).is_ok_and(|head| head.resource_type == "Bundle")
}

/// Plans a bundle's import. Errors show its place among the others, and never quote it.
pub(crate) fn plan(place: &str, bytes: &[u8], undated: Option<Month>) -> Result<ImportPlan, CliError> {
    read_bundle(bytes, &Tables::built_in(), undated).about(format_args!("bundle {place}"))
}

/// Draws ids and salts.
pub(crate) fn seal(plan: ImportPlan, role: Role, notice: Hash) -> Result<Import, CliError> {
    plan.seal(role, notice, &mut getrandom::SysRng).about("no randomness from the operating system")
}

/// Transactions by their author: patients, who must be final before the records, and records.
pub(crate) fn sign(
    client: &EpioneClient,
    author: &SecretKey,
    imports: &[Import],
) -> Result<(Vec<SignedTx>, Vec<SignedTx>), CliError> {
    let sign = |call| TxBuilder::new(client.chain_id(), call).sign(author, &[]).map_err(CliError::from);
    let patients = imports
        .iter()
        .flat_map(|import| &import.patients)
        .map(|(call, _)| sign(Call::RegisterPatient(call.clone())));
    let records = imports
        .iter()
        .flat_map(|import| &import.records)
        .map(|record| sign(Call::RegisterRecord(record.call.clone())));
    Ok((patients.collect::<Result<_, _>>()?, records.collect::<Result<_, _>>()?))
}

/// Keeps what stays with the custodian: a file per record (salt and body) and one per patient.
pub(crate) fn keep(folder: &Path, imports: &[Import]) -> Result<(), CliError> {
    for import in imports {
        for (call, file) in &import.patients {
            write(&folder.join(format!("{}.patient", call.patient)), file.person.body.expose())?;
        }
        for record in &import.records {
            keep_record(folder, &record.call.record.to_string(), &record.file)?;
        }
    }
    Ok(())
}

/// Keeps one record's salt and body.
pub(crate) fn keep_record(folder: &Path, id: &str, file: &RecordFile) -> Result<(), CliError> {
    write(&folder.join(format!("{id}.record")), file.bytes())
}

/// A new file, readable by its owner alone.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).about(path.display())?;
    file.write_all(bytes).about(path.display())
}
