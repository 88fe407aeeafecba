//! `verify`: is every accepted event in the queue, once and unchanged, and nothing else?

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use crate::delivery::{Deliveries, events, parse_url};
use crate::options::VerifyOptions;
use crate::{AnyError, Verdict};

/// How many ids of a kind are shown.
const SHOWN_MAX: usize = 10;

/// What became of an event.
#[derive(Debug, Default)]
struct Fate {
    hash: String,
    is_accepted: bool,
    seen: u64,
    changed: bool,
}

/// All events that were accepted or seen, by id.
#[derive(Debug, Default)]
struct Fates(HashMap<String, Fate>);

impl Fates {
    /// Takes an event that was delivered. One that nobody knows still has to be the same each time.
    fn deliver(&mut self, id: &str, hash: String) {
        if let Some(fate) = self.0.get_mut(id) {
            fate.seen += 1;
            fate.changed |= hash != fate.hash;
        } else {
            self.0.insert(id.to_owned(), Fate { hash, seen: 1, ..Fate::default() });
        }
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Findings {
    accepted: u64,
    /// Events, as often as they came.
    found: u64,
    /// Messages that were in the queue.
    messages: u64,
    /// How many were accepted and are nowhere.
    lost: u64,
    /// Their ids.
    missing: Vec<String>,
    repeated: Vec<String>,
    changed: Vec<String>,
    unknown: Vec<String>,
}

impl Findings {
    /// Tells what became of each event.
    fn sort(&mut self, fates: Fates) {
        for (id, fate) in fates.0 {
            match fate {
                Fate { seen: 0, .. } => self.missing.push(id),
                Fate { changed: true, .. } => self.changed.push(id),
                Fate { is_accepted: false, .. } => self.unknown.push(id),
                Fate { seen: 2.., .. } => self.repeated.push(id),
                Fate { .. } => {}
            }
        }
        self.lost = self.missing.len() as u64;
    }
}

/// Drains the queue and compares.
pub(crate) fn verify(options: &VerifyOptions) -> Result<Verdict, AnyError> {
    let mut fates = Fates::default();
    for path in &options.ids {
        each_line(path, "--ids", |id, hash| {
            let fate = Fate { hash: hash.to_owned(), is_accepted: true, ..Fate::default() };
            fates.0.insert(id.to_owned(), fate);
        })?;
    }
    let mut findings = Findings { accepted: fates.0.len() as u64, ..Findings::default() };
    for path in &options.collected {
        each_line(path, "--collected", |id, hash| {
            findings.found += 1;
            fates.deliver(id, hash.to_owned());
        })?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(drain(options, &mut fates, &mut findings))?;
    findings.sort(fates);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        println!("accepted  {}", findings.accepted);
        println!("found     {}, {} messages in the queue", findings.found, findings.messages);
        for (name, ids) in [
            ("lost", &findings.missing),
            ("repeated", &findings.repeated),
            ("changed", &findings.changed),
            ("unknown", &findings.unknown),
        ] {
            println!("{name:9} {} {}", ids.len(), ids[..ids.len().min(SHOWN_MAX)].join(" "));
        }
    }
    // Repeats are what at-least-once means.
    let is_known = options.allow_unknown || findings.unknown.is_empty();
    let is_good = findings.missing.is_empty() && findings.changed.is_empty() && is_known;
    Ok(if is_good { Verdict::Good } else { Verdict::Bad })
}

fn each_line(path: &Path, flag: &str, mut take: impl FnMut(&str, &str)) -> Result<(), AnyError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{flag} {}: {error}", path.display()))?;
    for line in text.lines() {
        let (id, hash) =
            line.split_once(' ').ok_or_else(|| format!("{}: `{line}` is no id and hash", path.display()))?;
        take(id, hash);
    }
    Ok(())
}

/// Consumes until the queue is quiet, or until patience ends.
async fn drain(options: &VerifyOptions, fates: &mut Fates, findings: &mut Findings) -> Result<(), AnyError> {
    let mut deliveries = Deliveries::begin(&parse_url(&options.amqp_url)?, &options.queue).await?;
    while let Ok(Some(delivery)) = tokio::time::timeout(options.patience, deliveries.next()).await {
        let delivery = delivery?;
        findings.messages += 1;
        for (id, hash) in events(&delivery.data)? {
            findings.found += 1;
            fates.deliver(id, hash);
        }
        deliveries.ack(&delivery).await?;
    }
    deliveries.end().await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_that_comes_again_has_to_be_the_same_whether_it_is_known_or_not() {
        let mut fates = Fates::default();
        fates
            .0
            .insert("known".to_owned(), Fate { hash: "a".to_owned(), is_accepted: true, ..Fate::default() });
        for (id, hash) in [("known", "a"), ("known", "a"), ("stranger", "b"), ("stranger", "c")] {
            fates.deliver(id, hash.to_owned());
        }
        let of = |id: &str| (fates.0[id].is_accepted, fates.0[id].seen, fates.0[id].changed);
        assert_eq!((of("known"), of("stranger")), ((true, 2, false), (false, 2, true)));
    }

    #[test]
    fn every_event_is_told_under_one_name() {
        let mut fates = Fates::default();
        for id in ["lost", "lost too", "once", "twice", "changed"] {
            let fate = Fate { hash: "a".to_owned(), is_accepted: true, ..Fate::default() };
            fates.0.insert(id.to_owned(), fate);
        }
        for (id, hash) in [("once", "a"), ("twice", "a"), ("twice", "a"), ("changed", "b"), ("stranger", "c")]
        {
            fates.deliver(id, hash.to_owned());
        }
        let mut findings = Findings::default();
        findings.sort(fates);
        findings.missing.sort();
        let told = serde_json::to_value(&findings).expect("JSON");
        assert_eq!((&told["lost"], &told["missing"]), (&json!(2), &json!(["lost", "lost too"])));
        for (name, id) in [("repeated", "twice"), ("changed", "changed"), ("unknown", "stranger")] {
            assert_eq!(told[name], json!([id]), "{name}");
        }
    }
}
