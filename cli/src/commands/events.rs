//! Everything that happened on the ledger, in order, as far as the caller may know of it.

use epione_client::{LedgerEvent, Start, Subscription};
use epione_proto::v1 as pb;
use epione_types::Height;

use super::{interrupted, view};
use crate::args::Events;
use crate::error::CliError;
use crate::output::{Shown, line, to_json};
use crate::request;
use crate::session::Session;
use crate::time;

pub(super) async fn run(args: Events, json: bool) -> Result<Shown, CliError> {
    let start = request::place("--from", &args.from)?;
    let session = Session::open(&args.connect).await?;
    let subscription = session.client.subscribe(start, pb::EventFilter::default());
    if args.follow {
        return follow(subscription, json).await;
    }
    let head = session.client.get_status(pb::GetStatusRequest {}).await?;
    let events = subscription.read_to(Height(head.height)).await?;
    Ok(Shown::many(events.iter().map(view::event).collect::<Result<_, _>>()?))
}

/// A line an event, until somebody has seen enough; then where to go on.
async fn follow(mut subscription: Subscription, json: bool) -> Result<Shown, CliError> {
    let enough = interrupted();
    tokio::pin!(enough);
    loop {
        let event = tokio::select! {
            event = subscription.next() => event?,
            _ = &mut enough => break,
        };
        if json {
            line(to_json(&view::event(&event)?));
        } else {
            line(one_line(&event)?);
        }
    }
    if let Start::After(cursor) = subscription.position() {
        eprintln!("go on with --from {}/{}", cursor.height, cursor.index);
    }
    Ok(Shown::nothing())
}

fn one_line(it: &LedgerEvent) -> Result<String, CliError> {
    let (name, detail) = view::named(&it.event)?;
    let place = format!("{}/{}", it.cursor.height, it.cursor.index);
    Ok(format!("{place:10}  {}  {name}  {}", time::show(it.time), crate::output::cell(&detail)))
}
