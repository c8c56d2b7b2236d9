//! Devices that write records.

use epione_chaincode::keys;
use epione_types::Signer as _;
use epione_types::call::{Call, RegisterDevice, RevokeDevice};
use epione_types::id::DeviceId;

use super::{done, enrol};
use crate::args::Device;
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;
use crate::time;

pub(super) async fn run(command: Device) -> Result<Shown, CliError> {
    match command {
        Device::Register { name, member_key, kind, practitioner, write } => {
            let session = Session::open(&write.connect).await?;
            let who = session.book.practitioner(&practitioner)?;
            let full = name.as_deref().map(|name| enrol::full_name(&session, who.org, name));
            let key = session.member_key(member_key.as_deref(), full.as_deref())?;
            let call = RegisterDevice {
                device: request::new_id(DeviceId)?,
                kind,
                key: key.public_key(),
                practitioner: who.practitioner,
            };
            let fields = Fields::new().text("org", who.org).text("device", call.device);
            let done = session.submit(Call::RegisterDevice(call), &[key], &write).await?;
            Ok(Shown::one(fields.and(done.fields())))
        }
        Device::Revoke { device, write } => {
            let device: DeviceId = request::id("DEVICE", &device)?;
            let session = Session::open(&write.connect).await?;
            let call = Call::RevokeDevice(RevokeDevice { device });
            done(&session, call, Fields::new().text("revoked", device), &write).await
        }
        Device::Show { device, org, connect } => {
            let id: DeviceId = request::id("DEVICE", &device)?;
            let session = Session::open(&connect).await?;
            let org = session.book.org(&org)?;
            let found = session.entry(&keys::device(org, id)).await?;
            let found = found.ok_or_else(|| CliError::not_there("device", id))?;
            Ok(Shown::one(
                Fields::new()
                    .text("org", org)
                    .text("device", id)
                    .text("kind", found.kind)
                    .text("status", found.status)
                    .text("practitioner", found.practitioner)
                    .text("public_key", found.key)
                    .text("registered", time::show(found.registered_at)),
            ))
        }
    }
}
