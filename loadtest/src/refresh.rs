//! Keeps the tokens of all apps fresh: fetches them before they expire, and at once when one is refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::AnyError;
use crate::apps;
use crate::credentials::{Fetcher, TokenError, Tokens};

/// A new token is fetched after this share of the old one's life: well before it expires, so that a slow answer costs nothing.
const LIFE_SHARE: f64 = 0.7;
/// A life is told in whole seconds, and begins with the second in which a token is made: it may be shorter by as much.
const LIFE_ERROR: Duration = Duration::from_secs(1);
/// Wait before a token that was not given is asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// A token that is refused right after it was fetched is not fetched anew more often than this.
const DOUBT_GAP: Duration = Duration::from_millis(200);
/// Fetches between two looks at everything else.
const FETCHES_MAX: usize = 64;

/// For how long a token is used.
fn use_of(life: Duration) -> Duration {
    life.saturating_sub(LIFE_ERROR).mul_f64(LIFE_SHARE).max(DOUBT_GAP)
}

/// One app's turn.
#[derive(Debug)]
struct Turn {
    fetcher: Fetcher,
    /// When its token was asked for last.
    asked: Instant,
    due: Instant,
}

/// Fetches for all apps that have credentials.
#[derive(Debug)]
pub(crate) struct Refresher {
    turns: Vec<Turn>,
    tokens: Arc<Tokens>,
    /// Where the credentials are from: after a refusal they are read again, for secrets change.
    file: Option<PathBuf>,
}

impl Refresher {
    /// Fetches a first token for each app.
    pub(crate) fn start(
        fetchers: Vec<Fetcher>,
        tokens: Arc<Tokens>,
        file: Option<PathBuf>,
    ) -> Result<Self, TokenError> {
        let mut turns = Vec::with_capacity(fetchers.len());
        let mut first = Vec::with_capacity(fetchers.len());
        for (app, fetcher) in fetchers.into_iter().enumerate() {
            let asked = Instant::now();
            let (token, life) = fetcher.fetch()?;
            first.push((app, token));
            turns.push(Turn { fetcher, asked, due: asked + use_of(life) });
        }
        if !first.is_empty() {
            tokens.replace(first);
        }
        Ok(Self { turns, tokens, file })
    }

    /// Fetches what is due; returns when to come again, if tokens are fetched at all.
    pub(crate) fn refresh(&mut self) -> Option<Instant> {
        let now = Instant::now();
        for app in self.tokens.take_doubted() {
            if let Some(turn) = self.turns.get_mut(app) {
                turn.due = turn.due.min((turn.asked + DOUBT_GAP).max(now));
            }
        }
        let due = (0..self.turns.len()).filter(|app| self.turns[*app].due <= now).take(FETCHES_MAX);
        let mut fresh = Vec::new();
        for app in due.collect::<Vec<_>>() {
            fresh.extend(self.fetch(app).map(|token| (app, token)));
        }
        if !fresh.is_empty() {
            self.tokens.replace(fresh);
        }
        self.turns.iter().map(|turn| turn.due).min()
    }

    /// Fetches one; if its secret is refused, with the one that the file has by now.
    fn fetch(&mut self, app: usize) -> Option<Arc<str>> {
        let mut fetched = self.turns[app].fetcher.fetch();
        if matches!(fetched, Err(TokenError::Refused { status: 401, .. })) && self.read_again().is_ok() {
            fetched = self.turns[app].fetcher.fetch();
        }
        let turn = &mut self.turns[app];
        turn.asked = Instant::now();
        // Without a new one, the old one may still be good for a while.
        let (token, wait) = fetched.map_or((None, RETRY), |(token, life)| (Some(token), use_of(life)));
        turn.due = turn.asked + wait;
        token
    }

    /// Takes over what the file says of the apps that are known.
    fn read_again(&mut self) -> Result<(), AnyError> {
        let Some(file) = &self.file else { return Err("there is no file".into()) };
        for credentials in apps::read(file)? {
            let known =
                self.turns.iter_mut().find(|turn| turn.fetcher.credentials.api_key == credentials.api_key);
            if let Some(turn) = known {
                turn.fetcher.credentials = credentials;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Credentials;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    /// A token endpoint that answers so many requests: to the secret that is good with a token of that name.
    fn endpoint(good: &'static str, requests: usize) -> (String, std::thread::JoinHandle<()>) {
        use base64::Engine;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("key:{good}"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take(requests) {
                let mut reader = BufReader::new(stream.expect("a client"));
                let (mut is_good, mut length) = (false, 0);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a request");
                    is_good |= line.trim() == format!("Authorization: Basic {basic}");
                    if let Some(value) = line.strip_prefix("Content-Length: ") {
                        length = value.trim().parse().expect("a length");
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                reader.read_exact(&mut vec![0; length]).expect("a body");
                let (status, body) = if is_good {
                    (
                        "200 OK",
                        format!(r#"{{"access_token":"{good}","token_type":"Bearer","expires_in":900}}"#),
                    )
                } else {
                    ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned())
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                reader.into_inner().write_all(format!("{head}{body}").as_bytes()).expect("an answer");
            }
        });
        (address, thread)
    }

    #[test]
    fn a_token_that_is_refused_is_fetched_at_once_with_the_secret_that_the_file_has_by_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("apps");
        let old = Credentials { api_key: "key".to_owned(), secret: "old".to_owned() };
        let tokens = Arc::new(Tokens::of(1));
        let (address, first) = endpoint("old", 1);
        let fetchers = vec![Fetcher { address, credentials: old }];
        let mut refresher =
            Refresher::start(fetchers, tokens.clone(), Some(file.clone())).expect("a first token");
        first.join().expect("the endpoint");

        let (address, second) = endpoint("new", 2);
        refresher.turns[0].fetcher.address = address;
        refresher.turns[0].asked -= DOUBT_GAP;
        std::fs::write(&file, "{\"api_key\":\"key\",\"secret\":\"new\"}\n").expect("a file");
        let idle = refresher.refresh().expect("a token expires some time");
        assert!(idle > Instant::now() + Duration::from_mins(10), "nothing is due");
        tokens.doubt(0, tokens.version());
        refresher.refresh();
        second.join().expect("asked with the old secret and then with the new one");
        let mut newest = String::new();
        tokens.each_since(0, |_, _, token| token.clone_into(&mut newest));
        assert_eq!(newest, "new");
    }
}
