//! Rendering requests, once a token: sending one is a copy.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;

use crate::options::RunOptions;
use crate::payload::Dice;

/// What a request is, and what should become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be accepted; which payload it carries.
    Good(u32),
    /// To be refused.
    Bad,
}

/// All bodies, and the hashes that `verify` compares.
#[derive(Debug)]
pub(crate) struct Payloads {
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) hashes: Vec<String>,
}

impl Payloads {
    pub(crate) fn new(bodies: Vec<Vec<u8>>) -> Self {
        let hashes = bodies.iter().map(|body| hash(body)).collect();
        Self { bodies, hashes }
    }
}

/// SHA-256 in base64url.
pub(crate) fn hash(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, body))
}

/// Requests ready to be sent.
#[derive(Debug)]
pub(crate) struct Requests {
    good: Vec<Vec<u8>>,
    bad: Vec<Vec<u8>>,
    bad_per_million: u64,
    dice: Dice,
    next: usize,
}

impl Requests {
    /// Renders all of them for one target and token.
    pub(crate) fn render(
        options: &RunOptions,
        host: &str,
        token: Option<&str>,
        payloads: &Arc<Payloads>,
        seed: u64,
    ) -> Self {
        let request = |token: Option<&str>, body: &[u8]| {
            let authorization =
                token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
            let ack = options.ack.map_or(String::new(), |level| format!("Forebay-Ack: {level}\r\n"));
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: forebay-loadtest/{}\r\nAccept: application/json\r\n\
                 Accept-Encoding: identity\r\n{authorization}{ack}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                options.path,
                env!("CARGO_PKG_VERSION"),
                body.len(),
            );
            [head.as_bytes(), body].concat()
        };
        let good: Vec<_> = payloads.bodies.iter().map(|body| request(token, body)).collect();
        let sample = &payloads.bodies[0];
        let mut bad =
            vec![request(token, &sample[..sample.len() - 1]), request(token, b"{\"message\":\"caf\xe9\"}")];
        if let Some(token) = token {
            bad.push(request(Some(&with_wrong_signature(token)), sample));
        }
        bad.extend(options.bad_token.iter().map(|token| request(Some(token), sample)));
        // A share with six digits is fine enough.
        let bad_per_million = {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the range"
            )]
            let share = (options.bad * 1e4).clamp(0.0, 1e6) as u64;
            share
        };
        let next = usize::try_from(seed).unwrap_or(0) % good.len();
        Self { good, bad, bad_per_million, dice: Dice(seed), next }
    }

    /// Appends the next request to what is sent.
    pub(crate) fn write_next(&mut self, out: &mut Vec<u8>) -> Kind {
        if self.bad_per_million > 0 && self.dice.below(1_000_000) < self.bad_per_million {
            let index = self.dice.below(self.bad.len() as u64);
            out.extend_from_slice(&self.bad[usize::try_from(index).expect("small")]);
            return Kind::Bad;
        }
        let index = self.next;
        self.next = if index + 1 == self.good.len() { 0 } else { index + 1 };
        out.extend_from_slice(&self.good[index]);
        Kind::Good(u32::try_from(index).expect("far fewer payloads"))
    }
}

/// Changes one character of the signature for another.
fn with_wrong_signature(token: &str) -> String {
    let (rest, signature) = token.rsplit_once('.').unwrap_or(("", token));
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{rest}.{first}{}", signature.get(1..).unwrap_or_default())
}
