//! What a page says in words and numbers.

use std::fmt::Write;

use serde_json::Value;

use super::escape;
use crate::Verdict;
use crate::report::{Latency, Report};
use crate::tally::Meaning;
use crate::units::{ratio, shown_count, shown_percent, shown_rate, shown_us, shown_us_exact};

/// Title, verdict and what speaks for it.
pub(super) fn header(out: &mut String, report: &Report) {
    let result = report.verdict.result;
    let _ = writeln!(
        out,
        "<header>\n<div><p class=\"eyebrow\">Forebay load test</p><h1>{}</h1><p>{} for {:.1} s</p></div>\n\
         <div class=\"verdict {}\"><strong>{}</strong><p>{}</p></div>",
        escape(&report.options.target.join(", ")),
        escape(&report.started),
        report.seconds,
        result.as_str(),
        result.as_str().to_uppercase(),
        match result {
            Verdict::Good => "No threshold was broken.",
            Verdict::Breach => "A threshold was broken.",
            Verdict::Bad => "Something was accepted that had to be refused.",
            Verdict::Invalid => "The generator itself fell behind: the figures say nothing about the server.",
        }
    );
    if !report.verdict.reasons.is_empty() {
        let reasons: Vec<_> =
            report.verdict.reasons.iter().map(|reason| format!("<li>{}</li>", escape(reason))).collect();
        let _ = writeln!(out, "<ul class=\"reasons\">{}</ul>", reasons.concat());
    }
    out.push_str("</header>\n");
}

/// The figures one looks at first.
pub(super) fn cards(out: &mut String, report: &Report) {
    let share = shown_percent(ratio(report.accepted, report.good()));
    let latency = |us: u64| if report.accepted > 0 { shown_us(us) } else { "–".to_owned() };
    out.push_str("<dl class=\"cards\">\n");
    for (name, value) in [
        ("accepted/s", shown_rate(report.accepted_rate()).replace("/s", "")),
        ("accepted", share),
        ("p50", latency(report.latency_us.p50)),
        ("p99", latency(report.latency_us.p99)),
        ("p99.9", latency(report.latency_us.p999)),
        ("max", latency(report.latency_us.max)),
    ] {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    // A generator that has no time left measures itself.
    let busy = shown_percent(report.generator_busy);
    let _ = writeln!(out, "<div><dt>generator busy</dt><dd>{busy}</dd></div>");
    out.push_str("</dl>\n");
}

/// What became of the good requests.
pub(super) fn meanings(out: &mut String, report: &Report) {
    let rows = Meaning::ALL.map(|meaning| {
        let count = report.meanings[meaning.as_str()];
        let share = shown_percent(ratio(count, report.good()));
        let name = format!("<svg viewBox=\"0 0 24 12\" aria-hidden=\"true\"><rect class=\"area {0}\" width=\"24\" height=\"12\" rx=\"3\"/></svg>{0}", meaning.as_str());
        [name, escape(meaning.means()), shown_count(count), share]
    });
    let lost =
        ["lost", "accepted and nowhere: only <code>verify</code> can tell", "?", ""].map(str::to_owned);
    table(out, "Good requests", &["", "means", "requests", "share"], rows.into_iter().chain([lost]));
}

/// Requests that had to be refused, by what was wrong with them, if there were any.
pub(super) fn bad(out: &mut String, report: &Report) {
    if report.bad.is_empty() {
        return;
    }
    let row = |name: &str, accepted, refused| [name.to_owned(), shown_count(refused), shown_count(accepted)];
    let kinds = report.bad.iter().map(|(name, counts)| row(name, counts.accepted, counts.refused));
    let all = row("all", report.bad_accepted, report.bad_refused);
    table(out, "Bad requests", &["", "refused", "accepted"], kinds.chain([all]));
}

/// Answers by status and code, and what went wrong with connections.
pub(super) fn codes(out: &mut String, report: &Report) {
    let mut rows: Vec<_> =
        report.refusals.iter().map(|(name, count)| [escape(name), shown_count(*count)]).collect();
    if rows.is_empty() {
        rows.push(["none".to_owned(), String::new()]);
    }
    for (name, count) in [
        ("requests that were due and never left", report.unsent),
        ("items refused of accepted batches", report.items_refused),
        ("requests without an answer", report.unanswered),
        ("connections opened again", report.reconnects),
        ("connections closed after --requests-per-connection", report.retired),
    ] {
        if count > 0 {
            rows.push([name.to_owned(), shown_count(count)]);
        }
    }
    table(out, "Answers other than 2xx", &["", "answers"], rows);
}

/// All latencies.
pub(super) fn latencies(out: &mut String, report: &Report) {
    let rows = [
        ("response", "accepted, from when it should have left", &report.latency_us, report.accepted),
        ("service", "accepted, from when it left", &report.service_us, report.accepted),
        (
            "refusals",
            "any other answer, from when it should have left",
            &report.refusal_latency_us,
            report.refused,
        ),
        ("lag", "how late requests left", &report.lag_us, report.accepted + report.refused),
        (
            "late",
            "of that by the generator’s own fault: a connection was idle",
            &report.late_us,
            report.accepted + report.refused,
        ),
    ];
    let rows = rows.into_iter().filter(|(_, _, _, count)| *count > 0).map(|(name, means, latency, _)| {
        let Latency { mean, p50, p90, p99, p999, max } = *latency;
        let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(shown_us);
        [name.to_owned(), means.to_owned(), shown_us_exact(mean), p50, p90, p99, p999, max]
    });
    table(out, "Latencies", &["", "of", "mean", "p50", "p90", "p99", "p99.9", "max"], rows);
}

/// What the run was asked for.
pub(super) fn parameters(out: &mut String, report: &Report) {
    let options = serde_json::to_value(&report.options).expect("plain members");
    let rows = options.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(
        |(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Array(items) => {
                    let items: Vec<_> = items
                        .iter()
                        .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                        .collect();
                    items.join(", ")
                }
                other => other.to_string(),
            };
            [name.replace('_', " "), escape(&value)]
        },
    );
    table(out, "Parameters", &["", "asked for"], rows);
}

/// A table; cells are HTML, and numbers stand in all columns but the first and those that explain.
fn table<const N: usize>(
    out: &mut String,
    title: &str,
    heads: &[&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let _ = writeln!(out, "<div class=\"table\"><table>\n<caption>{title}</caption>\n<thead><tr>");
    let is_text = |head: &str| ["", "means", "of", "asked for"].contains(&head);
    let class = |head: &str| if is_text(head) { "text" } else { "number" };
    for head in heads {
        let _ = write!(out, "<th scope=\"col\" class=\"{}\">{head}</th>", class(head));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (index, (head, cell)) in heads.iter().zip(row).enumerate() {
            let (tag, scope) = if index == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
            let _ = write!(out, "<{tag}{scope} class=\"{}\">{cell}</{tag}>", class(head));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}
