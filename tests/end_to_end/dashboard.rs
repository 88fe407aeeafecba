//! The dashboard in a real browser, beside a node under load; and the pulse that it shows.

use std::io::Read;

use rustix::process::Signal;

use crate::support::{Chromium, Http, Loadtest, Node, await_true, home, socket_to};

/// What is cut off inside the radiator.
const CUT: &str = "[...document.querySelectorAll('.radiator .panel, .radiator .peers, .radiator .figures dl > div')].filter((e) => e.offsetParent && \
                   (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)).map((e) => e.className + e.textContent)";

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
fn a_verdict_is_announced_when_it_changes_and_not_when_a_figure_in_it_does() {
    let node = Node::alone(&[]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    let announced = "document.getElementById('spoken').textContent";
    browser.await_true(&format!("{announced} === 'OK. Taking events and passing them on.'"));
    assert_eq!(browser.evaluate("document.querySelectorAll('[aria-live]').length"), 1);
    // At once, so that no news of the node comes between.
    let said = browser.evaluate(
        "(() => {
           const reasons = ['The journal is 81 % full.', 'The journal is 82 % full.', 'The journal is 82 % full, and the broker is away.',
                            '1.1 % of the answers are 5xx.', '12 % of the answers are 5xx.'];
           const spoken = document.getElementById('spoken');
           const said = reasons.map((reason) => {
             setVerdict('DEGRADED', reason);
             if (document.getElementById('reason').textContent !== reason) throw new Error(reason);
             return spoken.textContent;
           });
           setVerdict('FAILED', reasons[4]);
           return [...said, spoken.textContent];
         })()",
    );
    let full = "DEGRADED. The journal is 81 % full.";
    let errors = "1.1 % of the answers are 5xx.";
    let away = "DEGRADED. The journal is 82 % full, and the broker is away.";
    let degraded = format!("DEGRADED. {errors}");
    let failed = "FAILED. 12 % of the answers are 5xx.";
    assert_eq!(said, serde_json::json!([full, full, away, degraded, degraded, failed]));
}

#[test]
fn the_radiator_fits_its_screen_and_a_telephone_needs_no_sideways_scrolling() {
    let node = Node::alone(&[]);
    let (root, fits) = ("document.documentElement", "scrollWidth <= document.documentElement.clientWidth");
    let mut screen = Chromium::start(1920, 1080);
    open(&node, &mut screen, "?radiator=1");
    assert_eq!(screen.evaluate(&format!("{root}.{fits}")), true);
    assert_eq!(screen.evaluate(&format!("{root}.scrollHeight <= 1080")), true);
    assert_eq!(screen.evaluate(CUT), serde_json::json!([]));
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
fn what_was_missed_is_asked_for_and_clocks_may_be_set_back() {
    let node = Node::alone(&[]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    browser.await_true("points.length > 7");
    // A machine that slept.
    browser.evaluate("points = points.slice(0, 2)");
    browser.await_true("points.length > 7");
    // The node's clock was an hour ahead.
    browser.evaluate("points.forEach((point) => { point.time += 3600 })");
    browser.await_true("points.length > 7 && Math.abs(points.at(-1).time - Date.now() / 1000) < 60");
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
fn a_peer_has_a_tile_that_tells_when_it_goes_away_and_when_it_comes_back() {
    let (here, there) = (home(), home());
    let at_home = ["--admin-listen", there.as_str()];
    let mut peer = Node::alone(&at_home);
    let urls = [&here, &there].map(|address| format!("http://{address}"));
    // Both are in the list, as where the flags of all nodes are the same.
    let node = Node::alone(&["--admin-listen", &here, "--peer", &urls[0], "--peer", &urls[1]]);
    let mut browser = Chromium::start(1440, 900);
    open(&node, &mut browser, "");
    let word = |word: &str| format!("document.querySelector('#tiles li')?.dataset.word === {word:?}");
    let text = |name: &str| format!("document.querySelector('#tiles .{name}').textContent");
    let ground = |of: &str| format!("getComputedStyle(document.querySelector('{of}')).backgroundColor");
    browser.await_true(&word("OK"));
    let is_coloured = format!("{} === {}", ground("#tiles li"), ground(".verdict[data-word=OK]"));
    browser.await_true(&is_coloured);
    let name = std::fs::read_to_string(peer.folder.path().join("forebay-data/node-id")).expect("a name");
    browser.await_true("document.querySelectorAll('#tiles li').length === 1");
    assert_eq!(browser.evaluate(&text("name")), name.trim());
    assert_eq!(browser.evaluate("document.querySelector('#tiles a').href"), format!("{}/", urls[1]));
    assert_eq!(browser.evaluate(&text("version")), env!("CARGO_PKG_VERSION"));
    let app = peer.app("demo");
    let token = peer.token(&app);
    for _ in 0..20 {
        assert_eq!(peer.http().event(&token, "{}").status, 202);
    }
    browser.await_true(&format!("parseFloat({}) > 0", text("accepted")));
    browser.await_true(&format!("{} === '20'", text("pending")));

    peer.kill();
    browser.await_true(&word("SILENT"));
    browser.await_true(&format!("!({is_coloured})"));
    browser.await_true(&format!("{}.includes('refused')", text("why")));
    assert_eq!(browser.evaluate(&text("accepted")), "–", "old figures are none");
    assert_eq!(browser.evaluate(&text("name")), name.trim());
    assert_eq!(browser.evaluate(&format!("/^\\d\\d:\\d\\d:\\d\\d$/.test({})", text("answered"))), true);
    assert_eq!(browser.evaluate("document.getElementById('word').textContent"), "OK", "the node is well");
    let peer = peer.again(None, &at_home);
    browser.await_true(&word("OK"));
    assert_eq!(browser.evaluate(&text("why")), "Taking events and passing them on.");

    peer.signal(Signal::STOP);
    browser.await_true(&word("SILENT"));
    assert_eq!(browser.evaluate(&text("why")), "there was no answer within 1.5 s");
    peer.signal(Signal::CONT);
    browser.await_true(&word("OK"));
    assert_eq!(browser.complaints(), [] as [String; 0]);

    let mut screen = Chromium::start(1920, 1080);
    open(&node, &mut screen, "?radiator=1");
    screen.await_true(&word("OK"));
    assert_eq!(screen.evaluate("document.documentElement.scrollHeight <= 1080"), true);
    assert_eq!(screen.evaluate(CUT), serde_json::json!([]));
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
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_viewers"));
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
fn viewers_that_take_nothing_in_lose_their_places() {
    let node = Node::alone(&[]);
    await_true("the first sample is there", || Http::connect(node.admin).get("/api/pulse").status == 200);
    let request = b"GET /api/pulse/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // To the node one whose machine is gone looks the same: what it sends is not taken.
    let deaf: Vec<_> = (0..64)
        .map(|_| {
            let family = rustix::net::AddressFamily::INET;
            let socket =
                rustix::net::socket(family, rustix::net::SocketType::STREAM, None).expect("a socket");
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).expect("the least there is");
            rustix::net::connect(&socket, &node.admin).expect("the node listens");
            let mut viewer = std::net::TcpStream::from(socket);
            std::io::Write::write_all(&mut viewer, request).expect("the node reads");
            viewer
        })
        .collect();
    let asked = || {
        let mut viewer = socket_to(node.admin);
        std::io::Write::write_all(&mut viewer, request).expect("the node reads");
        let mut piece = [0; 12];
        viewer.read_exact(&mut piece).expect("an answer");
        String::from_utf8_lossy(&piece[9..]).into_owned()
    };
    await_true("all places are taken", || asked() == "503");
    await_true("there is room again", || asked() == "200");
    drop(deaf);
}
