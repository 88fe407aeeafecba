//! `--html`: the report as one page that needs nothing else: no script, no font, no other file.

mod axis;
mod charts;
mod plot;
mod tables;

use std::fmt::Write;

use crate::report::Report;
use crate::tally::Tally;

const STYLE: &str = include_str!("style.css");

/// The page. What is plotted by percentile comes from the tally: a report has only some of them.
pub(crate) fn page(report: &Report, tally: &Tally) -> String {
    let result = report.verdict.result.as_str();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} – Forebay load test</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        result.to_uppercase()
    );
    tables::header(&mut out, report);
    out.push_str("<main>\n");
    tables::cards(&mut out, report);
    let latency = charts::latency(report).into_iter().chain(charts::spectrum(report, tally));
    section(&mut out, "Latency", latency, "");
    let mut table = String::new();
    tables::meanings(&mut table, report);
    let answers = [charts::answers(report)].into_iter().chain(charts::codes(report));
    section(&mut out, "Answers", answers, &table);
    out.push_str("<section class=\"tables\">\n");
    tables::latencies(&mut out, report);
    tables::codes(&mut out, report);
    tables::bad(&mut out, report);
    out.push_str("</section>\n");
    if let Some(node) = &report.node {
        let title = format!("The node, {}", node.url);
        section(&mut out, &title, charts::node(node), "");
        if node.failed > 0 {
            let _ = writeln!(out, "<p class=\"note\">It did not answer {} times.</p>", node.failed);
        }
    }
    out.push_str("<section>\n");
    tables::parameters(&mut out, report);
    out.push_str("</section>\n</main>\n");
    let _ = writeln!(out, "<footer>forebay-loadtest {}</footer>\n</body>\n</html>", escape(report.version));
    out
}

/// Plots side by side, and what else stands beside them.
fn section(out: &mut String, title: &str, plots: impl IntoIterator<Item = plot::Plot>, beside: &str) {
    let _ = writeln!(out, "<section>\n<h2>{}</h2>\n<div class=\"plots\">", escape(title));
    let figures: Vec<_> = plots.into_iter().map(|plot| plot.figure()).collect();
    if figures.is_empty() {
        out.push_str("<p class=\"note\">Nothing was accepted.</p>\n");
    }
    out.extend(figures);
    let _ = writeln!(out, "{beside}</div>\n</section>");
}

/// Text as it has to be written between tags and in attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::admin::{NodeCourse, Sample};
    use crate::report::Measured;
    use crate::report::tests::{options, outcome, tally};
    use crate::request::Bad;

    fn pages() -> [String; 3] {
        let sample = |second: u32| Sample {
            seconds: second.into(),
            busy_ratio: vec![0.2, 0.4],
            events_pending: Some(f64::from(second) * 100.0),
            queue_batches: None,
            connections: Some(64.0),
        };
        let node = NodeCourse {
            url: "http://<node>:9090".to_owned(),
            samples: (0..10).map(sample).collect(),
            failed: 2,
        };
        let page = |flags: &[&str], tally: Tally, node| {
            let outcome = outcome(tally);
            let measured =
                Measured { outcome: &outcome, started: SystemTime::UNIX_EPOCH, invalid: None, node };
            super::page(&Report::new(options(flags), measured), &outcome.tally)
        };
        [
            page(&["--max-p99", "50ms", "--path", "/a\"b<c>&d"], tally(), Some(node)),
            page(&[], Tally::new(Duration::from_secs(10)), None),
            page(&["--max-p99", "10s"], tally(), None),
        ]
    }

    /// A run whose generator was late, with requests that never left and bad ones.
    fn invalid_page() -> String {
        let mut tally = tally();
        for is_accepted in [true, false, false] {
            tally.answer_bad(Bad::BrokenJson, is_accepted);
        }
        let mut outcome = outcome(tally);
        (outcome.effort.unsent, outcome.effort.busy) = (17, 0.95);
        let invalid = Some("it was <late>".to_owned());
        let measured = Measured { outcome: &outcome, started: SystemTime::UNIX_EPOCH, invalid, node: None };
        super::page(&Report::new(options(&[]), measured), &outcome.tally)
    }

    #[test]
    fn tags_are_closed_in_order_and_nothing_comes_from_outside() {
        for page in pages().into_iter().chain([invalid_page()]) {
            let mut open: Vec<&str> = Vec::new();
            let body = page.split_once("<body>").expect("a body").1.split_once("</body>").expect("its end").0;
            for tag in body.split('<').skip(1).map(|part| part.split_once('>').expect("a whole tag").0) {
                if let Some(name) = tag.strip_prefix('/') {
                    assert_eq!(open.pop(), Some(name), "in {tag}");
                } else if !tag.ends_with('/') {
                    open.push(tag.split_whitespace().next().expect("a name"));
                }
            }
            assert_eq!(open, [""; 0]);
            for sign in ["<script", "<link", "url(", "src=", "href=", "@import", "NaN", "inf"] {
                assert!(!page.replace("information", "").contains(sign), "{sign}");
            }
        }
    }

    #[test]
    fn a_page_shows_verdict_figures_and_what_the_node_said() {
        let [full, empty, _] = pages();
        for part in [
            "BREACH",
            "above --max-p99 50.0 ms",
            "Latency over time",
            "Latency by percentile",
            "Answers by meaning",
            "5 to 6 s\n503 overloaded 50/s",
            "503 overloaded",
            "CPU of the node",
            "Events pending",
            "It did not answer 2 times",
            "/a&quot;b&lt;c&gt;&amp;d",
            "5 to 6 s\nsent 100/s\naccepted 50/s\noverloaded 50/s",
            "<dd>95</dd>",
        ] {
            assert!(full.contains(part), "{part}");
        }
        // The threshold lies within the axis, however far it is from what was measured.
        assert!(pages()[2].contains("<text class=\"y\" x=\"56\" y=\"28.0\">10 s</text>"));
        assert!(!full.contains("Queue to the forwarder"), "the node did not say");
        assert!(empty.contains("Nothing was accepted") && !empty.contains("The node"));
        assert!(!empty.contains("Bad requests"), "there were none");
        assert!(!empty.contains("to good requests and to bad ones"), "nothing else was answered");
    }

    #[test]
    fn a_page_shows_what_the_generator_did_and_what_became_of_bad_requests() {
        let page = invalid_page();
        for part in [
            "<li>it was &lt;late&gt;</li>",
            "<dt>generator busy</dt><dd>95.00 %</dd>",
            "requests that were due and never left</th><td class=\"number\">17</td>",
            "broken_json</th><td class=\"number\">2</td><td class=\"number\">1</td>",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}
