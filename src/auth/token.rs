//! Tokens: JWT (RFC 7519) in the JWS compact form (RFC 7515), HS256 with one exact header for each key.
//!
//! The sender never chooses an algorithm: a token is good only if its header is, byte for byte, the one that this server writes.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::app::{App, AppId};
use super::credentials::Credentials;
use super::keys::{KeyRing, SigningKey, header, is_kid};
use super::registry::Registry;

/// Who the tokens are for.
pub const AUDIENCE: &str = "forebay";
/// Longest token.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Longest lifetime that is believed.
const LIFETIME_SECONDS_MAX: u64 = 24 * 3600;
/// How far another node's clock may be ahead.
const SKEW_SECONDS_MAX: u64 = 60;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`AUDIENCE`].
    pub aud: String,
    /// The app.
    pub sub: AppId,
    /// The generation of its credentials.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// When it was minted, seconds since the Unix epoch.
    pub iat: u64,
    /// From when on it is good no more, likewise.
    pub exp: u64,
}

/// Why a token is refused, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Too long, not three parts, not base64url, not our header, or claims that make no sense.
    Malformed,
    /// Signed with a key that is not (or no longer) in use.
    UnknownKey,
    /// The signature is wrong.
    BadSignature,
    /// For another audience.
    WrongAudience,
    /// Its time is over.
    Expired,
    /// Minted in the future.
    NotYetValid,
    /// Its app does not exist.
    UnknownApp,
    /// Its app is disabled.
    AppDisabled,
    /// The app's credentials were regenerated since.
    Revoked,
}

/// Mints a token for the newest credentials of `app`, valid from `now` (since the Unix epoch) for `lifetime`.
pub fn mint(keys: &KeyRing, app: &App, now: Duration, lifetime: Duration) -> String {
    mint_for(keys, app.id, app.generation, now, lifetime)
}

/// The same for credentials of `generation`, which may be those of before.
pub fn mint_for(keys: &KeyRing, app: AppId, generation: u64, now: Duration, lifetime: Duration) -> String {
    let iat = now.as_secs();
    let claims =
        Claims { aud: AUDIENCE.to_owned(), sub: app, generation, iat, exp: iat + lifetime.as_secs() };
    sign(keys.signer(), &serde_json::to_vec(&claims).expect("strings and numbers always serialise"))
}

fn sign(key: &SigningKey, claims: &[u8]) -> String {
    let mut token = key.encoded_header().to_owned();
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let tag = hmac::sign(key.hmac(), token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag, &mut token);
    token
}

/// Verifies a token at `now` (since the Unix epoch); returns its app.
///
/// Cost: about 0.7 µs, most of it HMAC and base64; see [`TokenCache`](super::TokenCache) for tokens that come again and again.
pub fn verify<'a>(credentials: &'a Credentials, token: &[u8], now: Duration) -> Result<&'a App, TokenError> {
    judge(&read(&credentials.keys, token)?, &credentials.registry, now)
}

/// The first half: the form, the key, the signature. Nothing is parsed before the signature was found good.
pub(super) fn read(keys: &KeyRing, token: &[u8]) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Malformed);
    }
    let mut parts = token.split(|b| *b == b'.');
    let (Some(head), Some(claims), Some(tag), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let mut claims_room = [0u8; TOKEN_BYTES_MAX / 4 * 3];
    // A tag that does not fit is not 32 bytes long either.
    let mut tag_room = [0u8; 48];
    let claims_text = decode(claims, &mut claims_room)?;
    let tag = decode(tag, &mut tag_room)?;
    let Some(key) = keys.keys().iter().find(|key| key.encoded_header().as_bytes() == head) else {
        return Err(why_no_key(head));
    };
    let signed = &token[..head.len() + 1 + claims.len()];
    hmac::verify(key.hmac(), signed, tag).map_err(|_| TokenError::BadSignature)?;

    serde_json::from_slice(claims_text).map_err(|_| TokenError::Malformed)
}

/// The second half: what the claims are worth now.
pub(super) fn judge<'a>(
    claims: &Claims,
    registry: &'a Registry,
    now: Duration,
) -> Result<&'a App, TokenError> {
    if claims.aud != AUDIENCE {
        return Err(TokenError::WrongAudience);
    }
    let seconds = now.as_secs();
    // RFC 7519 section 4.1.4: "on or after which the JWT MUST NOT be accepted".
    if seconds >= claims.exp {
        return Err(TokenError::Expired);
    }
    if claims.iat > seconds + SKEW_SECONDS_MAX {
        return Err(TokenError::NotYetValid);
    }
    if claims.exp - claims.iat.min(claims.exp) > LIFETIME_SECONDS_MAX {
        return Err(TokenError::Malformed);
    }
    let app = registry.app(claims.sub).ok_or(TokenError::UnknownApp)?;
    if !app.enabled {
        return Err(TokenError::AppDisabled);
    }
    if app.good_for(claims.generation, now).is_none() {
        return Err(TokenError::Revoked);
    }
    Ok(app)
}

fn decode<'a>(part: &[u8], room: &'a mut [u8]) -> Result<&'a [u8], TokenError> {
    let length = URL_SAFE_NO_PAD.decode_slice(part, room).map_err(|_| TokenError::Malformed)?;
    Ok(&room[..length])
}

/// The header is none of ours: is it ours in form, with a key that we do not know, or something else altogether?
#[cold]
fn why_no_key(head: &[u8]) -> TokenError {
    #[derive(Deserialize)]
    struct Header {
        kid: String,
    }
    let mut room = [0u8; TOKEN_BYTES_MAX];
    let Ok(text) = decode(head, &mut room) else { return TokenError::Malformed };
    match serde_json::from_slice(text) {
        Ok(Header { kid }) if is_kid(&kid) && text == header(&kid).as_bytes() => TokenError::UnknownKey,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1_790_000_000);
    const LIFETIME: Duration = Duration::from_mins(15);

    fn credentials() -> (Credentials, App) {
        let mut registry = Registry::default();
        let (app, _) = App::create("demo");
        registry.insert(app.clone()).expect("the first app");
        let keys = KeyRing::parse(&KeyRing::generate()).expect("own text");
        (Credentials { registry, keys }, app)
    }

    fn check(credentials: &Credentials, token: &str, now: Duration) -> Result<AppId, TokenError> {
        verify(credentials, token.as_bytes(), now).map(|app| app.id)
    }

    fn signed(credentials: &Credentials, claims: &serde_json::Value) -> String {
        sign(credentials.keys.signer(), claims.to_string().as_bytes())
    }

    #[test]
    fn a_minted_token_is_good_until_its_last_second() {
        let (credentials, app) = credentials();
        let token = mint(&credentials.keys, &app, NOW, LIFETIME);
        assert_eq!(check(&credentials, &token, NOW), Ok(app.id));
        assert_eq!(check(&credentials, &token, NOW + Duration::from_secs(899)), Ok(app.id));
        assert_eq!(check(&credentials, &token, NOW + LIFETIME), Err(TokenError::Expired));
    }

    #[test]
    fn each_check_has_its_own_error_and_the_first_one_wins() {
        let (credentials, app) = credentials();
        let good = serde_json::json!({"aud": "forebay", "sub": app.id, "gen": 1, "iat": NOW.as_secs(), "exp": NOW.as_secs() + 900});
        let with = |name: &str, value: serde_json::Value| {
            let mut claims = good.clone();
            claims[name] = value;
            signed(&credentials, &claims)
        };
        assert_eq!(check(&credentials, &signed(&credentials, &good), NOW), Ok(app.id));
        for (token, expected) in [
            (with("aud", "other".into()), TokenError::WrongAudience),
            (with("exp", NOW.as_secs().into()), TokenError::Expired),
            (with("iat", (NOW.as_secs() + 61).into()), TokenError::NotYetValid),
            (with("exp", (NOW.as_secs() + 86_401).into()), TokenError::Malformed),
            (with("sub", "00000000-0000-0000-0000-000000000000".into()), TokenError::UnknownApp),
            (with("sub", "nobody".into()), TokenError::Malformed),
            (with("gen", 0.into()), TokenError::Revoked),
            (with("exp", serde_json::Value::Null), TokenError::Malformed),
        ] {
            assert_eq!(check(&credentials, &token, NOW), Err(expected), "{token}");
        }
        assert_eq!(check(&credentials, &with("gen", 2.into()), NOW), Ok(app.id), "another node was faster");
        assert_eq!(check(&credentials, &with("iat", (NOW.as_secs() + 60).into()), NOW), Ok(app.id));
    }

    #[test]
    fn a_disabled_app_and_a_regenerated_secret_end_its_tokens() {
        let (mut credentials, app) = credentials();
        let token = mint(&credentials.keys, &app, NOW, LIFETIME);
        credentials.registry.app_mut(app.id).expect("known").enabled = false;
        assert_eq!(check(&credentials, &token, NOW), Err(TokenError::AppDisabled));
        let known = credentials.registry.app_mut(app.id).expect("known");
        known.enabled = true;
        known.regenerate(Duration::ZERO, NOW);
        assert_eq!(check(&credentials, &token, NOW), Err(TokenError::Revoked));
    }

    #[test]
    fn a_foreign_key_is_unknown_and_a_foreign_header_malformed() {
        let (credentials, app) = credentials();
        let other = KeyRing::parse(&KeyRing::generate()).expect("own text");
        assert_eq!(check(&credentials, &mint(&other, &app, NOW, LIFETIME), NOW), Err(TokenError::UnknownKey));
        let token = mint(&credentials.keys, &app, NOW, LIFETIME);
        let (_, rest) = token.split_once('.').expect("three parts");
        let kid = credentials.keys.signer().kid();
        for header in [
            r#"{"alg":"none"}"#.to_owned(),
            format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"HS512","typ":"at+jwt","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}" }}"#),
            format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}","jku":"x"}}"#),
            r#"{"alg":"HS256","typ":"at+jwt","kid":"a b"}"#.to_owned(),
            String::new(),
        ] {
            let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(&header));
            assert_eq!(check(&credentials, &forged, NOW), Err(TokenError::Malformed), "{header}");
        }
    }

    #[test]
    fn rfc7515_2_base64url_is_strict_and_unpadded() {
        let (credentials, app) = credentials();
        let token = mint(&credentials.keys, &app, NOW, LIFETIME);
        let mut parts: Vec<&str> = token.split('.').collect();
        for malformed in [
            format!("{token}="),
            format!("{token}."),
            format!(".{token}"),
            token.replace('.', ""),
            format!("{} .{}.{}", parts[0], parts[1], parts[2]),
            format!("{}.{}\n.{}", parts[0], parts[1], parts[2]),
            format!("{token}{}", "a".repeat(TOKEN_BYTES_MAX)),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(check(&credentials, &malformed, NOW), Err(TokenError::Malformed), "{malformed}");
        }
        parts[2] = "AAAA";
        assert_eq!(check(&credentials, &parts.join("."), NOW), Err(TokenError::BadSignature));
        parts[2] = "";
        assert_eq!(check(&credentials, &parts.join("."), NOW), Err(TokenError::BadSignature));
    }

    proptest! {
        #[test]
        fn any_change_of_a_byte_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let (credentials, app) = credentials();
            let mut token = mint(&credentials.keys, &app, NOW, LIFETIME).into_bytes();
            let at = at.index(token.len());
            prop_assume!(token[at] != to);
            token[at] = to;
            prop_assert!(verify(&credentials, &token, NOW).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(token in prop::collection::vec(any::<u8>(), 0..200)) {
            let (credentials, _) = credentials();
            prop_assert!(verify(&credentials, &token, NOW).is_err());
        }
    }
}
