//! The dashboard in a real browser, beside a node under load; and the pulse that it shows.

use std::io::Read;

use crate::support::{Chromium, Http, Loadtest, Node, await_true, socket_to};

/// Whether a figure of the page is there.
fn filled(id: &str) -> String {
    format!("/[0-9]/.test(document.getElementById({id:?}).textContent)")
}

fn open(node: &Node, browser: &mut Chromium, query: &str) {
    browser.open(&format!("http://{}/{query}", node.admin));
    browser.await_true("document.querySelector('#feed')?.dataset.feed === 'stream'");
}

#[test]
fn under_load_every_tile_fills_without_a_complaint_of_the_browser() {
    let node = Node::start(&["--reactors", "1"]);
    let app = node.app_with("shop", &["--events-per-second", "500"]);
    let load = Loadtest { node: &node, app: &app };
    // Enough for the estimate of capacity, which wants to see 2 % of a CPU.
    let running = load.start(&["--rate", "1500", "--duration", "120s", "--connections", "8"]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    for id in [
        "accepted",
        "confirmed",
        "refused",
        "requests",
        "p99",
        "pending",
        "headroom",
        "connections",
        "journal-bytes",
        "broker-unconfirmed",
        "queue-batches",
        "capacity-limit",
        "reactors",
        "ledger-received",
        "version",
        "uptime",
    ] {
        browser.await_true(&filled(id));
    }
    browser.await_true("document.getElementById('word').textContent === 'OK'");
    browser.await_true("document.getElementById('broker-state').textContent.includes('Up')");
    browser.await_true("/shop.*500/.test(document.getElementById('apps').textContent)");
    browser.await_true("document.getElementById('refusals-legend').textContent.includes('rate_limited')");
    browser.await_true("/between/.test(document.getElementById('flow').getAttribute('aria-label'))");
    // A reload shows the past at once: the node remembers it.
    browser.await_true("points.length > 5");
    let before = browser.evaluate("points.length").as_u64().expect("a number");
    open(&node, &mut browser, "");
    browser.await_true(&format!("points.length >= {before}"));
    assert_eq!(browser.complaints(), [] as [String; 0]);
    let _ = running.stop();
}

#[test]
fn a_keyboard_reaches_everything_that_can_be_used() {
    let node = Node::alone(&[]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    let usable = "[...document.querySelectorAll('main [tabindex=\"0\"], a')].filter((e) => e.offsetParent !== null || e.className === 'skip')";
    let count = browser.evaluate(&format!("{usable}.length")).as_u64().expect("a number");
    assert!(count >= 6, "{count}");
    for index in 0..count {
        browser.press("Tab");
        let is_focused = format!("document.activeElement === {usable}[{index}]");
        assert_eq!(browser.evaluate(&is_focused), true, "number {index}");
    }
}

#[test]
fn the_radiator_fits_its_screen_and_a_telephone_needs_no_sideways_scrolling() {
    let node = Node::alone(&[]);
    let (root, fits) = ("document.documentElement", "scrollWidth <= document.documentElement.clientWidth");
    let mut screen = Chromium::start(1920, 1080);
    open(&node, &mut screen, "?radiator=1");
    assert_eq!(screen.evaluate(&format!("{root}.{fits}")), true);
    assert_eq!(screen.evaluate(&format!("{root}.scrollHeight <= 1080")), true);
    // And nothing is cut off inside.
    let cut = "[...document.querySelectorAll('.radiator .panel, .radiator .figures dl > div')].filter((e) => e.offsetParent && \
               (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)).map((e) => e.className + e.textContent)";
    assert_eq!(screen.evaluate(cut), serde_json::json!([]));
    let mut telephone = Chromium::start(360, 740);
    open(&node, &mut telephone, "");
    assert_eq!(telephone.evaluate(&format!("{root}.{fits}")), true);
}

#[test]
fn a_broken_stream_is_replaced_by_asking_and_taken_up_again() {
    let node = Node::alone(&[]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    // A block meets new requests alone: what is open is closed as a proxy would.
    browser.block(&["*/api/pulse/stream"]);
    browser.evaluate("openStream()");
    browser.await_true("document.getElementById('feed').dataset.feed === 'polling'");
    let heard = browser.evaluate("feed.heard").as_f64().expect("a number");
    browser.await_true(&format!(
        "feed.heard > {heard} + 2000 && document.getElementById('feed').dataset.feed === 'polling'"
    ));
    browser.block(&[]);
    browser.await_true("document.getElementById('feed').dataset.feed === 'stream'");
}

#[test]
fn a_node_that_has_stopped_is_called_silent_and_its_figures_old() {
    let mut node = Node::alone(&[]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    browser.await_true("document.getElementById('word').textContent === 'OK'");
    node.kill();
    browser.await_true("document.getElementById('word').textContent === 'NO SIGNAL'");
    browser.await_true("document.getElementById('feed').dataset.feed === 'stale'");
    browser.await_true("document.getElementById('feed-text').textContent.startsWith('stale')");
}

#[test]
fn the_stream_gives_a_page_a_second_to_a_bounded_number_of_viewers() {
    let node = Node::alone(&[]);
    await_true("the first sample is there", || Http::connect(node.admin).get("/api/pulse").status == 200);
    let request = b"GET /api/pulse/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut viewers: Vec<_> = (0..64)
        .map(|_| {
            let mut viewer = socket_to(node.admin);
            std::io::Write::write_all(&mut viewer, request).expect("the node reads");
            viewer
        })
        .collect();
    for viewer in &mut viewers {
        let mut told = String::new();
        let mut piece = [0; 4096];
        while told.matches("\ndata: ").count() < 2 {
            let count = viewer.read(&mut piece).expect("pages in time");
            assert!(count > 0, "the stream ended: {told}");
            told.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        assert!(told.starts_with("HTTP/1.1 200 ") && told.contains("text/event-stream"), "{told}");
    }
    let mut refused = Http::connect(node.admin).get("/api/pulse/stream");
    assert_eq!(refused.status, 503);
    assert!(refused.fields.drain(..).any(|(name, _)| name.eq_ignore_ascii_case("retry-after")));
    viewers.clear();
    // Who is gone makes room: seen when the next page is written.
    await_true("there is room again", || {
        let mut viewer = socket_to(node.admin);
        std::io::Write::write_all(&mut viewer, request).expect("the node reads");
        let mut piece = [0; 12];
        viewer.read_exact(&mut piece).expect("an answer");
        piece.ends_with(b"200")
    });
}

#[test]
fn who_is_asked_for_a_token_gives_it_to_the_page_and_goes_on() {
    let node = Node::alone(&[]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    // A guard between page and node that lets nobody in without the token.
    browser.evaluate(
        "globalThis.beyond = fetch; globalThis.isKnown = false;
         globalThis.fetch = async (path, options) => {
           if (path === '/session') {
             isKnown = JSON.parse(options.body).token === 'right';
             return new Response(null, { status: isKnown ? 204 : 401 });
           }
           return isKnown ? beyond(path, options) : new Response(null, { status: 401 });
         };
         feed.source.close(); feed.isPolling = true;",
    );
    browser.await_true("document.getElementById('login').open");
    assert_eq!(browser.evaluate("document.activeElement.id"), "token");
    let give = |token: &str| {
        format!(
            "document.getElementById('token').value = {token:?}; document.getElementById('login-form').requestSubmit()"
        )
    };
    browser.evaluate(&give("wrong"));
    browser.await_true("document.getElementById('login-error').textContent === 'That is not the token.'");
    browser.evaluate(&give("right"));
    browser.await_true("!document.getElementById('login').open");
    browser.await_true("document.getElementById('feed').dataset.feed === 'stream'");
    assert_eq!(browser.evaluate("document.getElementById('token').value"), "", "it is kept nowhere");
}
