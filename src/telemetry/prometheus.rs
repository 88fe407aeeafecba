//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write};

use super::family::{Decimal, Families, Family, Labels, Reading, Spread, Value};

/// Writes the page.
pub fn render(families: &Families) -> String {
    let mut page = String::with_capacity(16 << 10);
    for Family { name, kind, help, readings } in families.iter() {
        let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {}", escape_help(help), kind.as_str());
        for Reading { labels, value } in readings {
            match value {
                Value::Spread(spread) => histogram(&mut page, name, labels, spread),
                Value::Number(number) => line(&mut page, name, "", labels, None, number),
            }
        }
    }
    page
}

/// The buckets, each with all that are below it.
fn histogram(page: &mut String, name: &str, labels: &Labels, spread: &Spread) {
    let mut below = 0;
    for (index, count) in spread.buckets.iter().enumerate() {
        below += count;
        let bound = Decimal(Spread::bound(index)).to_string();
        line(page, name, "_bucket", labels, Some(&bound), &below);
    }
    below += spread.over;
    line(page, name, "_bucket", labels, Some("+Inf"), &below);
    line(page, name, "_sum", labels, None, &Decimal(spread.sum));
    line(page, name, "_count", labels, None, &below);
}

fn line(
    page: &mut String,
    name: &str,
    suffix: &str,
    labels: &Labels,
    bound: Option<&str>,
    number: &impl Display,
) {
    page.push_str(name);
    page.push_str(suffix);
    let pairs = labels.iter().map(|(label, of)| (*label, &**of)).chain(bound.map(|bound| ("le", bound)));
    let mut mark = '{';
    for (label, of) in pairs {
        let _ = write!(page, "{mark}{label}=\"");
        escape(page, of);
        page.push('"');
        mark = ',';
    }
    if mark == ',' {
        page.push('}');
    }
    let _ = writeln!(page, " {number}");
}

fn escape(page: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            other => page.push(other),
        }
    }
}

fn escape_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::Latencies;

    #[test]
    fn the_page_has_each_family_once_and_the_histogram_is_cumulative() {
        let latencies = Latencies::default();
        latencies.record(10, 5);
        latencies.record(20, 3);
        latencies.record(10_000_000, 1);
        let mut families = Families::default();
        families.counter("a_total", "Says a \\ and\nmore.").single(3);
        let pairs = families.gauge("b", "B.");
        pairs.sample(vec![("x", "1".into()), ("y", "a\"b\\c\nd".into())], 0.25);
        pairs.per("x", "2", Duration::from_millis(1500));
        families.histogram("c_seconds", "C.").single(Spread::of([&latencies]));
        families.gauge("d", "Nothing.");
        let page = render(&families);
        let start = "# HELP a_total Says a \\\\ and\\nmore.\n# TYPE a_total counter\na_total 3\n\
                     # HELP b B.\n# TYPE b gauge\nb{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 0.25\nb{x=\"2\"} 1.5\n\
                     # HELP c_seconds C.\n# TYPE c_seconds histogram\nc_seconds_bucket{le=\"0.000016\"} 5\n\
                     c_seconds_bucket{le=\"0.000032\"} 8\n";
        assert!(page.starts_with(start), "{page}");
        let end = "c_seconds_bucket{le=\"8.388608\"} 8\nc_seconds_bucket{le=\"+Inf\"} 9\nc_seconds_sum 10.00011\n\
                   c_seconds_count 9\n# HELP d Nothing.\n# TYPE d gauge\n";
        assert!(page.ends_with(end), "{page}");
    }
}
