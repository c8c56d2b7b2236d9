//! Epochs: the ledger decides who validates next, and a boundary makes it so (R20).
//!
//! A log may be ahead of its store, which fell back: what it holds of later epochs waits until execution begins each of
//! them again, and binds from then on as before. Tested by `tests/epochs.rs`.

use epione_types::{Height, NextEpoch, ValidatorSet};

use crate::event::{Effect, Halt, Step};
use crate::record::Record;
use crate::replica::{Config, Replica};

impl Replica {
    /// Does a record bind in this very epoch, wherever it stands in the log?
    pub(crate) fn binds_now(&self, record: &Record) -> bool {
        let epoch = record.begins().or_else(|| record.epoch());
        let always = matches!(record, Record::Halted(_) | Record::Batch { .. });
        always || epoch.is_some_and(|epoch| epoch <= self.config.set.epoch)
    }

    /// What the ledger has decided about the next epoch, as executing says it after every block (R20).
    pub(crate) fn learn(&mut self, next: Option<NextEpoch>) {
        // Told again when old blocks are executed again: what has begun is in force.
        self.next = next.filter(|next| next.set.epoch > self.config.set.epoch);
    }

    /// The next epoch begins once its last height is certified and executed here: nothing above can have been accepted, so
    /// it begins in view 0 without a NewView (R20).
    pub(crate) fn turn(&mut self, step: &mut Step) {
        while self.halted.is_none()
            && let Some(NextEpoch { after, set }) = self.next.take_if(|next| next.after <= self.low)
        {
            let epoch = set.epoch;
            let begins = Record::Epoch { after, set };
            match self.later.pop_front() {
                None => self.record(begins, step),
                // The log was in this epoch before: what it holds of it binds as before the restart.
                Some(logged) if logged == begins => self.reach(&logged, step),
                Some(_) => {
                    let halt = Halt::OtherEpoch { epoch };
                    return self.halt(halt, step);
                }
            }
            self.timers.turned(&self.config.set.params);
            step.effects.push(Effect::Turned(Box::new(self.config.clone())));
            step.effects.push(Effect::Entered { epoch, view: self.view });
            if self.later.front().is_none_or(|record| record.begins().is_none()) {
                self.own_messages(step);
            }
        }
    }

    /// Applies what a log holds of one epoch: from its beginning up to the next one's, and what was said in it after the store
    /// had fallen back to it or to an epoch before, which stands behind what the log held of the next ones.
    fn reach(&mut self, begins: &Record, step: &mut Step) {
        let mut sound = self.apply(begins);
        while sound && let Some(record) = self.later.pop_front_if(|record| record.begins().is_none()) {
            sound = self.apply(&record);
        }
        for record in core::mem::take(&mut self.later) {
            let said = record.epoch() == Some(self.config.set.epoch);
            if sound && (said || matches!(record, Record::Batch { .. })) {
                sound = self.apply(&record);
            }
            if !said {
                self.later.push_back(record);
            }
        }
        if !sound {
            return self.halt(Halt::OtherEpoch { epoch: self.config.set.epoch }, step);
        }
        if let Some(certificate) = self.pending_certificate.take() {
            self.adopt(certificate, step);
        }
    }

    /// Everything above `after` is empty, and view 0 of the new epoch is entered. Of the old one stays what is certified.
    pub(crate) fn enter_epoch(&mut self, after: Height, set: &ValidatorSet) {
        let config = Config::new(self.config.chain, set.clone(), after, &self.signer.public_key());
        let fresh = Self::new(config, self.signer.clone(), self.executed);
        let old = core::mem::replace(self, fresh);
        let Self { low, low_certificate, delivered, later, timers, halted, fetching, causes, .. } = old;
        (self.low, self.low_certificate, self.delivered) = (low, low_certificate, delivered);
        (self.later, self.timers, self.halted) = (later, timers, halted);
        (self.fetching, self.causes) = (fetching.of_another_epoch(), causes.of_another_epoch());
    }
}
