//! The first look: everything that can be said when the head is complete, before a byte of the body is kept.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use uuid::Uuid;

use super::client::{client_address, forwarded_client};
use super::code::Code;
use super::echo::Echo;
use super::keep::{Asked, Told};
use super::oauth::{self, OauthError};
use super::probes::Probe;
use super::response::Response;
use super::route::{Route, Wanted, is_raygun};
use super::service::{Moment, Refusal, Service};
use crate::auth::{App, AppId, Credentials, Exhausted, Limit, TokenError};
use crate::config::AckLevel;
use crate::event::{EventKind, RECORD_HEAD_BYTES, Traceparent, TurnBatch};
use crate::http::{ACCEPTED_CODINGS, BodyLength, Coding, Head};

/// What becomes of a request.
#[derive(Debug)]
pub enum Judgement {
    /// Its body is wanted, up to `bytes_max`; then comes [`Service::complete`].
    Take {
        /// To be given back with the body.
        ticket: Ticket,
        /// Largest body.
        bytes_max: usize,
    },
    /// It is answered now. Its body is passed over, or the connection ends, as the response says.
    Answer(Response),
}

/// What is known of a request whose body is still to come.
#[derive(Debug)]
pub struct Ticket {
    pub(super) purpose: Purpose,
    pub(super) app: AppId,
    /// What its events are.
    pub(super) kind: EventKind,
    /// How its body is encoded.
    pub(super) coding: Option<Coding>,
    /// Largest body, decoded.
    pub(super) bytes_max: usize,
    /// The bound on the app's events, if it has one.
    pub(super) limit: Option<Limit>,
    pub(super) echo: Echo,
    /// The client's own id for its event or batch.
    pub(super) event_id: Option<Uuid>,
    pub(super) ack: AckLevel,
    pub(super) traceparent: Option<Traceparent>,
}

/// What the body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One event.
    Event,
    /// A JSON array of events.
    Array,
    /// NDJSON: an event a line.
    Lines,
    /// The form of the token endpoint, from an app whose credentials had this generation.
    Grant {
        /// A secret that is regenerated while the body is held back gets no token.
        generation: u64,
    },
}

impl Service {
    /// Judges a complete head. `batch` is the turn's: what has no room is refused before it is read.
    pub fn judge(
        &mut self,
        head: &Head<'_>,
        connection: Option<IpAddr>,
        batch: &TurnBatch,
        moment: Moment,
    ) -> Judgement {
        (self.judged, self.connection) = (None, connection);
        let client = forwarded_client(connection, head.forwarded_for, &self.proxies);
        let echo = Echo::of(head, is_raygun(head), client);
        let judged = Route::of(head).and_then(|(route, wanted)| match (wanted, route) {
            (Wanted::Options, _) | (Wanted::Use, Route::Whole) => Ok(self.tell_options(route, &echo, head)),
            (Wanted::Use, Route::Probe(probe)) => Ok(self.judge_probe(probe, &echo, head, moment)),
            (Wanted::Use, Route::Token) => Ok(self.judge_grant(&echo, head, connection, moment)),
            (Wanted::Use, Route::One(kind)) => self.judge_ingest(kind, false, &echo, head, batch, moment),
            (Wanted::Use, Route::Many(kind)) => self.judge_ingest(kind, true, &echo, head, batch, moment),
        });
        let judged = judged.map_err(|refusal| self.count_wrong(refusal, head, connection, moment));
        judged.unwrap_or_else(|refusal| {
            let close = refusal.close || !self.can_skip(head);
            Judgement::Answer(self.refuse(Refusal { close, ..refusal }, &echo, Asked::of(head), moment))
        })
    }

    /// A wrong key counts against its address, which may have to wait.
    fn count_wrong(
        &self,
        refusal: Refusal,
        head: &Head<'_>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Refusal {
        if refusal.code != Code::BadApiKey {
            return refusal;
        }
        match self.note_stranger(head, connection, moment) {
            Ok(()) => refusal,
            Err(Exhausted { wait, .. }) => {
                let detail = "Too many wrong keys or secrets came from this address: wait.";
                Refusal { detail, wait: Some(wait), close: true, ..Code::RateLimited.into() }
            }
        }
    }

    fn note_stranger(
        &self,
        head: &Head<'_>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Result<(), Exhausted> {
        let address = client_address(connection, head.forwarded_for, &self.proxies);
        self.strangers.note(address, moment.now)
    }

    fn tell_options(&self, route: Route, echo: &Echo, head: &Head<'_>) -> Judgement {
        let mut response = Response::empty(204);
        response.fields = match route {
            Route::Probe(_) | Route::Whole => vec![("Allow", route.methods().into())],
            _ => echo.preflight(head, route.methods()),
        };
        response.close = !self.can_skip(head);
        Judgement::Answer(response)
    }

    fn judge_probe(&mut self, probe: Probe, echo: &Echo, head: &Head<'_>, moment: Moment) -> Judgement {
        let random = self.ids.next(crate::clock::ms(moment.wall));
        let mut response = probe.answer(&self.health, crate::clock::ms(moment.now), random);
        echo.add_to(&mut response.fields);
        response.close = !self.can_skip(head);
        Judgement::Answer(response)
    }

    fn judge_ingest(
        &mut self,
        kind: EventKind,
        is_batch: bool,
        echo: &Echo,
        head: &Head<'_>,
        batch: &TurnBatch,
        moment: Moment,
    ) -> Result<Judgement, Refusal> {
        let bytes_max =
            if is_batch { self.options.batch_body_bytes_max } else { self.options.body_bytes_max };
        let declared = match head.body {
            BodyLength::None => return Err(Code::LengthRequired.into()),
            BodyLength::Length(bytes) if bytes > bytes_max as u64 => return Err(Code::TooLarge.into()),
            BodyLength::Length(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            BodyLength::Chunked => 0,
        };
        if declared > self.options.record_bytes_max.saturating_sub(RECORD_HEAD_BYTES) {
            // Not even an empty queue would have room.
            return Err(Code::TooLarge.into());
        }
        let Sender { app, limit, takes_origin } = match kind {
            EventKind::Event => self.authenticate(head, moment)?,
            EventKind::RaygunEntry | EventKind::RaygunRum => self.authenticate_by_key(head)?,
        };
        self.judged = Some(app);
        if !takes_origin {
            return Err(Code::OriginNotAllowed.into());
        }
        let coding = Coding::of(head.content_encoding).map_err(|_| {
            // RFC 9110 section 12.5.3: it says so in an answer, too.
            let field = Some(("Accept-Encoding", ACCEPTED_CODINGS));
            Refusal { field, ..Code::UnsupportedEncoding.into() }
        })?;
        let purpose = match (kind, is_batch, Media::of(head.content_type)) {
            (EventKind::Event, false, Media::Json) => Purpose::Event,
            (EventKind::Event, true, Media::Json) => Purpose::Array,
            (EventKind::Event, true, Media::Lines) => Purpose::Lines,
            (EventKind::Event, ..) => return Err(Code::UnsupportedMediaType.into()),
            // SDKs call their JSON all sorts of names, and `sendBeacon` calls it text: the check of the body decides.
            (_, false, _) => Purpose::Event,
            (_, true, _) => Purpose::Array,
        };
        let event_id = match head.event_id {
            Some(value) => Some(parse_event_id(value)?),
            None => None,
        };
        let ack = match head.ack {
            Some(value) => self.parse_ack(value)?.max(self.options.ack),
            None => self.options.ack,
        };
        if let Some(limit) = &limit {
            // An app that may send nothing now need not send its body.
            limit.look(1, moment.now)?;
        }
        if !self.fits(batch, app, RECORD_HEAD_BYTES + declared) {
            return Err(self.no_room().into());
        }
        let ticket = Ticket {
            purpose,
            app,
            kind,
            coding,
            bytes_max,
            limit,
            echo: echo.clone(),
            event_id,
            ack,
            traceparent: head.traceparent.and_then(parse_traceparent),
        };
        Ok(Judgement::Take { ticket, bytes_max })
    }

    fn authenticate(&mut self, head: &Head<'_>, moment: Moment) -> Result<Sender, Refusal> {
        let offered = head.authorization.and_then(|value| value.split_first_chunk::<7>());
        // RFC 9110 section 11.1: the scheme's case does not matter.
        let token = match offered {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii(),
            _ => return Err(Code::MissingToken.into()),
        };
        let verified = self.tokens.verify(&self.credentials, token, moment.wall);
        verified.map(|app| Sender::of(app, &self.credentials, head)).map_err(|error| {
            self.judged = self.tokens.app_of(&self.credentials, token);
            let code = match error {
                TokenError::Malformed => Code::MalformedToken,
                TokenError::UnknownKey => Code::UnknownKey,
                TokenError::BadSignature => Code::BadSignature,
                TokenError::WrongAudience => Code::WrongAudience,
                TokenError::Expired => Code::ExpiredToken,
                TokenError::NotYetValid => Code::NotYetValid,
                TokenError::UnknownApp => Code::UnknownApp,
                TokenError::AppDisabled => Code::AppDisabled,
                TokenError::Revoked => Code::RevokedCredentials,
            };
            code.into()
        })
    }

    fn authenticate_by_key(&mut self, head: &Head<'_>) -> Result<Sender, Refusal> {
        let in_query = || {
            let mut fields = form_urlencoded::parse(head.query.unwrap_or_default().as_bytes());
            fields.find(|(name, _)| name.eq_ignore_ascii_case("apikey")).map(|(_, key)| key)
        };
        let key = match head.api_key {
            Some(key) => std::str::from_utf8(key).ok().map(Cow::from),
            None => in_query(),
        };
        let app = key.and_then(|key| self.credentials.registry.app_by_key(&key)).ok_or(Code::BadApiKey)?;
        self.judged = Some(app.id);
        if !app.enabled {
            return Err(Code::AppDisabled.into());
        }
        if !app.allow_api_key {
            return Err(Code::ApiKeyNotAllowed.into());
        }
        Ok(Sender::of(app, &self.credentials, head))
    }

    fn judge_grant(
        &mut self,
        echo: &Echo,
        head: &Head<'_>,
        connection: Option<IpAddr>,
        moment: Moment,
    ) -> Judgement {
        let client = match head.body {
            BodyLength::Length(bytes) if bytes > oauth::FORM_BYTES_MAX as u64 => Err(OauthError::TooLarge),
            BodyLength::None => Err(OauthError::InvalidRequest),
            _ if !oauth::is_form(head.content_type) => Err(OauthError::InvalidRequest),
            _ => oauth::client(&self.credentials, head, moment.wall).and_then(|(app, generation)| {
                let is_welcome = head.origin.is_none_or(|origin| app.takes_origin(origin));
                is_welcome.then_some((app.id, generation)).ok_or(OauthError::OriginNotAllowed)
            }),
        };
        match client {
            Ok((app, generation)) => {
                let ticket = Ticket {
                    purpose: Purpose::Grant { generation },
                    app,
                    kind: EventKind::Event,
                    coding: None,
                    bytes_max: oauth::FORM_BYTES_MAX,
                    limit: None,
                    echo: echo.clone(),
                    event_id: None,
                    ack: self.options.ack,
                    traceparent: None,
                };
                Judgement::Take { ticket, bytes_max: oauth::FORM_BYTES_MAX }
            }
            Err(error) => {
                // Nothing offered is nothing wrong.
                let is_wrong = error == OauthError::InvalidClient && head.authorization.is_some();
                let noted = if is_wrong { self.note_stranger(head, connection, moment) } else { Ok(()) };
                let error = noted.map_or_else(
                    |Exhausted { wait, .. }| OauthError::TooManyWrong { wait: wait.as_secs() + 1 },
                    |()| error,
                );
                self.judged = oauth::named(&self.credentials, head);
                let mut response = self.refuse_grant(error, echo, Asked::of(head), moment);
                response.close = !self.can_skip(head);
                Judgement::Answer(response)
            }
        }
    }

    pub(super) fn refuse_grant(
        &mut self,
        error: OauthError,
        echo: &Echo,
        asked: Asked<'_>,
        moment: Moment,
    ) -> Response {
        let fresh = || self.ids.next(crate::clock::ms(moment.wall)).into();
        let request = echo.request().cloned().unwrap_or_else(fresh);
        // Neither an event nor one of the codes: only what is kept is counted.
        if self.count_refused(None, 0, moment) {
            let (status, code, detail) = error.parts();
            let told = Told { code, status, detail, request: request.as_str() };
            self.keep(&told, asked, echo, moment);
        }
        let mut response = error.response(&request);
        echo.add_origin_to(&mut response.fields);
        response
    }

    /// Whether an unwanted body is worth reading to its end. Not if it is huge, and not if the client waits for our word
    /// before it sends it: then nobody knows whether it will (RFC 9110 section 10.1.1).
    fn can_skip(&self, head: &Head<'_>) -> bool {
        let is_small = match head.body {
            BodyLength::Length(bytes) => bytes <= self.skip_bytes_max() as u64,
            BodyLength::None | BodyLength::Chunked => true,
        };
        is_small && !head.expects_continue
    }
}

/// Who sends, as far as the head says.
struct Sender {
    app: AppId,
    limit: Option<Limit>,
    takes_origin: bool,
}

impl Sender {
    fn of(app: &App, credentials: &Credentials, head: &Head<'_>) -> Self {
        Self {
            app: app.id,
            limit: credentials.registry.limit(app),
            takes_origin: head.origin.is_none_or(|origin| app.takes_origin(origin)),
        }
    }
}

/// What a `Content-Type` says of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Json,
    Lines,
    Other,
}

impl Media {
    /// Without the field it is taken for JSON: the check of the body decides anyway.
    fn of(content_type: Option<&[u8]>) -> Self {
        let Some(value) = content_type else { return Self::Json };
        let essence = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let is = |known: &[u8]| essence.eq_ignore_ascii_case(known);
        if is(b"application/json") || is(b"text/json") {
            return Self::Json;
        }
        if is(b"application/x-ndjson") || is(b"application/ndjson") || is(b"application/jsonl") {
            return Self::Lines;
        }
        // RFC 6839 section 3.1: a structured syntax suffix.
        if essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json") {
            return Self::Json;
        }
        Self::Other
    }
}

impl Service {
    fn parse_ack(&self, value: &[u8]) -> Result<AckLevel, Refusal> {
        match std::str::from_utf8(value).ok().and_then(|text| AckLevel::from_str(text).ok()) {
            Some(AckLevel::Confirmed) if !self.options.has_broker => Err(Refusal::malformed(
                "Forebay-Ack: this node has no broker that could confirm, so it keeps only queued, written and synced.",
            )),
            Some(level) => Ok(level),
            None => Err(Refusal::malformed("Forebay-Ack is none of queued, written, synced and confirmed.")),
        }
    }
}

fn parse_event_id(value: &[u8]) -> Result<Uuid, Refusal> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.len() == uuid::fmt::Hyphenated::LENGTH)
        .and_then(|text| Uuid::try_parse(text).ok())
        .ok_or(Refusal::malformed("Forebay-Event-Id is not a UUID in its hyphenated form."))
}

/// Trace Context section 3.2. One that breaks the rules is dropped, as section 3.2.2.2 asks; other versions are not passed on.
fn parse_traceparent(value: &[u8]) -> Option<Traceparent> {
    let value: &Traceparent = value.try_into().ok()?;
    let is_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let (trace, parent) = (&value[3..35], &value[36..52]);
    let is_valid = value.starts_with(b"00-")
        && value[35] == b'-'
        && value[52] == b'-'
        && [trace, parent, &value[53..]].into_iter().all(is_hex)
        && !is_zero(trace)
        && !is_zero(parent);
    is_valid.then_some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_known_by_their_essence() {
        for (value, expected) in [
            (None, Media::Json),
            (Some("application/json"), Media::Json),
            (Some("Application/JSON; charset=utf-8"), Media::Json),
            (Some("application/vnd.crash+json"), Media::Json),
            (Some("application/x-ndjson"), Media::Lines),
            (Some("text/plain"), Media::Other),
            (Some("application/x-www-form-urlencoded"), Media::Other),
            (Some("+json"), Media::Other),
            (Some(""), Media::Other),
        ] {
            assert_eq!(Media::of(value.map(str::as_bytes)), expected, "{value:?}");
        }
    }

    #[test]
    fn a_traceparent_is_passed_on_only_if_it_is_one() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse_traceparent(good), Some(*good));
        for bad in [
            &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"[..],
            b"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(parse_traceparent(bad), None);
        }
    }
}
