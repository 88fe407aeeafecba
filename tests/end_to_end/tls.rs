//! `amqps://`: a broker with a certificate that the machine trusts, and one that it does not.

use crate::support::{Broker, Node, await_true, trusted_pair};

#[test]
fn a_trusted_broker_is_used_over_tls_and_an_unknown_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let [trusted, ..] = trusted_pair(folder.path());
    let broker = Broker::with_tls(folder.path());
    let (_, plain) = broker.url().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a URL");
    let port: u16 = plain.split([':', '/']).nth(1).expect("a port").parse().expect("a port");
    let url = format!("amqps://guest:guest@localhost:{}/%2f", port + 2);

    let environment = [("SSL_CERT_FILE", trusted.as_str())];
    let node = Node::spawn(&url, &[], &environment);
    await_true("the node has its broker", || node.metric("forebay_broker_up") == 1);
    let app = node.app("demo");
    let id = node.http().event(&node.token(&app), "{}").id();
    await_true("it is confirmed", || node.metric("forebay_events_confirmed_total") > 0);
    let plain = crate::support::Queue { url: broker.url(), ..node.queue.clone() };
    assert_eq!(plain.take(1)[0].id(), id);

    let stranger = Node::spawn(&url, &[], &[]);
    await_true("an unknown authority is told", || {
        stranger.said("cannot use the broker").is_some_and(|line| {
            line["error"].as_str().is_some_and(|error| error.to_lowercase().contains("certificate"))
        })
    });
    assert_eq!(stranger.metric("forebay_broker_up"), 0);
    drop((node, stranger));
    broker.stop();
}
