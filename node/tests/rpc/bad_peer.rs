//! Everything that may be wrong with what a validator sends, over real libp2p: one row for each kind. After each row the
//! operator's status has the offence and its count and nothing else, queues are within their bounds, and the node commits.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use epione_client::{TxBuilder, tx};
use epione_consensus::{BlocksAnswer, Body as _, Kind, Message, Signed, SignedVote, Status, Vote};
use epione_node::conduct::Offence;
use epione_node::config::Config;
use epione_node::divergence::Execution;
use epione_node::handle::{Level, Outcome as Fate};
use epione_node::network::{Class, Limits as NetworkLimits, PerClass};
use epione_node::rpc::Limits;
use epione_node::wire::Frame;
use epione_proto::v1 as pb;
use epione_proto::v1::operator_service_client::OperatorServiceClient;
use epione_types::block::HEADER_VERSION;
use epione_types::codes::{Refusal, Role};
use epione_types::{
    BlockHeader, Certificate, ChainId, Epoch, Height, Outcome, SignatureSet, SignedTx, Signer as _,
    TimestampMs, ValidatorIndex, View,
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::Stream;
use tonic::transport::Channel;

use crate::raw_peer::{RawPeer, stream_of, write_frame};
use crate::support::{hash, key, patient_call};
use crate::world::{DEADLINE, World, practitioner_call, soon};

/// Who is bad.
const BAD: usize = 3;
/// What a validator may fill of the others' mempools: a quarter of it.
const QUOTA: usize = 10;

/// How it is sent.
enum Sent {
    /// As frames, one after the other.
    Frames(Vec<(Class, Bytes)>),
    /// As bytes on a stream, which then ends.
    Stream(Class, Vec<u8>),
    /// As a stream of this name.
    Open(&'static str),
}

struct Row {
    name: &'static str,
    sent: Sent,
    offences: Vec<(Offence, u64)>,
    /// It is answered with a frame of blocks.
    answered: bool,
}

fn row(name: &'static str, sent: Sent, offences: &[(Offence, u64)]) -> Row {
    Row { name, sent, offences: offences.to_vec(), answered: false }
}

fn one(frame: &Frame) -> Sent {
    Sent::Frames(vec![(frame.class(), frame.encode())])
}

fn message(message: Message) -> Sent {
    one(&Frame::Message(message))
}

fn txs(list: Vec<SignedTx>) -> Sent {
    one(&Frame::Transactions(list))
}

const fn vote(kind: Kind, height: u64, digest: epione_types::Hash) -> Vote {
    Vote { kind, epoch: Epoch::ZERO, view: View::ZERO, height: Height(height), digest }
}

/// Rows that the network itself refuses, or libp2p before it.
fn framing() -> Vec<Row> {
    use Offence as O;
    let frame_max = NetworkLimits::default().classes.consensus.frame_bytes_max;
    let stream = |bytes: &[u8]| Sent::Stream(Class::Consensus, bytes.to_vec());
    let header = |length: u32| stream(&length.to_be_bytes());
    vec![
        row("garbage on a stream", stream(&[0xff; 64]), &[(O::FrameLength, 1)]),
        row("an oversized frame", header(frame_max + 1), &[(O::FrameLength, 1)]),
        row("an empty frame", header(0), &[(O::FrameLength, 1)]),
        row("a frame cut off", stream(&[0, 0, 0, 100, 1, 2, 3]), &[(O::FrameTruncated, 1)]),
        row("a header cut off", stream(&[0, 0]), &[(O::FrameTruncated, 1)]),
        row("a stream twice", Sent::Open(Class::Bulk.protocol_name()), &[(O::StreamTwice, 1)]),
        row("an unknown stream", Sent::Open("/epione/gossip/1"), &[]),
    ]
}

/// Frames and consensus messages.
fn messages(chain: ChainId) -> Vec<Row> {
    use Offence as O;
    let me = ValidatorIndex(u16::try_from(BAD).unwrap());
    let own = key(&format!("hospital{BAD}.validator"));
    let prepare = |height, name| vote(Kind::Prepare, height, hash(name));
    let by_me = |vote: Vote| vote.sign(chain, me, &own);
    let frame = |vote: SignedVote| Frame::Message(Message::Vote(vote));
    let bytes = |class, bytes: &[u8]| Sent::Frames(vec![(class, Bytes::copy_from_slice(bytes))]);
    let good = frame(by_me(prepare(1, "one"))).encode();
    let mut endless = Frame::Transactions(Vec::new()).encode().to_vec();
    endless[4..12].copy_from_slice(&(1u64 << 60).to_le_bytes());
    let twice = ["one", "two"].map(|name| (Class::Consensus, frame(by_me(prepare(5, name))).encode()));
    let stolen = prepare(1, "one").sign(chain, me, &key("stranger"));
    let elsewhere = prepare(1, "one").sign(ChainId([9; 32]), me, &own);
    let of_a_nobody = prepare(1, "one").sign(chain, ValidatorIndex(9), &own);
    let later = by_me(Vote { epoch: Epoch(7), ..prepare(1, "one") });
    let proposal = by_me(vote(Kind::PrePrepare, 1, hash("batch")));
    let status = Status {
        epoch: Epoch::ZERO,
        view: View::ZERO,
        asked: View::ZERO,
        low: Height(0),
        delivered: Height(0),
        suspects: 0,
        view_changes: 0,
        slots: Vec::new(),
    };
    let anothers: Signed<Status> = status.sign(chain, ValidatorIndex(1), &key("hospital1.validator"));
    let (header_hash, signatures) = (hash("header"), SignatureSet::default());
    let certificate = Certificate { epoch: Epoch::ZERO, height: Height(1), header_hash, signatures };
    vec![
        // First: low is below 5 still.
        row("a contradiction", Sent::Frames(twice.into()), &[(O::Contradiction, 1)]),
        row("a garbage frame", bytes(Class::Consensus, &[0xff; 64]), &[(O::FrameUndecodable, 1)]),
        row(
            "a truncated message",
            bytes(Class::Consensus, &good[..good.len() - 1]),
            &[(O::FrameUndecodable, 1)],
        ),
        row(
            "a lengthened message",
            bytes(Class::Consensus, &[&good[..], &[0]].concat()),
            &[(O::FrameUndecodable, 1)],
        ),
        row("an endless list", bytes(Class::Bulk, &endless), &[(O::FrameUndecodable, 1)]),
        row("a vote among batches", bytes(Class::Bulk, &good), &[(O::WrongStream, 1)]),
        row("a vote that was not signed", message(Message::Vote(stolen)), &[(O::MessageSignature, 1)]),
        row("a vote for another chain", message(Message::Vote(elsewhere)), &[(O::MessageSignature, 1)]),
        row("a vote by nobody", message(Message::Vote(of_a_nobody)), &[(O::NotValidator, 1)]),
        row("a vote of another epoch", message(Message::Vote(later)), &[(O::OtherEpoch, 1)]),
        row("a proposal as a vote", message(Message::Vote(proposal)), &[(O::MessageMalformed, 1)]),
        row("a proposal by a backup", message(Message::Proposal(proposal, None)), &[(O::NotPrimary, 1)]),
        row("another's status", message(Message::Status(anothers.into())), &[(O::StatusReplayed, 1)]),
        row(
            "a certificate by nobody",
            message(Message::Certificate(certificate)),
            &[(O::ShortCertificate, 1)],
        ),
    ]
}

/// Requests and answers.
fn sync() -> Vec<Row> {
    use Offence as O;
    let fetch = |from, to| one(&Frame::FetchBlocks { from: Height(from), to: Height(to) });
    let (header_hash, signatures) = (hash("header"), SignatureSet::default());
    let certificate = Certificate { epoch: Epoch::ZERO, height: Height(9), header_hash, signatures };
    let unasked = Frame::Blocks(BlocksAnswer { blocks: Vec::new(), certificate });
    let no_batch = Frame::FetchBatch { height: Height(u64::MAX), digest: hash("none") };
    let whole = row("all blocks there will ever be", fetch(1, u64::MAX), &[]);
    vec![
        row("blocks that nobody asked for", one(&unasked), &[(O::BlocksUnasked, 1)]),
        row("blocks backwards", fetch(5, 1), &[(O::RequestEmpty, 1)]),
        row("the block before the first", fetch(0, 9), &[(O::RequestEmpty, 1)]),
        row("blocks beyond the end", fetch(u64::MAX, u64::MAX), &[]),
        row("a batch beyond the end", one(&no_batch), &[]),
        row("an execution beyond the end", one(&Frame::FetchExecution { height: Height(u64::MAX) }), &[]),
        row("an execution that nobody asked for", one(&execution()), &[(O::ExecutionUnasked, 1)]),
        Row { answered: true, ..whole },
    ]
}

fn execution() -> Frame {
    let header = BlockHeader {
        version: HEADER_VERSION,
        epoch: Epoch::ZERO,
        height: Height(9),
        parent: hash("parent"),
        timestamp: TimestampMs(1),
        batch_digest: hash("batch"),
        txs_root: hash("transactions"),
        receipts_root: hash("receipts"),
        state_root: hash("state"),
        next_epoch_hash: hash("epoch"),
    };
    Frame::Execution(Box::new(Execution { header, receipts: Vec::new(), changes: None }))
}

/// Forwarded transactions; `executed` has a receipt already.
fn transactions(world: &World, executed: SignedTx) -> Vec<Row> {
    use Offence as O;
    let admin = key("hospital0.admin");
    let good = |number| world.tx(&["hospital0.admin"], patient_call(number));
    let at = |ms| {
        TxBuilder::new(world.genesis.chain_id(), patient_call(1)).expires_at(ms).sign(&admin, &[]).unwrap()
    };
    let with_body = |body: Vec<u8>| SignedTx::sign(Bytes::from(body), &[&admin]);
    let elsewhere = TxBuilder::new(ChainId([9; 32]), patient_call(1)).sign(&admin, &[]).unwrap();
    let two = world.tx(&["hospital0.admin", "drX"], practitioner_call("drX", Role::Physician));
    let lacking = SignedTx { signatures: two.signatures[..1].to_vec(), ..two };
    let mut forged = good(1);
    forged.signatures[0].signature.0[9] ^= 1;
    let twice = good(2);
    let many = (0..QUOTA + 2).map(|number| good(1_000 + number)).collect();
    vec![
        row("no body", txs(vec![with_body(vec![0xff; 40])]), &[(O::TxMalformed, 1)]),
        row("too large a body", txs(vec![with_body(vec![0; 16 * 1024 + 1])]), &[(O::TxOversized, 1)]),
        row("for another chain", txs(vec![elsewhere]), &[(O::TxOtherChain, 1)]),
        row("without its co-signer", txs(vec![lacking]), &[(O::TxSignatureMissing, 1)]),
        row("a wrong signature", txs(vec![forged]), &[(O::TxSignature, 1)]),
        row("expired", txs(vec![at(epione_types::TimestampMs(1))]), &[(O::TxExpired, 1)]),
        row("a day too long", txs(vec![at(tx::now().plus(48 * 3_600_000))]), &[(O::TxTooFarAhead, 1)]),
        row("twice", txs(vec![twice.clone(), twice]), &[(O::TxDuplicate, 1)]),
        row("executed long ago", txs(vec![executed]), &[(O::TxExecuted, 1)]),
        row("more than its part", txs(many), &[(O::TxOverQuota, 2)]),
    ]
}

/// The bad peer's place: node 0's word on it, and the way to it.
struct Scene {
    world: World,
    operator: OperatorServiceClient<Channel>,
    expected: BTreeMap<&'static str, u64>,
    committed: usize,
}

impl Scene {
    /// What the operator sees.
    async fn status(&mut self) -> pb::GetNodeStatusResponse {
        let request = self.world.by("hospital0.admin", pb::GetNodeStatusRequest {});
        let status = soon(self.operator.get_node_status(request)).await.unwrap().into_inner();
        assert_ne!(status.role(), pb::NodeRole::Halted, "{status:?}");
        status
    }

    /// What the operator sees of peer `index`.
    async fn told(&mut self, index: usize) -> pb::Peer {
        let status = self.status().await;
        status.peers.into_iter().find(|peer| peer.validator == u32::try_from(index).ok()).unwrap()
    }

    /// Waits until the bad peer has a link, or has none.
    async fn linked(&mut self, wanted: bool) -> bool {
        // Not for long: a dial that is refused has to be repeated.
        for _ in 0..50 {
            if self.told(BAD).await.connected == wanted {
                return true;
            }
        }
        false
    }

    /// A connection that the node counts as its link to the bad peer.
    async fn connect(&mut self) -> (RawPeer, PerClass<Stream>) {
        let seed = *key(&format!("hospital{BAD}.network")).seed();
        let handle = self.world.node.as_ref().unwrap();
        let (network_key, address) = (key("hospital0.network").public_key().0, handle.listen_address());
        let connected = async {
            while !self.linked(false).await {}
            loop {
                let mut peer = RawPeer::dial(seed, network_key, address);
                if let Ok(streams) = peer.open_all().await
                    && self.linked(true).await
                {
                    return (peer, streams);
                }
            }
        };
        tokio::time::timeout(DEADLINE, connected).await.expect("the penalty ends")
    }

    async fn check(&mut self, row: Row) {
        let (mut peer, mut streams) = self.connect().await;
        match row.sent {
            Sent::Frames(frames) => {
                for (class, bytes) in frames {
                    write_frame(stream_of(&mut streams, class), &bytes).await;
                }
            }
            Sent::Stream(class, bytes) => {
                let stream = stream_of(&mut streams, class);
                stream.write_all(&bytes).await.unwrap();
                stream.close().await.unwrap();
            }
            // Refused, or cut off in the middle.
            Sent::Open(name) => drop(peer.open_named(name).await),
        }
        if row.answered {
            let mut header = [0; 4];
            soon(streams.sync.read_exact(&mut header)).await.unwrap();
            let length = usize::try_from(u32::from_be_bytes(header)).unwrap();
            assert!(length <= epione_node::wire::BLOCKS_BYTES_MAX, "{}: {length}", row.name);
            let mut answer = vec![0; length];
            soon(streams.sync.read_exact(&mut answer)).await.unwrap();
            assert!(matches!(Frame::decode(&answer), Ok(Frame::Blocks(_))), "{}", row.name);
        }
        for (offence, count) in &row.offences {
            *self.expected.entry(offence.reason()).or_default() += count;
        }
        self.settle(row.name).await;
        self.commit(row.name).await;
    }

    /// Strangers are nobody's peers: those without a key, and those with one that no validator has.
    async fn strangers(&mut self) {
        let before = self.status().await;
        let address = self.world.node.as_ref().unwrap().listen_address();
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        // May fail: the node may hang up in the middle.
        drop(std::io::Write::write_all(&mut socket, b"GET / HTTP/1.1\r\n\r\n"));
        soon(async { while self.status().await.handshakes_failed == before.handshakes_failed {} }).await;
        let node = key("hospital0.network").public_key().0;
        let _stranger = RawPeer::dial(*key("stranger").seed(), node, address);
        soon(async { while self.status().await.strangers_refused == before.strangers_refused {} }).await;
        self.settle("strangers").await;
        self.commit("strangers").await;
    }

    /// Waits until everything is counted that should be, and the peer was cut off as often as that asks for.
    async fn settle(&mut self, name: &str) {
        let mut last = (BTreeMap::new(), 0, 0);
        let settled = async {
            loop {
                let peer = self.told(BAD).await;
                let offences: BTreeMap<String, u64> =
                    peer.offences.iter().map(|it| (it.reason.clone(), it.count)).collect();
                let of_framing = [Offence::FrameLength, Offence::StreamTwice].map(Offence::reason);
                let by_framing: u64 = of_framing.iter().filter_map(|reason| offences.get(*reason)).sum();
                let driver = self.world.node.as_ref().unwrap().handle().status().driver;
                let by_driver = driver.conduct.values().map(|conduct| conduct.cut_offs()).sum::<u64>();
                let expected = self.expected.iter().map(|(reason, count)| ((*reason).to_owned(), *count));
                let done = offences == expected.collect() && peer.cut_offs == by_framing + by_driver;
                last = (offences, peer.cut_offs, by_framing + by_driver);
                if done {
                    return;
                }
            }
        };
        let done = tokio::time::timeout(DEADLINE, settled).await;
        assert!(done.is_ok(), "{name}: expected {:?}, found {last:?}", self.expected);
    }

    /// The node is in consensus, and keeps no more than it may.
    async fn commit(&mut self, name: &str) {
        self.committed += 1;
        let tx = self.world.tx(&["hospital0.admin"], patient_call(50_000 + self.committed));
        assert_eq!(self.world.run(&tx).await.outcome, Outcome::Ok, "after {name}");
        let handle = self.world.node.as_ref().unwrap().handle();
        let limits = NetworkLimits::default().classes;
        for peer in handle.peers() {
            for class in Class::ALL {
                let (found, limit) = (peer.classes.get(class), limits.get(class).queue_bytes_max);
                assert!(
                    found.queued_in_bytes <= limit && found.queued_out_bytes <= limit,
                    "{name}: {found:?}"
                );
            }
        }
        let pool = handle.status().driver.pool;
        assert!(pool.txs <= 4 * QUOTA, "{name}: {pool:?}");
    }
}

fn tweak(config: &mut Config) {
    config.settings.pool.txs_max = 4 * QUOTA;
    config.network_limits.penalty = Duration::from_millis(20);
    config.network_limits.silence_max = 2 * DEADLINE; // the bad peer answers no pings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_validator_sends_is_counted_by_name_and_the_others_go_on() {
    let world = World::tweaked(4, 0, Limits::default(), tweak).await;
    let others = world.others_but(Some(BAD)).await;
    let operator = OperatorServiceClient::new(world.operator_channel());
    let mut scene = Scene { world, operator, expected: BTreeMap::new(), committed: 0 };

    let executed = scene.world.tx(&["hospital0.admin"], patient_call(1));
    scene.world.run(&executed).await;
    let handle = scene.world.node.as_ref().unwrap().handle().clone();
    let certified = soon(handle.wait_for(executed.id(), Level::Certified)).await.unwrap();
    assert!(matches!(certified, Fate::Certified(..)), "the driver knows by now: {certified:?}");

    let transactions = transactions(&scene.world, executed);
    for row in messages(scene.world.genesis.chain_id())
        .into_iter()
        .chain(framing())
        .chain(sync())
        .chain(transactions)
    {
        scene.check(row).await;
    }

    scene.strangers().await;

    // What only the state can tell is no offence of who forwards it: it is executed, and refused in a receipt.
    let unauthorised = scene.world.tx(&["stranger"], patient_call(3));
    let sent = txs(vec![unauthorised.clone()]);
    scene.check(row("an unauthorised call", sent, &[])).await;
    let fate = soon(handle.wait_for(unauthorised.id(), Level::Committed)).await.unwrap();
    let (Fate::Committed(committed) | Fate::Certified(committed, _)) = fate else { panic!("{fate:?}") };
    assert_eq!(committed.receipt().outcome, Outcome::Refused(Refusal::UnknownSigner));

    scene.settle("everything").await;
    for honest in 1..BAD {
        let peer = scene.told(honest).await;
        assert!(peer.offences.iter().all(|offence| !offence.strike), "{:?}", peer.offences);
        assert_eq!(peer.cut_offs, 0);
    }
    for node in others {
        node.shutdown().await.unwrap();
    }
    scene.world.stop().await;
}
