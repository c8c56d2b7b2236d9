//! `docs/api.md`, the reference of the API, is printed from the comments of the `.proto` files, and at its end from the
//! table of what a refusal is about (`epione_types::call::refused`), whose names are compared with the API's.
//!
//! This test compares it; `EPIONE_BLESS=1 cargo test -p epione-proto --test reference` writes it. That everything has a
//! comment is `api.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "the API has no other kinds")]

mod common;

use std::collections::HashMap;
use std::fmt::Write as _;

use common::{CALLS, Draw, descriptors, is_list, message_type};
use epione_proto::v1 as pb;
use epione_types::call::refused::FIELDS;
use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};

const BODY: &str = ".epione.v1.TransactionBody";

/// In the order in which one reads them: writing, reading, what is written and proven, what they share.
const FILES: [&str; 13] = [
    "submission",
    "event",
    "consent",
    "record",
    "audit",
    "identity",
    "ledger",
    "operator",
    "transaction",
    "receipt",
    "block",
    "common",
    "codes",
];

const PREFACE: &str = "# API reference

Package `epione.v1`, gRPC over TLS, with server reflection and the standard health service. Printed from the comments in
[`proto/epione/v1`](../proto/epione/v1) by `proto/tests/reference.rs` (`EPIONE_BLESS=1 cargo test -p epione-proto --test
reference`); a test compares. How to use it: [tutorial.md](tutorial.md). Elements are only ever added
(`proto/tests/breaking.rs`).

**Who calls.** Every call but health and reflection carries `authorization: Bearer TOKEN`, an EdDSA JWT that the caller
signed with the key registered on chain: header `{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}`, claims `sub` (public key, hex), `aud`
(chain id, hex), `iat` and `exp` (seconds since 1970, at most 600 apart), and no others.

**Errors.** The status code says what to do: INVALID_ARGUMENT (fix it), UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND,
ALREADY_EXISTS, FAILED_PRECONDITION, RESOURCE_EXHAUSTED (later), UNAVAILABLE (another node), DEADLINE_EXCEEDED (the outcome
is unknown: ask by id, or send the same bytes again). Details are `ErrorInfo` with a stable reason, `BadRequest` with the
field, and `RetryInfo`. What the ledger refuses is no error of a call: a receipt says so, and
[Refusals and fields](#refusals-and-fields) where.
";

const REFUSALS: &str = "
## Refusals and fields

A receipt says why a transaction was refused, and does not hold the call. Whoever sent it finds the field here;
`epione_client::Refused` and the command line name it. A refusal that is not listed for a call is about the sender, the
time, the state as a whole, or several fields together.

| call | field | refusals |
|---|---|---|
";

/// Comments of one file, by path.
struct Comments(HashMap<Vec<i32>, String>);

impl Comments {
    fn of(file: &FileDescriptorProto) -> Self {
        let places = &file.source_code_info.as_ref().unwrap().location;
        Self(places.iter().map(|at| (at.path.clone(), at.leading_comments().to_owned())).collect())
    }

    /// Paragraphs, each on one line.
    fn text(&self, path: &[i32]) -> String {
        let text = self.0.get(path).map_or("", String::as_str);
        assert!(!text.trim().is_empty(), "{path:?} has no comment");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let paragraphs = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty());
        paragraphs.map(|lines| lines.join(" ")).collect::<Vec<_>>().join("\n\n")
    }

    /// The same for a cell of a table.
    fn cell(&self, path: &[i32]) -> String {
        self.text(path).replace("\n\n", " ").replace('|', "\\|")
    }
}

/// The elements of a list with the path of each.
fn each<'a, T>(list: &'a [T], at: &'a [i32]) -> impl Iterator<Item = (Vec<i32>, &'a T)> {
    (0..).zip(list).map(move |(i, item)| ([at, &[i]].concat(), item))
}

fn link(full: &str) -> String {
    let name = full.rsplit('.').next().unwrap();
    format!("[{name}](#{})", name.to_lowercase())
}

fn kind(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message | Type::Enum => link(field.type_name()),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if is_list(field) {
        return format!("repeated {name}");
    }
    match field.oneof_index {
        Some(_) if field.proto3_optional() => format!("optional {name}"),
        Some(i) => format!("{name}, one of `{}`", message.oneof_decl[usize::try_from(i).unwrap()].name()),
        None => name,
    }
}

fn service(out: &mut String, comments: &Comments, path: &[i32], service: &ServiceDescriptorProto) {
    writeln!(out, "\n### {}\n\n{}\n", service.name(), comments.text(path)).unwrap();
    writeln!(out, "| call | asks | answers | |\n|---|---|---|---|").unwrap();
    for (path, rpc) in each::<MethodDescriptorProto>(&service.method, &[path, &[2]].concat()) {
        let stream = |is| if is { "stream of " } else { "" };
        writeln!(
            out,
            "| `{}` | {}{} | {}{} | {} |",
            rpc.name(),
            stream(rpc.client_streaming()),
            link(rpc.input_type()),
            stream(rpc.server_streaming()),
            link(rpc.output_type()),
            comments.cell(&path),
        )
        .unwrap();
    }
}

fn message(out: &mut String, comments: &Comments, path: &[i32], message: &DescriptorProto) {
    writeln!(out, "\n### {}\n\n{}", message.name(), comments.text(path)).unwrap();
    if !message.field.is_empty() {
        writeln!(out, "\n| field | type | |\n|---|---|---|").unwrap();
    }
    for (path, field) in each(&message.field, &[path, &[2]].concat()) {
        writeln!(out, "| `{}` | {} | {} |", field.name(), kind(message, field), comments.cell(&path))
            .unwrap();
    }
}

fn list(out: &mut String, comments: &Comments, path: &[i32], list: &EnumDescriptorProto) {
    writeln!(out, "\n### {}\n\n{}\n\n| | value | |\n|---|---|---|", list.name(), comments.text(path))
        .unwrap();
    for (path, value) in each(&list.value, &[path, &[2]].concat()) {
        writeln!(out, "| {} | `{}` | {} |", value.number(), value.name(), comments.cell(&path)).unwrap();
    }
}

/// Refusals by what they are about: beneath each call, its field and why it may be refused.
fn refused_fields(out: &mut String, set: &FileDescriptorSet) {
    out.push_str(REFUSALS);
    for call in &message_type(set, BODY).field {
        let rows: Vec<_> = FIELDS.iter().filter(|(_, calls, _)| calls.contains(&call.name())).collect();
        let mut fields: Vec<&str> = Vec::new();
        for field in rows.iter().flat_map(|(_, _, fields)| *fields) {
            if !fields.contains(field) {
                fields.push(field);
            }
        }
        for field in fields {
            let why = rows.iter().filter(|(_, _, fields)| fields.contains(&field));
            let why: Vec<String> = why.map(|(refusal, ..)| format!("`{}`", refusal.name())).collect();
            writeln!(out, "| `{}` | `{field}` | {} |", call.name(), why.join(", ")).unwrap();
        }
    }
}

fn reference() -> String {
    let set = descriptors();
    let ours = set.file.iter().filter(|file| file.package() == "epione.v1");
    assert_eq!(ours.count(), FILES.len(), "a file of the API is not in the reference");
    let mut out = PREFACE.to_owned();
    for name in FILES {
        let path = format!("epione/v1/{name}.proto");
        let file = set.file.iter().find(|file| file.name() == path).unwrap();
        let comments = Comments::of(file);
        // Numbers of FileDescriptorProto's fields: package, services, messages, enums.
        writeln!(out, "\n## {name}.proto\n\n{}", comments.text(&[2])).unwrap();
        each(&file.service, &[6]).for_each(|(path, it)| service(&mut out, &comments, &path, it));
        each(&file.message_type, &[4]).for_each(|(path, it)| message(&mut out, &comments, &path, it));
        each(&file.enum_type, &[5]).for_each(|(path, it)| list(&mut out, &comments, &path, it));
    }
    refused_fields(&mut out, &set);
    out
}

#[test]
fn a_refused_field_is_one_of_the_call() {
    let set = descriptors();
    for (refusal, calls, fields) in FIELDS {
        for (call, path) in calls.iter().flat_map(|call| fields.iter().map(move |path| (call, path))) {
            let mut within = BODY.to_owned();
            for name in [call].into_iter().copied().chain(path.split('.')) {
                let message = message_type(&set, &within);
                let field = message.field.iter().find(|field| field.name() == name);
                let field =
                    field.unwrap_or_else(|| panic!("{refusal}: {call}.{path}: no {name} in {within}"));
                within = field.type_name().to_owned();
            }
        }
    }
}

#[test]
fn a_call_is_named_as_in_the_body() {
    let body = message_type(&descriptors(), BODY);
    for which in 0..CALLS {
        let drawn = Draw::new(which).body(which);
        // Of a body that is nothing but its call, the first key is the call's.
        let call = pb::TransactionBody::from(&drawn).call;
        let bytes = pb::TransactionBody { call, ..Default::default() }.encode_to_vec();
        let key = prost::encoding::decode_varint(&mut bytes.as_slice()).unwrap();
        let number = i32::try_from(key >> 3).unwrap();
        let field = body.field.iter().find(|field| field.number() == number).unwrap();
        assert_eq!(field.name(), drawn.call.name());
    }
}

#[test]
fn the_reference_is_what_the_proto_files_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let wanted = reference();
    if std::env::var_os("EPIONE_BLESS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let at = (1..).zip(found.lines().zip(wanted.lines())).find(|(_, (is, was))| is != was);
    assert!(
        found == wanted,
        "docs/api.md is not what the .proto files say (first difference: {at:?}); write it with EPIONE_BLESS=1"
    );
}

#[test]
fn every_link_leads_to_a_heading() {
    let text = reference();
    let headings: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_lowercase).collect();
    let links: Vec<&str> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 300, "{}", links.len());
    for link in links.into_iter().filter(|link| *link != "refusals-and-fields") {
        assert_eq!(headings.iter().filter(|heading| *heading == link).count(), 1, "{link}");
    }
}
