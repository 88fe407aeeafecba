//! `GET /api/peers`: how other nodes do, as this one hears it from them. The page asks its own node alone, so that no page needs to be let in by
//! a node that it did not come from.
//!
//! Peers are asked when somebody looks, and not again within [`INTERVAL`], however many look: while nobody does, nobody is asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use ureq::http::Method;

use super::Operator;
use crate::clock;
use crate::remote::{Bounds, Remote, RemoteError};

/// From one round of questions to the next.
const INTERVAL: Duration = Duration::from_secs(2);
/// What is waited for and read of a peer. A pulse has some kilobytes; one of a large machine, with a line for each reactor, some tens.
pub const PEER_BOUNDS: Bounds = Bounds { timeout: Duration::from_millis(1500), bytes_max: 256 << 10 };
/// Longest text of a peer that is passed on.
const TEXT_BYTES_MAX: usize = 256;

/// Finds the operators' token; an error says why there is none now.
type FindToken = Box<dyn Fn() -> Result<Option<String>, String> + Send + Sync>;

/// The peers of a node.
pub struct Peers {
    list: Vec<Arc<Peer>>,
    asking: Arc<Asking>,
    /// When they were last asked, on the monotonic clock; held while they are.
    asked: tokio::sync::Mutex<Option<Duration>>,
}

/// Who asks.
struct Asking {
    /// The name of this node.
    node: String,
    find_token: FindToken,
}

struct Peer {
    remote: Remote,
    heard: Mutex<Heard>,
}

/// What was heard of a peer.
#[derive(Clone, Debug, Default, Serialize)]
struct Heard {
    /// Whether it is the node that asks: the flags of many nodes may be the same.
    is_self: bool,
    /// What it said last.
    pulse: Option<Excerpt>,
    /// When, in seconds since the Unix epoch.
    answered_at: Option<f64>,
    /// Why it has not answered since.
    trouble: Option<String>,
}

/// The part of a pulse that a tile shows.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Excerpt {
    node: Node,
    verdict: Verdict,
    rates: Rates,
    journal: Journal,
    ledger: Ledger,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Node {
    id: String,
    version: String,
}

/// The word is a text here: a newer node may have more of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Verdict {
    word: String,
    reason: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Rates {
    accepted: f64,
    confirmed: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Journal {
    bytes: u64,
    bytes_max: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Ledger {
    pending: u64,
}

impl Peers {
    /// The peers of `node`. They are asked with the token that `find_token` finds each time.
    pub fn new(
        node: String,
        list: Vec<Remote>,
        find_token: impl Fn() -> Result<Option<String>, String> + Send + Sync + 'static,
    ) -> Self {
        let peer = |remote| Arc::new(Peer { remote, heard: Mutex::default() });
        let asking = Arc::new(Asking { node, find_token: Box::new(find_token) });
        Self { list: list.into_iter().map(peer).collect(), asking, asked: tokio::sync::Mutex::default() }
    }

    /// Asks them all, unless that was done just now; returns when each has answered, or its time is up.
    async fn look(&self) {
        let mut asked = self.asked.lock().await;
        let now = clock::monotonic();
        if asked.is_some_and(|before| now.saturating_sub(before) < INTERVAL) {
            return;
        }
        // Before they answer: who looks and goes away at once, over and over, makes no more of it.
        *asked = Some(now);
        join_all(self.list.iter().map(|peer| {
            let (peer, asking) = (peer.clone(), self.asking.clone());
            tokio::task::spawn_blocking(move || peer.ask(&asking))
        }))
        .await
        .into_iter()
        .for_each(|asked| asked.expect("a panic ends the process"));
    }

    fn shown(&self) -> serde_json::Value {
        let shown = |peer: &Arc<Peer>| {
            let mut shown = serde_json::to_value(&*peer.heard.lock()).expect("plain data");
            shown["url"] = peer.remote.url().into();
            shown
        };
        let peers: Vec<_> = self.list.iter().map(shown).collect();
        serde_json::json!({ "interval_seconds": INTERVAL.as_secs(), "peers": peers })
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.list.iter().map(|peer| peer.remote.url()).collect();
        f.debug_struct("Peers").field("urls", &urls).finish_non_exhaustive()
    }
}

impl Peer {
    fn ask(&self, asking: &Asking) {
        let answer = self.pulse((asking.find_token)());
        let mut heard = self.heard.lock();
        match answer {
            Ok(pulse) => {
                *heard = Heard {
                    is_self: pulse.node.id == asking.node,
                    pulse: Some(pulse),
                    answered_at: Some(clock::wall().as_secs_f64()),
                    trouble: None,
                }
            }
            Err(trouble) => heard.trouble = Some(trouble),
        }
    }

    fn pulse(&self, token: Result<Option<String>, String>) -> Result<Excerpt, String> {
        let authorization = token?.map(|token| format!("Bearer {token}"));
        let remote = self.remote.clone().with_authorization(authorization);
        let answer = remote.ask(Method::GET, "/api/pulse").map_err(|error| match error {
            // Where it is stands beside it.
            RemoteError::Unanswered { reason, .. } => shortened(&reason.to_string()),
            RemoteError::Url { .. } => error.to_string(),
        })?;
        let pulse = serde_json::from_value::<Excerpt>(answer).ok().filter(Excerpt::is_short);
        pulse
            .ok_or_else(|| "the answer is not a pulse: is this the operators' listener of a node?".to_owned())
    }
}

impl Excerpt {
    fn is_short(&self) -> bool {
        let texts = [&self.node.id, &self.node.version, &self.verdict.word, &self.verdict.reason];
        texts.iter().all(|text| text.len() <= TEXT_BYTES_MAX)
    }
}

/// A refusal may say much.
fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new().route("/api/peers", get(peers))
}

async fn peers(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    operator.peers.look().await;
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(operator.peers.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    fn pulse() -> Value {
        json!({
            "node": { "id": "two", "version": "1.2.3", "uptime_seconds": 9 },
            "verdict": { "word": "DEGRADED", "reason": "The broker is away." },
            "rates": { "accepted": 50.5, "confirmed": 0.0, "requests": 51.0 },
            "journal": { "bytes": 7, "bytes_max": 1000, "growth_bytes_per_second": 1.0 },
            "ledger": { "pending": 3, "received": 9 },
            "reactors": [],
        })
    }

    fn answer(status: &str, fields: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
    }

    /// A listener that gives each connection the next of some answers, then goes away; the requests that it has got.
    fn listener(answers: Vec<String>) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let serve = move |answer: String| {
            let (mut socket, _) = listener.accept().expect("a connection");
            let (mut request, mut piece) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let count = socket.read(&mut piece).expect("a request");
                request.extend_from_slice(&piece[..count]);
            }
            socket.write_all(answer.as_bytes()).expect("it is read");
            String::from_utf8(request).expect("text")
        };
        (address, thread::spawn(move || answers.into_iter().map(serve).collect()))
    }

    fn peers_at(address: SocketAddr, bounds: Bounds) -> Peers {
        let remote = Remote::new(&format!("http://{address}"), bounds).expect("a URL");
        Peers::new("one".to_owned(), vec![remote], || Ok(Some("swordfish".to_owned())))
    }

    fn ask(peers: &Peers) -> Value {
        peers.list[0].ask(&peers.asking);
        peers.shown()["peers"][0].clone()
    }

    #[test]
    fn a_peer_is_asked_with_the_token_and_what_it_says_is_passed_on() {
        let (address, requests) = listener(vec![answer("200 OK", "", &pulse().to_string())]);
        let peers = peers_at(address, PEER_BOUNDS);
        let unheard = &peers.shown()["peers"][0];
        assert_eq!((&unheard["pulse"], &unheard["trouble"]), (&Value::Null, &Value::Null));
        let heard = ask(&peers);
        assert_eq!(heard["url"], format!("http://{address}"));
        assert_eq!(
            heard["pulse"],
            json!({
                "node": { "id": "two", "version": "1.2.3" },
                "verdict": { "word": "DEGRADED", "reason": "The broker is away." },
                "rates": { "accepted": 50.5, "confirmed": 0.0 },
                "journal": { "bytes": 7, "bytes_max": 1000 },
                "ledger": { "pending": 3 },
            })
        );
        assert_eq!((&heard["is_self"], &heard["trouble"]), (&json!(false), &Value::Null));
        assert!(heard["answered_at"].as_f64().is_some_and(|at| at > 1e9));
        let request = requests.join().expect("no panic").remove(0).to_lowercase();
        assert!(request.starts_with("get /api/pulse http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nauthorization: bearer swordfish\r\n"), "{request}");
    }

    #[test]
    fn what_is_no_pulse_is_told_in_words_and_what_was_heard_before_stays() {
        let large = "x".repeat(400);
        let mut wordy = pulse();
        wordy["verdict"]["reason"] = large.as_str().into();
        let bounds = Bounds { bytes_max: 1000, ..PEER_BOUNDS };
        let cases = [
            (
                answer("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
                "302, a redirect, which is not followed",
            ),
            (answer("200 OK", "", "<html>"), "not JSON"),
            (answer("200 OK", "", "{}"), "not a pulse"),
            (answer("200 OK", "", &wordy.to_string()), "not a pulse"),
            (answer("200 OK", "", &" ".repeat(2000)), "larger"),
            (
                answer("401 Unauthorized", "", r#"{"code":"bad_token","detail":"The token is wrong."}"#),
                "refused: 401 bad_token: The token is wrong.",
            ),
            (
                answer("500 Internal Server Error", "", &json!({ "detail": large }).to_string()),
                "refused: 500 xxx",
            ),
            ("SSH-2.0-OpenSSH\r\n".to_owned(), "protocol"),
        ];
        let answers = cases.iter().map(|(answer, _)| answer.clone());
        let first = answer("200 OK", "", &pulse().to_string());
        let (address, requests) = listener(std::iter::once(first).chain(answers).collect());
        let peers = peers_at(address, bounds);
        let before = ask(&peers);
        for (_, words) in cases {
            let heard = ask(&peers);
            let trouble = heard["trouble"].as_str().unwrap_or_else(|| panic!("{words}: {heard}"));
            assert!(trouble.contains(words) && trouble.len() <= TEXT_BYTES_MAX, "{words}: {trouble}");
            assert_eq!((&heard["pulse"], &heard["answered_at"]), (&before["pulse"], &before["answered_at"]));
        }
        requests.join().expect("no panic");
        let gone = ask(&peers);
        assert!(gone["trouble"].as_str().is_some_and(|trouble| trouble.contains("refused")), "{gone}");
    }

    #[test]
    fn a_peer_that_says_nothing_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let bounds = Bounds { timeout: Duration::from_millis(100), ..PEER_BOUNDS };
        let peers = peers_at(silent.local_addr().expect("bound"), bounds);
        assert_eq!(ask(&peers)["trouble"], "there was no answer within 0.1 s");
    }

    #[test]
    fn a_node_knows_itself_among_its_peers() {
        let mut own = pulse();
        own["node"]["id"] = "one".into();
        let (address, _) = listener(vec![answer("200 OK", "", &own.to_string())]);
        let peers = peers_at(address, PEER_BOUNDS);
        assert_eq!(ask(&peers)["is_self"], true);
        assert_eq!(ask(&peers)["is_self"], true, "it does not forget that");
    }

    #[test]
    fn a_token_that_cannot_be_read_is_the_trouble() {
        let remote = Remote::new("http://127.0.0.1:1", PEER_BOUNDS).expect("a URL");
        let peers = Peers::new("one".to_owned(), vec![remote], || Err("no such file".to_owned()));
        assert_eq!(ask(&peers)["trouble"], "no such file");
    }

    #[tokio::test]
    async fn many_who_look_ask_once() {
        let (address, requests) = listener(vec![answer("200 OK", "", &pulse().to_string())]);
        let peers = peers_at(address, PEER_BOUNDS);
        // Nobody answers a second time: it would be told as trouble.
        join_all((0..20).map(|_| peers.look())).await;
        let heard = &peers.shown()["peers"][0];
        assert_eq!((&heard["pulse"]["node"]["id"], &heard["trouble"]), (&json!("two"), &Value::Null));
        assert_eq!(requests.join().expect("no panic").len(), 1);
        peers.look().await;
        assert_eq!(peers.shown()["peers"][0]["trouble"], Value::Null);
    }
}
