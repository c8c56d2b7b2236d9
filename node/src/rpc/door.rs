//! The one door of every service but health and reflection: who calls, how much at a time, and until when.
//!
//! ```text
//!  headers ─▶ deadline ─▶ token ─▶ key ─▶ member, from the state ─▶ room ─▶ service ─▶ every error with its reason
//! ```
//!
//! It stands before the message is even read. What passes carries a [`Caller`]; a service has no other way to learn who
//! calls, so one that is not behind the door fails closed. A caller's room is taken while somebody holds the [`Caller`]:
//! a call for as long as it runs, a stream for as long as it lasts. Room is counted by organisation, so one that floods
//! is refused while the others are served. Whoever has no organisation, a patient mostly, has a little room of their own, and
//! all of them together a quarter. Operators have a door to themselves.
//! Tested below and by `tests/rpc/`.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use epione_chaincode::identity::Member;
use epione_chaincode::read;
use epione_client::{auth, tx};
use epione_ledger::chain::{Chain, Head};
use epione_types::{PublicKey, TimestampMs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::Limits;
use super::error::RpcError;
use super::listen::{Remote, network_of};
use crate::executor::ChainState;
use crate::handle::{NodeError, NodeHandle};
use crate::mempool::Client;

/// How long bad tokens of an address are counted together.
const BAD_TOKENS_WINDOW: Duration = Duration::from_secs(10);
/// Addresses that are remembered for bad tokens.
const BAD_ADDRESSES_MAX: usize = 4_096;
/// Good tokens that are remembered, each at most [`auth::TOKEN_BYTES_MAX`] bytes.
const GOOD_TOKENS_MAX: usize = 4_096;
/// Of a call's deadline, kept for the answer's way back: at most this, and at most a tenth.
const WAY_BACK: Duration = Duration::from_millis(100);
/// Of all calls, the part that is kept for persons: one in so many.
const PERSONS_OF: usize = 4;

/// Whoever passed the door.
#[derive(Debug)]
pub(super) struct Caller {
    /// The key that signed the token.
    pub(super) key: PublicKey,
    /// What it is registered as.
    pub(super) member: Member,
    /// End of the token, exclusive.
    pub(super) expires: TimestampMs,
    /// When an answer is too late.
    pub(super) deadline: Instant,
    _room: Room,
}

impl Caller {
    /// Whose share of the mempool is used, and of this node's room.
    pub(super) const fn client(&self) -> Client {
        client_of(self.member)
    }
}

/// On whose behalf a member calls: their organisation's; a patient, representative or guest by themselves.
const fn client_of(member: Member) -> Client {
    match member {
        Member::Admin(organisation)
        | Member::Practitioner(organisation, _)
        | Member::Device(organisation, _) => Client::Organisation(organisation),
        Member::Patient(id) => Client::Person(id.0),
        Member::Representative(id) => Client::Person(id.0),
        Member::Guest(id) => Client::Person(id.0),
        // Never a caller: the state does not name whose such a key was.
        Member::Retired => Client::Person([0; 16]),
    }
}

/// The token of a call.
fn bearer(headers: &HeaderMap) -> Result<&str, RpcError> {
    let value = headers.get("authorization").and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).ok_or(RpcError::TokenMissing)
}

/// Who sent this request.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<Caller>, RpcError> {
    request.extensions().get::<Arc<Caller>>().cloned().ok_or(RpcError::TokenMissing)
}

/// Room for one call, given back when dropped.
#[derive(Debug)]
struct Room {
    door: Arc<Door>,
    client: Client,
    _of_all: OwnedSemaphorePermit,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.door.book().open.leave(self.client);
    }
}

/// Calls under way.
#[derive(Debug, Default)]
struct Open {
    by_client: HashMap<Client, usize>,
    organisations: usize,
    persons: usize,
}

impl Open {
    /// All of a client's kind.
    const fn kind(&mut self, client: Client) -> &mut usize {
        match client {
            Client::Organisation(_) => &mut self.organisations,
            Client::Person(_) => &mut self.persons,
        }
    }

    /// One more, if the client has room for it and its kind too: persons together cannot crowd out organisations, nor
    /// these the persons.
    fn enter(&mut self, client: Client, limits: &Limits) -> Result<(), RpcError> {
        let persons_max = limits.calls_max / PERSONS_OF;
        let (all_max, own_max) = match client {
            Client::Organisation(_) => (limits.calls_max - persons_max, limits.calls_per_organisation_max),
            Client::Person(_) => (persons_max, limits.calls_per_person_max),
        };
        let (all, own) = (*self.kind(client), self.by_client.get(&client).copied().unwrap_or_default());
        for (open, limit) in [(own, own_max), (all, all_max)] {
            if open >= limit {
                return Err(RpcError::TooMany { what: "calls", open, limit });
            }
        }
        *self.kind(client) += 1;
        *self.by_client.entry(client).or_default() += 1;
        Ok(())
    }

    fn leave(&mut self, client: Client) {
        *self.kind(client) -= 1;
        if let Some(own) = self.by_client.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

/// A good token, and whose key it was as of a block.
#[derive(Debug, Clone, Copy)]
struct Known {
    token: auth::Caller,
    member: Member,
    as_of: Head,
}

#[derive(Debug, Default)]
struct Book {
    /// Calls under way.
    open: Open,
    /// Tokens of members whose signature was verified, and in which order.
    good: HashMap<Arc<str>, Known>,
    good_order: VecDeque<Arc<str>>,
    /// Bad tokens by address, since when.
    bad: HashMap<IpAddr, (Instant, u32)>,
}

/// The door of one node.
pub(super) struct Door {
    node: NodeHandle,
    limits: Limits,
    stop: CancellationToken,
    calls: Arc<Semaphore>,
    book: Mutex<Book>,
}

impl core::fmt::Debug for Door {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    pub(super) fn new(node: NodeHandle, limits: Limits, stop: CancellationToken) -> Arc<Self> {
        let calls = Arc::new(Semaphore::new(limits.calls_max));
        Arc::new(Self { node, limits, stop, calls, book: Mutex::default() })
    }

    /// Puts a service behind the door.
    pub(super) fn guard<S>(self: &Arc<Self>, inner: S) -> Guarded<S> {
        Guarded { inner, door: self.clone() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admit(
        self: &Arc<Self>,
        headers: &HeaderMap,
        from: Option<&Remote>,
        deadline: Instant,
    ) -> Result<Caller, RpcError> {
        let of_all = self.calls.clone().try_acquire_owned();
        let calls_max = self.limits.calls_max;
        let of_all =
            of_all.map_err(|_| RpcError::TooMany { what: "calls", open: calls_max, limit: calls_max })?;
        let place = from.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |from| network_of(from.address));
        let token = bearer(headers)?;
        let now = tx::now();
        let known = self.book().good.get(token).copied().filter(|known| now < known.token.expires);
        let shown = match known {
            Some(known) => known.token,
            None => self.verify(token, place, now)?,
        };
        let key = shown.key;
        // The state says whose a key is: until the next block it says the same.
        let member = match known.filter(|known| known.as_of == self.node.status().head) {
            Some(known) => known.member,
            None => {
                let state = |chain: &Arc<Chain>| ChainState(chain.clone());
                let read = self.node.read(move |chain| {
                    Ok::<_, NodeError>(chain.consistent(|| read::member_of(&state(chain), &key)))
                });
                let (as_of, member) = read.await?;
                let Some(member) = member? else {
                    // A self-made key signs valid tokens too, and a member's is valid until after they are struck off.
                    self.forget(token);
                    self.count_bad(place);
                    return Err(RpcError::UnknownKey(as_of.height));
                };
                self.remember(token, Known { token: shown, member, as_of }, now);
                member
            }
        };
        if let Some(from) = from {
            from.is_known();
        }
        let client = client_of(member);
        self.book().open.enter(client, &self.limits)?;
        let room = Room { door: self.clone(), client, _of_all: of_all };
        Ok(Caller { key, member, expires: shown.expires, deadline, _room: room })
    }

    /// A token that is not known to be a member's.
    fn verify(&self, token: &str, from: IpAddr, now: TimestampMs) -> Result<auth::Caller, RpcError> {
        self.patience_with(from)?;
        let verified = auth::verify(token, self.node.chain_id(), now);
        Ok(verified.inspect_err(|_| self.count_bad(from))?)
    }

    fn forget(&self, token: &str) {
        let mut book = self.book();
        if book.good.remove(token).is_some() {
            book.good_order.retain(|other| **other != *token);
        }
    }

    fn remember(&self, token: &str, known: Known, now: TimestampMs) {
        let mut book = self.book();
        let token: Arc<str> = token.into();
        if book.good.insert(token.clone(), known).is_none() {
            book.good_order.push_back(token);
        }
        // The oldest goes when there are too many; what has expired goes on the way.
        while let Some(oldest) = book.good_order.front().cloned() {
            let expired = book.good.get(&oldest).is_none_or(|known| known.token.expires <= now);
            if book.good.len() <= GOOD_TOKENS_MAX && !expired {
                break;
            }
            book.good.remove(&oldest);
            book.good_order.pop_front();
        }
    }

    fn patience_with(&self, from: IpAddr) -> Result<(), RpcError> {
        let limit = self.limits.bad_tokens_max;
        match self.book().bad.get(&from) {
            Some((since, count)) if since.elapsed() < BAD_TOKENS_WINDOW && *count >= limit => {
                Err(RpcError::BadTokens { from, limit, seconds: BAD_TOKENS_WINDOW.as_secs() })
            }
            _ => Ok(()),
        }
    }

    fn count_bad(&self, from: IpAddr) {
        let mut book = self.book();
        if book.bad.len() >= BAD_ADDRESSES_MAX {
            book.bad.retain(|_, (since, _)| since.elapsed() < BAD_TOKENS_WINDOW);
        }
        if book.bad.len() >= BAD_ADDRESSES_MAX {
            book.bad.clear(); // as many at once are no single caller's doing
        }
        let (since, count) = book.bad.entry(from).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= BAD_TOKENS_WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
    }
}

/// A service behind the door.
#[derive(Debug, Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    door: Arc<Door>,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let door = self.door.clone();
        // The one that was polled ready is called, its copy stays.
        let copy = self.inner.clone();
        let mut inner = core::mem::replace(&mut self.inner, copy);
        Box::pin(async move {
            let deadline = Instant::now() + patience(request.headers(), door.limits.wait_max);
            let from = request.extensions().get::<Remote>().cloned();
            let served = tokio::time::timeout_at(deadline, async {
                let caller = Arc::new(door.admit(request.headers(), from.as_ref(), deadline).await?);
                request.extensions_mut().insert(caller.clone());
                let response = inner.call(request).await;
                drop(caller); // a stream holds its own
                Ok(response)
            });
            let error = match door.stop.run_until_cancelled(served).await {
                Some(Ok(Ok(Ok(response)))) => return Ok(with_reason(response)),
                Some(Ok(Ok(Err(never)))) => match never {},
                Some(Ok(Err(error))) => error,
                Some(Err(_)) => RpcError::Deadline,
                None => NodeError::Stopping.into(),
            };
            Ok(Status::from(error).into_http())
        })
    }
}

/// An error that tonic made itself gets a reason like all others.
fn with_reason(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let bare = headers.contains_key("grpc-status") && !headers.contains_key("grpc-status-details-bin");
    match bare.then(|| Status::from_header_map(headers)).flatten() {
        Some(status) if status.code() != Code::Ok => Status::from(RpcError::Transport(status)).into_http(),
        _ => response,
    }
}

/// How long a call may take: less than its own time-out, so that the answer arrives before the caller gives up.
fn patience(headers: &HeaderMap, most: Duration) -> Duration {
    let asked = headers.get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
    let kept = |asked: Duration| asked - (asked / 10).min(WAY_BACK);
    asked.map_or(most, |asked| kept(asked).min(most))
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3_600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use epione_types::id::{LinkId, OrgId, PatientId, PractitionerId, RepresentativeId};

    #[test]
    fn an_organisation_counts_as_one_and_a_person_alone() {
        let id = [7; 16];
        let house = client_of(Member::Admin(OrgId(id)));
        assert_eq!(house, client_of(Member::Practitioner(OrgId(id), PractitionerId([1; 16]))));
        let anna = client_of(Member::Patient(PatientId(id)));
        assert_ne!(anna, house, "an id like the organisation's is nobody's way into its share");
        for other in [
            Member::Patient(PatientId([8; 16])),
            Member::Representative(RepresentativeId([9; 16])),
            Member::Guest(LinkId([1; 16])),
        ] {
            assert_ne!(client_of(other), anna);
        }
    }

    #[test]
    fn persons_together_have_a_quarter_and_organisations_the_rest() {
        let limits = Limits {
            calls_max: 16,
            calls_per_organisation_max: 8,
            calls_per_person_max: 2,
            ..Limits::default()
        };
        let mut open = Open::default();
        let mut enter =
            |client, times: usize| (0..times).filter(|_| open.enter(client, &limits).is_ok()).count();
        let (house, clinic) = (Client::Organisation(OrgId([1; 16])), Client::Organisation(OrgId([2; 16])));
        let [anna, bert, carl] = [1, 2, 3].map(|id| Client::Person([id; 16]));
        assert_eq!([enter(anna, 9), enter(bert, 9), enter(carl, 9)], [2, 2, 0]);
        assert_eq!([enter(house, 9), enter(clinic, 9)], [8, 4]);
        open.leave(anna);
        open.leave(house);
        assert!(open.enter(house, &limits).is_ok() && open.enter(carl, &limits).is_ok());
        assert!(open.enter(anna, &limits).is_err());
        for client in [anna, bert, bert, carl].into_iter().chain([house; 8]).chain([clinic; 4]) {
            open.leave(client);
        }
        assert!(open.by_client.is_empty() && (open.organisations, open.persons) == (0, 0));
    }

    #[test]
    fn a_calls_deadline_leaves_time_for_the_answer() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            patience(&headers, Duration::from_secs(60))
        };
        assert_eq!(of("2S"), Duration::from_millis(1_900));
        assert_eq!(of("100m"), Duration::from_millis(90));
        assert_eq!(of("10u"), Duration::from_micros(9));
        for too_long_or_none in ["99999999H", "1000000000S", "S", "", "5", "-1S", "1x", "1µ"] {
            let headers_refuse = too_long_or_none.parse::<tonic::codegen::http::HeaderValue>().is_err();
            assert!(headers_refuse || of(too_long_or_none) == Duration::from_secs(60), "{too_long_or_none}");
        }
        assert_eq!(patience(&HeaderMap::new(), Duration::from_secs(60)), Duration::from_secs(60));
    }
}
