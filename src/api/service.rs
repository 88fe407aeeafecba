//! One reactor's view of the API, and what it gives back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use uuid::Uuid;

use super::code::Code;
use super::echo::Echo;
use super::examine::Examination;
use super::judge::{Purpose, Ticket};
use super::keep::{Asked, Told};
use super::oauth::OauthError;
use super::response::{Response, problem};
use super::second_looks::SecondLooks;
use crate::auth::{AppId, Credentials, Exhausted, SharedCredentials, Strangers, TokenCache};
use crate::config::AckLevel;
use crate::event::{EventIds, JsonChecker, RECORD_BYTES_EXTRA_MAX, TurnBatch};
use crate::http::Violation;
use crate::telemetry::{AppTally, CoreMetrics, Health, SharedShares, Shares, retry_after};

/// The clocks, as the driver read them for this turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Monotonic.
    pub now: Duration,
    /// Since the Unix epoch.
    pub wall: Duration,
}

/// What the API is configured with.
#[derive(Clone, Copy, Debug)]
pub struct ServiceOptions {
    /// Largest body of one event, and largest item of a batch.
    pub body_bytes_max: usize,
    /// Largest body of a batch.
    pub batch_body_bytes_max: usize,
    /// Largest sum of records of one request: more could never be taken over.
    pub record_bytes_max: usize,
    /// How many of these the node has: each gives out its part of what an app may take.
    pub reactors: u64,
    /// The level that releases a 202, unless the request asks for a stronger one.
    pub ack: AckLevel,
    /// Whether there is a broker that could confirm.
    pub has_broker: bool,
    /// Lifetime of tokens.
    pub token_lifetime: Duration,
}

/// Events of one request, in the turn's batch; the 202 waits for their level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whose.
    pub app: AppId,
    /// How many.
    pub events: u32,
    /// What the 202 waits for.
    pub level: AckLevel,
    /// The body of the 202.
    pub body: AcceptedBody,
    /// What else goes into the answer.
    pub echo: Echo,
}

/// What a 202 says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptedBody {
    /// The one event's id.
    One(Uuid),
    /// The batch's verdict, a JSON object.
    Batch(Box<str>),
    /// Nothing, as Raygun's SDKs expect.
    Nothing,
}

/// The body of the 202 for one event, in place.
pub fn one_body(id: Uuid) -> [u8; ONE_BODY_BYTES] {
    let mut body = *br#"{"id":"00000000-0000-0000-0000-000000000000"}"#;
    id.hyphenated().encode_lower(&mut body[7..ONE_BODY_BYTES - 2]);
    body
}

const ONE_BODY_BYTES: usize = uuid::fmt::Hyphenated::LENGTH + 9;

/// What a complete request came to.
#[derive(Debug)]
pub enum Outcome {
    /// Its events are in the turn's batch.
    Accepted(Accepted),
    /// It is answered at once.
    Answer(Response),
    /// It takes long: another thread is to run it, then comes [`Service::conclude`].
    Later(Box<Examination>),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) detail: &'static str,
    /// A header field that goes with it.
    pub(super) field: Option<(&'static str, &'static str)>,
    /// What is left of the app's rate, if that is why.
    pub(super) exhausted: Option<Exhausted>,
    /// When to come back at the earliest, if that is known.
    pub(super) wait: Option<Duration>,
    pub(super) close: bool,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, detail: code.advice(), field: None, exhausted: None, wait: None, close: false }
    }
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Self {
        Self { exhausted: Some(exhausted), wait: Some(exhausted.wait), ..Code::RateLimited.into() }
    }
}

impl Refusal {
    pub(super) fn malformed(detail: &'static str) -> Self {
        Self { detail, ..Code::MalformedRequest.into() }
    }
}

/// Judges the requests of one reactor.
#[derive(Debug)]
pub struct Service {
    pub(super) options: ServiceOptions,
    pub(super) credentials: Arc<Credentials>,
    pub(super) tokens: TokenCache,
    pub(super) health: Arc<Health>,
    pub(super) ids: EventIds,
    pub(super) checker: JsonChecker,
    pub(super) looks: SecondLooks,
    pub(super) items: Vec<std::ops::Range<usize>>,
    /// The last body that was decoded.
    pub(super) decoded: Vec<u8>,
    is_journal_failing: bool,
    shared: Arc<SharedCredentials>,
    version: u64,
    /// Who has sent wrong keys and secrets.
    pub(super) strangers: Arc<Strangers>,
    /// Whose `X-Forwarded-For` is believed.
    pub(super) proxies: Arc<[IpNet]>,
    shared_shares: Arc<SharedShares>,
    shares_version: u64,
    /// What each app may take, while room is scarce, and what it has taken since that was found out.
    shares: Option<Arc<Shares>>,
    taken: foldhash::HashMap<AppId, u64>,
    pub(super) metrics: Arc<CoreMetrics>,
    pub(super) apps: AppTally,
    /// Whose request is being judged, as far as that is known.
    pub(super) judged: Option<AppId>,
    /// The address that it came from, as the socket or the balancer says.
    pub(super) connection: Option<IpAddr>,
}

impl Service {
    /// A service with the newest credentials.
    pub fn new(
        options: ServiceOptions,
        shared: Arc<SharedCredentials>,
        shared_shares: Arc<SharedShares>,
        strangers: Arc<Strangers>,
        proxies: Arc<[IpNet]>,
        health: Arc<Health>,
        metrics: Arc<CoreMetrics>,
    ) -> Self {
        Self {
            options,
            // The version first: a snapshot that is newer than its version is only loaded once more.
            version: shared.version(),
            credentials: shared.newest(),
            shares_version: shared_shares.version(),
            shares: shared_shares.newest(),
            shared_shares,
            strangers,
            proxies,
            taken: foldhash::HashMap::default(),
            tokens: TokenCache::default(),
            health,
            ids: EventIds::default(),
            checker: JsonChecker::default(),
            looks: SecondLooks::default(),
            items: Vec::new(),
            decoded: Vec::new(),
            is_journal_failing: false,
            shared,
            apps: AppTally::new(metrics.clone()),
            metrics,
            judged: None,
            connection: None,
        }
    }

    /// Once a turn: takes what is new of credentials and of who has to make room.
    pub fn refresh(&mut self) {
        let version = self.shared.version();
        if version != self.version {
            self.version = version;
            self.credentials = self.shared.newest();
            self.tokens.clear();
        }
        let version = self.shared_shares.version();
        if version != self.shares_version {
            self.shares_version = version;
            self.shares = self.shared_shares.newest();
            self.taken.clear();
        }
    }

    /// Whether `bytes` of an app's records still have room in this turn.
    pub(super) fn fits(&self, batch: &TurnBatch, app: AppId, bytes: usize) -> bool {
        let is_crowding = self.shares.as_ref().is_some_and(|shares| {
            let taken = self.taken.get(&app).copied().unwrap_or(0);
            taken * self.options.reactors >= shares.left(app.0)
        });
        batch.fits(bytes, is_crowding)
    }

    /// Once a turn: whether it is for want of a working disk that there is no room.
    pub fn set_journal_failing(&mut self, is_failing: bool) {
        self.is_journal_failing = is_failing;
    }

    /// Why there is no room.
    pub(super) fn no_room(&self) -> Code {
        if self.is_journal_failing { Code::JournalFailed } else { Code::Overloaded }
    }

    /// Whether any single event could be taken over in a queue with `room_bytes`.
    pub fn has_room(&self, room_bytes: usize) -> bool {
        room_bytes >= RECORD_BYTES_EXTRA_MAX + self.options.body_bytes_max
    }

    /// Bytes of an unwanted body that are read to keep the connection.
    pub fn skip_bytes_max(&self) -> usize {
        self.options.batch_body_bytes_max
    }

    /// The answer to bytes that break the rules; the connection ends.
    pub fn violation(
        &mut self,
        violation: Violation,
        ticket: Option<Ticket>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        let refusal = match violation {
            Violation::Malformed(detail) => Refusal::malformed(detail),
            Violation::TargetTooLong => Code::TargetTooLong.into(),
            Violation::HeadTooLarge => Code::HeadTooLarge.into(),
            Violation::BodyTooLarge => Code::TooLarge.into(),
        };
        self.refuse_last(refusal, ticket, connection, moment)
    }

    /// The answer to a client that ended its stream inside of a request.
    pub fn cut_short(
        &mut self,
        ticket: Option<Ticket>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        let refusal = Refusal::malformed("The connection ended inside of the request.");
        self.refuse_last(refusal, ticket, connection, moment)
    }

    /// The answer to a client that is too slow; the connection ends.
    pub fn timed_out(
        &mut self,
        in_head: bool,
        ticket: Option<Ticket>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        let code = if in_head { Code::HeadTimeout } else { Code::BodyTimeout };
        self.refuse_last(code.into(), ticket, connection, moment)
    }

    /// The answer to a request that was not complete when the node had to stop.
    pub fn cut_off(&mut self, ticket: Ticket, connection: Option<IpAddr>, moment: Moment) -> Response {
        self.refuse_last(Code::Draining.into(), Some(ticket), connection, moment)
    }

    /// The answer to a request whose body there is no memory for.
    pub fn no_memory(&mut self, ticket: Ticket, connection: Option<IpAddr>, moment: Moment) -> Response {
        let detail = "The node holds as much for its clients as it may.";
        let refusal = Refusal { detail, ..Code::Overloaded.into() };
        self.refuse_taken(refusal, Some(ticket), connection, moment)
    }

    /// Refuses what came of a request, and ends the connection.
    fn refuse_last(
        &mut self,
        refusal: Refusal,
        ticket: Option<Ticket>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        self.refuse_taken(Refusal { close: true, ..refusal }, ticket, connection, moment)
    }

    /// Refuses a request, of which `ticket` is known if its head was complete.
    fn refuse_taken(
        &mut self,
        refusal: Refusal,
        ticket: Option<Ticket>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        let purpose = ticket.as_ref().map(|ticket| ticket.purpose);
        (self.judged, self.connection) = (ticket.as_ref().map(|ticket| ticket.app), connection);
        let asked = ticket.as_ref().map(Asked::by).unwrap_or_default();
        let echo = ticket.map(|ticket| ticket.echo).unwrap_or_default();
        if let Some(Purpose::Grant { .. }) = purpose {
            let mut response = self.refuse_grant(OauthError::of(refusal.code), &echo, asked, moment);
            response.close = refusal.close;
            return response;
        }
        self.refuse(refusal, &echo, asked, moment)
    }

    /// The answer to a connection beyond the cap: that of the node, or of each address.
    pub fn too_many_connections(
        &mut self,
        of_address: bool,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        let detail = if of_address {
            "This address has as many connections as one may have."
        } else {
            "The node has as many connections as it takes."
        };
        (self.judged, self.connection) = (None, connection);
        let refusal = Refusal { close: true, detail, ..Code::Overloaded.into() };
        self.refuse(refusal, &Echo::default(), Asked::default(), moment)
    }

    /// The answer to a request whose events could not be taken over after all.
    pub fn not_taken_over(
        &mut self,
        accepted: &Accepted,
        code: Code,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        (self.judged, self.connection) = (Some(accepted.app), connection);
        let asked = Some(Asked::accepted(accepted));
        self.answer(code.into(), accepted.events.into(), &accepted.echo, asked, moment, "")
    }

    /// The same, where nobody waits for an answer any more.
    pub fn count_not_taken_over(&mut self, app: AppId, code: Code, events: u32, moment: Moment) {
        self.judged = Some(app);
        self.apps.reject(self.refused(Some(code), events.into()), moment.wall);
    }

    /// The answer to a request whose events were accepted, but have only `reached` a lower level.
    pub fn ack_timeout(
        &mut self,
        accepted: &Accepted,
        reached: AckLevel,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Response {
        (self.judged, self.connection) = (Some(accepted.app), connection);
        let asked = Some(Asked::accepted(accepted));
        // The members of the 202 that was not given.
        let members = match &accepted.body {
            AcceptedBody::One(id) => format!(r#","id":"{id}""#),
            AcceptedBody::Batch(body) => format!(",{}", &body[1..body.len() - 1]),
            AcceptedBody::Nothing => String::new(),
        };
        let extensions = format!(r#","level":"{reached}"{members}"#);
        // Not a rejection: the events stay accepted.
        self.answer(Code::AckTimeout.into(), 0, &accepted.echo, asked, moment, &extensions)
            .with("Forebay-Ack", reached.as_str())
    }

    /// Refuses a request whose events are not known: it counts as one.
    pub(super) fn refuse(
        &mut self,
        refusal: Refusal,
        echo: &Echo,
        asked: Asked<'_>,
        moment: Moment,
    ) -> Response {
        self.answer(refusal, 1, echo, Some(asked), moment, "")
    }

    /// Makes the answer to a refusal and counts `events` rejected for it. It may be kept, unless what it says is counted and kept already: then
    /// nothing is `asked`.
    pub(super) fn answer(
        &mut self,
        refusal: Refusal,
        events: u64,
        echo: &Echo,
        asked: Option<Asked<'_>>,
        moment: Moment,
        extensions: &str,
    ) -> Response {
        let Refusal { code, detail, field, exhausted, wait, close } = refusal;
        let kept = asked.filter(|_| self.count_refused(Some(code), events, moment));
        let fresh = self.ids.next(crate::clock::ms(moment.wall));
        let request = echo.request().cloned().unwrap_or_else(|| fresh.into());
        if let Some(asked) = kept {
            let told = Told { code: code.as_str(), status: code.status(), detail, request: request.as_str() };
            self.keep(&told, asked, echo, moment);
        }
        let mut response = problem(code, detail, &request, extensions);
        echo.add_origin_to(&mut response.fields);
        response.close = close;
        response.fields.extend(field.map(|(name, value)| (name, value.as_bytes().to_vec())));
        match code.status() {
            // RFC 6750 section 3.1: no error code where no token was sent.
            401 if code == Code::MissingToken => {
                response.with("WWW-Authenticate", r#"Bearer realm="forebay""#)
            }
            401 => response.with(
                "WWW-Authenticate",
                format!(r#"Bearer realm="forebay", error="invalid_token", error_description="{detail}""#),
            ),
            429 | 503 => {
                let wait = wait.map_or(0, |wait| wait.as_secs());
                let response =
                    response.with("Retry-After", (wait + u64::from(retry_after(fresh))).to_string());
                match exhausted {
                    Some(exhausted) => with_rate(response, exhausted),
                    None => response,
                }
            }
            _ => response,
        }
    }

    /// Counts events that were taken over, with the bytes of their records.
    pub fn count_accepted(&mut self, app: AppId, events: u32, bytes: u32, moment: Moment) {
        self.apps.accept(app.0, events.into(), bytes.into(), moment.wall);
        if self.shares.is_some() {
            *self.taken.entry(app).or_default() += u64::from(events);
        }
    }
}

/// Says what the app's rate is and what is left of it (draft-ietf-httpapi-ratelimit-headers-10).
fn with_rate(response: Response, exhausted: Exhausted) -> Response {
    let Exhausted { wait, left, events_per_second } = exhausted;
    response
        .with("RateLimit-Policy", format!(r#""events";q={events_per_second};w=1"#))
        .with("RateLimit", format!(r#""events";r={left};t={}"#, wait.as_secs() + 1))
}
