//! The numbers that leave a node: those who know their formats take them, and all say the same as the client that made them.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use crate::support::dogstatsd::{Decimal, Received};
use crate::support::{
    Broker, Loadtest, Metrics, Node, Prometheus, StatsdServer, await_true, forebay, promtool,
};

/// Good requests, and some of each kind that has to be refused, at a rate at which they take some pushes.
const LOAD: [&str; 10] =
    ["--requests", "6000", "--rate", "1500", "--duration", "60s", "--connections", "16", "--bad", "20"];

#[test]
fn promtool_and_prometheus_take_the_page_of_a_loaded_node() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let prometheus = Prometheus::scraping(node.admin);
    let load = Loadtest { node: &node, app: &app };
    let running = load.start(&["--duration", "60s", "--connections", "16", "--bad", "20"]);
    await_true("the flow", || node.metric("forebay_events_accepted_total") > 1000);
    assert_ne!(promtool("no_help 1\n"), "", "it is strict");
    let page = node.metrics();
    assert_eq!(promtool(page.text()), "", "{}", page.text());
    await_true("Prometheus sees the flow", || {
        let rates = prometheus.query("rate(forebay_events_accepted_total[10s])");
        rates.first().is_some_and(|rate| rate.parse::<f64>().expect("a number") > 0.0)
    });
    running.stop();
    await_true("everything is confirmed", || node.metric("forebay_events_pending") == 0);
    // Every number is a series; what the second before says of the threads is not that of now.
    let accepted = node.metric("forebay_events_accepted_total").to_string();
    await_true("Prometheus has the last count", || {
        prometheus.query("forebay_events_accepted_total") == [accepted.as_str()]
    });
    assert_eq!(prometheus.query("up"), ["1"]);
    assert_eq!(prometheus.query("forebay_ready"), ["1"]);
    // The scrape that saw the last event accepted may have come ahead of its confirm.
    let published = node.metric("forebay_broker_published_messages_total").to_string();
    await_true("every message was confirmed once", || {
        prometheus.query("forebay_confirm_seconds_count") == [published.as_str()]
    });
    let quantile = prometheus.query("histogram_quantile(0.99, forebay_request_seconds_bucket)");
    assert!(quantile[0].parse::<f64>().is_ok_and(|p99| p99 > 0.0 && p99 < 10.0), "{quantile:?}");
    let threads = prometheus
        .query("forebay_thread_busy_ratio{thread=~'forwarder|keeper|operators|pool-0|iou-wrk|other'}");
    assert_eq!(threads.len(), 6);
}

/// What is counted under a name, by its one tag besides the node's.
fn by_tag(received: &Received, name: &str, tag: &str) -> BTreeMap<String, u64> {
    let of_name = received.counts.iter().filter(|((other, _), _)| other == name);
    let pairs = of_name.map(|((_, tags), count)| {
        let of = tags.split(',').find_map(|pair| pair.strip_prefix(tag)?.strip_prefix(':'));
        let count = u64::try_from(count.whole()).expect("a sum of counts");
        (of.unwrap_or_else(|| panic!("{tag} in {tags}")).to_owned(), count)
    });
    pairs.filter(|(_, count)| *count > 0).collect()
}

/// The same of a page.
fn by_label(page: &Metrics, name: &str, label: &str) -> BTreeMap<String, u64> {
    let prefix = format!("{name}{{{label}=\"");
    let lines = page.text().lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "));
    let counts = lines.map(|(of, count)| (of.to_owned(), count.parse().expect("a count")));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// What the load tester got, by status and by code.
fn by_answer(report: &Value) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let (mut statuses, mut codes) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let accepted = report["accepted"].as_u64().expect("a count");
    statuses.insert("202".to_owned(), accepted);
    for (answer, count) in report["refusals"].as_object().expect("refusals") {
        let (status, code) = answer.split_once(' ').expect("a status and a code");
        let count = count.as_u64().expect("a count");
        *statuses.entry(status.to_owned()).or_default() += count;
        *codes.entry(code.to_owned()).or_default() += count;
    }
    (statuses, codes)
}

fn less(after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = after.iter().map(|(of, count)| (of.clone(), count - before.get(of).copied().unwrap_or(0)));
    grown.filter(|(_, count)| *count > 0).collect()
}

/// Runs a node under load that pushes to `server`, stops it, and compares what each of the three has counted.
fn compare(mut node: Node, server: StatsdServer) {
    let app = node.app("demo");
    let before = node.metrics();
    let idle = server.datagrams();
    let report = Loadtest { node: &node, app: &app }.run(&LOAD);
    assert!(server.datagrams() > idle, "the node pushes under load");
    assert_eq!(report["unanswered"], 0, "{report}");
    assert!(report["bad_refused"].as_u64().is_some_and(|count| count > 500), "{report}");
    await_true("everything is confirmed", || node.metric("forebay_events_pending") == 0);
    let page = node.metrics();
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.wait().code, Some(0));
    let received = server.stop();

    let (statuses, codes) = by_answer(&report);
    let requests = by_label(&page, "forebay_requests_total", "code");
    let rejected = by_label(&page, "forebay_events_rejected_total", "code");
    // The load tester does not report that it has asked for its token: the one answer with 200.
    let mut answered = less(&requests, &by_label(&before, "forebay_requests_total", "code"));
    assert_eq!(answered.remove("200"), Some(1));
    assert_eq!(answered, statuses);
    assert_eq!(less(&rejected, &by_label(&before, "forebay_events_rejected_total", "code")), codes);
    assert_eq!(by_tag(&received, "forebay.requests.total", "code"), requests);
    assert_eq!(by_tag(&received, "forebay.events.rejected.total", "code"), rejected);
    for name in ["received", "accepted", "confirmed", "parked"] {
        let of_page = page.value(&format!("forebay_events_{name}_total"));
        let pushed = by_tag(&received, &format!("forebay.events.{name}.total"), "node");
        assert_eq!(pushed.values().sum::<u64>(), of_page, "{name}");
    }
    let accepted = report["accepted"].as_u64().expect("a count");
    assert_eq!(page.value("forebay_events_accepted_total"), accepted);
    assert_eq!(page.value("forebay_events_confirmed_total"), accepted);
    let of_app = page.value(&format!("forebay_app_events_total{{app=\"{}\",outcome=\"accepted\"}}", app.id));
    let tags = format!("node:n,app:{},outcome:accepted", app.id);
    let pushed_of_app = received.counts[&("forebay.app.events.total".to_owned(), tags)].whole();
    assert_eq!((of_app, pushed_of_app), (accepted, i128::from(accepted)));
    for name in ["forebay_request_seconds", "forebay_confirm_seconds"] {
        let values = &received.distributions[&(name.replace('_', "."), "node:n".to_owned())];
        let buckets = by_label(&page, &format!("{name}_bucket"), "le");
        assert!(!buckets.is_empty(), "{page:?}");
        for (bound, count) in buckets {
            let bound = Decimal::read(&bound).unwrap_or(Decimal(i128::MAX));
            let pushed: u64 =
                values.iter().filter(|(value, _)| **value <= bound).map(|(_, count)| count).sum();
            assert_eq!(pushed, count, "{name} up to {bound:?}");
        }
    }
}

#[test]
fn a_udp_server_the_page_and_the_load_tester_agree_exactly() {
    let server = StatsdServer::udp();
    let node = Node::start(&["--node-id", "n", "--reactors", "2", "--statsd", &server.address]);
    compare(node, server);
}

#[test]
fn a_unix_server_the_page_and_the_load_tester_agree_exactly_though_it_came_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dsd.socket");
    let address = format!("unix:{}", path.display());
    let node = Node::start(&["--node-id", "n", "--statsd", &address]);
    await_true("the node says so", || node.said("cannot push metrics").is_some());
    let server = StatsdServer::unix(&path);
    await_true("the node says so", || node.said("metrics are pushed again").is_some());
    compare(node, server);
}

#[test]
fn the_oldest_event_is_as_old_as_it_is_in_every_life_and_gone_when_it_is_confirmed() {
    const AGE: &str = "forebay_journal_oldest_pending_seconds";
    let node = Node::alone(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    assert_eq!(node.metric(AGE), 0);
    let since = Instant::now();
    node.http().event(&token, "{}").id();
    await_true("it grows older", || node.metrics().number(AGE) > 1.5);
    assert!(node.metrics().number(AGE) <= since.elapsed().as_secs_f64());
    node.http().event(&token, "{}").id();
    let before = node.metrics().number(AGE);
    let node = node.again(None, &[]);
    let age = node.metrics().number(AGE);
    assert!((before..since.elapsed().as_secs_f64()).contains(&age), "{before} s, then {age} s");
    let node = node.again(Some(&Broker::main().url()), &[]);
    await_true("it is confirmed", || node.metric("forebay_events_confirmed_total") == 2);
    assert_eq!(node.metric(AGE), 0);
}

#[test]
fn an_address_that_cannot_be_pushed_to_names_its_flag() {
    for (address, code) in [("localhost", 2), ("unix:", 2), ("no.such.host.invalid:8125", 78)] {
        let folder = tempfile::tempdir().expect("a folder");
        let output =
            forebay(&["check", "--statsd", address]).current_dir(folder.path()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{address}: {said}");
        assert!(said.contains("--statsd"), "{said}");
    }
}
