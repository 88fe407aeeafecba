//! Who may do what on the operators' listener, judged before anything else of a request is looked at.
//!
//! Without a token the listener is on a loopback address and open. Browsers of the same machine reach it there, with pages of strangers in
//! them: a page whose name was made to lead here (DNS rebinding) shows its name in `Host`, one that sends a request to another site has its
//! own in `Origin`. Both are refused, with a token and without.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use super::Operator;
use super::door::Peer;
use super::problem::Problem;
use super::session::{login_page, wants_page};
use super::sessions::Sessions;
use crate::auth::{Secret, SecretHash, Strangers};
use crate::clock;

/// The cookie of a session.
pub(super) const COOKIE: &str = "forebay_session";
/// Where a browser logs in and out; judged there.
pub(super) const SESSION_PATH: &str = "/session";
/// Open to everybody, under any name: balancers ask them.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// Bytes of a token. The shortest have 128 bits even if each character has only four.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 32..=512;

/// What an operator shows; only its hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(SecretHash);

/// Why a text is no token.
#[derive(Debug, thiserror::Error)]
#[error("it does not hold a token of {} to {} visible characters, such as from `openssl rand -hex 32`", TOKEN_BYTES.start(), TOKEN_BYTES.end())]
pub struct TokenTextError;

impl Token {
    /// Reads a file's text; white space around the token does not count.
    pub fn parse(text: &[u8]) -> Result<Self, TokenTextError> {
        let token = text.trim_ascii();
        if TOKEN_BYTES.contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) {
            return Ok(Self(SecretHash::of(token)));
        }
        Err(TokenTextError)
    }
}

/// What the guard goes by.
#[derive(Clone, Debug, Default)]
pub struct GuardOptions {
    /// None: open, to the loopback address.
    pub token: Option<Token>,
    /// Names in `Host`, besides `localhost` and addresses.
    pub hosts: Vec<String>,
    /// `/metrics` needs no token.
    pub are_metrics_open: bool,
    /// Whether TLS is spoken: cookies are for it alone then.
    pub is_tls: bool,
}

/// Judges requests.
#[derive(Debug)]
pub struct Guard {
    token: Mutex<Option<Token>>,
    options: GuardOptions,
    sessions: Sessions,
    strangers: Arc<Strangers>,
}

impl Guard {
    /// `strangers` count those that show a wrong token.
    pub fn new(options: GuardOptions, strangers: Arc<Strangers>) -> Self {
        Self { token: Mutex::new(options.token.clone()), options, sessions: Sessions::default(), strangers }
    }

    /// Another token holds; who has logged in with the one of before has to do so again.
    pub fn replace_token(&self, token: Token) {
        let mut current = self.token.lock();
        *current = Some(token);
        self.sessions.close_all();
    }

    /// Whether a request may go on. `now` is the monotonic clock.
    fn judge(&self, request: &Parts, peer: IpAddr, now: Duration) -> Result<(), Problem> {
        let (fields, path) = (&request.headers, request.uri.path());
        if PROBES.contains(&path) {
            return Ok(());
        }
        self.check_host(request)?;
        let changes = !request.method.is_safe();
        if changes && fields.contains_key(header::ORIGIN) && !is_own_origin(fields) {
            return Err(cross_origin("A page of another site may not change anything here."));
        }
        let token = self.token.lock().clone();
        let Some(token) = token else { return Ok(()) };
        if path == SESSION_PATH || path == "/metrics" && self.options.are_metrics_open {
            return Ok(());
        }
        if let Some(shown) = bearer(fields) {
            return self.check_token(&token, shown, peer, now);
        }
        match session_of(fields) {
            Some(cookie) if !self.sessions.is_open(cookie, now) => {
                Err(unauthorized("session_expired", "The session is over: log in again."))
            }
            // A browser adds the cookie to whatever a page sends, and the Origin of that page to whatever may change something.
            Some(_) if changes && !fields.contains_key(header::ORIGIN) => {
                Err(cross_origin("With a session, a request that changes something needs its Origin."))
            }
            Some(_) => Ok(()),
            None => {
                Err(unauthorized("missing_token", "Send `Authorization: Bearer` with the operators' token."))
            }
        }
    }

    /// Whether a request that may go on would be let in still, or its token or session has ended since.
    pub(super) fn still_admits(&self, fields: &HeaderMap, now: Duration) -> bool {
        let token = self.token.lock().clone();
        match (token, bearer(fields)) {
            (None, _) => true,
            (Some(token), Some(shown)) => token.0.matches(shown),
            (Some(_), None) => session_of(fields).is_some_and(|cookie| self.sessions.is_open(cookie, now)),
        }
    }

    /// Wrong ones are counted by address; right ones pass all the same.
    fn check_token(&self, token: &Token, shown: &[u8], peer: IpAddr, now: Duration) -> Result<(), Problem> {
        // Hashes are compared in constant time, so neither does the time tell how long the token is.
        if token.0.matches(shown) {
            return Ok(());
        }
        match self.strangers.note(Some(peer), now) {
            Ok(()) => Err(unauthorized("bad_token", "The token is wrong.")),
            Err(_) => Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many wrong tokens have come from this address: wait.",
            )),
        }
    }

    /// Opens a session for who shows the token; the cookie to set, none where no token is asked for.
    pub(super) fn log_in(
        &self,
        shown: &[u8],
        peer: IpAddr,
        now: Duration,
    ) -> Result<Option<HeaderValue>, Problem> {
        // Held until the session is open: a token that is replaced meanwhile ends it.
        let token = self.token.lock();
        let Some(token) = &*token else { return Ok(None) };
        self.check_token(token, shown, peer, now)?;
        let cookie: Secret = self.sessions.open(now);
        Ok(Some(self.cookie(cookie.reveal(), super::sessions::SESSION_LIFETIME)))
    }

    /// Ends the session of a request; the cookie that takes the other one away.
    pub(super) fn log_out(&self, fields: &HeaderMap) -> HeaderValue {
        if let Some(cookie) = session_of(fields) {
            self.sessions.close(cookie);
        }
        self.cookie("", Duration::ZERO)
    }

    fn cookie(&self, value: &str, lifetime: Duration) -> HeaderValue {
        let secure = if self.options.is_tls { "; Secure" } else { "" };
        let age = lifetime.as_secs();
        let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(cookie).expect("visible characters")
    }

    /// A name that somebody else may have made to lead here is no name of ours.
    fn check_host(&self, request: &Parts) -> Result<(), Problem> {
        let written = request.headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or(""));
        let in_target = request.uri.authority().map(axum::http::uri::Authority::as_str);
        let mut hosts = written.chain(in_target).peekable();
        if hosts.peek().is_some() && hosts.all(|host| self.is_own_name(host)) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "wrong_host",
            "This name is not known here: use an address or localhost, or give the name with --admin-host.",
        ))
    }

    fn is_own_name(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_listed = |own: &String| own.eq_ignore_ascii_case(name);
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.options.hosts.iter().any(is_listed)
    }
}

/// Asks the guard, and says to each answer what browsers have to know.
pub(super) async fn guard(State(operator): State<Arc<Operator>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().expect("the door adds it").0;
    let judged = operator.control.guard.judge(&parts, peer, clock::monotonic());
    let is_page = wants_page(&parts.method, &parts.headers);
    let uri = parts.uri.clone();
    let mut response = match judged {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) if is_page && problem.status() == StatusCode::UNAUTHORIZED => login_page(problem, &uri),
        Err(problem) => problem.into_response(),
    };
    let fields = response.headers_mut();
    fields.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether the page that sends is ours. By whom TLS is spoken does not matter: it may be a proxy.
fn is_own_origin(fields: &HeaderMap) -> bool {
    let text = |name| fields.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let plain = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    plain(authority) == plain(host)
}

fn bearer(fields: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = fields.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn session_of(fields: &HeaderMap) -> Option<&str> {
    let cookies = fields.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

fn unauthorized(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
}

fn cross_origin(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    const NOW: Duration = Duration::from_secs(9);

    fn with(options: GuardOptions) -> Guard {
        Guard::new(options, Arc::default())
    }

    fn guarded() -> Guard {
        let token = Token::parse(TOKEN.as_bytes()).expect("a token");
        let hosts = vec!["forebay.example".to_owned()];
        with(GuardOptions { token: Some(token), hosts, ..GuardOptions::default() })
    }

    fn judge(guard: &Guard, method: &str, path: &str, fields: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let peer = "192.0.2.1".parse().expect("an address");
        guard.judge(&parts, peer, NOW).map_err(|problem| problem.code())
    }

    #[test]
    fn a_token_has_32_visible_characters_or_more() {
        assert_eq!(
            Token::parse(format!("  {TOKEN}\n").as_bytes()).expect("a token"),
            Token::parse(TOKEN.as_bytes()).expect("a token")
        );
        let long = "x".repeat(513);
        for bad in ["", "short", &TOKEN[1..], "0123456789abcdef 0123456789abcdef", &long] {
            assert!(Token::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(!format!("{:?}", guarded()).contains(TOKEN));
    }

    #[test]
    fn only_probes_are_open_where_a_token_is_asked_for() {
        let guard = guarded();
        let host = ("Host", "127.0.0.1:9090");
        for path in PROBES {
            assert_eq!(judge(&guard, "GET", path, &[("Host", "anything")]), Ok(()), "{path}");
        }
        let (right, wrong) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}x"));
        for path in ["/", "/metrics", "/ledger", "/admin/apps", "/openapi.json", "/livez/"] {
            assert_eq!(judge(&guard, "GET", path, &[host]), Err("missing_token"), "{path}");
            assert_eq!(judge(&guard, "GET", path, &[host, ("Authorization", &right)]), Ok(()));
            assert_eq!(judge(&guard, "GET", path, &[host, ("Authorization", &wrong)]), Err("bad_token"));
        }
        assert_eq!(
            judge(&guard, "GET", "/ledger", &[host, ("Authorization", "Basic eDp5")]),
            Err("missing_token")
        );
        assert_eq!(
            judge(&guard, "GET", "/ledger", &[host, ("Authorization", &right.to_lowercase())]),
            Ok(())
        );
        let options = GuardOptions { are_metrics_open: true, ..guard.options.clone() };
        let guard = with(options);
        assert_eq!(judge(&guard, "GET", "/metrics", &[host]), Ok(()));
        assert_eq!(judge(&guard, "GET", "/ledger", &[host]), Err("missing_token"));
    }

    #[test]
    fn wrong_tokens_are_limited_by_address_and_right_ones_are_not() {
        let guard = guarded();
        let host = ("Host", "localhost");
        let wrong = |_| judge(&guard, "GET", "/ledger", &[host, ("Authorization", "Bearer x")]);
        let last = (0..200).map(wrong).last();
        assert_eq!(last, Some(Err("rate_limited")));
        let right = format!("Bearer {TOKEN}");
        assert_eq!(judge(&guard, "GET", "/ledger", &[host, ("Authorization", &right)]), Ok(()));
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_is_refused() {
        for guard in [
            with(GuardOptions { hosts: vec!["forebay.example".into()], ..GuardOptions::default() }),
            guarded(),
        ] {
            let token = format!("Bearer {TOKEN}");
            let authorization = ("Authorization", token.as_str());
            for host in [
                "127.0.0.1",
                "127.0.0.1:9090",
                "[::1]:9090",
                "localhost:9090",
                "LOCALHOST.",
                "Forebay.example",
                "forebay.example:9090",
            ] {
                assert_eq!(
                    judge(&guard, "GET", "/ledger", &[("Host", host), authorization]),
                    Ok(()),
                    "{host}"
                );
            }
            for host in [
                "evil.example",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "",
                "[evil.example]",
                "a.forebay.example",
            ] {
                let judged = judge(&guard, "GET", "/ledger", &[("Host", host), authorization]);
                assert_eq!(judged, Err("wrong_host"), "{host}");
            }
            assert_eq!(judge(&guard, "GET", "/ledger", &[authorization]), Err("wrong_host"));
            let two = [("Host", "localhost"), ("Host", "evil.example"), authorization];
            assert_eq!(judge(&guard, "GET", "/ledger", &two), Err("wrong_host"));
            let absolute = "http://evil.example/ledger";
            assert_eq!(
                judge(&guard, "GET", absolute, &[("Host", "localhost"), authorization]),
                Err("wrong_host")
            );
        }
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let open = with(GuardOptions::default());
        let host = ("Host", "localhost:9090");
        assert_eq!(judge(&open, "POST", "/admin/drain", &[host]), Ok(()), "no browser");
        for (origin, is_own) in [
            ("http://localhost:9090", true),
            ("http://LOCALHOST:9090", true),
            ("https://localhost:9090", true),
            ("http://localhost", false),
            ("http://localhost:9091", false),
            ("http://evil.example", false),
            ("null", false),
            ("chrome-extension://localhost:9090", false),
        ] {
            let expected = if is_own { Ok(()) } else { Err("cross_origin") };
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert_eq!(
                    judge(&open, method, "/admin/drain", &[host, ("Origin", origin)]),
                    expected,
                    "{origin}"
                );
            }
            assert_eq!(judge(&open, "GET", "/ledger", &[host, ("Origin", origin)]), Ok(()));
        }
        let plain = [("Host", "localhost"), ("Origin", "http://localhost:80")];
        assert_eq!(judge(&open, "POST", "/admin/drain", &plain), Ok(()), "the port that goes without saying");
    }

    #[test]
    fn a_session_is_as_good_as_the_token_where_the_page_is_ours() {
        let guard = guarded();
        let peer = "192.0.2.1".parse().expect("an address");
        assert_eq!(guard.log_in(b"x", peer, NOW).map_err(|problem| problem.code()), Err("bad_token"));
        let set = guard.log_in(TOKEN.as_bytes(), peer, NOW).expect("right").expect("a cookie");
        let set = set.to_str().expect("text");
        assert!(set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"), "{set}");
        let cookie = format!("other=1; {}", set.split(';').next().expect("a cookie"));
        let (host, cookie) = (("Host", "localhost:9090"), ("Cookie", cookie.as_str()));
        let own = ("Origin", "http://localhost:9090");
        assert_eq!(judge(&guard, "GET", "/", &[host, cookie]), Ok(()));
        assert_eq!(judge(&guard, "POST", "/admin/drain", &[host, cookie, own]), Ok(()));
        assert_eq!(judge(&guard, "POST", "/admin/drain", &[host, cookie]), Err("cross_origin"));
        let stranger = ("Origin", "http://evil.example");
        assert_eq!(judge(&guard, "POST", "/admin/drain", &[host, cookie, stranger]), Err("cross_origin"));
        assert_eq!(
            judge(&guard, "GET", "/", &[host, ("Cookie", "forebay_session=x")]),
            Err("session_expired")
        );
        let mut fields = HeaderMap::new();
        fields.insert(header::COOKIE, cookie.1.parse().expect("a value"));
        assert!(guard.log_out(&fields).to_str().expect("text").contains("Max-Age=0"));
        assert_eq!(judge(&guard, "GET", "/", &[host, cookie]), Err("session_expired"));
        let set = guard.log_in(TOKEN.as_bytes(), peer, NOW).expect("right").expect("a cookie");
        let cookie = ("Cookie", set.to_str().expect("text").split(';').next().expect("a cookie"));
        guard.replace_token(
            Token::parse("another token of 32 characters".replace(' ', "_x_").as_bytes()).expect("a token"),
        );
        assert_eq!(judge(&guard, "GET", "/", &[host, cookie]), Err("session_expired"));
        let secure = with(GuardOptions { is_tls: true, ..guarded().options });
        let set = secure.log_in(TOKEN.as_bytes(), peer, NOW).expect("right").expect("a cookie");
        assert!(set.to_str().expect("text").ends_with("; Secure"));
    }
}
