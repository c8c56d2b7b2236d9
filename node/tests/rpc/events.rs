//! Subscriptions: order, resumption, who sees what, and who is too slow.

use std::time::Duration;

use epione_node::rpc::Limits;
use epione_proto::ApiError;
use epione_proto::convert::raw;
use epione_proto::v1::event_service_client::EventServiceClient;
use epione_proto::v1::ledger_service_client::LedgerServiceClient;
use epione_proto::v1::{self as pb, event::Kind, subscribe_request::Start, subscribe_response::Message};
use epione_types::call::{Call, GrantKind, RevokeGrant};
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

use crate::support::patient_call;
use crate::world::{World, access, grant, grant_call, patient, record_call, soon, told};

fn from_start(filter: Option<pb::EventFilter>) -> pb::SubscribeRequest {
    pb::SubscribeRequest { start: Some(Start::FromHeight(1)), filter }
}

fn after(cursor: pb::EventCursor) -> pb::SubscribeRequest {
    pb::SubscribeRequest { start: Some(Start::After(cursor)), filter: None }
}

async fn subscribe(
    world: &World,
    who: &str,
    request: pb::SubscribeRequest,
) -> Streaming<pb::SubscribeResponse> {
    let mut client = EventServiceClient::new(world.channel());
    soon(client.subscribe(world.by(who, request))).await.unwrap().into_inner()
}

/// The events up to the one that `done` accepts.
async fn until(
    stream: &mut Streaming<pb::SubscribeResponse>,
    done: impl Fn(&pb::LedgerEvent) -> bool,
) -> Vec<pb::LedgerEvent> {
    let mut events = Vec::new();
    soon(async {
        loop {
            let message = stream.message().await.unwrap().expect("no end").message.unwrap();
            let Message::Event(event) = message else { continue };
            let last = done(&event);
            events.push(event);
            if last {
                return events;
            }
        }
    })
    .await
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds do not occur here")]
fn name(event: &pb::LedgerEvent) -> &'static str {
    match event.event.as_ref().unwrap().kind.as_ref().unwrap() {
        Kind::OrgRegistered(_) => "org",
        Kind::PractitionerRegistered(_) => "practitioner",
        Kind::PatientRegistered(_) => "patient",
        Kind::RecordRegistered(_) => "record",
        Kind::GrantCreated(_) => "grant",
        Kind::GrantRevoked(_) => "revoked",
        Kind::AccessDecided(_) => "access",
        Kind::OverrideOpened(_) => "override",
        Kind::NoticeGiven(_) => "notice",
        other => panic!("{other:?}"),
    }
}

/// A place that orders.
fn place(event: &pb::LedgerEvent) -> (u64, u32) {
    let cursor = event.cursor.unwrap();
    (cursor.height, cursor.index)
}

/// Anna grants, drC reads, anna revokes; then somebody joins, whom everybody sees.
async fn story(world: &World) {
    world.ok(&["drC"], Call::RecordAccess(access("anna1"))).await;
    world.ok(&["anna"], grant_call("anna", "g", GrantKind::Permit)).await;
    world.ok(&["drC"], Call::RecordAccess(access("anna1"))).await;
    let revoke = RevokeGrant { patient: patient("anna"), grant: grant("g"), document: None };
    world.ok(&["anna"], Call::RevokeGrant(revoke)).await;
    let last = crate::world::practitioner_call("last", epione_types::codes::Role::Nurse);
    world.ok(&["clinic.admin", "last"], last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_order_and_go_on_after_any_of_them() {
    let world = World::new(Limits::default()).await;
    let mut live = subscribe(&world, "audA", from_start(None)).await;
    // First of all, where it starts.
    let first = soon(live.message()).await.unwrap().unwrap().message.unwrap();
    let Message::Heartbeat(beat) = first else { panic!("{first:?}") };
    assert_eq!(beat.cursor.unwrap(), pb::EventCursor { height: 0, index: u32::MAX });
    let mut from_now = subscribe(&world, "audA", pb::SubscribeRequest { start: None, filter: None }).await;
    let beat = soon(from_now.message()).await.unwrap().unwrap();
    assert!(matches!(beat.message, Some(Message::Heartbeat(_))));
    story(&world).await;

    let last = |event: &pb::LedgerEvent| name(event) == "practitioner" && event.cursor.unwrap().height > 10;
    let all = until(&mut live, last).await;
    let names: Vec<&str> = all.iter().map(name).collect();
    assert_eq!(
        names,
        [
            "practitioner",
            "practitioner",
            "practitioner",
            "org",
            "practitioner",
            "patient",
            "record",
            "patient",
            "record",
            "access",
            "grant",
            "access",
            "revoked",
            "practitioner"
        ]
    );
    assert!(all.is_sorted_by(|a, b| place(a) < place(b)));
    assert_eq!(until(&mut from_now, last).await, all[9..], "from the next block on");

    // Resumed after each of them, at another time: the rest, no gap and nothing twice.
    for (at, event) in all.iter().enumerate().take(all.len() - 1) {
        let mut resumed = subscribe(&world, "audA", after(event.cursor.unwrap())).await;
        assert_eq!(until(&mut resumed, last).await, all[at + 1..], "after {at}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sees_what_may_be_read_and_a_filter_narrows_it() {
    let world = World::new(Limits::default()).await;
    story(&world).await;
    let seen = async |who: &str, filter| -> Vec<&'static str> {
        let mut stream = subscribe(&world, who, from_start(filter)).await;
        let end = |event: &pb::LedgerEvent| {
            let kind = event.event.as_ref().unwrap().kind.as_ref().unwrap();
            matches!(kind, Kind::PractitionerRegistered(it) if it.practitioner_id == raw(crate::support::id16("last")))
        };
        let mut events = until(&mut stream, end).await;
        events.pop();
        events.iter().map(name).filter(|name| !matches!(*name, "org" | "practitioner")).collect()
    };
    let annas = ["patient", "record", "access", "grant", "access", "revoked"];
    assert_eq!(seen("anna", None).await, annas, "her own, and nothing of karl's");
    assert_eq!(
        seen("drC", None).await,
        ["access"],
        "the grant is over; the own denied access stays one's own"
    );
    assert_eq!(seen("clinic.admin", None).await, ["access", "access"], "what the clinic's staff asked");
    let whole = ["patient", "record", "patient", "record", "access", "grant", "access", "revoked"];
    assert_eq!(seen("drA", None).await, whole, "cares for both");
    assert_eq!(seen("hospital0.admin", None).await, whole, "oversees");

    // A filter narrows; it never widens. The one who joins meets these.
    let joined = pb::EventKind::PractitionerRegistered.into();
    let kinds = |kind: pb::EventKind| {
        Some(pb::EventFilter { kinds: vec![kind.into(), joined], ..Default::default() })
    };
    assert_eq!(seen("drA", kinds(pb::EventKind::RecordRegistered)).await, ["record", "record"]);
    assert_eq!(seen("drC", kinds(pb::EventKind::RecordRegistered)).await, [""; 0]);
    let bad = pb::EventFilter { kinds: vec![77], ..Default::default() };
    let mut client = EventServiceClient::new(world.channel());
    let refused = soon(client.subscribe(world.by("drA", from_start(Some(bad))))).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "UNKNOWN_CODE".to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_ledger_still_gives_signs_of_life_and_old_streams_end() {
    let limits = Limits {
        heartbeat: Duration::from_millis(20),
        stream_age_max: Duration::from_millis(500),
        ..Limits::default()
    };
    let world = World::empty(limits).await;
    let request = pb::SubscribeRequest { start: None, filter: None };
    let mut stream = subscribe(&world, "hospital0.admin", request).await;
    let mut beats = 0;
    let end = soon(async {
        loop {
            match stream.message().await {
                Ok(message) => {
                    assert!(matches!(message.unwrap().message, Some(Message::Heartbeat(_))));
                    beats += 1;
                }
                Err(status) => return status,
            }
        }
    })
    .await;
    assert!(beats >= 2);
    assert_eq!(told(&end), (Code::Unavailable, "STREAM_AGE".to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_is_cut_off_and_told_where_to_go_on() {
    // Room for one call: that it is free again shows that the subscriber was cut off.
    let limits =
        Limits { slow_max: Duration::from_millis(50), calls_per_organisation_max: 1, ..Limits::default() };
    let world = World::empty(limits).await;
    let client = world.client("hospital0.admin");
    let (sink, mut answers) = client.submit_stream(epione_client::Wait::Committed, 1_000);
    let count = 4_000;
    let txs: Vec<_> = (0..count).map(|number| world.tx(&["hospital0.admin"], patient_call(number))).collect();
    let sending = tokio::spawn(async move {
        for tx in txs {
            sink.send(tx).await.unwrap();
        }
    });
    while soon(answers.next()).await.is_some() {}
    sending.await.unwrap();

    let mut events = EventServiceClient::new(world.narrow_channel());
    let mut stream = soon(async {
        loop {
            // The stream of submissions may not be gone yet.
            if let Ok(stream) = events.subscribe(world.by("hospital0.admin", from_start(None))).await {
                return stream.into_inner();
            }
        }
    })
    .await;
    let mut ledger = LedgerServiceClient::new(world.channel());
    soon(async {
        while ledger.get_status(world.by("hospital0.admin", pb::GetStatusRequest {})).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut seen = Vec::new();
    let cut = soon(async {
        loop {
            match stream.message().await {
                Ok(message) => {
                    if let Message::Event(event) = message.unwrap().message.unwrap() {
                        seen.push(event);
                    }
                }
                Err(status) => return status,
            }
        }
    })
    .await;
    assert_eq!(told(&cut), (Code::ResourceExhausted, "SLOW_CONSUMER".to_owned()));
    assert!(ApiError::from(&cut).retry_after.is_some());
    let last = place(seen.last().unwrap());
    let place_of = cut.get_error_details().error_info().cloned().unwrap().metadata;
    let said = (place_of["height"].parse().unwrap(), place_of["index"].parse().unwrap());
    assert_eq!(said, last, "everything up to there came through");
    assert!(seen.len() < count, "it was cut off before the end");
    let mut resumed =
        subscribe(&world, "hospital0.admin", after(pb::EventCursor { height: last.0, index: last.1 })).await;
    let missing = count - seen.len();
    let rest = soon(async {
        let mut rest = Vec::new();
        while rest.len() < missing {
            if let Message::Event(event) = resumed.message().await.unwrap().unwrap().message.unwrap() {
                rest.push(event);
            }
        }
        rest
    })
    .await;
    seen.extend(rest);
    assert!(seen.is_sorted_by(|a, b| place(a) < place(b)));
    let mut ids: Vec<_> = seen.iter().map(|event| event.transaction_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "each once");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_follows_over_the_real_server() {
    let world = World::new(Limits::default()).await;
    let client = world.client("drA");
    let mut events = client.subscribe(epione_client::Start::Now, pb::EventFilter::default());
    let first = tokio::spawn(async move {
        let event = events.next().await.unwrap();
        (event, events)
    });
    // It starts with some next block: records are registered until one is seen.
    let mut number = 10;
    while !first.is_finished() {
        world.ok(&["drA"], record_call("anna", &format!("anna{number}"))).await;
        number += 1;
    }
    let (event, _events) = soon(first).await.unwrap();
    assert!(matches!(event.event, epione_types::event::Event::RecordRegistered { .. }));
    world.stop().await;
}

/// Whose record an access was, as each subscriber is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_access_names_the_patient_to_those_only_who_may_read_of_it() {
    let world = World::new(Limits { heartbeat: Duration::from_millis(20), ..Limits::default() }).await;
    let hidden = world.ok(&["drC"], Call::RecordAccess(access("anna1"))).await;
    let absent = world.ok(&["drC"], Call::RecordAccess(access("nothing"))).await;
    // The receipt, which the requester keeps: but for the record's id the same for both.
    let told = |receipt: &epione_types::Receipt| {
        let mut event = receipt.events[0].clone();
        let epione_types::event::Event::AccessDecided { record, .. } = &mut event else {
            panic!("{event:?}")
        };
        *record = crate::world::record("any");
        (receipt.outcome, receipt.events.len(), event)
    };
    assert_eq!(told(&hidden), told(&absent));
    let last = crate::world::practitioner_call("last", epione_types::codes::Role::Nurse);
    world.ok(&["clinic.admin", "last"], last).await;

    let whose = async |who: &str, patients: Vec<bytes::Bytes>| -> Vec<Option<bytes::Bytes>> {
        let filter = pb::EventFilter { patient_ids: patients, ..Default::default() };
        let Message::Heartbeat(now) = soon(async {
            let request = pb::SubscribeRequest { start: None, filter: None };
            subscribe(&world, who, request).await.message().await.unwrap().unwrap().message.unwrap()
        })
        .await
        else {
            panic!("a heartbeat comes first")
        };
        let now = now.cursor.unwrap().height;
        let mut stream = subscribe(&world, who, from_start(Some(filter))).await;
        let mut found = Vec::new();
        loop {
            match soon(stream.message()).await.unwrap().unwrap().message.unwrap() {
                Message::Heartbeat(beat) if beat.cursor.unwrap().height >= now => return found,
                Message::Heartbeat(_) => {}
                Message::Event(event) => {
                    if let Kind::AccessDecided(access) = event.event.unwrap().kind.unwrap() {
                        found.push(access.patient_id);
                    }
                }
            }
        }
    };
    let anna = raw(patient("anna").0);
    for (who, unfiltered, filtered) in [
        ("anna", vec![Some(anna.clone())], 1),
        ("drA", vec![Some(anna.clone())], 1),
        ("audA", vec![Some(anna.clone()), None], 1),
        ("drC", vec![None, None], 0),
        ("clinic.admin", vec![None, None], 0),
    ] {
        assert_eq!(whose(who, vec![]).await, unfiltered, "{who}");
        assert_eq!(whose(who, vec![anna.clone()]).await.len(), filtered, "{who}, by patient");
    }
    // Nor is it listed for the grantee, once there is a grant that opens something else.
    let mut permit = grant_call("anna", "other", GrantKind::Permit);
    if let Call::CreateGrant(call) = &mut permit {
        call.rule.records = vec![crate::world::record("anna2")];
    }
    world.ok(&["drA"], record_call("anna", "anna2")).await;
    world.ok(&["anna"], permit).await;
    world.ok(&["drC"], Call::RecordAccess(access("anna2"))).await;
    let mut audit = epione_proto::v1::audit_service_client::AuditServiceClient::new(world.channel());
    let list = pb::ListAccessEventsRequest { patient_id: anna.clone(), ..Default::default() };
    let own = soon(audit.list_access_events(world.by("drC", list))).await.unwrap().into_inner().events;
    let records: Vec<_> = own.into_iter().map(|event| event.record_id).collect();
    assert_eq!(records, [raw(crate::world::record("anna2").0)]);
    world.stop().await;
}

/// Asked for before it was there, and registered since: whoever asked goes on seeing that they did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_to_what_was_not_there_yet_stays_with_who_asked() {
    let world = World::new(Limits::default()).await;
    world.staff("clinic", "drD", epione_types::codes::Role::Physician).await;
    world.ok(&["drC"], Call::RecordAccess(access("later"))).await;
    let last = crate::world::practitioner_call("last", epione_types::codes::Role::Nurse);
    world.ok(&["clinic.admin", "last"], last).await;
    let accesses = async |who: &str| {
        let mut stream = subscribe(&world, who, from_start(None)).await;
        let last = raw(crate::support::id16("last"));
        let all = until(&mut stream, |event| {
            let kind = event.event.as_ref().unwrap().kind.as_ref().unwrap();
            matches!(kind, Kind::PractitionerRegistered(it) if it.practitioner_id == last)
        });
        all.await.iter().filter(|event| name(event) == "access").count()
    };
    for there in [false, true] {
        if there {
            world.ok(&["drA"], record_call("anna", "later")).await;
        }
        assert_eq!(accesses("drC").await, 1, "registered since: {there}");
        assert_eq!(accesses("drD").await, 0, "a colleague; registered since: {there}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_on_at_another_node_and_after_a_restart() {
    // Not the primary: nobody has to change the view when it is gone.
    let mut world = World::one_of(4, 1, Limits::default()).await;
    let others = world.others().await;
    let other = world.serve(&others[1]).await;
    let sign = |world: &World, number| world.tx(&["hospital0.admin"], patient_call(number));
    for number in 0..12 {
        world.run(&sign(&world, number)).await;
    }
    let all = |number: usize| {
        let wanted = raw(epione_types::id::PatientId(crate::support::id16(&format!("patient {number}"))).0);
        move |event: &pb::LedgerEvent| {
            let kind = event.event.as_ref().unwrap().kind.as_ref().unwrap();
            matches!(kind, Kind::PatientRegistered(it) if it.patient_id == wanted)
        }
    };
    let at_other = async |world: &World, request: pb::SubscribeRequest| {
        let mut client = EventServiceClient::new(world.channel_to(&other));
        soon(client.subscribe(world.by("hospital0.admin", request))).await.unwrap().into_inner()
    };
    // A few here, a few there, then here again after a restart, while which the ledger went on.
    let mut seen = until(&mut subscribe(&world, "hospital0.admin", from_start(None)).await, all(3)).await;
    let cursor = |seen: &[pb::LedgerEvent]| seen.last().unwrap().cursor.unwrap();
    let there = &mut at_other(&world, after(cursor(&seen))).await;
    seen.extend(until(there, all(7)).await);
    let (server, node) = (world.server.take().unwrap(), world.node.take().unwrap());
    server.shutdown().await;
    node.shutdown().await.unwrap();
    for number in 12..16 {
        let status = world.submit_at(world.channel_to(&other), &sign(&world, number)).await.unwrap();
        assert_eq!(status.state(), pb::TransactionState::Committed);
    }
    world.start().await;
    let here = &mut subscribe(&world, "hospital0.admin", after(cursor(&seen))).await;
    seen.extend(until(here, all(15)).await);
    let whole = until(&mut at_other(&world, from_start(None)).await, all(15)).await;
    assert_eq!(whole.len(), 16);
    assert_eq!(seen, whole, "no gap, nothing twice, nothing else");
    // A cursor of the future is no error: what follows it follows.
    let ahead = pb::EventCursor { height: cursor(&seen).height, index: u32::MAX };
    let mut next = at_other(&world, after(ahead)).await;
    let status = world.submit_at(world.channel(), &sign(&world, 16)).await.unwrap();
    assert_eq!(status.state(), pb::TransactionState::Committed);
    assert_eq!(until(&mut next, all(16)).await.len(), 1);
    other.shutdown().await;
    world.stop().await;
    for node in others {
        node.shutdown().await.unwrap();
    }
}
