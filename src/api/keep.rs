//! Keeps a few of the refusals of each app, for those who ask why: see [`RefusalLog`](crate::telemetry::RefusalLog).

use super::code::Code;
use super::echo::Echo;
use super::judge::{Purpose, Ticket};
use super::sample::{identifier, path, sample};
use super::service::{Accepted, AcceptedBody, Moment, Service};
use crate::event::EventKind;
use crate::http::Head;
use crate::telemetry::{Excerpt, KeptRefusal, Refused};

/// What was asked for, as far as it is known: what is not is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a [u8],
}

impl<'a> Asked<'a> {
    pub(super) fn of(head: &Head<'a>) -> Self {
        Self { method: head.method_name, path: head.path, body: &[] }
    }

    /// What a head that is gone has asked for: a ticket is for one place alone.
    pub(super) fn by(ticket: &Ticket) -> Self {
        let path = match (ticket.purpose, ticket.kind) {
            (Purpose::Grant { .. }, _) => "/oauth/token",
            (Purpose::Event, EventKind::Event) => "/v1/events",
            (Purpose::Array | Purpose::Lines, EventKind::Event) => "/v1/events/batch",
            (Purpose::Event, EventKind::RaygunEntry) => "/entries",
            (Purpose::Array | Purpose::Lines, EventKind::RaygunEntry) => "/entries/bulk",
            (_, EventKind::RaygunRum) => "/events",
        };
        Self { method: "POST", path, body: &[] }
    }

    /// What was answered with a 202, or would have been.
    pub(super) fn accepted(accepted: &Accepted) -> Self {
        match accepted.body {
            AcceptedBody::One(_) => Self { method: "POST", path: "/v1/events", body: &[] },
            AcceptedBody::Batch(_) => Self { method: "POST", path: "/v1/events/batch", body: &[] },
            // One of three.
            AcceptedBody::Nothing => Self { method: "POST", ..Self::default() },
        }
    }

    /// With a body, decoded, that may be what is wrong.
    pub(super) fn with(self, body: &'a [u8]) -> Self {
        Self { body, ..self }
    }
}

/// A refusal that is kept, for what the request itself does not say.
#[derive(Clone, Debug)]
pub(super) struct Told<'a> {
    pub(super) code: &'static str,
    pub(super) status: u16,
    pub(super) detail: &'static str,
    pub(super) request: &'a str,
}

impl Service {
    /// Counts events refused for `code` in the request that is being judged; whether that is to be kept.
    pub(super) fn count_refused(&mut self, code: Option<Code>, events: u64, moment: Moment) -> bool {
        self.apps.refuse(self.refused(code, events), moment.now, moment.wall)
    }

    pub(super) fn refused(&self, code: Option<Code>, events: u64) -> Refused {
        Refused { app: self.judged.map(|app| app.0), code: code.map(Code::index), events }
    }

    /// Keeps what was refused of the request that is being judged.
    pub(super) fn keep(&self, told: &Told<'_>, asked: Asked<'_>, echo: &Echo, moment: Moment) {
        let is_body = [Code::InvalidJson, Code::NotAnObject].iter().any(|code| code.as_str() == told.code);
        let sample = if is_body { sample(asked.body) } else { None };
        self.keep_with(told, asked, echo, None, sample, moment);
    }

    /// The same for an item of a batch, or what is not looked at any more.
    pub(super) fn keep_with(
        &self,
        told: &Told<'_>,
        asked: Asked<'_>,
        echo: &Echo,
        item: Option<usize>,
        sample: Option<Excerpt>,
        moment: Moment,
    ) {
        let known = |text: &str| !text.is_empty();
        self.metrics.refusals.keep(KeptRefusal {
            at: moment.wall,
            app: self.judged.map(|app| app.0),
            code: told.code,
            status: told.status,
            address: echo.client().or(self.connection).map(|address| address.to_canonical()),
            method: Some(asked.method).filter(|text| known(text)).map(identifier),
            path: Some(asked.path).filter(|text| known(text)).map(path),
            item,
            request: identifier(told.request),
            detail: told.detail,
            sample,
        });
    }
}
