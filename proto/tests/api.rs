//! The API as a whole: named by buf's rules, commented throughout, in step with the domain's codes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "only some kinds are edited")]

mod common;

use std::collections::HashMap;

use common::descriptors;
use epione_proto::convert::{code_from_wire, code_to_wire};
use epione_types::call::GrantKind;
use epione_types::codes::*;
use prost_types::{EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn ours() -> Vec<FileDescriptorProto> {
    descriptors().file.into_iter().filter(|file| file.package() == "epione.v1").collect()
}

fn screaming(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[test]
fn everything_is_commented() {
    let mut bare = Vec::new();
    for file in ours() {
        let commented: HashMap<&[i32], bool> = file
            .source_code_info
            .as_ref()
            .unwrap()
            .location
            .iter()
            .map(|at| (at.path.as_slice(), !at.leading_comments().trim().is_empty()))
            .collect();
        let mut check = |path: &[i32], name: String| {
            if !commented.get(path).copied().unwrap_or_default() {
                bare.push(format!("{}: {name}", file.name()));
            }
        };
        let number = |i: usize| i32::try_from(i).unwrap();
        // Numbers of FileDescriptorProto's and DescriptorProto's own fields.
        for (m, message) in file.message_type.iter().enumerate() {
            check(&[4, number(m)], message.name().to_owned());
            for (f, field) in message.field.iter().enumerate() {
                check(&[4, number(m), 2, number(f)], format!("{}.{}", message.name(), field.name()));
            }
        }
        for (e, list) in file.enum_type.iter().enumerate() {
            check(&[5, number(e)], list.name().to_owned());
            for (v, value) in list.value.iter().enumerate() {
                check(&[5, number(e), 2, number(v)], value.name().to_owned());
            }
        }
        for (s, service) in file.service.iter().enumerate() {
            check(&[6, number(s)], service.name().to_owned());
            for (r, rpc) in service.method.iter().enumerate() {
                check(&[6, number(s), 2, number(r)], rpc.name().to_owned());
            }
        }
    }
    assert!(bare.is_empty(), "without a comment: {bare:#?}");
}

#[test]
fn names_follow_bufs_rules() {
    let snake = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    for file in ours() {
        assert!(file.name().starts_with("epione/v1/"), "{}", file.name());
        for message in &file.message_type {
            assert!(message.field.iter().all(|field| snake(field.name())), "{}", message.name());
        }
        for list in &file.enum_type {
            let prefix = screaming(list.name());
            assert_eq!(list.value[0].name(), format!("{prefix}_UNSPECIFIED"));
            assert_eq!(list.value[0].number(), 0);
            assert!(list.value.iter().all(|v| v.name().starts_with(&format!("{prefix}_"))), "{prefix}");
        }
        for service in &file.service {
            assert!(service.name().ends_with("Service"));
            for rpc in &service.method {
                assert_eq!(rpc.input_type(), format!(".epione.v1.{}Request", rpc.name()));
                assert_eq!(rpc.output_type(), format!(".epione.v1.{}Response", rpc.name()));
            }
        }
    }
}

fn list(set: &FileDescriptorSet, name: &str) -> EnumDescriptorProto {
    set.file.iter().flat_map(|file| &file.enum_type).find(|list| list.name() == name).unwrap().clone()
}

fn in_step<T: Code>(name: &str, code_name: impl Fn(T) -> String) {
    let wire = list(&descriptors(), name);
    assert_eq!(wire.value.len(), T::ALL.len() + 1, "{name}: domain and .proto differ in length");
    for (value, code) in wire.value.iter().skip(1).zip(T::ALL) {
        let prefix = screaming(name);
        assert_eq!(value.name(), format!("{prefix}_{}", code_name(*code)));
        assert_eq!(value.number(), code_to_wire(*code));
        assert_eq!(code_from_wire("", value.number()), Ok(*code));
    }
}

#[test]
fn codes_are_those_of_the_domain() {
    in_step("Action", |code: Action| code.name().to_owned());
    in_step("Capability", |code: Capability| match code {
        Capability::BreakGlass => "BREAK_GLASS".to_owned(),
    });
    in_step("Category", |code: Category| code.name().to_owned());
    in_step("Decision", |code: Decision| code.name().to_owned());
    in_step("EmergencyReason", |code: EmergencyReason| code.name().to_owned());
    in_step("GrantKind", |code: GrantKind| screaming(&format!("{code:?}")));
    in_step("Label", |code: Label| code.name().to_owned());
    in_step("Obligation", |code: Obligation| code.name().to_owned());
    in_step("OrgKind", |code: OrganisationKind| code.name().to_owned());
    in_step("Purpose", |code: Purpose| code.name().to_owned());
    in_step("Reason", |code: Reason| code.name().to_owned());
    in_step("Refusal", |code: Refusal| code.name().to_owned());
    in_step("Role", |code: Role| code.name().to_owned());
    in_step("OrgStatus", |code: OrganisationStatus| code.name().to_owned());
    in_step("PractitionerStatus", |code: PractitionerStatus| code.name().to_owned());
    in_step("DeviceStatus", |code: DeviceStatus| code.name().to_owned());
    in_step("DeviceKind", |code: DeviceKind| code.name().to_owned());
    in_step("PatientStatus", |code: PatientStatus| code.name().to_owned());
    in_step("PatientChange", |code: PatientChange| code.name().to_owned());
    in_step("RepresentationKind", |code: RepresentationKind| code.name().to_owned());
    in_step("RepresentationStatus", |code: RepresentationStatus| code.name().to_owned());
    in_step("RecordStatus", |code: RecordStatus| code.name().to_owned());
    in_step("GrantStatus", |code: GrantStatus| code.name().to_owned());
    in_step("AccessRequestStatus", |code: AccessRequestStatus| code.name().to_owned());
    in_step("OverrideStatus", |code: OverrideStatus| code.name().to_owned());
    in_step("Verdict", |code: Verdict| code.name().to_owned());
    in_step("ReportStatus", |code: ReportStatus| code.name().to_owned());
    in_step("LinkStatus", |code: LinkStatus| code.name().to_owned());
    in_step("RecoveryStatus", |code: RecoveryStatus| code.name().to_owned());
    in_step("ProposalStatus", |code: ProposalStatus| code.name().to_owned());
    in_step("NoticeKind", |code: NoticeKind| code.name().to_owned());
    in_step("PolicyConstant", |code: PolicyConstant| code.name().to_owned());
    in_step("StudyStatus", |code: StudyStatus| code.name().to_owned());
    in_step("EnrolmentStatus", |code: EnrolmentStatus| code.name().to_owned());
}
