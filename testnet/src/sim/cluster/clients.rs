//! Clients: what they submit where, what they are told, and what they ask.

use epione_node::feed::Word;
use epione_node::handle::may_be_below;
use epione_node::mempool;
use epione_node::mempool::Account;
use epione_node::ports::{Admitted, Refused};
use epione_node::validate::parse;
use epione_types::{SignedTx, Signer as _, TimestampMs};

use super::{CLIENT_OPEN_MAX, CLIENT_PATIENCE, Cluster, Event, Phase};
use crate::sim::client::{Answer, Place, Submission};
use crate::sim::clock::{MS, NodeClock};
use crate::sim::plan::Nodes;
use crate::sim::random::{Purpose, Rng};
use crate::sim::workload;

impl Cluster<'_> {
    /// The running body of a validator that clients may speak to.
    pub(super) fn running(&self, node: usize) -> Option<usize> {
        self.bodies.iter().position(|one| one.who == node && one.process.is_some())
    }

    pub(super) fn client(&mut self, client: usize) {
        let now = self.queue.now();
        if self.phase != Phase::One || self.quiet {
            return;
        }
        let made = self.oracle.all().len() as u64;
        let random = &mut Rng::new(self.plan.seed, Purpose::Client, &[client as u64, now]);
        let pause = self.plan.load_every * self.clients.len() as u64;
        self.queue.at(now + random.within(pause / 2, pause * 3 / 2).max(1), Event::Client(client));
        let patient = |one: &&(usize, &Submission)| now.saturating_sub(one.1.tried) > CLIENT_PATIENCE;
        let open: Vec<(usize, &Submission)> = self
            .oracle
            .all()
            .iter()
            .enumerate()
            .skip(self.oracle.all().len().saturating_sub(200))
            .filter(|(_, one)| one.answer.is_none() && !one.forged && now - one.tried < 20_000 * MS)
            .filter(|(at, _)| at % self.clients.len() == client)
            .collect();
        let overdue = open.iter().find(patient).map(|(at, _)| *at as u64);
        let many = open.len() >= CLIENT_OPEN_MAX;
        let home = self.clients[client].hospital();
        if let Some(number) = overdue {
            let node = random.index(self.plan.machines());
            return self.submit(number, node);
        }
        match random.below(100) {
            // Again, what was submitted before: to another node, or long after its end.
            0..8 if made > 0 => {
                let number = made - 1 - random.below(made.min(100));
                self.counts.add("resubmitted", 1);
                self.submit(number, random.index(self.plan.machines()));
            }
            8..11 => {
                let number = self.make(client, random, true, None);
                self.submit(number, home);
            }
            11..16 => {
                let soon = random.within(1, 2_500);
                let number = self.make(client, random, false, Some(soon));
                self.submit(number, home);
            }
            _ if many => {}
            roll => {
                let number = self.make(client, random, false, None);
                self.submit(number, home);
                if roll < 26 {
                    self.submit(number, random.index(self.plan.machines()));
                }
            }
        }
    }

    pub(super) fn make(
        &mut self,
        client: usize,
        random: &mut Rng,
        forged: bool,
        expires_in: Option<u64>,
    ) -> u64 {
        let (call, signers) = self.clients[client].next(&self.keys, random);
        let number = self.make_call(client, call, &signers, forged, expires_in.unwrap_or(120_000));
        self.load.push(number);
        number
    }

    pub(super) fn make_call(
        &mut self,
        client: usize,
        call: epione_types::call::Call,
        signers: &[String],
        forged: bool,
        expires_in: u64,
    ) -> u64 {
        let patient = signers.first().is_some_and(|sender| sender.starts_with("patient"));
        let organisation = workload::organisation(self.clients[client].hospital());
        let person = signers.first().map(|sender| self.keys.signer(sender).public_key());
        let person = person.and_then(|key| key.0.first_chunk().copied());
        let client = person.filter(|_| patient).map_or_else(|| organisation.into(), mempool::Client::Person);
        self.make_for(client, call, signers, forged, expires_in)
    }

    /// A transaction in this client's share.
    pub(super) fn make_for(
        &mut self,
        client: mempool::Client,
        call: epione_types::call::Call,
        signers: &[String],
        forged: bool,
        expires_in: u64,
    ) -> u64 {
        let clock = NodeClock::default().wall_ms(self.queue.now());
        let expires_at = TimestampMs(clock + expires_in);
        let request = self.oracle.all().len() as u64;
        let mut tx: SignedTx =
            workload::sign(self.common.origin.chain, &self.keys, signers, request, expires_at, call);
        if forged {
            if let Some(one) = tx.signatures.last_mut() {
                one.signature.0[0] ^= 1;
            }
            self.counts.add("forged", 1);
        }
        let account = Account::Client(client);
        let id = tx.id();
        self.oracle.made(Submission {
            tx,
            id,
            account,
            expires_at,
            forged,
            taken: Nodes::default(),
            answer: None,
            tried: 0,
        })
    }

    pub(super) fn submit(&mut self, number: u64, node: usize) {
        let now = self.queue.now();
        let chain = self.common.origin.chain;
        let submission = self.oracle.one(number);
        submission.tried = now;
        let (tx, account) = (submission.tx.clone(), submission.account);
        self.trace.note(now, 17, node, number, &[], || format!("a client submits transaction {number}"));
        let Some(body) = self.running(node) else { return };
        let Ok(parsed) = parse(tx, chain) else {
            self.harness = Some(format!("transaction {number} does not parse"));
            return;
        };
        if let Some(process) = &mut self.bodies[body].process {
            process.submit(number, parsed, account);
            self.wake(body);
        }
    }

    pub(super) fn word(&mut self, body: usize, number: u64, word: &Result<Admitted, Refused>) {
        let now = self.queue.now();
        let (node, honest) = (self.bodies[body].who, self.bodies[body].honest);
        self.trace.note(now, 18, body, number, &[u8::from(word.is_ok())], || {
            format!("tells client {number}: {word:?}")
        });
        if !honest {
            return;
        }
        match self.oracle.word(node, number, word) {
            Ok(true) => {
                let submission = self.oracle.one(number);
                let (id, expires_at) = (submission.id, submission.expires_at);
                let Some(process) = &mut self.bodies[body].process else { return };
                process.wait(number, id, expires_at);
                // A waiter registers first, and asks then.
                let found = process.chain.receipt(id).ok().flatten();
                let fresh = matches!(word, Ok(Admitted::New { .. }));
                if found.is_none() && !fresh && may_be_below(&process.chain, id, expires_at).unwrap_or(true) {
                    // Below the snapshot that it installed: another node has the answer.
                    process.waits.pop();
                    return self.counts.add("answers elsewhere", 1);
                }
                let expired = || (process.chain.head().timestamp > expires_at).then_some(Answer::Expired);
                let answer = found.map(|receipt| Answer::Committed(Place::of(&receipt))).or_else(expired);
                if let Some(answer) = answer {
                    process.waits.pop();
                    let check = self.oracle.answered(node, number, answer);
                    self.acknowledged(check);
                }
            }
            Ok(false) => self.counts.add("refused at the door", 1),
            Err(text) => self.checks.breaks("acknowledged", text),
        }
    }

    pub(super) fn acknowledged(&mut self, check: crate::sim::invariants::Check) {
        if let Err(text) = check {
            self.checks.breaks("acknowledged", text);
        }
    }

    /// A block was stored: clients who wait for it hear of it.
    pub(super) fn tell(&mut self, body: usize) {
        let now = self.queue.now();
        let node = self.bodies[body].who;
        let Some(process) = &mut self.bodies[body].process else { return };
        let mut heard = Vec::new();
        process.waits.retain_mut(|(number, wait)| match wait.try_word() {
            Some(Word::Committed(found)) => {
                heard.push((*number, Answer::Committed(Place::of(found.receipt()))));
                false
            }
            Some(Word::Expired(_)) => {
                heard.push((*number, Answer::Expired));
                false
            }
            None => true,
        });
        for (number, answer) in heard {
            let said = match answer {
                Answer::Committed(_) => 0,
                Answer::Expired => 1,
            };
            self.trace
                .note(now, 19, body, number, &[said], || format!("answers client {number}: {answer:?}"));
            self.counts.add(if said == 0 { "answered committed" } else { "answered expired" }, 1);
            let check = self.oracle.answered(node, number, answer);
            self.acknowledged(check);
        }
    }
}
