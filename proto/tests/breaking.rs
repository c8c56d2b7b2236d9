//! The API is never broken: what a client in the field was generated from goes on to work.
//!
//! `api.txt` lists every field, enum value and call with its number and type, as they were published. A line may be
//! added, never changed or removed, not even by `EPIONE_BLESS=1`, which records what is new. The check itself is tried
//! below with each kind of break.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{descriptors, is_list};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

/// What each element is, by its name.
type Api = BTreeMap<String, String>;

fn api(set: &FileDescriptorSet) -> Api {
    let mut api = Api::new();
    for file in set.file.iter().filter(|file| file.package() == "epione.v1") {
        for message in &file.message_type {
            for field in &message.field {
                let list = if is_list(field) { "repeated " } else { "" };
                let oneof =
                    field.oneof_index.map_or("", |i| message.oneof_decl[usize::try_from(i).unwrap()].name());
                let what =
                    format!(" = {} {list}{:?} {} {oneof}", field.number(), field.r#type(), field.type_name());
                api.insert(format!("{}.{}", message.name(), field.name()), what.trim_end().to_owned());
            }
        }
        for list in &file.enum_type {
            for value in &list.value {
                api.insert(format!("{}.{}", list.name(), value.name()), format!(" = {}", value.number()));
            }
        }
        for service in &file.service {
            for rpc in &service.method {
                let stream = |is| if is { "stream " } else { "" };
                let what = format!(
                    "({}{}) -> {}{}",
                    stream(rpc.client_streaming()),
                    rpc.input_type(),
                    stream(rpc.server_streaming()),
                    rpc.output_type(),
                );
                api.insert(format!("{}.{}", service.name(), rpc.name()), what);
            }
        }
    }
    api
}

/// The elements that clients in the field can no longer rely on.
fn broken(published: &Api, now: &Api) -> Vec<String> {
    let differs = |(name, was): (&String, &String)| match now.get(name) {
        None => Some(format!("{name}{was} is gone")),
        Some(is) if is != was => Some(format!("{name}{was} is now {name}{is}")),
        Some(_) => None,
    };
    published.iter().filter_map(differs).collect()
}

#[test]
fn nothing_published_was_changed_or_removed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let published: Api = text
        .lines()
        .map(|line| line.split_at(line.find([' ', '(']).unwrap()))
        .map(|(name, what)| (name.to_owned(), what.to_owned()))
        .collect();
    let now = api(&descriptors());
    let broken = broken(&published, &now);
    assert!(broken.is_empty(), "clients in the field would break; keep it, and add beside it: {broken:#?}");
    if std::env::var_os("EPIONE_BLESS").is_some() {
        let lines: String = now.iter().map(|(name, what)| format!("{name}{what}\n")).collect();
        std::fs::write(path, lines).unwrap();
        return;
    }
    let new: Vec<_> = now.keys().filter(|name| !published.contains_key(*name)).collect();
    assert!(new.is_empty(), "new: record it with EPIONE_BLESS=1 and commit api.txt: {new:#?}");
}

fn message<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut DescriptorProto {
    set.file.iter_mut().flat_map(|file| &mut file.message_type).find(|it| it.name() == name).unwrap()
}

#[test]
fn every_kind_of_break_is_named_and_an_addition_is_none() {
    type Edit = fn(&mut FileDescriptorSet);
    let breaks: [(&str, Edit); 9] = [
        ("MerklePath.count = 2 Uint32 is gone", |set| {
            message(set, "MerklePath").field.retain(|field| field.name() != "count");
        }),
        ("MerklePath.count = 2 Uint32 is now MerklePath.count = 9 Uint32", |set| {
            message(set, "MerklePath").field[1].number = Some(9);
        }),
        ("MerklePath.count = 2 Uint32 is now MerklePath.count = 2 Uint64", |set| {
            message(set, "MerklePath").field[1].set_type(Type::Uint64);
        }),
        ("MerklePath.siblings = 3 repeated Bytes is now MerklePath.siblings = 3 Bytes", |set| {
            message(set, "MerklePath").field[2].label = Some(1);
        }),
        ("MerklePath.count = 2 Uint32 is gone", |set| {
            message(set, "MerklePath").field[1].name = Some("length".to_owned());
        }),
        (
            "Batch.null = 1 Message .epione.v1.NullBatch batch is now Batch.null = 1 Message .epione.v1.NullBatch",
            |set| {
                message(set, "Batch").field[0].oneof_index = None;
            },
        ),
        ("Action.ACTION_READ = 1 is gone", |set| {
            let mut lists = set.file.iter_mut().flat_map(|file| &mut file.enum_type);
            lists.find(|list| list.name() == "Action").unwrap().value.remove(1);
        }),
        (
            "AuditService.ListOverrides(.epione.v1.ListOverridesRequest) -> .epione.v1.ListOverridesResponse is gone",
            |set| {
                let mut services = set.file.iter_mut().flat_map(|file| &mut file.service);
                let audit = services.find(|service| service.name() == "AuditService").unwrap();
                audit.method.retain(|rpc| rpc.name() != "ListOverrides");
            },
        ),
        (
            "EventService.Subscribe(.epione.v1.SubscribeRequest) -> stream .epione.v1.SubscribeResponse is now EventService.Subscribe(.epione.v1.SubscribeRequest) -> .epione.v1.SubscribeResponse",
            |set| {
                let mut services = set.file.iter_mut().flat_map(|file| &mut file.service);
                let events = services.find(|service| service.name() == "EventService").unwrap();
                events.method[0].server_streaming = Some(false);
            },
        ),
    ];
    let published = api(&descriptors());
    let mut grown = descriptors();
    let mut field = message(&mut grown, "MerklePath").field[1].clone();
    (field.name, field.number) = (Some("more".to_owned()), Some(4));
    message(&mut grown, "MerklePath").field.push(field);
    assert!(broken(&published, &api(&grown)).is_empty());
    for (named, edit) in breaks {
        let mut set = descriptors();
        edit(&mut set);
        assert_eq!(broken(&published, &api(&set)), [named]);
    }
}
