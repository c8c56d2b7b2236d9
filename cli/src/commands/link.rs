//! Guest links: one record, for whoever holds the link's key.

use std::collections::BTreeMap;

use epione_proto::v1::EventKind;
use epione_types::Signer as _;
use epione_types::call::{Call, CloseGuestLink, CreateGuestLink, RecordAccess};
use epione_types::codes::{Action, Purpose, Role};
use epione_types::event::Event;
use epione_types::id::{GrantId, LinkId};

use super::{access, done, history};
use crate::args::Link;
use crate::error::CliError;
use crate::output::{Fields, Shown};
use crate::request;
use crate::session::Session;
use crate::time;

pub(super) async fn run(command: Link) -> Result<Shown, CliError> {
    match command {
        Link::Create { patient, record, name, member_key, until, uses, document, write } => {
            let record = request::id("--record", &record)?;
            let document = request::attested(document.as_deref())?;
            let until = request::instant("--until", Some(&until))?;
            let until = until.ok_or_else(|| CliError::usage("--until is missing"))?;
            let session = Session::open(&write.connect).await?;
            let full = name.as_deref().map(|name| format!("links/{name}"));
            let key = session.member_key(member_key.as_deref(), full.as_deref())?;
            let call = CreateGuestLink {
                link: request::new_id(LinkId)?,
                patient: session.book.patient(&patient)?,
                record,
                key: key.public_key(),
                grant: request::new_id(GrantId)?,
                until,
                max_uses: uses,
                document,
            };
            let fields = Fields::new().text("link", call.link).text("grant", call.grant);
            let done = session.submit(Call::CreateGuestLink(call), &[key], &write).await?;
            Ok(Shown::one(fields.and(done.fields())))
        }
        Link::Close { link, write } => {
            let link: LinkId = request::id("LINK", &link)?;
            let session = Session::open(&write.connect).await?;
            let call = Call::CloseGuestLink(CloseGuestLink { link });
            done(&session, call, Fields::new().text("closed", link), &write).await
        }
        Link::Read { link, record, write } => {
            let asked = RecordAccess {
                link: Some(request::id("LINK", &link)?),
                ..RecordAccess::new(
                    request::id("--record", &record)?,
                    Role::Guest,
                    Action::Read,
                    Purpose::PatRqt,
                )
            };
            access::record(asked, &write).await
        }
        Link::List(args) => {
            let session = Session::open(&args.connect).await?;
            let patient = session.book.patient(&args.patient)?;
            let mut last = BTreeMap::new();
            for it in history::of(&session, patient, &[EventKind::LinkChanged]).await? {
                let Event::LinkChanged { link, record, status, .. } = it.event else { continue };
                last.insert(link, (record, status, it.time));
            }
            let row = |(link, (record, status, since))| {
                let fields = Fields::new().text("link", link).text("record", record);
                fields.text("status", status).text("since", time::show(since))
            };
            Ok(Shown::many(last.into_iter().map(row).collect()))
        }
    }
}
