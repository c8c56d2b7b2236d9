//! Rust SDK: sign, submit, await, subscribe, verify; and import what a hospital has.

pub mod fhir;
