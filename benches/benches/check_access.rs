//! Checks of access at one of four validators while transactions are committed, and how soon a revocation is heard everywhere.
//!
//! `cargo bench -p epione-benches --bench check_access [-- --seconds 4 --rounds 3 --load 500 --in-flight 64 --window 256
//! --revocations 100]`
//!
//! Four nodes, the load and the asking clients in one process, which makes all of them share the machine's processors. Four
//! connections with TLS and a physician's token each, to one node; the records are another hospital's, and a grant out of five
//! opens each. Each round measures one after the other:
//! - *empty*: the health service, unary, which stands before the door and reads nothing;
//! - *unary*: `CheckAccess`, so many in flight on each connection;
//! - *stream*: `CheckAccessStream`, one on each connection, so many unanswered;
//! - *revoked*: the streams go on; a grant is revoked through the asked node, and from the acknowledgement (COMMITTED) on each of
//!   the four nodes is asked again and again until it denies. The time is the last one's.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark that panics is a broken benchmark"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use epione_benches::network::{Api, Hospital, NODES, chain, start, submit};
use epione_benches::{Random, Scratch, load, median, on_processors, option, percentile};
use epione_client::auth;
use epione_client::tx::now;
use epione_node::config::LogFormat;
use epione_node::handle::Level;
use epione_node::run;
use epione_proto::convert::code_to_wire;
use epione_proto::v1::consent_service_client::ConsentServiceClient;
use epione_proto::v1::submission_service_client::SubmissionServiceClient;
use epione_proto::v1::{self as pb};
use epione_types::call::{
    Call, CreateGrant, GrantKind, Grantee, Labels, Month, Purposes, RecordAccess, RegisterPatient,
    RegisterPractitioner, RegisterRecord, RevokeGrant, Rule,
};
use epione_types::codes::{Action, Category, Decision, Purpose, Role};
use epione_types::id::{GrantId, OpaqueRef, OrgId, PatientId, PractitionerId, RecordId};
use epione_types::{ChainId, Hash, SecretKey, SignedTx};
use futures::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const CONNECTIONS: usize = 4;
/// Patients whose records are asked for.
const PATIENTS: usize = 200;
/// Grants of each of them.
const GRANTS: usize = 5;

/// A record, and the grant that opens it.
#[derive(Debug, Clone, Copy)]
struct Shared {
    patient: PatientId,
    record: RecordId,
    grant: GrantId,
}

fn practitioner(key: &SecretKey, random: &mut Random) -> Call {
    use epione_types::Signer as _;
    Call::RegisterPractitioner(RegisterPractitioner {
        practitioner: PractitionerId(random.bytes()),
        key: key.public_key(),
        roles: vec![Role::Physician],
        capabilities: Vec::new(),
        credential_until: None,
        identity_commitment: Hash([1; 32]),
    })
}

fn record(shared: &Shared, random: &mut Random) -> Call {
    Call::RegisterRecord(RegisterRecord {
        record: shared.record,
        patient: shared.patient,
        role: Role::Physician,
        category: Category::Lab,
        labels: Vec::new(),
        service_month: Month::new(2026, 3).expect("a month"),
        commitment: Hash(random.bytes()),
        ciphertext_hash: Hash(random.bytes()),
        size_class: 14,
        pointer: OpaqueRef(random.bytes()),
        minor_consented: false,
    })
}

/// Attested on paper: for physicians of `to`, of these data.
fn grant(patient: PatientId, grant: GrantId, to: OrgId, category: Category) -> Call {
    let rule = Rule {
        kind: GrantKind::Permit,
        to: Grantee::Role(to, Role::Physician),
        purposes: Purposes::Only(vec![Purpose::Treat]),
        actions: vec![Action::Read],
        categories: vec![category],
        records: Vec::new(),
        labels: Labels::Only(Vec::new()),
        data_period: None,
        from: None,
        until: Some(now().plus(86_400_000)),
        max_uses: None,
        delegable: false,
        parent: None,
        policy: None,
        document: Some(Hash([4; 32])),
    };
    Call::CreateGrant(CreateGrant { grant, patient, rule })
}

async fn commit_all(hospital: &Hospital, txs: Vec<SignedTx>) {
    let commit = |tx| submit(hospital.handle(), hospital.organisation, tx, Level::Committed);
    futures::stream::iter(txs).map(commit).buffer_unordered(200).collect::<Vec<_>>().await;
}

/// Records of the first hospital, some with one grant to the second's physicians among others of theirs.
async fn share(
    hospital: &Hospital,
    author: &SecretKey,
    to: OrgId,
    count: usize,
    random: &mut Random,
) -> Vec<Shared> {
    let ids = |_| Shared {
        patient: PatientId(random.bytes()),
        record: RecordId(random.bytes()),
        grant: GrantId(random.bytes()),
    };
    let shared: Vec<Shared> = (0..count).map(ids).collect();
    let patient =
        |shared: &Shared| RegisterPatient { patient: shared.patient, key: None, notice_hash: Hash([2; 32]) };
    let patients = shared.iter().map(|it| hospital.tx(&[author], Call::RegisterPatient(patient(it))));
    commit_all(hospital, patients.collect()).await;
    let mut txs = Vec::new();
    for it in &shared {
        txs.push(hospital.tx(&[author], record(it, random)));
        txs.push(hospital.tx(&[author], grant(it.patient, it.grant, to, Category::Lab)));
        for _ in 1..GRANTS {
            let other = GrantId(random.bytes());
            txs.push(hospital.tx(&[author], grant(it.patient, other, to, Category::Billing)));
        }
    }
    commit_all(hospital, txs).await;
    shared
}

/// So many transactions a second, a quarter at each node; counts those that were committed.
fn commit_steadily(
    hospitals: &[Hospital],
    per_second: usize,
    stop: &Arc<AtomicBool>,
    committed: &Arc<AtomicU64>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let begin = |(number, hospital): (usize, &Hospital)| {
        let (handle, organisation) = (hospital.handle().clone(), hospital.organisation);
        let mut random = Random(now().0.wrapping_add(number as u64));
        let seconds =
            (1..=180).map(|_| (0..per_second / NODES).map(|_| hospital.patient(&mut random)).collect());
        let seconds: Vec<Vec<SignedTx>> = seconds.collect();
        let (stop, committed) = (stop.clone(), committed.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / (per_second / NODES) as u32);
            for tx in seconds.into_iter().flatten() {
                ticks.tick().await;
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (handle, committed) = (handle.clone(), committed.clone());
                tokio::spawn(async move {
                    if handle.submit(tx, organisation, Level::Committed).await.is_ok() {
                        committed.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        })
    };
    hospitals.iter().enumerate().map(begin).collect()
}

/// A physician's connection.
#[derive(Clone)]
struct Asker {
    channel: Channel,
    token: String,
    shared: Arc<Vec<Shared>>,
}

impl Asker {
    fn by_them<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = format!("Bearer {}", self.token).parse().expect("a header");
        request.metadata_mut().insert("authorization", token);
        request
    }

    fn question(&self, random: &mut Random) -> pb::CheckAccessRequest {
        question(self.shared[random.number() as usize % self.shared.len()].record)
    }

    async fn decision(&self, record: RecordId) -> i32 {
        let mut client = ConsentServiceClient::new(self.channel.clone());
        client.check_access(self.by_them(question(record))).await.expect("an answer").into_inner().decision
    }
}

fn question(record: RecordId) -> pb::CheckAccessRequest {
    let access = RecordAccess::new(record, Role::Physician, Action::Read, Purpose::Treat);
    pb::CheckAccessRequest { access: Some((&access).into()), options: None }
}

/// Until `end`, so many in flight: how long each took.
async fn unary<F: Future<Output = ()>>(
    in_flight: usize,
    end: Instant,
    mut call: impl FnMut() -> F,
) -> Vec<Duration> {
    let calls = futures::stream::repeat_with(|| {
        let (begun, call) = (Instant::now(), call());
        async move {
            call.await;
            begun.elapsed()
        }
    });
    let open = calls.take_while(|_| core::future::ready(Instant::now() < end));
    open.buffer_unordered(in_flight).collect().await
}

/// Until `stop`, so many unanswered.
async fn stream(asker: Asker, window: usize, stop: impl Fn() -> bool) -> Vec<Duration> {
    let permit = code_to_wire(Decision::Permit);
    let mut random = Random(now().0);
    let mut next = || pb::CheckAccessStreamRequest { check: Some(asker.question(&mut random)) };
    let (to, requests) = tokio::sync::mpsc::channel(window);
    let mut to = Some(to);
    let mut sent = VecDeque::new();
    for _ in 0..window {
        to.as_ref().expect("open").try_send(next()).expect("room");
        sent.push_back(Instant::now());
    }
    let mut client = ConsentServiceClient::new(asker.channel.clone());
    let answers = client.check_access_stream(asker.by_them(ReceiverStream::new(requests))).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut times = Vec::new();
    while let Some(answered) = answers.message().await.expect("an answer") {
        assert_eq!(answered.answer.expect("it is set").decision, permit);
        times.push(sent.pop_front().expect("asked").elapsed());
        match to.as_ref().filter(|_| !stop()) {
            Some(to) => {
                sent.push_back(Instant::now());
                to.send(next()).await.expect("the stream is open");
            }
            None => to = None,
        }
    }
    times
}

async fn together(tasks: Vec<tokio::task::JoinHandle<Vec<Duration>>>) -> Vec<Duration> {
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client that ends"));
    }
    times
}

/// Of one kind of call, round by round.
#[derive(Default)]
struct Row {
    rates: Vec<f64>,
    times: Vec<Duration>,
    committed: Vec<f64>,
    /// Processors that the whole process had, of those that it shares with others.
    processors: Vec<f64>,
}

impl Row {
    fn print(&self, name: &str, base: f64) {
        let [p50, p99] = [50, 99].map(|at| percentile(&self.times, at) / 1e3);
        let rounds: Vec<String> = self.rates.iter().map(|rate| format!("{rate:.0}")).collect();
        let (rate, committed) = (median(&self.rates), median(&self.committed));
        let ratio = rate / base;
        let rounds = rounds.join(" ");
        let processors = median(&self.processors);
        println!(
            "{name:<24}{rate:>10.0}{ratio:>7.2}{p50:>10.2}{p99:>10.2}{committed:>13.0}{processors:>12.2}   {rounds}"
        );
    }
}

/// Revokes one grant; how long it took from the acknowledgement until the last node denied.
async fn revoked(revoke: SignedTx, by: &Asker, shared: &Shared, nodes: &[Asker]) -> Duration {
    let (permit, deny) = (code_to_wire(Decision::Permit), code_to_wire(Decision::Deny));
    for node in nodes {
        assert_eq!(node.decision(shared.record).await, permit);
    }
    let request =
        pb::SubmitRequest { transaction: Some((&revoke).into()), wait: pb::WaitLevel::Committed.into() };
    let mut client = SubmissionServiceClient::new(by.channel.clone());
    let status = client.submit(by.by_them(request)).await.expect("an answer").into_inner().status;
    assert_eq!(status.expect("it is set").state(), pb::TransactionState::Committed);
    let begun = Instant::now();
    let denied = nodes.iter().map(|node| async move {
        while node.decision(shared.record).await != deny {}
        begun.elapsed()
    });
    futures::future::join_all(denied).await.into_iter().max().unwrap_or_default()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = Duration::from_secs(option("--seconds", 4) as u64);
    let (rounds, revocations) = (option("--rounds", 3), option("--revocations", 100));
    let (in_flight, window) = (option("--in-flight", 64), option("--window", 256));
    run::init_logging("warn", LogFormat::Text).expect("the first to log");
    let scratch = Scratch::new("check-access");
    let hospitals = start(&scratch, 1).await;
    let mut apis: Vec<Api> = Vec::new();
    for hospital in &hospitals {
        apis.push(hospital.serve().await);
    }
    let (here, there, chain): (_, _, ChainId) = (&hospitals[0], &hospitals[1], chain(&hospitals));
    let mut random = Random(now().0);
    let author = SecretKey::from_seed(&random.bytes());
    let doctors: Vec<SecretKey> = (0..CONNECTIONS).map(|_| SecretKey::from_seed(&random.bytes())).collect();
    let mut staff = vec![here.tx(&[&here.admin, &author], practitioner(&author, &mut random))];
    for doctor in &doctors {
        staff.push(here.tx(&[&there.admin, doctor], practitioner(doctor, &mut random)));
    }
    commit_all(here, staff).await;
    let shared = share(here, &author, there.organisation, PATIENTS, &mut random).await;
    let to_revoke = share(here, &author, there.organisation, rounds * revocations, &mut random).await;
    let shared = Arc::new(shared);
    let asker = async |api: &Api, key: &SecretKey| Asker {
        channel: api.connect().await,
        token: auth::create(key, chain, now(), 600),
        shared: shared.clone(),
    };
    let mut askers = Vec::new();
    for doctor in &doctors {
        askers.push(asker(&apis[0], doctor).await);
    }
    let mut everywhere = Vec::new();
    for (api, doctor) in apis.iter().zip(&doctors) {
        everywhere.push(asker(api, doctor).await);
    }
    let revoker = asker(&apis[0], &author).await;
    let permit = code_to_wire(Decision::Permit);

    let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let background = commit_steadily(&hospitals, option("--load", 500), &stop, &committed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("checks at one node of {NODES}, {CONNECTIONS} connections; load {}", load());
    let mut rows: [Row; 4] = Default::default();
    let mut to_revoke = to_revoke.iter();
    for _ in 0..rounds {
        for (kind, row) in rows.iter_mut().enumerate() {
            let (begun, before) = (Instant::now(), committed.load(Ordering::Relaxed));
            let processors = on_processors();
            let end = begun + seconds;
            let done = Arc::new(AtomicBool::new(false));
            let start = |asker: &Asker| {
                let (asker, done) = (asker.clone(), done.clone());
                tokio::spawn(async move {
                    let mut random = Random(now().0);
                    match kind {
                        0 => {
                            let client = HealthClient::new(asker.channel.clone());
                            unary(in_flight, end, || {
                                let mut client = client.clone();
                                async move {
                                    let ask = HealthCheckRequest { service: String::new() };
                                    client.check(ask).await.expect("an answer");
                                }
                            })
                            .await
                        }
                        1 => {
                            let client = ConsentServiceClient::new(asker.channel.clone());
                            unary(in_flight, end, || {
                                let mut client = client.clone();
                                let ask = asker.by_them(asker.question(&mut random));
                                async move {
                                    let answer = client.check_access(ask).await.expect("an answer");
                                    assert_eq!(answer.into_inner().decision, permit);
                                }
                            })
                            .await
                        }
                        2 => stream(asker, window, move || Instant::now() >= end).await,
                        _ => stream(asker, window, move || done.load(Ordering::Relaxed)).await,
                    }
                })
            };
            let clients: Vec<_> = askers.iter().map(start).collect();
            let mut until_denied = Vec::new();
            if kind == 3 {
                for shared in to_revoke.by_ref().take(revocations) {
                    let revoke = RevokeGrant {
                        patient: shared.patient,
                        grant: shared.grant,
                        document: Some(Hash([5; 32])),
                    };
                    let revoke = here.tx(&[&author], Call::RevokeGrant(revoke));
                    until_denied.push(revoked(revoke, &revoker, shared, &everywhere).await);
                }
                done.store(true, Ordering::Relaxed);
            }
            let times = together(clients).await;
            let elapsed = begun.elapsed().as_secs_f64();
            row.rates.push(times.len() as f64 / elapsed);
            row.committed.push((committed.load(Ordering::Relaxed) - before) as f64 / elapsed);
            row.processors.push((on_processors() - processors).as_secs_f64() / elapsed);
            row.times.extend(if kind == 3 { until_denied } else { times });
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in background {
        task.await.expect("a load that ends");
    }
    println!(
        "{:<24}{:>10}{:>7}{:>10}{:>10}{:>13}{:>12}   rounds",
        "", "per second", "ratio", "p50 ms", "p99 ms", "committed/s", "processors"
    );
    let base = median(&rows[0].rates);
    for (row, name) in rows.iter().zip(["empty: health, unary", "CheckAccess, unary", "CheckAccess, stream"])
    {
        row.print(name, base);
    }
    rows[3].print("  and revoked to denied", base);
    println!("revoked to denied: {} revocations; the rate is the streams'", rows[3].times.len());
    println!("load {}", load());
    for api in apis {
        api.server.shutdown().await;
    }
    for hospital in hospitals {
        hospital.node.shutdown().await.expect("a node that stops");
    }
}
