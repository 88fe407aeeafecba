//! An event on a line of its own, for files and for people.

use bytes::BytesMut;

use super::envelope::Envelopes;
use crate::event::Record;

/// Writes events as the broker gets them, one on a line.
#[derive(Debug, Default)]
pub struct EventLines {
    envelopes: Envelopes,
    line: BytesMut,
}

impl EventLines {
    /// The event in its envelope, with the line's end.
    pub fn line(&mut self, record: &Record<'_>) -> &[u8] {
        self.line.clear();
        self.envelopes.write(record, &mut self.line);
        join_lines(&mut self.line);
        self.line.extend_from_slice(b"\n");
        &self.line
    }
}

/// Puts JSON on one line: line ends are allowed between tokens alone, so they are spaces as well.
pub(super) fn join_lines(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;
    use uuid::Uuid;

    #[test]
    fn an_event_is_a_line_whatever_its_sender_put_between_the_tokens() {
        let mut lines = EventLines::default();
        for payload in [&b"{\r\n \"a\":\n1}\n"[..], b"{}"] {
            let record = Record {
                kind: EventKind::Event,
                lenient: false,
                received_us: 0,
                app: Uuid::from_u128(1),
                id: Uuid::from_u128(2),
                traceparent: None,
                payload,
            };
            let line = lines.line(&record);
            let text = std::str::from_utf8(line).expect("text");
            assert_eq!((text.lines().count(), text.ends_with("}\n")), (1, true), "{text}");
            let event: serde_json::Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(event["data"], serde_json::from_slice::<serde_json::Value>(payload).expect("JSON"));
        }
    }
}
