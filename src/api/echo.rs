//! What of a request goes into its answer, whatever that is: the client's name for it, and what a browser has to be told. And whose it is, if a proxy
//! says so, for whoever asks why it was refused.

use std::net::IpAddr;

use super::response::RequestId;
use crate::auth::is_origin;
use crate::http::Head;

/// Header fields that a page's script may read, besides those that the Fetch standard always shows.
const EXPOSED: &str = "Retry-After, X-Request-Id, Forebay-Ack, WWW-Authenticate, RateLimit, RateLimit-Policy";
/// How long a browser may remember a preflight, in seconds; Chromium's own bound.
const PREFLIGHT_SECONDS: &str = "7200";

/// Header fields: name and value.
pub(super) type Fields = Vec<(&'static str, Vec<u8>)>;

/// See the module. In a box, for most requests have nothing of it, and answers that wait are many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echo(Option<Box<Parts>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    request: Option<RequestId>,
    origin: Option<Origin>,
    client: Option<IpAddr>,
}

/// Where the page comes from that sends this.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    text: Box<[u8]>,
    /// Whether a request with credentials is answered: `sendBeacon` always has them. No cookie is ever read or set.
    credentials: bool,
}

impl Echo {
    /// `client` is whose request it is, if not its connection's.
    pub(super) fn of(head: &Head<'_>, credentials: bool, client: Option<IpAddr>) -> Self {
        let request = head.request_id.and_then(RequestId::of);
        let origin = head.origin.filter(|origin| is_origin(origin));
        let origin = origin.map(|text| Origin { text: text.into(), credentials });
        let has_any = request.is_some() || origin.is_some() || client.is_some();
        Self(has_any.then(|| Box::new(Parts { request, origin, client })))
    }

    /// `X-Request-Id`, as it came.
    pub(super) fn request(&self) -> Option<&RequestId> {
        self.0.as_ref()?.request.as_ref()
    }

    /// Whose request it is, if not its connection's.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.0.as_ref()?.client
    }

    fn origin(&self) -> Option<&Origin> {
        self.0.as_ref()?.origin.as_ref()
    }

    /// Whether the answer is the same as for a request without any of this.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|parts| parts.request.is_none() && parts.origin.is_none())
    }

    /// Adds everything.
    pub fn add_to(&self, fields: &mut Fields) {
        fields.extend(self.request().map(|id| ("X-Request-Id", id.as_str().into())));
        self.add_origin_to(fields);
    }

    /// Adds what a browser needs to show the answer to the page (Fetch standard, "CORS protocol and HTTP caches").
    pub(super) fn add_origin_to(&self, fields: &mut Fields) {
        let Some(origin) = self.origin() else { return };
        origin.add_to(fields);
        fields.push(("Vary", b"Origin".to_vec()));
        fields.push(("Access-Control-Expose-Headers", EXPOSED.into()));
    }

    /// The fields of an answer to a preflight. It carries no key, so nothing is known of the app: each origin is told yes, and the request that
    /// follows is judged.
    pub(super) fn preflight(&self, head: &Head<'_>, methods: &'static str) -> Fields {
        let mut fields = vec![("Allow", methods.into())];
        fields.extend(self.request().map(|id| ("X-Request-Id", id.as_str().into())));
        let Some(origin) = self.origin() else { return fields };
        origin.add_to(&mut fields);
        fields.push(("Access-Control-Allow-Methods", methods.into()));
        // Fields without a meaning here do no harm, and tracing adds some: any may be sent.
        if let Some(wanted) = head.request_headers.filter(|names| is_list_of_names(names)) {
            fields.push(("Access-Control-Allow-Headers", wanted.to_vec()));
        }
        fields.push(("Access-Control-Max-Age", PREFLIGHT_SECONDS.into()));
        fields.push(("Vary", b"Origin, Access-Control-Request-Headers".to_vec()));
        fields
    }
}

impl Origin {
    fn add_to(&self, fields: &mut Fields) {
        fields.push(("Access-Control-Allow-Origin", self.text.to_vec()));
        if self.credentials {
            fields.push(("Access-Control-Allow-Credentials", b"true".to_vec()));
        }
    }
}

fn is_list_of_names(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_alphanumeric() || b"-_, ".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Decoder, HeadLimits, KnownHead, Step};

    fn with_head<T>(fields: &str, look: impl FnOnce(&Head<'_>) -> T) -> T {
        let input = format!("OPTIONS /entries HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes();
        let mut decoder = Decoder::default();
        match decoder.step(&input, HeadLimits { head_bytes_max: 4096 }, &mut KnownHead::default()).1 {
            Step::Head(head) => look(&head),
            other => panic!("{other:?}"),
        }
    }

    fn shown(fields: &Fields) -> Vec<String> {
        fields.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
    }

    #[test]
    fn a_preflight_is_told_yes_for_any_origin_that_is_one() {
        let fields = "Origin: https://shop.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-apikey, content-type\r\n";
        let answer = with_head(fields, |head| Echo::of(head, true, None).preflight(head, "POST, OPTIONS"));
        assert_eq!(
            shown(&answer),
            [
                "Allow: POST, OPTIONS",
                "Access-Control-Allow-Origin: https://shop.example",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Allow-Methods: POST, OPTIONS",
                "Access-Control-Allow-Headers: x-apikey, content-type",
                "Access-Control-Max-Age: 7200",
                "Vary: Origin, Access-Control-Request-Headers",
            ]
        );
        for odd in ["", "Origin: shop.example\r\n", "Origin: https://a.example/path\r\n"] {
            let answer = with_head(odd, |head| Echo::of(head, true, None).preflight(head, "POST, OPTIONS"));
            assert_eq!(shown(&answer), ["Allow: POST, OPTIONS"], "{odd}");
        }
    }

    #[test]
    fn an_answer_shows_its_origin_and_credentials_only_where_they_are_wanted() {
        let fields = "Origin: null\r\nX-Request-Id: a-1\r\n";
        for credentials in [false, true] {
            let echo = with_head(fields, |head| Echo::of(head, credentials, None));
            let mut answer = Fields::new();
            echo.add_to(&mut answer);
            let answer = shown(&answer);
            assert_eq!(answer[..2], ["X-Request-Id: a-1", "Access-Control-Allow-Origin: null"]);
            assert_eq!(answer.contains(&"Access-Control-Allow-Credentials: true".to_owned()), credentials);
            assert!(answer.contains(&"Vary: Origin".to_owned()));
        }
        assert!(with_head("", |head| Echo::of(head, true, None)).is_empty());
        let client = Some("192.0.2.1".parse().expect("an address"));
        let echo = with_head("", |head| Echo::of(head, true, client));
        assert!(echo.is_empty() && echo.client() == client, "whose it is, is not told");
    }
}
