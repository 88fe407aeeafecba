//! The `CloudEvents` envelope of an event (CloudEvents 1.0, JSON format, section 3).

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use crate::event::Record;

/// `2026-11-24T23:18:34.123456Z`.
const TIME_BYTES: usize = 27;
const UUID_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

const HEAD: &[u8] = br#"{"specversion":"1.0","id":""#;
const SOURCE: &[u8] = br#"","source":"/apps/"#;
const TYPE: &[u8] = br#"","type":""#;
const TIME: &[u8] = br#"","time":""#;
const CONTENT: &[u8] = br#"","datacontenttype":"application/json""#;
const TRACE: &[u8] = br#","traceparent":""#;
const DATA: &[u8] = br#","data":"#;

/// Writes envelopes; remembers the text of the last second, for most events share it with their neighbours.
#[derive(Debug)]
pub(super) struct Envelopes {
    second: u64,
    text: [u8; TIME_BYTES],
}

impl Default for Envelopes {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }
}

impl Envelopes {
    /// Bytes of an event with its envelope.
    pub(super) fn bytes(record: &Record<'_>) -> usize {
        let fixed = HEAD.len() + SOURCE.len() + TYPE.len() + TIME.len() + CONTENT.len() + DATA.len() + 1;
        let trace = record.traceparent.map_or(0, |traceparent| TRACE.len() + traceparent.len() + 1);
        fixed + 2 * UUID_BYTES + record.kind.as_str().len() + TIME_BYTES + trace + record.payload.len()
    }

    /// Appends an event with its envelope. The payload is the client's, byte for byte.
    pub(super) fn write(&mut self, record: &Record<'_>, out: &mut BytesMut) {
        out.put_slice(HEAD);
        put_uuid(record.id, out);
        out.put_slice(SOURCE);
        put_uuid(record.app, out);
        out.put_slice(TYPE);
        out.put_slice(record.kind.as_str().as_bytes());
        out.put_slice(TIME);
        out.put_slice(self.time(record.received_us));
        out.put_slice(CONTENT);
        if let Some(traceparent) = record.traceparent {
            out.put_slice(TRACE);
            out.put_slice(traceparent);
            out.put_u8(b'"');
        }
        out.put_slice(DATA);
        out.put_slice(record.payload);
        out.put_u8(b'}');
    }

    /// RFC 3339, as CloudEvents asks.
    fn time(&mut self, us: u64) -> &[u8] {
        let (second, mut rest) = (us / 1_000_000, us % 1_000_000);
        if second != self.second {
            let text = humantime::format_rfc3339_micros(std::time::UNIX_EPOCH + Duration::from_secs(second));
            self.text = text.to_string().as_bytes().try_into().expect("27 characters until the year 9999");
            self.second = second;
        }
        for digit in self.text[20..26].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        &self.text
    }
}

fn put_uuid(id: Uuid, out: &mut BytesMut) {
    let mut text = [0u8; UUID_BYTES];
    out.put_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    #[test]
    fn an_envelope_has_the_attributes_of_cloudevents_and_the_size_that_was_said() {
        let traceparent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut envelopes = Envelopes::default();
        for traced in [false, true] {
            for received_us in [0, 1_790_000_000_000_001, 1_790_000_000_999_999, 1_790_000_001_500_000] {
                let record = Record {
                    kind: EventKind::Event,
                    lenient: false,
                    received_us,
                    app: Uuid::from_u128(1),
                    id: Uuid::from_u128(2),
                    traceparent: traced.then_some(traceparent),
                    payload: b" {\"a\" : \"\\u00e9\"}\n",
                };
                let mut out = BytesMut::new();
                envelopes.write(&record, &mut out);
                assert_eq!(out.len(), Envelopes::bytes(&record));
                let event: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
                let at = std::time::UNIX_EPOCH + Duration::from_micros(received_us);
                assert_eq!(event["time"], humantime::format_rfc3339_micros(at).to_string());
                assert_eq!(event["specversion"], "1.0");
                assert_eq!(event["id"], Uuid::from_u128(2).to_string());
                assert_eq!(event["source"], format!("/apps/{}", Uuid::from_u128(1)));
                assert_eq!(event["type"], "forebay.event");
                assert_eq!(event["datacontenttype"], "application/json");
                assert_eq!(event.get("traceparent").is_some(), traced);
                assert!(out.ends_with(b"\"data\": {\"a\" : \"\\u00e9\"}\n}"), "byte for byte");
            }
        }
    }
}
