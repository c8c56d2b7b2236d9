//! Patients and records through all four hospitals at once, the primary killed in the middle of it.

use std::path::Path;
use std::time::{Duration, Instant};

use epione_client::TxBuilder;
use epione_client::fhir::{Import, ImportPlan};
use epione_proto::convert::raw;
use epione_proto::v1 as pb;
use epione_testnet::bundles;
use epione_testnet::local::Network;
use epione_types::call::Call;
use epione_types::codes::Role;
use epione_types::id::{PatientId, RecordId};
use epione_types::{Height, SecretKey, SignedTx, Signer as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::cast::{Cast, Hospital};
use super::{must, say};
use crate::commands::record;
use crate::error::CliError;
use crate::load::{Gate, Tally, submit_all};
use crate::output::Fields;
use crate::time::took;
use crate::{import, request};

/// Seed and number of the invented patients.
const SEED: u64 = 20_260_729;
const PATIENTS: u64 = 40;
/// How long the killed node may take to be back and level.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(50);

/// The bundles of a folder, or invented ones: all of them read before anything is started.
pub(super) fn bundles(folder: Option<&Path>) -> Result<Vec<ImportPlan>, CliError> {
    let undated = request::this_month();
    let Some(folder) = folder else {
        let invented = |patient| {
            let bundle = bundles::bundle(SEED, patient).to_string();
            import::plan(&format!("{} of {PATIENTS}", patient + 1), bundle.as_bytes(), undated)
        };
        return (0..PATIENTS).map(invented).collect();
    };
    if !folder.is_dir() {
        return Err(CliError::usage(format!("--bundles {}: no such folder", folder.display())));
    }
    let sources = import::sources(&[folder.to_owned()])?;
    sources.iter().map(|source| import::plan(&source.to_string(), &source.read()?, undated)).collect()
}

/// What each hospital has to register, and what became of it.
pub(super) struct Work {
    /// By hospital.
    imports: Vec<Vec<Import>>,
    bundles: usize,
    references: usize,
    /// Of the patient who holds a key.
    anna: Option<(PatientId, SecretKey)>,
    /// Records not registered yet, by hospital.
    records: Vec<Vec<SignedTx>>,
    pub(super) patients: Tally,
}

impl Work {
    /// Gives the first hospital's first patient who has a record without a label a key; the patient and that record.
    pub(super) fn give_key(&mut self, key: &SecretKey) -> Result<(PatientId, RecordId), CliError> {
        for import in self.imports.iter_mut().take(1).flatten() {
            for (call, _) in &mut import.patients {
                let plain = import
                    .records
                    .iter()
                    .find(|record| record.call.patient == call.patient && record.call.labels.is_empty());
                if let Some(record) = plain {
                    call.key = Some(key.public_key());
                    self.anna = Some((call.patient, key.clone()));
                    return Ok((call.patient, record.call.record));
                }
            }
        }
        Err(CliError::failed(
            "the first hospital's bundles hold no patient with a record without a sensitivity label",
        ))
    }

    fn patients_of(&self, hospital: usize) -> impl Iterator<Item = PatientId> + '_ {
        let imports = self.imports.get(hospital).map(Vec::as_slice).unwrap_or_default();
        imports.iter().flat_map(|import| import.patients.iter().map(|(call, _)| call.patient))
    }
}

/// Deals the bundles out to the hospitals in turn, largest first: no hospital waits for another.
pub(super) fn deal(cast: &Cast, mut plans: Vec<ImportPlan>) -> Result<Work, CliError> {
    let count = cast.hospitals.len();
    let notice = request::notice(None)?;
    let bundles = plans.len();
    let references = plans.iter().map(|plan| plan.references).sum();
    plans.retain(|plan| !plan.patients.is_empty());
    plans.sort_by_key(|plan| std::cmp::Reverse(plan.records.len()));
    let mut imports: Vec<Vec<Import>> = (0..count).map(|_| Vec::new()).collect();
    for (plan, hospital) in plans.into_iter().zip((0..count).cycle()) {
        let sealed = import::seal(plan, Role::Physician, notice)?;
        if let Some(of_hospital) = imports.get_mut(hospital) {
            of_hospital.push(sealed);
        }
    }
    Ok(Work { imports, bundles, references, anna: None, records: Vec::new(), patients: Tally::default() })
}

/// All patients, and then half of every hospital's records.
pub(super) async fn first_half(cast: &Cast, work: &mut Work) -> Result<Tally, CliError> {
    let mut patients = Vec::new();
    for (hospital, imports) in cast.hospitals.iter().zip(&work.imports) {
        let (mut calls, records) = import::sign(&hospital.client, &hospital.doctor, imports)?;
        co_sign(hospital, imports, work.anna.as_ref(), &mut calls)?;
        patients.push(calls);
        work.records.push(records);
    }
    work.patients = through_all(cast, patients, None, None).await?;
    work.patients.all_applied("patients")?;
    let halves =
        work.records.iter_mut().map(|records| records.split_off(records.len() / 2)).collect::<Vec<_>>();
    let first = std::mem::replace(&mut work.records, halves);
    let first = through_all(cast, first, None, None).await?;
    first.all_applied("records")?;
    Ok(first)
}

/// Replaces the transaction of the patient who holds a key: she signs too.
fn co_sign(
    hospital: &Hospital,
    imports: &[Import],
    anna: Option<&(PatientId, SecretKey)>,
    calls: &mut [SignedTx],
) -> Result<(), CliError> {
    let Some((id, key)) = anna else { return Ok(()) };
    let patients = imports.iter().flat_map(|import| &import.patients);
    for ((call, _), tx) in patients.zip(calls) {
        if call.patient == *id {
            let builder = TxBuilder::new(hospital.client.chain_id(), Call::RegisterPatient(call.clone()));
            *tx = builder.sign(&hospital.doctor, &[key])?;
        }
    }
    Ok(())
}

/// Each hospital's transactions through its own node first, all hospitals at once.
async fn through_all(
    cast: &Cast,
    work: Vec<Vec<SignedTx>>,
    gate: Option<&watch::Receiver<bool>>,
    answered: Option<&mpsc::UnboundedSender<Instant>>,
) -> Result<Tally, CliError> {
    let mut tasks = JoinSet::new();
    for (hospital, transactions) in cast.hospitals.iter().zip(work) {
        let client = hospital.client.clone();
        let gate = gate.map(|open| Gate { after: transactions.len() / 2, open: open.clone() });
        let answered = answered.cloned();
        tasks.spawn(async move {
            submit_all(&client, transactions, gate, |_| {
                // Nobody listens any more once the primary is dead and work goes on.
                let _ = answered.as_ref().map(|to| to.send(Instant::now()));
            })
            .await
        });
    }
    let mut tally = Tally::default();
    while let Some(done) = tasks.join_next().await {
        tally.add(done.map_err(|error| CliError::failed(format!("a load's task failed: {error}")))??);
    }
    Ok(tally)
}

/// What became of the whole load.
pub(super) struct Loaded {
    /// Its last block.
    pub(super) height: Height,
    fields: Fields,
}

impl Loaded {
    pub(super) fn fields(&self) -> Fields {
        self.fields.clone()
    }
}

/// The other half of the records. When a quarter is answered and as many are under way, the primary gets SIGKILL; the
/// other half of this load is sent only then, so that work goes on without the primary.
pub(super) async fn second_half_with_a_kill(
    cast: &Cast,
    network: &mut Network,
    mut work: Work,
    first: Tally,
) -> Result<Loaded, CliError> {
    let records = std::mem::take(&mut work.records);
    let total: usize = records.iter().map(Vec::len).sum();
    let (open, gate) = watch::channel(false);
    let (to, mut answers) = mpsc::unbounded_channel();
    let load = through_all(cast, records, Some(&gate), Some(&to));
    let kill = async {
        for _ in 0..total / 4 {
            answers.recv().await;
        }
        let (primary, view) = primary(network, None).await?;
        network.kill(primary).await?;
        let killed = Instant::now();
        say(format_args!("node {primary}, the primary of view {view}, got SIGKILL in mid-load"));
        open.send_replace(true);
        // What was answered before the kill may still wait in the channel.
        let resumed = loop {
            match answers.recv().await {
                Some(at) if at > killed => break at.duration_since(killed),
                Some(_) => {}
                None => return Err(CliError::failed("no transaction was answered after the kill")),
            }
        };
        Ok((primary, view, resumed))
    };
    let (second, killed) = tokio::join!(load, kill);
    let ((primary, view, resumed), mut second) = (killed?, second?);
    second.all_applied("records after the kill")?;
    let (_, view_after) = self::primary(network, Some(view)).await?;
    say(format_args!(
        "work went on after {}, in view {view_after}; {} records more",
        took(resumed),
        second.applied
    ));

    let returned = Instant::now();
    network.start(primary)?;
    network.wait_for(primary, BACK_WITHIN).await?;
    catch_up(cast.hospital(primary)?, second.height).await?;
    let caught_up = returned.elapsed();
    say(format_args!("node {primary} is back and level with the others after {}", took(caught_up)));

    second.add(first);
    let read_back = read_back(cast, &work).await?;
    let registered = (work.patients.applied, second.applied);
    must(read_back == registered, || {
        format!("the nodes hold {read_back:?} patients and records, {registered:?} were registered")
    })?;
    let fields = Fields::new()
        .with("bundles", work.bundles)
        .with("patients", read_back.0)
        .with("records", read_back.1)
        .with("refused", second.refusals() + work.patients.refusals())
        .with("directory_entries", work.references)
        .with("load_height", second.height.0)
        .ms("record_latency_p50_ms", second.percentile(50))
        .ms("record_latency_p99_ms", second.percentile(99))
        .with("killed_primary", primary)
        .with("view_before", view)
        .with("view_after", view_after)
        .ms("work_resumed_after_ms", resumed)
        .ms("caught_up_after_ms", caught_up);
    Ok(Loaded { height: second.height, fields })
}

/// Who is primary, and of which view: of one above `view`, if there is one to be above. Nodes tell a moment later what
/// they have done, so it asks until one does.
async fn primary(network: &Network, above: Option<u64>) -> Result<(usize, u64), CliError> {
    let asked = async {
        loop {
            for report in network.reports().await? {
                if let Ok(status) = &report.answer
                    && status.role() == pb::NodeRole::Primary
                    && status.asked_view <= status.view
                    && above.is_none_or(|view| status.view > view)
                {
                    return Ok((report.node, status.view));
                }
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(BACK_WITHIN, asked).await {
        Ok(found) => found,
        Err(_) => Err(CliError::failed("no node says that it is the primary")),
    }
}

/// Waits until a hospital's own node has what the others have.
async fn catch_up(hospital: &Hospital, height: Height) -> Result<(), CliError> {
    let wait = async {
        while hospital.own_node.get_status(pb::GetStatusRequest {}).await?.certified_height < height.0 {
            tokio::time::sleep(POLL).await;
        }
        Ok::<_, CliError>(())
    };
    match tokio::time::timeout(BACK_WITHIN, wait).await {
        Ok(done) => done,
        Err(_) => Err(CliError::failed(format!(
            "the restarted node did not reach height {height} within {} s",
            BACK_WITHIN.as_secs()
        ))),
    }
}

/// How many patients and records the hospitals' own nodes hold, by their lists.
async fn read_back(cast: &Cast, work: &Work) -> Result<(u64, u64), CliError> {
    let (mut patients, mut records) = (0, 0);
    for (number, hospital) in cast.hospitals.iter().enumerate() {
        for patient in work.patients_of(number) {
            let request = pb::GetPatientRequest { patient_id: raw(patient.0), options: None };
            patients += u64::from(hospital.own_node.get_patient(request).await?.patient.is_some());
            records += record::records(&hospital.own_node, patient).await?.len() as u64;
        }
    }
    Ok((patients, records))
}
