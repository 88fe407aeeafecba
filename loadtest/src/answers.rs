//! What answers mean for what was sent.

use std::time::Duration;

use crate::connection::{Connection, Sent};
use crate::request::{Kind, Requests};
use crate::response::{self, BatchAnswer, Reader, Response};
use crate::tally::{Answered, Meaning, Tally};

/// Takes the answers of one thread.
#[derive(Debug)]
pub(crate) struct Answers {
    reader: Reader,
    /// When the run began to count.
    begin: Duration,
    /// Ids are kept; else nobody looks for them.
    keeps_ids: bool,
    /// Good requests are batches.
    is_batch: bool,
    pub(crate) tally: Tally,
    /// Accepted events: id and number of the payload.
    pub(crate) ids: Vec<(String, u32)>,
}

impl Answers {
    pub(crate) fn new(duration: Duration, keeps_ids: bool, is_batch: bool) -> Self {
        let (begin, tally) = (Duration::ZERO, Tally::new(duration));
        Self { reader: Reader::default(), begin, keeps_ids, is_batch, tally, ids: Vec::new() }
    }

    /// From this moment on it counts.
    pub(crate) fn begin_at(&mut self, begin: Duration) {
        self.begin = begin;
    }

    /// Takes all complete answers; returns whether the connection has ended.
    pub(crate) fn take(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        now: Duration,
        requests: &Requests,
    ) -> bool {
        let mut kept = std::mem::take(&mut connection.partial);
        let input = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let mut used = 0;
        let mut has_ended = false;
        while used < input.len() && !has_ended {
            match self.reader.read(&input[used..]) {
                Ok(Some((answer, length))) => {
                    used += length;
                    if answer.status == 100 {
                        continue;
                    }
                    has_ended = answer.close;
                    let Some(sent) = connection.waiting.pop_front() else { return true };
                    self.count(&answer, sent, now, requests);
                }
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        if used < input.len() {
            connection.partial = input[used..].to_vec();
        }
        has_ended
    }

    fn count(&mut self, answer: &Response<'_>, sent: Sent, now: Duration, requests: &Requests) {
        let is_accepted = (200..300).contains(&answer.status);
        if answer.status == 401 && matches!(sent.kind, Kind::Good(_)) {
            requests.doubt(sent.app);
        }
        if let Kind::Good(body) = sent.kind
            && is_accepted
        {
            self.accept(answer, requests.events(body), sent.counts);
        }
        if !sent.counts {
            return;
        }
        // The many: nothing is looked for in them.
        let code = if is_accepted { "" } else { response::member(answer.body, "code").unwrap_or_default() };
        let at = now.saturating_sub(self.begin);
        if !is_accepted {
            self.tally.count(at, answer.status, code);
        }
        match sent.kind {
            Kind::Good(_) => self.tally.answer(Answered {
                at,
                meaning: Meaning::of(answer.status, code),
                response: now.saturating_sub(sent.due),
                service: now.saturating_sub(sent.left),
            }),
            Kind::Bad(bad) => self.tally.answer_bad(bad, is_accepted),
        }
    }

    /// Counts the events of an accepted request, and keeps their ids: also of the warm-up, for `verify` asks for all.
    fn accept(&mut self, answer: &Response<'_>, events: &[u32], counts: bool) {
        let batch = match (self.is_batch, self.keeps_ids) {
            (false, false) => None,
            (false, true) => {
                let id = response::member(answer.body, "id").unwrap_or_default().to_owned();
                self.ids.push((id, events[0]));
                None
            }
            // Nearly always nothing was refused, and that is told at the end.
            (true, false) if answer.body.ends_with(b"\"rejected\":[]}") => None,
            (true, _) => BatchAnswer::parse(answer.body, events.len()),
        };
        let accepted = match &batch {
            None => events.len(),
            Some(batch) => batch.ids.len(),
        } as u64;
        if counts {
            self.tally.events += accepted;
            self.tally.items_refused += events.len() as u64 - accepted;
        }
        if let Some(batch) = batch.filter(|_| self.keeps_ids) {
            let numbers: Vec<_> = batch.accepted_items().map(|item| events[item]).collect();
            self.ids.extend(batch.ids.into_iter().zip(numbers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Shares;
    use crate::bodies::{BatchForm, Bodies, Form};
    use crate::credentials::Tokens;
    use crate::options::Workload;
    use clap::Parser;
    use std::sync::Arc;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        workload: Workload,
    }

    fn requests(batch: Option<usize>, tokens: &Arc<Tokens>) -> Requests {
        let form = Form { batch, layout: BatchForm::Ndjson, encoding: None };
        let events = [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec(), b"{\"c\":3}".to_vec()];
        let bodies = Arc::new(Bodies::make(&events, form).expect("bodies"));
        let workload = Flags::parse_from(["test"]).workload;
        Requests::new(&workload, "host", bodies, Arc::new(Shares::zipf(1, 0.0)), tokens.clone(), 1)
    }

    fn connection(sent: &[(Kind, bool)]) -> Connection {
        let mut connection = Connection::new(0, "127.0.0.1:1".parse().expect("an address"));
        let ms = Duration::from_millis;
        connection.waiting.extend(sent.iter().map(|(kind, counts)| Sent {
            due: ms(10),
            left: ms(30),
            kind: *kind,
            app: 0,
            counts: *counts,
        }));
        connection
    }

    fn answer(status: u16, body: &str) -> String {
        format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    const NOW: Duration = Duration::from_millis(50);

    #[test]
    fn latency_counts_from_the_due_moment_and_the_warm_up_does_not_count() {
        let tokens = Arc::new(Tokens::fixed(Some("a.b.c")));
        let requests = requests(None, &tokens);
        let mut answers = Answers::new(Duration::from_secs(1), true, false);
        let mut connection =
            connection(&[(Kind::Good(1), false), (Kind::Good(2), true), (Kind::Good(0), true)]);
        let text = answer(202, r#"{"id":"x"}"#)
            + &answer(202, r#"{"id":"y"}"#)
            + &answer(503, r#"{"code":"overloaded"}"#);
        // In two pieces.
        let (first, second) = text.as_bytes().split_at(70);
        assert!(!answers.take(&mut connection, first, NOW, &requests));
        assert!(!answers.take(&mut connection, second, NOW, &requests));
        let tally = &answers.tally;
        assert_eq!((tally.meanings.total(), tally.meanings.of(Meaning::Accepted), tally.events), (2, 1, 1));
        assert!((39_900..=40_100).contains(&tally.response_us.max()), "{}", tally.response_us.max());
        assert!((19_900..=20_100).contains(&tally.service_us.max()), "{}", tally.service_us.max());
        assert_eq!(answers.ids, [("x".to_owned(), 1), ("y".to_owned(), 2)], "`verify` asks for all");
        assert!(answers.take(&mut connection, text.as_bytes(), NOW, &requests), "an answer to nothing");
    }

    #[test]
    fn a_batch_counts_its_items_with_and_without_ids() {
        let tokens = Arc::new(Tokens::fixed(None));
        let requests = requests(Some(2), &tokens);
        let whole = answer(202, r#"{"accepted":2,"ids":["x","y"],"rejected":[]}"#);
        let partly = answer(202, r#"{"accepted":1,"ids":["z"],"rejected":[{"index":0,"code":"too_large"}]}"#);
        for keeps_ids in [false, true] {
            let mut answers = Answers::new(Duration::from_secs(1), keeps_ids, true);
            // The second body carries the events 2 and 0.
            let mut connection = connection(&[(Kind::Good(1), true), (Kind::Good(1), true)]);
            answers.take(&mut connection, (whole.clone() + &partly).as_bytes(), NOW, &requests);
            assert_eq!((answers.tally.events, answers.tally.items_refused), (3, 1));
            let ids: Vec<_> = answers.ids.iter().map(|(id, number)| (id.as_str(), *number)).collect();
            assert_eq!(ids, if keeps_ids { vec![("x", 2), ("y", 0), ("z", 0)] } else { vec![] });
        }
    }

    #[test]
    fn a_good_request_that_was_not_let_in_has_its_token_doubted_and_a_bad_one_has_not() {
        let tokens = Arc::new(Tokens::fixed(Some("a.b.c")));
        let requests = requests(None, &tokens);
        let bad = Kind::Bad(crate::request::Bad::WrongSignature);
        let refusal = answer(401, r#"{"code":"revoked_credentials"}"#);
        let mut answers = Answers::new(Duration::from_secs(1), false, false);
        answers.take(&mut connection(&[(bad, true)]), refusal.as_bytes(), NOW, &requests);
        assert_eq!((tokens.take_doubted(), answers.tally.bad_refused), (vec![], 1));
        answers.take(&mut connection(&[(Kind::Good(0), true)]), refusal.as_bytes(), NOW, &requests);
        assert_eq!(tokens.take_doubted(), [0]);
    }
}
