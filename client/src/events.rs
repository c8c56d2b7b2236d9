//! Events in order, for as long as one likes: a lost node is replaced by another, from the last place on.
//!
//! The place is the cursor of the last event or heartbeat that came through; keep it, and a restarted program goes on
//! after it. Delivery over a restart is at least once; within one [`Subscription`] nothing comes twice or backwards.

use std::time::Duration;

use epione_proto::v1::event_service_client::EventServiceClient;
use epione_proto::v1::{self as pb, subscribe_request, subscribe_response::Message};
use epione_proto::{ApiError, ConvertError, ConvertReason, convert::fixed};
use epione_types::event::Event;
use epione_types::{EventCursor, Height, TimestampMs, TxId};
use tonic::{Code, Streaming};

use crate::connection::{ANSWER_BYTES_MAX, Pauses};
use crate::{ClientError, EpioneClient};

/// A node sends a heartbeat at least every 10 s; after three missing ones it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next block.
    Now,
    /// With the first event of this block.
    Height(Height),
    /// After this event or heartbeat.
    After(EventCursor),
}

/// An event and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEvent {
    /// Its place.
    pub cursor: EventCursor,
    /// Sealed time of the block.
    pub time: TimestampMs,
    /// The transaction that did it.
    pub tx_id: TxId,
    /// What happened.
    pub event: Event,
}

/// A stream of events that survives its node.
#[derive(Debug)]
pub struct Subscription {
    client: EpioneClient,
    start: Start,
    filter: pb::EventFilter,
    stream: Option<(usize, Streaming<pb::SubscribeResponse>)>,
    pauses: Pauses,
}

impl EpioneClient {
    /// Subscribes to the events that meet `filter`.
    #[must_use]
    pub fn subscribe(&self, start: Start, filter: pb::EventFilter) -> Subscription {
        Subscription { client: self.clone(), start, filter, stream: None, pauses: Pauses::default() }
    }
}

impl Subscription {
    /// Where to go on after a restart: everything up to here came through.
    #[must_use]
    pub const fn position(&self) -> Start {
        self.start
    }

    /// The next event; waits for it, over any number of nodes that come and go.
    ///
    /// # Errors
    /// What another attempt cannot mend: a refusal (`OUT_OF_RANGE`: pruned, start later), an answer that is none. After
    /// an error the next call tries again from the same place.
    pub async fn next(&mut self) -> Result<LedgerEvent, ClientError> {
        loop {
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error) => {
                    if let Some((number, _)) = self.stream.take() {
                        self.client.move_on(number);
                    }
                    let Some(api) = error.retryable() else { return Err(error) };
                    tokio::time::sleep(api.retry_after.unwrap_or_else(|| self.pauses.next())).await;
                }
            }
        }
    }

    /// Everything up to a block that is on the ledger: what happened so far, and then no waiting for more. Nothing, if it
    /// starts above that block.
    ///
    /// # Errors
    /// As [`Self::next`], but that a node is lost: it does not go on at another.
    pub async fn read_to(mut self, height: Height) -> Result<Vec<LedgerEvent>, ClientError> {
        let end = EventCursor { height, index: u32::MAX };
        let mut events = Vec::new();
        // No heartbeat from below where it starts moves it on.
        if matches!(self.start, Start::Height(first) if first > height) {
            return Ok(events);
        }
        // A node that has sent all there is says so by a heartbeat.
        while !matches!(self.start, Start::After(cursor) if cursor >= end) {
            events.extend(self.step().await?);
        }
        events.retain(|event| event.cursor <= end);
        Ok(events)
    }

    /// One message; `None` for a heartbeat, or for what came already.
    async fn step(&mut self) -> Result<Option<LedgerEvent>, ClientError> {
        if self.stream.is_none() {
            let (number, node) = self.client.node();
            let mut node = EventServiceClient::new(node).max_decoding_message_size(ANSWER_BYTES_MAX);
            let start = match self.start {
                Start::Now => None,
                Start::Height(height) => Some(subscribe_request::Start::FromHeight(height.0)),
                Start::After(cursor) => Some(subscribe_request::Start::After(cursor.into())),
            };
            let request = pb::SubscribeRequest { start, filter: Some(self.filter.clone()) };
            let opened = tokio::time::timeout(self.client.attempt_timeout(), node.subscribe(request)).await;
            let Ok(opened) = opened else {
                self.client.move_on(number);
                return Err(silent().into());
            };
            match opened {
                Ok(stream) => self.stream = Some((number, stream.into_inner())),
                Err(status) => {
                    self.client.move_on(number);
                    return Err(status.into());
                }
            }
        }
        let Some((_, stream)) = &mut self.stream else { return Ok(None) };
        let Ok(message) = tokio::time::timeout(SILENCE_MAX, stream.message()).await else {
            return Err(silent().into());
        };
        let Some(message) = message?.and_then(|response| response.message) else {
            return Err(silent().into());
        };
        self.pauses.reset();
        match message {
            Message::Heartbeat(beat) => {
                let cursor = beat.cursor.ok_or_else(|| missing("heartbeat.cursor"))?.into();
                if self.is_new(cursor) {
                    self.start = Start::After(cursor);
                }
                Ok(None)
            }
            Message::Event(event) => {
                let event = LedgerEvent::try_from(event)?;
                let new = self.is_new(event.cursor);
                if new {
                    self.start = Start::After(event.cursor);
                }
                Ok(new.then_some(event))
            }
        }
    }

    fn is_new(&self, cursor: EventCursor) -> bool {
        match self.start {
            Start::Now => true,
            Start::Height(height) => cursor.height >= height,
            Start::After(last) => cursor > last,
        }
    }
}

impl TryFrom<pb::LedgerEvent> for LedgerEvent {
    type Error = ConvertError;
    fn try_from(wire: pb::LedgerEvent) -> Result<Self, ConvertError> {
        Ok(Self {
            cursor: wire.cursor.ok_or_else(|| missing("cursor"))?.into(),
            time: TimestampMs(wire.block_time_ms),
            tx_id: fixed("transaction_id", &wire.transaction_id)?,
            event: wire.event.ok_or_else(|| missing("event"))?.try_into()?,
        })
    }
}

fn missing(field: &str) -> ConvertError {
    ConvertError::new(field, ConvertReason::MissingField, "not set")
}

fn silent() -> ApiError {
    ApiError::new(Code::Unavailable, "", "the node fell silent")
}
