//! `GET /`: the dashboard, one static page that shows the pulse. Everything it needs is in the binary, so it works where there is no other network.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Operator;
use super::problem::{self, Named, Problem};

/// Nothing from elsewhere, nothing inline; what the page asks for, it asks of this listener.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'self'";

/// A file of the page.
struct File {
    /// Below `/dashboard/`; none of the page itself.
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
}

const FILES: [File; 5] = [
    File { name: "", media: "text/html; charset=utf-8", bytes: include_bytes!("dashboard/index.html") },
    File {
        name: "dashboard.js",
        media: "text/javascript; charset=utf-8",
        bytes: include_bytes!("dashboard/dashboard.js"),
    },
    File {
        name: "style.css",
        media: "text/css; charset=utf-8",
        bytes: include_bytes!("dashboard/style.css"),
    },
    // uPlot 1.6.32 by Leon Sorokin, MIT: dashboard/uplot.LICENSE.
    File {
        name: "uplot.js",
        media: "text/javascript; charset=utf-8",
        bytes: include_bytes!("dashboard/uplot.js"),
    },
    File {
        name: "uplot.css",
        media: "text/css; charset=utf-8",
        bytes: include_bytes!("dashboard/uplot.css"),
    },
];

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new()
        .route("/", get(async |fields: HeaderMap| find("", &fields)))
        .route("/dashboard/{file}", get(async |Named(name): Named, fields: HeaderMap| find(&name, &fields)))
}

fn find(name: &str, fields: &HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name);
    file.map(|file| serve(file, fields)).ok_or_else(problem::nowhere)
}

/// The file, or that the browser has it already: it asks each time, and a node of another version has another tag.
fn serve(file: &File, fields: &HeaderMap) -> Response {
    let tag = format!("\"{:08x}-{}\"", crc32c::crc32c(file.bytes), file.bytes.len());
    let is_known = fields.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let about = [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_TYPE, file.media),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if is_known {
        (StatusCode::NOT_MODIFIED, about).into_response()
    } else {
        (about, file.bytes).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page may weigh, all files of it together.
    const BYTES_MAX: usize = 150_000;

    #[test]
    fn the_page_is_light() {
        let bytes: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(bytes < BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let file = &FILES[0];
        let first = serve(file, &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut fields = HeaderMap::new();
        fields.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let again = serve(file, &fields);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        fields.insert(header::IF_NONE_MATCH, "\"00000000-1\"".parse().expect("a tag"));
        assert_eq!(serve(file, &fields).status(), StatusCode::OK);
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        let page = std::str::from_utf8(FILES[0].bytes).expect("UTF-8");
        for forbidden in ["style=", "<style", "onclick=", "http://", "https://"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!((scripts, page.matches("<script src=\"/dashboard/").count()), (2, 2));
    }
}
