//! Putting requests together: sending one is three copies, of what all have in common, of what an app has, and of a body.

use std::sync::Arc;

use crate::apps::Shares;
use crate::bodies::Bodies;
use crate::credentials::Tokens;
use crate::dice::Dice;
use crate::options::Workload;

/// Where nothing is.
const NO_PATH: &str = "/forebay-loadtest/no-such-path";

/// What a request is, and what should become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be accepted; which body it carries.
    Good(u32),
    /// To be refused.
    Bad(Bad),
}

/// What is wrong with a request that has to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bad {
    /// JSON that ends in its midst.
    BrokenJson,
    InvalidUtf8,
    UnknownPath,
    /// A token whose signature was changed.
    WrongSignature,
    /// One of `--bad-token`.
    ListedToken,
}

impl Bad {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BrokenJson => "broken_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::UnknownPath => "unknown_path",
            Self::WrongSignature => "wrong_signature",
            Self::ListedToken => "bad_token",
        }
    }
}

/// An app's `Authorization` field; empty without a token.
#[derive(Debug, Default)]
struct Authorization {
    field: Vec<u8>,
    /// Where the token's signature begins.
    signature: usize,
    /// Of the token.
    version: u64,
}

impl Authorization {
    fn of(token: &str) -> Self {
        let field = format!("Authorization: Bearer {token}\r\n").into_bytes();
        let signature = field.iter().rposition(|byte| *byte == b'.').map_or(field.len() - 2, |dot| dot + 1);
        Self { field, signature, version: 0 }
    }

    fn write_wrong(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.field);
        let first = &mut out[start + self.signature.min(self.field.len() - 3)];
        *first = if *first == b'A' { b'B' } else { b'A' };
    }
}

/// Requests of one thread.
#[derive(Debug)]
pub(crate) struct Requests {
    bodies: Arc<Bodies>,
    shares: Arc<Shares>,
    tokens: Arc<Tokens>,
    /// From the first line to the last field that all requests have.
    start: Vec<u8>,
    start_of_unknown_path: Vec<u8>,
    /// By app.
    authorizations: Vec<Authorization>,
    /// Of the newest token that is used.
    version: u64,
    bad_tokens: Vec<Authorization>,
    bad_kinds: Vec<Bad>,
    bad_per_million: u64,
    dice: Dice,
    next: usize,
}

impl Requests {
    pub(crate) fn new(
        workload: &Workload,
        host: &str,
        bodies: Arc<Bodies>,
        shares: Arc<Shares>,
        tokens: Arc<Tokens>,
        seed: u64,
    ) -> Self {
        let start = |path: &str| {
            let ack = workload.ack.map_or(String::new(), |level| format!("Forebay-Ack: {level}\r\n"));
            format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: forebay-loadtest/{}\r\nAccept: application/json\r\n\
                 Accept-Encoding: identity\r\n{ack}",
                env!("CARGO_PKG_VERSION"),
            )
            .into_bytes()
        };
        let bad_tokens: Vec<_> = workload.bad_token.iter().map(|token| Authorization::of(token)).collect();
        let mut bad_kinds = vec![Bad::BrokenJson, Bad::InvalidUtf8, Bad::UnknownPath];
        bad_kinds.extend(tokens.has_any().then_some(Bad::WrongSignature));
        // Each of them as often as any other kind.
        bad_kinds.extend(bad_tokens.iter().map(|_| Bad::ListedToken));
        // A share with six digits is fine enough.
        let bad_per_million = {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the range"
            )]
            let share = (workload.bad * 1e4).clamp(0.0, 1e6) as u64;
            share
        };
        let next = usize::try_from(seed).unwrap_or(0) % bodies.good.len();
        let mut requests = Self {
            start: start(workload.path()),
            start_of_unknown_path: start(NO_PATH),
            authorizations: (0..tokens.apps()).map(|_| Authorization::default()).collect(),
            version: 0,
            bodies,
            shares,
            tokens,
            bad_tokens,
            bad_kinds,
            bad_per_million,
            dice: Dice(seed),
            next,
        };
        requests.refresh();
        requests
    }

    /// Takes over tokens that are new; nearly always there is none, and a look at a number tells.
    pub(crate) fn refresh(&mut self) {
        if self.tokens.version() == self.version {
            return;
        }
        let authorizations = &mut self.authorizations;
        self.version = self.tokens.each_since(self.version, |app, version, token| {
            authorizations[app] = Authorization { version, ..Authorization::of(token) };
        });
    }

    /// A good request of an app was told that its token is none: a new one is asked for.
    pub(crate) fn doubt(&self, app: u32) {
        self.tokens.doubt(app, self.authorizations[app as usize].version);
    }

    /// Events in a good body.
    pub(crate) fn events(&self, body: u32) -> &[u32] {
        &self.bodies.good[body as usize].events
    }

    /// Appends the next request to what is sent; what it is, and whose.
    pub(crate) fn write_next(&mut self, out: &mut Vec<u8>) -> (Kind, u32) {
        let app = self.shares.pick(&mut self.dice);
        let authorization = &self.authorizations[app];
        let app = u32::try_from(app).expect("far fewer apps");
        if self.bad_per_million > 0 && self.dice.below(1_000_000) < self.bad_per_million {
            let index = self.dice.below(self.bad_kinds.len() as u64);
            let kind = self.bad_kinds[usize::try_from(index).expect("small")];
            let start = if kind == Bad::UnknownPath { &self.start_of_unknown_path } else { &self.start };
            out.extend_from_slice(start);
            match kind {
                Bad::WrongSignature => authorization.write_wrong(out),
                Bad::ListedToken => {
                    let index = self.dice.below(self.bad_tokens.len() as u64);
                    let token = &self.bad_tokens[usize::try_from(index).expect("small")];
                    out.extend_from_slice(&token.field);
                }
                Bad::BrokenJson | Bad::InvalidUtf8 | Bad::UnknownPath => {
                    out.extend_from_slice(&authorization.field);
                }
            }
            out.extend_from_slice(match kind {
                Bad::BrokenJson => &self.bodies.broken_json,
                Bad::InvalidUtf8 => &self.bodies.invalid_utf8,
                Bad::UnknownPath | Bad::WrongSignature | Bad::ListedToken => &self.bodies.good[0].tail,
            });
            return (Kind::Bad(kind), app);
        }
        let index = self.next;
        self.next = if index + 1 == self.bodies.good.len() { 0 } else { index + 1 };
        out.extend_from_slice(&self.start);
        out.extend_from_slice(&authorization.field);
        out.extend_from_slice(&self.bodies.good[index].tail);
        (Kind::Good(u32::try_from(index).expect("far fewer bodies")), app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{BatchForm, Form};
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        workload: Workload,
    }

    fn requests(flags: &[&str], tokens: &Arc<Tokens>) -> Requests {
        let workload = Flags::parse_from([&["test"], flags].concat()).workload;
        let form = Form { batch: None, layout: BatchForm::Ndjson, encoding: None };
        let bodies = Bodies::make(&[b"{\"a\":1}".to_vec()], form).expect("bodies");
        let shares = Arc::new(Shares::zipf(tokens.apps(), 0.0));
        Requests::new(&workload, "host:1", Arc::new(bodies), shares, tokens.clone(), 1)
    }

    fn next(requests: &mut Requests) -> (Kind, u32, String) {
        let mut bytes = Vec::new();
        let (kind, app) = requests.write_next(&mut bytes);
        (kind, app, String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn a_request_is_whole_and_carries_the_newest_token_of_its_app() {
        let tokens = Arc::new(Tokens::of(2));
        tokens.replace([(0, "h.p.s0".into()), (1, "h.p.s1".into())]);
        let mut requests = requests(&[], &tokens);
        let mut seen = [false; 2];
        for round in 0..2 {
            for _ in 0..64 {
                let (kind, app, text) = next(&mut requests);
                assert_eq!(kind, Kind::Good(0));
                let token =
                    if round == 1 && app == 1 { "h.p.new" } else { ["h.p.s0", "h.p.s1"][app as usize] };
                assert_eq!(
                    text,
                    format!(
                        "POST /v1/events HTTP/1.1\r\nHost: host:1\r\nUser-Agent: forebay-loadtest/{}\r\n\
                         Accept: application/json\r\nAccept-Encoding: identity\r\nAuthorization: Bearer {token}\r\n\
                         Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}",
                        env!("CARGO_PKG_VERSION")
                    )
                );
                seen[app as usize] = true;
            }
            tokens.replace([(1, "h.p.new".into())]);
            requests.refresh();
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn bad_requests_are_of_all_kinds_and_each_is_bad_in_its_own_way() {
        let tokens = Arc::new(Tokens::fixed(Some("h.p.Asig")));
        let mut requests = requests(&["--bad", "100", "--bad-token", "old.old.old"], &tokens);
        let all =
            [Bad::BrokenJson, Bad::InvalidUtf8, Bad::UnknownPath, Bad::WrongSignature, Bad::ListedToken];
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let (Kind::Bad(bad), 0, text) = next(&mut requests) else { panic!("all are bad") };
            let is_so = match bad {
                Bad::BrokenJson => text.ends_with("Content-Length: 6\r\n\r\n{\"a\":1"),
                Bad::InvalidUtf8 => text.ends_with("caf\u{fffd}\"}"),
                Bad::UnknownPath => text.starts_with(&format!("POST {NO_PATH} ")),
                Bad::WrongSignature => text.contains("Bearer h.p.Bsig\r\n"),
                Bad::ListedToken => text.contains("Bearer old.old.old\r\n"),
            };
            assert!(is_so, "{bad:?}: {text}");
            seen.insert(bad);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    }
}
