//! What Byzantine validators can say: everything that their keys sign, and everything that was ever signed by others, put
//! together as they like.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use epione_consensus::{
    Body as _, CommitCertificate, Kind, Message, NewView, Payload, PreparedCertificate, Signed, SignedVote,
    SlotStatus, Status, ViewChange, Vote, primary,
};
use epione_types::{
    Batch, Certificate, Epoch, Hash, Height, Signature, SignatureSet, TimestampMs, ValidatorIndex, View,
};

use crate::choices::Choices;
use crate::common::{Cluster, v};

type Slot = (Kind, View, Height, Hash);

/// To whom something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// To those who are meant.
    Meant,
    /// To those who are not.
    Others,
}

/// A message and its hearers.
pub(crate) type Said = (Side, Message);

/// What the liars have heard, which is everything.
#[derive(Default)]
pub(crate) struct Liars {
    pub(crate) who: Vec<usize>,
    heard: usize,
    votes: BTreeMap<Slot, BTreeMap<ValidatorIndex, Signature>>,
    payloads: BTreeMap<Hash, Arc<Payload>>,
    digests: Vec<Hash>,
    changes: BTreeMap<View, BTreeMap<ValidatorIndex, Signed<ViewChange>>>,
    certificates: BTreeMap<Height, Certificate>,
}

impl Liars {
    pub(crate) fn new(who: Vec<usize>) -> Self {
        Self { who, digests: vec![Batch::null_digest()], ..Self::default() }
    }

    fn listen(&mut self, cluster: &Cluster) {
        for (_, _, message) in &cluster.sent[self.heard..] {
            match message {
                Message::Vote(vote) => {
                    let slot = (vote.vote.kind, vote.vote.view, vote.vote.height, vote.vote.digest);
                    self.votes.entry(slot).or_default().insert(vote.from, vote.signature);
                    if vote.vote.kind == Kind::Seal && !self.digests.contains(&vote.vote.digest) {
                        self.digests.push(vote.vote.digest);
                    }
                }
                Message::Proposal(vote, batch) => {
                    let slot = (vote.vote.kind, vote.vote.view, vote.vote.height, vote.vote.digest);
                    self.votes.entry(slot).or_default().insert(vote.from, vote.signature);
                    let payload = batch
                        .as_ref()
                        .and_then(|batch| Payload::decode(batch.clone(), &cluster.set.params).ok());
                    if let Some(payload) = payload {
                        self.know(Arc::new(payload));
                    }
                }
                Message::ViewChange(change) => {
                    let of_view = self.changes.entry(change.body.view).or_default();
                    of_view.insert(change.from, (**change).clone());
                }
                Message::Certificate(one) => {
                    self.certificates.insert(one.height, one.clone());
                }
                Message::NewView(_) | Message::Batch(_) | Message::Commits(_) | Message::Status(_) => {}
            }
        }
        self.heard = cluster.sent.len();
    }

    fn know(&mut self, payload: Arc<Payload>) {
        if self.payloads.insert(payload.digest(), payload.clone()).is_none() {
            self.digests.push(payload.digest());
        }
    }

    fn sign(cluster: &Cluster, who: usize, vote: Vote) -> SignedVote {
        vote.sign(cluster.chain_id, v(who), &*cluster.signer(who))
    }

    fn digest(&self, choices: &mut Choices<'_>) -> Hash {
        let one = choices.byte();
        if one >= 240 { Hash([one; 32]) } else { self.digests[usize::from(one) % self.digests.len()] }
    }

    fn height(cluster: &Cluster, target: usize, choices: &mut Choices<'_>) -> Height {
        let one = u64::from(choices.byte());
        let low = if cluster.up(target) { cluster.low(target) } else { 0 };
        if one >= 250 { Height(u64::MAX - (one - 250)) } else { Height(low + 1 + one % 20) }
    }

    fn view(cluster: &Cluster, target: usize, choices: &mut Choices<'_>) -> View {
        let one = u64::from(choices.byte());
        if one >= 250 {
            return View([u64::MAX, u64::MAX - 1, 1 << 32, (1 << 32) + 1, 77, 1 << 40][one as usize - 250]);
        }
        let entered = if cluster.up(target) { cluster.view(target) } else { 0 };
        View((entered + one % 5).saturating_sub(one / 128))
    }

    /// Whoever can be primary of a view near this one among the liars.
    fn own_view(&self, cluster: &Cluster, near: View, choices: &mut Choices<'_>) -> Option<(usize, View)> {
        let views = (0..cluster.n() as u64).filter_map(|ahead| near.0.checked_add(ahead)).map(View);
        let led: Vec<_> = views
            .map(|view| (primary(&cluster.set, view).get(), view))
            .filter(|(who, _)| self.who.contains(who))
            .collect();
        choices.pick(&led).copied()
    }

    /// A batch: one heard of, a new one, an invalid one, the null one, one of another time or proposer.
    fn payload(&mut self, cluster: &mut Cluster, liar: usize, choices: &mut Choices<'_>) -> Arc<Payload> {
        let payload = match choices.below(8) {
            0 => Arc::new(Payload::new(Batch::Null)),
            1 => {
                let payload = cluster.batch(liar, "invalid");
                cluster.invalid.insert(payload.digest());
                payload
            }
            2 => {
                let stamp = TimestampMs(choices.number());
                Arc::new(Payload::new(Batch::Proposed { proposer: v(liar), stamp, txs: Vec::new() }))
            }
            3 => cluster.batch(choices.below(256), "of another"),
            4 | 5 => {
                let known: Vec<_> = self.payloads.values().cloned().collect();
                choices.pick(&known).cloned().unwrap_or_else(|| cluster.batch(liar, "new"))
            }
            _ => cluster.batch(liar, "new"),
        };
        self.know(payload.clone());
        payload
    }

    /// Signatures under a vote that were heard, and the liars' own, as many as wanted of both.
    fn gather(
        &self,
        cluster: &Cluster,
        vote: Vote,
        not: Option<ValidatorIndex>,
        choices: &mut Choices<'_>,
    ) -> SignatureSet {
        let slot = (vote.kind, vote.view, vote.height, vote.digest);
        let heard = self.votes.get(&slot).into_iter().flatten().map(|(who, signature)| (*who, *signature));
        let own = self.who.iter().map(|who| (v(*who), Self::sign(cluster, *who, vote).signature));
        let skip = choices.byte();
        heard
            .chain(own)
            .filter(|(who, _)| Some(*who) != not)
            .filter(|(who, _)| skip < 200 || who.0 % 4 != u16::from(skip % 4))
            .collect()
    }

    /// Certificates that can be made of what was heard: one per slot, of the highest view below `below`.
    fn prepared(
        &self,
        cluster: &Cluster,
        below: View,
        choices: &mut Choices<'_>,
    ) -> Vec<PreparedCertificate> {
        let mut all = BTreeMap::new();
        for ((kind, view, height, digest), by) in &self.votes {
            if *kind != Kind::PrePrepare || *view >= below {
                continue;
            }
            let vote =
                Vote { kind: *kind, epoch: Epoch::ZERO, view: *view, height: *height, digest: *digest };
            let Some((from, signature)) = by.first_key_value() else { continue };
            let prepare = Vote { kind: Kind::Prepare, ..vote };
            let prepares = self.gather(cluster, prepare, Some(*from), choices);
            if prepares.len() + 1 >= cluster.set.quorum() {
                let pre_prepare = SignedVote { from: *from, vote, signature: *signature };
                all.insert(*height, PreparedCertificate { pre_prepare, prepares });
            }
        }
        all.into_values().filter(|_| choices.byte() < 200).collect()
    }

    fn certificate(&self, choices: &mut Choices<'_>) -> Option<Certificate> {
        match choices.below(3) {
            0 => None,
            1 => self.certificates.values().next_back().cloned(),
            _ => choices.pick(&self.certificates.values().cloned().collect::<Vec<_>>()).cloned(),
        }
    }

    fn change(
        &self,
        cluster: &Cluster,
        liar: usize,
        view: View,
        choices: &mut Choices<'_>,
    ) -> Signed<ViewChange> {
        let certificate = self.certificate(choices);
        let floor = certificate.as_ref().map_or(0, |one| one.height.0);
        let mut prepared = self.prepared(cluster, view, choices);
        let top = floor.saturating_add(cluster.set.params.window);
        prepared.retain(|one| one.height().0 > floor && one.height().0 <= top);
        let below = View(view.0.saturating_sub(1));
        let suspects = self.who.iter().take(choices.below(3)).map(|who| {
            let (height, digest) = (Height::ZERO, Hash::ZERO);
            Self::sign(
                cluster,
                *who,
                Vote { kind: Kind::Suspect, epoch: Epoch::ZERO, view: below, height, digest },
            )
        });
        let reason = suspects.collect();
        let body = ViewChange { epoch: Epoch::ZERO, view, certificate, prepared, reason };
        body.sign(cluster.chain_id, v(liar), &*cluster.signer(liar))
    }

    /// What follows from view changes (R18), reckoned here anew.
    fn list(changes: &[Signed<ViewChange>]) -> Vec<(Height, Hash)> {
        let base = changes.iter().map(|one| one.body.certified(Height::ZERO)).max().unwrap_or(Height::ZERO);
        let mut best: BTreeMap<Height, &PreparedCertificate> = BTreeMap::new();
        for one in changes.iter().flat_map(|change| &change.body.prepared).filter(|one| one.height() > base) {
            let held = best.entry(one.height()).or_insert(one);
            if held.view() <= one.view() {
                *held = one;
            }
        }
        let Some(top) = best.keys().next_back().copied() else { return Vec::new() };
        (base.0 + 1..=top.0)
            .map(|height| {
                (Height(height), best.get(&Height(height)).map_or(Batch::null_digest(), |one| one.digest()))
            })
            .collect()
    }

    fn new_view(&self, cluster: &Cluster, liar: usize, view: View, choices: &mut Choices<'_>) -> NewView {
        let mut all = self.changes.get(&view).cloned().unwrap_or_default();
        for who in &self.who {
            if choices.byte() < 200 {
                all.insert(v(*who), self.change(cluster, *who, view, choices));
            }
        }
        let skip = choices.below(all.len() + 1);
        let mut changes: Vec<_> = all.into_values().collect();
        if changes.len() > cluster.set.quorum() && skip < changes.len() {
            changes.remove(skip);
        }
        changes.truncate(cluster.set.quorum());
        let mut list = Self::list(&changes);
        match choices.below(10) {
            0 => drop(list.pop()),
            1 => {
                if let Some(last) = list.last_mut() {
                    last.1 = self.digest(choices); // one digest is a lie
                }
            }
            2 => list.push((Self::height(cluster, liar, choices), self.digest(choices))),
            3 => list.reverse(),
            _ => {}
        }
        let pre_prepares = list
            .into_iter()
            .map(|(height, digest)| {
                let vote = Vote { kind: Kind::PrePrepare, epoch: Epoch::ZERO, view, height, digest };
                Self::sign(cluster, liar, vote)
            })
            .collect();
        NewView { epoch: Epoch::ZERO, view, view_changes: changes, pre_prepares }
    }

    /// What a liar says next: one thing to all that are meant, or a whole move.
    pub(crate) fn speak(
        &mut self,
        cluster: &mut Cluster,
        target: usize,
        choices: &mut Choices<'_>,
    ) -> Vec<Said> {
        self.listen(cluster);
        if choices.byte() < 128 {
            return self
                .word(cluster, target, choices)
                .into_iter()
                .map(|message| (Side::Meant, message))
                .collect();
        }
        self.own_move(cluster, target, choices).unwrap_or_default()
    }

    /// Several messages that belong together.
    fn own_move(
        &mut self,
        cluster: &mut Cluster,
        target: usize,
        choices: &mut Choices<'_>,
    ) -> Option<Vec<Said>> {
        let near = Self::view(cluster, target, choices);
        let mut said = Vec::new();
        match choices.below(8) {
            // One batch to some, another one to the others, and every liar's votes for both.
            0 | 1 => {
                let (liar, view) = self.own_view(cluster, near, choices)?;
                let height = Self::height(cluster, target, choices);
                for side in [Side::Meant, Side::Others] {
                    let payload = self.payload(cluster, liar, choices);
                    let digest = payload.digest();
                    let vote = Vote { kind: Kind::PrePrepare, epoch: Epoch::ZERO, view, height, digest };
                    let proposal = Self::sign(cluster, liar, vote);
                    let slot = (Kind::PrePrepare, view, height, digest);
                    self.votes.entry(slot).or_default().insert(proposal.from, proposal.signature);
                    said.push((side, Message::Proposal(proposal, Some(payload.bytes().clone()))));
                    said.extend(self.votes_of_all(cluster, vote).map(|vote| (side, vote)));
                }
            }
            // Every liar votes for everything that is on the way.
            2 => {
                let known: Vec<Slot> = self.votes.keys().rev().take(12).copied().collect();
                for (_, view, height, digest) in known {
                    let vote = Vote { kind: Kind::Prepare, epoch: Epoch::ZERO, view, height, digest };
                    said.extend(self.votes_of_all(cluster, vote).map(|vote| (Side::Meant, vote)));
                }
            }
            // A flood, far beyond any window.
            3 => {
                let liar = *choices.pick(&self.who)?;
                let (views, heights) =
                    (1 + u64::from(choices.byte() % 8), 1 + u64::from(choices.byte() % 64));
                for at in 0..views * heights {
                    let (view, height) = (View(near.0.saturating_add(at % views)), Height(1 + at / views));
                    let digest = self.digests[at as usize % self.digests.len()];
                    for kind in [Kind::Prepare, Kind::Commit, Kind::Seal] {
                        let view = if kind == Kind::Seal { View::ZERO } else { view };
                        let vote = Vote { kind, epoch: Epoch::ZERO, view, height, digest };
                        said.push((Side::Meant, Message::Vote(Self::sign(cluster, liar, vote))));
                    }
                }
            }
            // A view of one's own, of one ViewChange q times, or with a certificate in which the primary counts twice.
            4 | 5 => {
                let (liar, view) = self.own_view(cluster, View(near.0.max(1)), choices)?;
                let mut body = self.new_view(cluster, liar, view, choices);
                let one = self.change(cluster, liar, view, choices);
                if choices.flag() {
                    body.view_changes = vec![one; cluster.set.quorum()];
                }
                for prepared in body.view_changes.iter_mut().flat_map(|change| &mut change.body.prepared) {
                    if self.who.contains(&prepared.pre_prepare.from.get()) {
                        let prepare = Vote { kind: Kind::Prepare, ..prepared.pre_prepare.vote };
                        let own = Self::sign(cluster, prepared.pre_prepare.from.get(), prepare);
                        prepared.prepares.insert(own.from, own.signature);
                    }
                }
                said.push((
                    Side::Meant,
                    Message::NewView(Box::new(body.sign(cluster.chain_id, v(liar), &*cluster.signer(liar)))),
                ));
            }
            // Who is not primary proposes and opens views.
            6 => {
                let liar = *choices.pick(&self.who)?;
                let (height, payload) =
                    (Self::height(cluster, target, choices), self.payload(cluster, liar, choices));
                let vote = Vote {
                    kind: Kind::PrePrepare,
                    epoch: Epoch::ZERO,
                    view: near,
                    height,
                    digest: payload.digest(),
                };
                said.push((
                    Side::Meant,
                    Message::Proposal(Self::sign(cluster, liar, vote), Some(payload.bytes().clone())),
                ));
                let body = self.new_view(cluster, liar, View(near.0.max(1)), choices);
                said.push((
                    Side::Meant,
                    Message::NewView(Box::new(body.sign(cluster.chain_id, v(liar), &*cluster.signer(liar)))),
                ));
            }
            // Votes of another epoch.
            _ => {
                let slot = self.votes.keys().nth_back(choices.below(self.votes.len().max(1)))?;
                let vote =
                    Vote { kind: slot.0, epoch: Epoch(1), view: slot.1, height: slot.2, digest: slot.3 };
                for who in &self.who {
                    said.push((Side::Meant, Message::Vote(Self::sign(cluster, *who, vote))));
                }
            }
        }
        Some(said)
    }

    /// Prepare and Commit of every liar for what `vote` is about.
    fn votes_of_all(&self, cluster: &Cluster, vote: Vote) -> impl Iterator<Item = Message> {
        let kinds = [Kind::Prepare, Kind::Commit];
        let all = self
            .who
            .iter()
            .flat_map(|who| kinds.map(|kind| Self::sign(cluster, *who, Vote { kind, ..vote })));
        all.map(Message::Vote).collect::<Vec<_>>().into_iter()
    }

    /// One message, made for `target`.
    fn word(&mut self, cluster: &mut Cluster, target: usize, choices: &mut Choices<'_>) -> Option<Message> {
        let liar = *choices.pick(&self.who)?;
        let near = Self::view(cluster, target, choices);
        let height = Self::height(cluster, target, choices);
        Some(match choices.below(16) {
            0..=3 => {
                let digest = self.digest(choices);
                let kind = [Kind::Prepare, Kind::Commit, Kind::Seal, Kind::Suspect][choices.below(4)];
                let (view, height, digest) = match kind {
                    Kind::Seal => (View::ZERO, height, digest),
                    Kind::Suspect => (near, Height::ZERO, Hash::ZERO),
                    Kind::PrePrepare | Kind::Prepare | Kind::Commit => (near, height, digest),
                };
                Message::Vote(Self::sign(
                    cluster,
                    liar,
                    Vote { kind, epoch: Epoch::ZERO, view, height, digest },
                ))
            }
            4..=6 => {
                let (liar, view) = self.own_view(cluster, near, choices)?;
                let payload = self.payload(cluster, liar, choices);
                let digest = payload.digest();
                let vote = Vote { kind: Kind::PrePrepare, epoch: Epoch::ZERO, view, height, digest };
                let vote = Self::sign(cluster, liar, vote);
                let slot = (Kind::PrePrepare, view, height, digest);
                self.votes.entry(slot).or_default().insert(vote.from, vote.signature);
                Message::Proposal(vote, choices.flag().then(|| payload.bytes().clone()))
            }
            7 => Message::Batch(self.payload(cluster, liar, choices).bytes().clone()),
            8 => {
                let digest = self.digest(choices);
                let vote = Vote { kind: Kind::Commit, epoch: Epoch::ZERO, view: near, height, digest };
                let commits = self.gather(cluster, vote, None, choices);
                Message::Commits(CommitCertificate {
                    epoch: Epoch::ZERO,
                    view: near,
                    height,
                    digest,
                    commits,
                })
            }
            9 => {
                let header_hash = self.digest(choices);
                let (epoch, view) = (Epoch::ZERO, View::ZERO);
                let vote = Vote { kind: Kind::Seal, epoch, view, height, digest: header_hash };
                let signatures = self.gather(cluster, vote, None, choices);
                Message::Certificate(Certificate { epoch, height, header_hash, signatures })
            }
            10 | 11 => {
                let view = View(near.0.max(1));
                let change = self.change(cluster, liar, view, choices);
                self.changes.entry(view).or_default().insert(change.from, change.clone());
                Message::ViewChange(Box::new(change))
            }
            12 | 13 => {
                let asked = self.changes.keys().next_back().copied().unwrap_or(View::ZERO);
                let near = if choices.flag() { asked } else { near };
                let (liar, view) = self.own_view(cluster, View(near.0.max(1)), choices)?;
                let body = self.new_view(cluster, liar, view, choices);
                Message::NewView(Box::new(body.sign(cluster.chain_id, v(liar), &*cluster.signer(liar))))
            }
            14 => {
                let bits = u128::from(choices.byte());
                let slot = SlotStatus { prepares: bits, commits: bits, seals: bits, ordered: choices.flag() };
                let status = Status {
                    epoch: Epoch::ZERO,
                    view: near,
                    asked: Self::view(cluster, target, choices),
                    low: Height(height.0.saturating_sub(1)),
                    delivered: Self::height(cluster, target, choices),
                    suspects: bits,
                    view_changes: bits,
                    slots: vec![slot; choices.below(9)],
                };
                Message::Status(Box::new(status.sign(cluster.chain_id, v(liar), &*cluster.signer(liar))))
            }
            _ => {
                let (_, _, heard) = choices.pick(&cluster.sent)?;
                let mut bytes = heard.encode().to_vec();
                choices.edit(&mut bytes);
                Message::decode(&Bytes::from(bytes), &cluster.set).ok()?
            }
        })
    }
}
