//! Compiles the `.proto` files without protoc: generated types and services, the descriptor set for reflection,
//! and the field table by which `strict` walks a transaction body.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// The message that is signed: it and all it holds go into the field table.
const BODY: &str = ".epione.v1.TransactionBody";

/// What else a body may hold, by its name in `strict`: no text, no floats.
const SCALARS: [(Type, &str); 5] = [
    (Type::Bool, "Bool"),
    (Type::Uint32, "Uint32"),
    (Type::Uint64, "Uint64"),
    (Type::Enum, "Enum"),
    (Type::Bytes, "Bytes"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let dir = Path::new("epione/v1");
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    files.sort();

    let set = protox::compile(files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("epione.v1.bin"), set.encode_to_vec())?;
    std::fs::write(out.join("strict_table.rs"), field_table(&set)?)?;
    tonic_prost_build::configure().bytes(".epione.v1").compile_fds(set)?;
    Ok(())
}

/// Rust source of `MESSAGES`, the first being [`BODY`].
fn field_table(set: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let known: BTreeMap<String, &DescriptorProto> = set
        .file
        .iter()
        .flat_map(|file| file.message_type.iter().map(|m| (format!(".{}.{}", file.package(), m.name()), m)))
        .collect();
    let mut order = vec![BODY.to_owned()];
    let mut table = String::new();
    let mut at = 0;
    while let Some(name) = order.get(at).cloned() {
        let message = known.get(&name).ok_or_else(|| format!("{name}: nested messages are not supported"))?;
        let mut fields: Vec<&FieldDescriptorProto> = message.field.iter().collect();
        fields.sort_by_key(|field| field.number());
        if fields.len() > 64 {
            return Err(format!("{name}: more than 64 fields").into());
        }
        writeln!(table, "    // {name}\n    Message {{ fields: &[")?;
        for (place, field) in fields.iter().enumerate() {
            let kind = if field.r#type() == Type::Message {
                let below = field.type_name();
                let index = order.iter().position(|seen| seen == below).unwrap_or_else(|| {
                    order.push(below.to_owned());
                    order.len() - 1
                });
                format!("Message({index})")
            } else if let Some((_, kind)) = SCALARS.iter().find(|(scalar, _)| *scalar == field.r#type()) {
                (*kind).to_owned()
            } else {
                let (field, found) = (field.name(), field.r#type());
                return Err(format!("{name}.{field}: {found:?} may not stand in a body").into());
            };
            // One slot can be filled once: a singular field has its own, members of a oneof share the first one's.
            let slot = match field.oneof_index {
                Some(oneof) => fields.iter().position(|f| f.oneof_index == Some(oneof)).unwrap_or(place),
                None => place,
            };
            writeln!(
                table,
                "        Field {{ number: {}, name: {:?}, kind: Kind::{kind}, repeated: {}, slot: {slot} }},",
                field.number(),
                field.name(),
                field.label() == Label::Repeated,
            )?;
        }
        writeln!(table, "    ] }},")?;
        at += 1;
    }
    Ok(format!("static MESSAGES: &[Message] = &[\n{table}];\n"))
}
