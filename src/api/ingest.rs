//! The second look: the body is complete.

use std::fmt::Write;
use std::net::IpAddr;
use std::ops::Range;

use uuid::Uuid;

use super::code::Code;
use super::examine::{AT_ONCE_BYTES_MAX, Examination, FIRST_LOOK_BYTES_MAX, Found, decode, split};
use super::judge::{Purpose, Ticket};
use super::keep::{Asked, Told};
use super::oauth;
use super::sample::sample;
use super::second_looks::AppLooks;
use super::service::{Accepted, AcceptedBody, Moment, Outcome, Refusal, Service};
use crate::auth::Limit;
use crate::event::{
    Checked, EventKind, NotAnEvent, RECORD_HEAD_BYTES, Record, TurnBatch, is_strict_object, item_id,
    split_strict_array, split_strict_lines,
};
use crate::telemetry::Excerpt;

/// Items of a batch whose text is looked at again to show what is wrong.
const SAMPLES_MAX: usize = 4;

/// What was found out about an event already.
type Verdict = Result<Checked, NotAnEvent>;

/// The items of a batch that were refused.
type Rejected = Vec<(usize, Code)>;

impl Service {
    /// Judges a complete body that came from `connection`; it is written over. What is accepted lies in `batch` afterwards, what is not leaves no
    /// trace there.
    pub fn complete(
        &mut self,
        ticket: Ticket,
        body: &[u8],
        connection: Option<IpAddr>,
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Outcome {
        (self.judged, self.connection) = (Some(ticket.app), connection);
        if body.len() > AT_ONCE_BYTES_MAX {
            return self.complete_large(ticket, body, batch, moment);
        }
        let Some(coding) = ticket.coding else { return self.complete_plain(ticket, body, batch, moment) };
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        let bytes_max = ticket.bytes_max.min(AT_ONCE_BYTES_MAX);
        let outcome = match decode(coding, body, bytes_max, &mut decoded) {
            Ok(()) => self.complete_plain(ticket, &decoded, batch, moment),
            Err(refusal) if refusal.code == Code::TooLarge && bytes_max < ticket.bytes_max => {
                self.postpone(ticket, body, moment)
            }
            Err(refusal) => Outcome::Answer(self.refuse(refusal, &ticket.echo, Asked::by(&ticket), moment)),
        };
        self.decoded = decoded;
        outcome
    }

    /// Takes a large body if it is good at first sight, and leaves it to another thread if not.
    fn complete_large(
        &mut self,
        ticket: Ticket,
        body: &[u8],
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Outcome {
        if ticket.coding.is_some() || body.len() > FIRST_LOOK_BYTES_MAX {
            return self.postpone(ticket, body, moment);
        }
        let good = Some(Ok(Checked::Strict));
        if ticket.purpose == Purpose::Event && is_strict_object(body) {
            return self.complete_event(ticket, body, good, batch, moment);
        }
        let mut items = std::mem::take(&mut self.items);
        let are_good = match ticket.purpose {
            Purpose::Array => split_strict_array(body, &mut items),
            Purpose::Lines => split_strict_lines(body, &mut items),
            Purpose::Event | Purpose::Grant { .. } => false,
        };
        let outcome = if are_good {
            let completed = self.complete_items(&ticket, body, &items, |_| good, batch, moment);
            self.or_refuse(completed, &ticket, body, moment)
        } else {
            self.postpone(ticket, body, moment)
        };
        self.items = items;
        outcome
    }

    /// Leaves the body to another thread.
    fn postpone(&self, ticket: Ticket, body: &[u8], moment: Moment) -> Outcome {
        let (bytes_max, looks) = (self.options.body_bytes_max, self.looks.clone());
        Outcome::Later(Box::new(Examination::new(ticket, body, bytes_max, looks, moment)))
    }

    /// Goes on with a body that was examined.
    pub fn conclude(
        &mut self,
        examination: Examination,
        connection: Option<IpAddr>,
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Outcome {
        let Examination { ticket, body, found, .. } = examination;
        (self.judged, self.connection) = (Some(ticket.app), connection);
        let outcome = match found {
            Ok(Found { verdicts, .. }) if ticket.purpose == Purpose::Event => {
                return self.complete_event(ticket, &body, Some(verdicts[0]), batch, moment);
            }
            Ok(Found { items, verdicts }) => {
                self.complete_items(&ticket, &body, &items, |index| Some(verdicts[index]), batch, moment)
            }
            Err(refusal) => Err(refusal),
        };
        self.or_refuse(outcome, &ticket, &body, moment)
    }

    /// The outcome, or the refusal of a whole body.
    fn or_refuse(
        &mut self,
        outcome: Result<Outcome, Refusal>,
        ticket: &Ticket,
        body: &[u8],
        moment: Moment,
    ) -> Outcome {
        outcome.unwrap_or_else(|refusal| {
            let asked = Asked::by(ticket).with(body);
            Outcome::Answer(self.refuse(refusal, &ticket.echo, asked, moment))
        })
    }

    fn complete_plain(
        &mut self,
        ticket: Ticket,
        body: &[u8],
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Outcome {
        match ticket.purpose {
            Purpose::Event => self.complete_event(ticket, body, None, batch, moment),
            Purpose::Array | Purpose::Lines => self.complete_batch(&ticket, body, batch, moment),
            Purpose::Grant { generation } => self.complete_grant(&ticket, generation, body, moment),
        }
    }

    fn complete_event(
        &mut self,
        ticket: Ticket,
        body: &[u8],
        verdict: Option<Verdict>,
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Outcome {
        let id = ticket.event_id.unwrap_or_else(|| self.ids.next(crate::clock::ms(moment.wall)));
        let mark = batch.mark();
        let appended = self.append(&ticket, id, body, verdict, batch, moment).map_err(Refusal::from);
        match appended.and_then(|()| take(ticket.limit.as_ref(), 1, moment)) {
            Ok(()) => {
                let body = match ticket.kind {
                    EventKind::Event => AcceptedBody::One(id),
                    EventKind::RaygunEntry | EventKind::RaygunRum => AcceptedBody::Nothing,
                };
                Outcome::Accepted(Accepted {
                    app: ticket.app,
                    events: 1,
                    level: ticket.ack,
                    body,
                    echo: ticket.echo,
                })
            }
            Err(refusal) => {
                let asked = Asked::by(&ticket).with(body);
                let response = self.refuse(refusal, &ticket.echo, asked, moment);
                batch.truncate(mark);
                Outcome::Answer(response)
            }
        }
    }

    /// Checks one event, unless its verdict is known, and appends it.
    fn append(
        &mut self,
        ticket: &Ticket,
        id: Uuid,
        body: &[u8],
        known: Option<Verdict>,
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Result<(), Code> {
        let mut record = Record {
            kind: ticket.kind,
            lenient: false,
            received_us: crate::clock::us(moment.wall),
            app: ticket.app.0,
            id,
            traceparent: ticket.traceparent.as_ref(),
            payload: body,
        };
        let bytes = record.encoded_bytes();
        if bytes > self.options.record_bytes_max {
            return Err(Code::TooLarge);
        }
        if !self.fits(batch, ticket.app, bytes) {
            return Err(self.no_room());
        }
        let mut looks = AppLooks { looks: &self.looks, app: ticket.app, now: moment.now };
        match known.unwrap_or_else(|| self.checker.check_object(body, &mut looks)) {
            Ok(checked) => record.lenient = checked == Checked::Lenient,
            Err(NotAnEvent::Empty) => return Err(Code::EmptyBody),
            Err(NotAnEvent::NotAnObject) => return Err(Code::NotAnObject),
            Err(NotAnEvent::Invalid) => return Err(Code::InvalidJson),
            Err(NotAnEvent::NoSecondLook) => return Err(Code::RateLimited),
        }
        batch.append(&record);
        Ok(())
    }

    fn complete_batch(
        &mut self,
        ticket: &Ticket,
        body: &[u8],
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Outcome {
        let mut items = std::mem::take(&mut self.items);
        let outcome = split(ticket.purpose, body, &mut items)
            .and_then(|all| self.complete_items(ticket, body, &items, |_| all.map(Ok), batch, moment));
        self.items = items;
        self.or_refuse(outcome, ticket, body, moment)
    }

    /// Judges the items one by one; the good ones are accepted together or not at all.
    fn complete_items(
        &mut self,
        ticket: &Ticket,
        body: &[u8],
        items: &[Range<usize>],
        known: impl Fn(usize) -> Option<Verdict>,
        batch: &mut TurnBatch,
        moment: Moment,
    ) -> Result<Outcome, Refusal> {
        let before = batch.mark();
        let (mut ids, mut rejected) = (Vec::with_capacity(items.len()), Rejected::new());
        // Of the first ones, if they may be kept.
        let mut samples = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let id = match ticket.event_id {
                Some(id) => item_id(id, index),
                None => self.ids.next(crate::clock::ms(moment.wall)),
            };
            let appended = if item.len() > self.options.body_bytes_max {
                Err(Code::TooLarge)
            } else {
                self.append(ticket, id, &body[item.clone()], known(index), batch, moment)
            };
            match appended {
                Ok(()) => ids.push(id),
                Err(code @ (Code::Overloaded | Code::JournalFailed)) => {
                    batch.truncate(before);
                    let extra = RECORD_HEAD_BYTES + ticket.traceparent.map_or(0, |t| t.len());
                    let is_rejected =
                        |index| rejected.binary_search_by_key(&index, |(index, _)| *index).is_ok();
                    let may_fit = |(index, item): &(usize, &Range<usize>)| {
                        item.len() <= self.options.body_bytes_max && !is_rejected(*index)
                    };
                    let good = items.iter().enumerate().filter(may_fit);
                    let bytes: usize = good.map(|(_, item)| item.len() + extra).sum();
                    if bytes > self.options.record_bytes_max {
                        return Err(Code::TooLarge.into()); // not even an empty queue would have room
                    }
                    let events = items.len() as u64;
                    let asked = Some(Asked::by(ticket));
                    let answer = self.answer(code.into(), events, &ticket.echo, asked, moment, "");
                    return Ok(Outcome::Answer(answer));
                }
                Err(code) => {
                    if samples.len() == rejected.len()
                        && samples.len() < SAMPLES_MAX
                        && self.apps.would_keep(Some(ticket.app.0), moment.now)
                    {
                        samples.push(sample(&body[item.clone()]));
                    }
                    rejected.push((index, code));
                }
            }
        }
        let accepted = u32::try_from(ids.len()).expect("at most BATCH_ITEMS_MAX");
        if let Err(refusal) = take(ticket.limit.as_ref(), accepted, moment) {
            // The batch is one: it comes again as a whole.
            batch.truncate(before);
            let (events, asked) = (items.len() as u64, Some(Asked::by(ticket)));
            return Ok(Outcome::Answer(self.answer(refusal, events, &ticket.echo, asked, moment, "")));
        }
        self.refuse_items(ticket, &rejected, samples, moment);
        let rejected_json = list(&rejected, |out, (index, code)| {
            let _ = write!(out, r#"{{"index":{index},"code":"{}"}}"#, code.as_str());
        });
        if ids.is_empty() {
            // An item that had no second look may be good the next time.
            let refusal = if rejected.iter().any(|(_, code)| *code == Code::RateLimited) {
                Code::RateLimited.into()
            } else {
                let all_are_values = rejected.iter().all(|(_, code)| *code == Code::NotAnObject);
                let code = if all_are_values { Code::NotAnObject } else { Code::InvalidJson };
                Refusal { detail: "No item of the batch is a valid event.", ..code.into() }
            };
            let extensions = format!(r#","rejected":{rejected_json}"#);
            // The items are counted above, each with its own code.
            return Ok(Outcome::Answer(self.answer(refusal, 0, &ticket.echo, None, moment, &extensions)));
        }
        let ids_json = list(&ids, |out, id| {
            let _ = write!(out, r#""{}""#, id.hyphenated());
        });
        let body = match ticket.kind {
            EventKind::Event => AcceptedBody::Batch(
                format!(r#"{{"accepted":{accepted},"ids":{ids_json},"rejected":{rejected_json}}}"#).into(),
            ),
            EventKind::RaygunEntry | EventKind::RaygunRum => AcceptedBody::Nothing,
        };
        let (app, level, echo) = (ticket.app, ticket.ack, ticket.echo.clone());
        Ok(Outcome::Accepted(Accepted { app, events: accepted, level, body, echo }))
    }

    /// Counts the items that are refused, and keeps a few.
    fn refuse_items(
        &mut self,
        ticket: &Ticket,
        rejected: &[(usize, Code)],
        samples: Vec<Option<Excerpt>>,
        moment: Moment,
    ) {
        let mut samples = samples.into_iter();
        for (index, code) in rejected {
            let sample = samples.next().flatten();
            if !self.count_refused(Some(*code), 1, moment) {
                continue;
            }
            let fresh = || self.ids.next(crate::clock::ms(moment.wall)).into();
            let request = ticket.echo.request().cloned().unwrap_or_else(fresh);
            let (status, detail) = (code.status(), code.advice());
            let told = Told { code: code.as_str(), status, detail, request: request.as_str() };
            self.keep_with(&told, Asked::by(ticket), &ticket.echo, Some(*index), sample, moment);
        }
    }

    fn complete_grant(&mut self, ticket: &Ticket, generation: u64, form: &[u8], moment: Moment) -> Outcome {
        let lifetime = self.options.token_lifetime;
        let granted = oauth::grant(&self.credentials, ticket.app, generation, form, moment.wall, lifetime);
        Outcome::Answer(match granted {
            Ok(mut response) => {
                ticket.echo.add_to(&mut response.fields);
                response
            }
            Err(error) => self.refuse_grant(error, &ticket.echo, Asked::by(ticket), moment),
        })
    }
}

/// Takes accepted events from what the app may send.
fn take(limit: Option<&Limit>, events: u32, moment: Moment) -> Result<(), Refusal> {
    match limit {
        Some(limit) if events > 0 => limit.take(events, moment.now).map_err(Refusal::from),
        _ => Ok(()),
    }
}

/// A JSON array of what `write` makes of each item.
fn list<T>(items: &[T], write: impl Fn(&mut String, &T)) -> String {
    let mut out = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(&mut out, item);
    }
    out.push(']');
    out
}
