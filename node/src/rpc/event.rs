//! Events as they happen, and from any place on.
//!
//! ```text
//!  cursor ─▶ blocks from there on ─▶ filter ─▶ who may see it ─▶ bounded queue ─▶ subscriber
//!    ▲ moves on with what was queued                               full for long: cut off, told where to go on
//! ```
//!
//! Events are read from the ledger, never from a feed, so there is no gap to fall into: being slow costs a subscriber
//! nothing until its queue has been full for [`Limits::slow_max`]. Who sees what, as of now:
//!
//! | subscriber | sees |
//! |---|---|
//! | administrators and auditors of validators' organisations | everything |
//! | everybody | organisations and practitioners that join, change and leave; proposals, and what they change |
//! | an organisation's administrator | what names the organisation: enrolled, kept or asked by it |
//! | who may read of a patient ([`Reader`]) | their enrolment, and the records, grants, accesses and overrides that they may read |
//! | whoever asked for a record | the decision |
//!
//! The ledger's event of a denied access does not say whose the record is. Who may read that access is shown it with the
//! patient's id; the requester and their administrator see it as it stands, whether there is such a record or not.
//!
//! Tested below and by `tests/rpc/`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use epione_chaincode::identity::Member;
use epione_chaincode::read::{self, Reader};
use epione_chaincode::{host, keys};
use epione_client::tx;
use epione_ledger::chain::Chain;
use epione_proto::convert::{fixed, raw};
use epione_proto::v1::event_service_server::EventService;
use epione_proto::v1::{self as pb, EventKind, subscribe_request::Start, subscribe_response::Message};
use epione_proto::{ConvertError, ConvertReason};
use epione_types::call::MAX_LIST;
use epione_types::codes::Decision;
use epione_types::event::Event;
use epione_types::id::{IdError, OrgId, PatientId, RecordId};
use epione_types::{EventCursor, Height, TimestampMs};
use futures::stream::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Limits;
use super::door::{Caller, caller};
use super::error::RpcError;
use super::read::oversees;
use crate::executor::ChainState;
use crate::handle::{NodeError, NodeHandle};

/// Messages that wait for a subscriber.
const QUEUE: usize = 64;
/// Blocks and events that are read at once; a block is read whole.
const BLOCKS_AT_ONCE: u64 = 64;
const EVENTS_AT_ONCE: usize = 2_048;
/// Patients whose facts are kept at hand meanwhile.
const READERS_MAX: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Events {
    pub(super) node: NodeHandle,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
}

/// The place after everything of a block.
const fn end_of(height: Height) -> EventCursor {
    EventCursor { height, index: u32::MAX }
}

/// What a filter and the rules of sight look at.
struct Subject {
    kind: EventKind,
    patient: Option<PatientId>,
    record: Option<RecordId>,
    organisation: Option<OrgId>,
}

fn subject(event: &Event) -> Subject {
    let of = |kind| Subject { kind, patient: None, record: None, organisation: None };
    match *event {
        Event::OrganisationRegistered { organisation } => {
            Subject { organisation: Some(organisation), ..of(EventKind::OrgRegistered) }
        }
        Event::PractitionerRegistered { organisation, .. } => {
            Subject { organisation: Some(organisation), ..of(EventKind::PractitionerRegistered) }
        }
        Event::PatientRegistered { patient, organisation, .. } => Subject {
            patient: Some(patient),
            organisation: Some(organisation),
            ..of(EventKind::PatientRegistered)
        },
        Event::RecordRegistered { record, patient, custodian } => Subject {
            patient: Some(patient),
            record: Some(record),
            organisation: Some(custodian),
            ..of(EventKind::RecordRegistered)
        },
        Event::GrantCreated { patient, .. } => {
            Subject { patient: Some(patient), ..of(EventKind::GrantCreated) }
        }
        Event::GrantRevoked { patient, .. } => {
            Subject { patient: Some(patient), ..of(EventKind::GrantRevoked) }
        }
        Event::AccessDecided { record, patient, organisation, .. } => {
            Subject { patient, organisation, record: Some(record), ..of(EventKind::AccessDecided) }
        }
        Event::OverrideOpened { patient, organisation, .. } => Subject {
            patient: Some(patient),
            organisation: Some(organisation),
            ..of(EventKind::OverrideOpened)
        },
        Event::OrganisationChanged { organisation, .. } => {
            Subject { organisation: Some(organisation), ..of(EventKind::OrgChanged) }
        }
        Event::PractitionerChanged { organisation, .. } => {
            Subject { organisation: Some(organisation), ..of(EventKind::PractitionerChanged) }
        }
        Event::DeviceChanged { organisation, .. } => {
            Subject { organisation: Some(organisation), ..of(EventKind::DeviceChanged) }
        }
        Event::KeyRotated { organisation, .. } => Subject { organisation, ..of(EventKind::KeyRotated) },
        Event::PatientChanged { patient, organisation, .. } => {
            Subject { patient: Some(patient), organisation, ..of(EventKind::PatientChanged) }
        }
        Event::RepresentationChanged { patient, .. } => {
            Subject { patient: Some(patient), ..of(EventKind::RepresentationChanged) }
        }
        Event::RecordChanged { record, patient, custodian, .. } => Subject {
            patient: Some(patient),
            record: Some(record),
            organisation: Some(custodian),
            ..of(EventKind::RecordChanged)
        },
        Event::OptedOut { patient, .. } => Subject { patient: Some(patient), ..of(EventKind::OptedOut) },
        Event::AccessRequestChanged { patient, organisation, .. } => Subject {
            patient: Some(patient),
            organisation: Some(organisation),
            ..of(EventKind::AccessRequestChanged)
        },
        Event::OverrideReviewed { patient, organisation, .. } => Subject {
            patient: Some(patient),
            organisation: Some(organisation),
            ..of(EventKind::OverrideReviewed)
        },
        Event::NoticeGiven { patient, .. } => {
            Subject { patient: Some(patient), ..of(EventKind::NoticeGiven) }
        }
        Event::NoticeAcknowledged { patient, .. } => {
            Subject { patient: Some(patient), ..of(EventKind::NoticeAcknowledged) }
        }
        Event::ReportChanged { record, patient, custodian, .. } => Subject {
            patient: Some(patient),
            record: Some(record),
            organisation: Some(custodian),
            ..of(EventKind::ReportChanged)
        },
        Event::LinkChanged { patient, record, .. } => {
            Subject { patient: Some(patient), record: Some(record), ..of(EventKind::LinkChanged) }
        }
        Event::RecoveryChanged { patient, .. } => {
            Subject { patient: Some(patient), ..of(EventKind::RecoveryChanged) }
        }
        Event::ProposalChanged { .. } => of(EventKind::ProposalChanged),
        Event::PolicyChanged { .. } => of(EventKind::PolicyChanged),
    }
}

/// What every member may know: who takes part, and by which rules.
const fn is_common(event: &Event) -> bool {
    matches!(
        event,
        Event::OrganisationRegistered { .. }
            | Event::OrganisationChanged { .. }
            | Event::PractitionerRegistered { .. }
            | Event::PractitionerChanged { .. }
            | Event::ProposalChanged { .. }
            | Event::PolicyChanged { .. }
    )
}

/// Which events a subscriber wants: those that meet every list that is not empty.
#[derive(Debug, Default)]
struct Filter {
    kinds: Vec<EventKind>,
    patients: Vec<PatientId>,
    records: Vec<RecordId>,
    organisations: Vec<OrgId>,
}

impl Filter {
    fn new(wire: &pb::EventFilter) -> Result<Self, RpcError> {
        let kind = |number: &i32| match EventKind::try_from(*number) {
            Ok(EventKind::Unspecified) | Err(_) => {
                let text = format!("{number} is no kind of event");
                Err(ConvertError::new("filter.kinds", ConvertReason::UnknownCode, text).into())
            }
            Ok(kind) => Ok(kind),
        };
        bounded("kinds", wire.kinds.len())?;
        Ok(Self {
            kinds: wire.kinds.iter().map(kind).collect::<Result<_, RpcError>>()?,
            patients: ids("patient_ids", &wire.patient_ids)?,
            records: ids("record_ids", &wire.record_ids)?,
            organisations: ids("org_ids", &wire.org_ids)?,
        })
    }

    fn wants(&self, subject: &Subject) -> bool {
        among(&self.patients, subject.patient) && self.but_for_patients(subject)
    }

    /// Every list is met but that of patients.
    fn but_for_patients(&self, subject: &Subject) -> bool {
        among(&self.kinds, Some(subject.kind))
            && among(&self.records, subject.record)
            && among(&self.organisations, subject.organisation)
    }
}

fn among<T: PartialEq>(list: &[T], found: Option<T>) -> bool {
    list.is_empty() || found.is_some_and(|found| list.contains(&found))
}

fn bounded(what: &'static str, found: usize) -> Result<(), RpcError> {
    if found <= MAX_LIST { Ok(()) } else { Err(RpcError::FilterSize { what, found, limit: MAX_LIST }) }
}

fn ids<T>(what: &'static str, list: &[bytes::Bytes]) -> Result<Vec<T>, RpcError>
where
    T: for<'a> TryFrom<&'a [u8], Error = IdError>,
{
    bounded(what, list.len())?;
    let id = |bytes: &bytes::Bytes| fixed(what, bytes).map_err(|error| error.within("filter").into());
    list.iter().map(id).collect()
}

/// The event of an access, with its patient or without.
fn about(event: &Event, whose: Option<PatientId>) -> Event {
    let mut event = event.clone();
    if let Event::AccessDecided { patient, .. } = &mut event {
        *patient = whose;
    }
    event
}

/// What one member sees, as of now.
struct Sight<'s> {
    state: &'s ChainState,
    now: TimestampMs,
    member: Member,
    oversees: bool,
    readers: BTreeMap<PatientId, Option<Reader<'s>>>,
}

impl<'s> Sight<'s> {
    fn new(state: &'s ChainState, now: TimestampMs, member: Member) -> Result<Self, RpcError> {
        let oversees = oversees(state, now, member)?;
        Ok(Self { state, now, member, oversees, readers: BTreeMap::new() })
    }

    /// `height` and `index`: where the transaction stands.
    fn sees(
        &mut self,
        event: &Event,
        subject: &Subject,
        height: Height,
        index: u32,
    ) -> Result<bool, RpcError> {
        if self.oversees {
            return Ok(true);
        }
        if is_common(event) {
            return Ok(true);
        }
        if let Event::AccessDecided { record, patient, decision: Decision::Deny, .. } = *event {
            return self.sees_denial(record, patient, subject.organisation, height, index);
        }
        if matches!(self.member, Member::Admin(own) if subject.organisation == Some(own)) {
            return Ok(true);
        }
        let Some(patient) = subject.patient else { return Ok(false) };
        let (state, member) = (self.state, self.member);
        let Some(reader) = self.reader(patient)? else { return Ok(false) };
        let sees_record = |id: RecordId| {
            let record = host::get(state, &keys::record(id))?;
            Ok::<_, RpcError>(record.is_some_and(|record| reader.sees_record(&record)))
        };
        Ok(match event {
            Event::OrganisationRegistered { .. }
            | Event::OrganisationChanged { .. }
            | Event::PractitionerRegistered { .. }
            | Event::PractitionerChanged { .. }
            | Event::ProposalChanged { .. }
            | Event::PolicyChanged { .. }
            | Event::PatientRegistered { .. }
            | Event::PatientChanged { .. } => true,
            // Of an organisation alone: seen by its administrators, above.
            Event::DeviceChanged { .. } | Event::KeyRotated { .. } => false,
            Event::RecordRegistered { record, .. }
            | Event::RecordChanged { record, .. }
            | Event::ReportChanged { record, .. } => sees_record(*record)?,
            Event::RepresentationChanged { person, .. } => {
                member.person() == Some(*person) || reader.sees_precise_reasons()
            }
            Event::OptedOut { .. }
            | Event::NoticeGiven { .. }
            | Event::NoticeAcknowledged { .. }
            | Event::LinkChanged { .. }
            | Event::RecoveryChanged { .. } => reader.sees_precise_reasons(),
            Event::GrantCreated { grant, .. } | Event::GrantRevoked { grant, .. } => {
                reader.grant(*grant)?.is_some()
            }
            Event::AccessDecided { record, .. } => {
                let decided = host::get(state, &keys::access(patient, height, index))?;
                let own = decided.is_some_and(|decided| decided.who == member);
                own || (reader.sees_precise_reasons() && sees_record(*record)?)
            }
            Event::OverrideOpened { organisation, practitioner, .. }
            | Event::OverrideReviewed { organisation, practitioner, .. }
            | Event::AccessRequestChanged { organisation, practitioner, .. } => {
                let own = member == Member::Practitioner(*organisation, *practitioner);
                own || reader.sees_precise_reasons()
            }
        })
    }

    /// With the patient named: those who may read of the access. Else the requester, and who answers for them.
    fn sees_denial(
        &mut self,
        record: RecordId,
        named: Option<PatientId>,
        organisation: Option<OrgId>,
        height: Height,
        index: u32,
    ) -> Result<bool, RpcError> {
        let (state, member) = (self.state, self.member);
        let found = host::get(state, &keys::record(record))?;
        if let Some(patient) = named {
            let Some(reader) = self.reader(patient)? else { return Ok(false) };
            let sees_record = found.is_some_and(|record| reader.sees_record(&record));
            return Ok(reader.sees_precise_reasons() && sees_record);
        }
        if matches!(member, Member::Admin(own) if organisation == Some(own)) {
            return Ok(true);
        }
        let of_record = match found {
            Some(found) => host::get(state, &keys::access(found.patient, height, index))?,
            None => None,
        };
        // What is there by now may not have been when it was asked for.
        let asked = match of_record {
            Some(asked) => Some(asked),
            None => host::get(state, &keys::access_unknown(member, height, index))?,
        };
        Ok(asked.is_some_and(|asked| asked.who == member))
    }

    /// The event as the subscriber may see it and wants it, if at all.
    fn shows(
        &mut self,
        event: &Event,
        filter: &Filter,
        height: Height,
        index: u32,
    ) -> Result<Option<pb::Event>, RpcError> {
        let Event::AccessDecided { record, decision: Decision::Deny, .. } = *event else {
            let subject = subject(event);
            let shown = filter.wants(&subject) && self.sees(event, &subject, height, index)?;
            return Ok(shown.then(|| event.into()));
        };
        if !filter.but_for_patients(&subject(event)) {
            return Ok(None);
        }
        let whose = host::get(self.state, &keys::record(record))?.map(|found| found.patient);
        // The fullest form first; a filter by patient is met only where the patient is named.
        for form in [whose.map(|whose| about(event, Some(whose))), Some(about(event, None))] {
            let Some(form) = form else { continue };
            let subject = subject(&form);
            if filter.wants(&subject) && self.sees(&form, &subject, height, index)? {
                return Ok(Some((&form).into()));
            }
        }
        Ok(None)
    }

    fn reader(&mut self, patient: PatientId) -> Result<Option<&Reader<'s>>, RpcError> {
        if self.readers.len() >= READERS_MAX && !self.readers.contains_key(&patient) {
            self.readers.clear();
        }
        if !self.readers.contains_key(&patient) {
            let reader = Reader::open(self.state, self.now, self.member, patient)?;
            self.readers.insert(patient, reader);
        }
        Ok(self.readers.get(&patient).and_then(Option::as_ref))
    }
}

/// A piece of the ledger, as one subscriber sees it.
struct Piece {
    events: Vec<pb::LedgerEvent>,
    /// Everything up to here was looked at.
    upto: EventCursor,
    time: TimestampMs,
    head: Height,
}

/// Reads on after `after`, whole blocks.
fn read_on(
    chain: &Arc<Chain>,
    caller: &Caller,
    filter: &Filter,
    after: EventCursor,
) -> Result<Piece, RpcError> {
    let state = ChainState(chain.clone());
    let head = chain.head();
    // Whoever was struck off meanwhile sees nothing any more.
    let member = read::member_of(&state, &caller.key)?.ok_or(RpcError::UnknownKey(head.height))?;
    let mut sight = Sight::new(&state, tx::now().max(head.timestamp), member)?;
    let mut piece = Piece { events: Vec::new(), upto: after, time: head.timestamp, head: head.height };
    let first = if after.index == u32::MAX { after.height.next() } else { after.height };
    let last = head.height.min(first.plus(BLOCKS_AT_ONCE));
    let mut scanned = 0;
    for height in (first.0.max(1)..=last.0).map(Height) {
        let (Some(header), Some(receipts)) = (
            chain.header(height).map_err(NodeError::from)?,
            chain.receipts(height).map_err(NodeError::from)?,
        ) else {
            return Err(NodeError::missing(chain, height).into()); // an error, never a gap
        };
        let all =
            receipts.iter().flat_map(|receipt| receipt.events.iter().map(move |event| (receipt, event)));
        for (index, (receipt, event)) in (0..).zip(all) {
            let cursor = EventCursor { height, index };
            scanned += 1;
            if cursor <= after {
                continue;
            }
            if let Some(event) = sight.shows(event, filter, height, receipt.index)? {
                piece.events.push(pb::LedgerEvent {
                    cursor: Some(cursor.into()),
                    block_time_ms: header.timestamp.0,
                    transaction_id: raw(receipt.tx_id.0),
                    event: Some(event),
                });
            }
        }
        (piece.upto, piece.time) = (end_of(height), header.timestamp);
        if scanned >= EVENTS_AT_ONCE {
            break;
        }
    }
    Ok(piece)
}

/// One subscriber's task.
struct Subscription {
    events: Events,
    caller: Arc<Caller>,
    filter: Arc<Filter>,
    queue: mpsc::Sender<pb::SubscribeResponse>,
    /// The last message in the queue.
    sent: EventCursor,
}

/// Nobody listens any more.
struct Gone;

impl Subscription {
    /// Until the subscriber is gone, or why it is cut off.
    async fn run(mut self, start: EventCursor) -> Result<Gone, RpcError> {
        let until = Instant::now() + self.events.limits.stream_age_max;
        let mut progress = self.events.node.progress();
        let mut at = start;
        let mut time = progress.borrow().timestamp;
        let mut beat = Instant::now();
        let mut caught_up = false;
        loop {
            if Instant::now() >= beat {
                beat = Instant::now() + self.events.limits.heartbeat;
                let heartbeat = pb::Heartbeat { cursor: Some(at.into()), block_time_ms: time.0 };
                if let Some(gone) = self.send(Message::Heartbeat(heartbeat), at).await? {
                    return Ok(gone);
                }
            }
            if Instant::now() >= until {
                return Err(RpcError::StreamAge {
                    minutes: self.events.limits.stream_age_max.as_secs() / 60,
                });
            }
            let (caller, filter) = (self.caller.clone(), self.filter.clone());
            let read = move |chain: &Arc<Chain>| Ok::<_, NodeError>(read_on(chain, &caller, &filter, at));
            let piece = self.events.node.read(read).await??;
            for event in piece.events {
                let cursor = event.cursor.unwrap_or_default().into();
                if let Some(gone) = self.send(Message::Event(event), cursor).await? {
                    return Ok(gone);
                }
            }
            (at, time) = (at.max(piece.upto), piece.time);
            if at.height < piece.head {
                continue;
            }
            if !caught_up && at > start {
                // Whoever wanted what happened so far need not wait to know that this was all.
                (caught_up, beat) = (true, Instant::now());
                continue;
            }
            tokio::select! {
                () = self.queue.closed() => return Ok(Gone),
                moved = timeout_at(beat, progress.wait_for(|progress| progress.height > at.height)) => {
                    if matches!(moved, Ok(Err(_))) {
                        return Err(NodeError::Stopping.into());
                    }
                }
            }
        }
    }

    async fn send(&mut self, message: Message, cursor: EventCursor) -> Result<Option<Gone>, RpcError> {
        let message = pb::SubscribeResponse { message: Some(message) };
        match timeout(self.events.limits.slow_max, self.queue.send(message)).await {
            Ok(Ok(())) => {
                self.sent = cursor;
                Ok(None)
            }
            Ok(Err(_)) => Ok(Some(Gone)),
            Err(_) => Err(RpcError::SlowConsumer(self.sent)),
        }
    }
}

#[tonic::async_trait]
impl EventService for Events {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<pb::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let caller = caller(&request)?;
        let pb::SubscribeRequest { start, filter } = request.into_inner();
        let filter = Arc::new(filter.as_ref().map(Filter::new).transpose()?.unwrap_or_default());
        let start = match start {
            None => end_of(self.node.progress().borrow().height),
            Some(Start::FromHeight(height)) => end_of(Height(height).minus(1)),
            Some(Start::After(cursor)) => cursor.into(),
        };
        let (queue, messages) = mpsc::channel(QUEUE);
        // What ends the stream comes after what is queued, however full the queue is.
        let (say_why, why) = oneshot::channel();
        let subscription = Subscription { events: self.clone(), caller, filter, queue, sent: start };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let ended = stop.run_until_cancelled(subscription.run(start)).await;
            if let Err(error) = ended.unwrap_or(Err(NodeError::Stopping.into())) {
                drop(say_why.send(Status::from(error)));
            }
        });
        let end = futures::stream::once(why).filter_map(|why| core::future::ready(why.ok().map(Err)));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages).map(Ok).chain(end))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_met_by_every_list_that_is_not_empty() {
        let (anna, karl) = (PatientId([1; 16]), PatientId([2; 16]));
        let (one, two) = (RecordId([3; 16]), RecordId([4; 16]));
        let event = |patient, record| Event::RecordRegistered { record, patient, custodian: OrgId([5; 16]) };
        let wire = |patients: &[PatientId], records: &[RecordId], kinds: &[EventKind]| pb::EventFilter {
            kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
            patient_ids: patients.iter().map(|id| raw(id.0)).collect(),
            record_ids: records.iter().map(|id| raw(id.0)).collect(),
            org_ids: Vec::new(),
        };
        let wants = |wire: pb::EventFilter, event: &Event| Filter::new(&wire).unwrap().wants(&subject(event));
        assert!(wants(wire(&[], &[], &[]), &event(anna, one)));
        assert!(wants(wire(&[anna], &[one, two], &[]), &event(anna, two)));
        assert!(!wants(wire(&[anna], &[one], &[]), &event(anna, two)));
        assert!(!wants(wire(&[karl], &[], &[]), &event(anna, one)));
        assert!(wants(wire(&[], &[], &[EventKind::RecordRegistered]), &event(anna, one)));
        assert!(!wants(wire(&[], &[], &[EventKind::GrantCreated]), &event(anna, one)));
        // An event without a record meets no list of records.
        let joined = Event::OrganisationRegistered { organisation: OrgId([5; 16]) };
        assert!(!wants(wire(&[], &[one], &[]), &joined));

        let refused = |wire: pb::EventFilter| epione_proto::ApiError::from(Filter::new(&wire).unwrap_err());
        let many = wire(&[anna; 65], &[], &[]);
        assert_eq!(
            (refused(many.clone()).reason.as_str(), refused(many).field.as_str()),
            ("TOO_MANY", "filter.patient_ids")
        );
        let unset = pb::EventFilter { kinds: vec![0], ..Default::default() };
        assert_eq!(refused(unset).reason, "UNKNOWN_CODE");
        let short = pb::EventFilter { org_ids: vec![raw([1; 15])], ..Default::default() };
        assert_eq!(
            (refused(short.clone()).reason.as_str(), refused(short).field.as_str()),
            ("WRONG_LENGTH", "filter.org_ids")
        );
    }
}
