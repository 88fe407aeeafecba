//! What is found where, and by which method.

use super::code::Code;
use super::probes::Probe;
use super::service::Refusal;
use crate::event::EventKind;
use crate::http::{Head, Method};

/// The place that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// One event.
    One(EventKind),
    /// Many events.
    Many(EventKind),
    /// The token endpoint.
    Token,
    /// A health probe.
    Probe(Probe),
    /// The server as a whole, `*` (RFC 9112 section 3.2.4).
    Whole,
}

/// What a request wants of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What the place is for.
    Use,
    /// Which methods there are; a browser asks so ahead of a request (Fetch standard, CORS-preflight).
    Options,
}

/// The paths of Raygun's SDKs, which send an API key instead of a token.
pub(super) fn is_raygun(head: &Head<'_>) -> bool {
    matches!(Route::at(head.path), Some(Route::One(kind) | Route::Many(kind)) if kind != EventKind::Event)
}

impl Route {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/events" => Self::One(EventKind::Event),
            "/v1/events/batch" => Self::Many(EventKind::Event),
            "/oauth/token" => Self::Token,
            "/entries" => Self::One(EventKind::RaygunEntry),
            "/entries/bulk" => Self::Many(EventKind::RaygunEntry),
            "/events" => Self::One(EventKind::RaygunRum),
            "*" => Self::Whole,
            _ => Self::Probe(Probe::at(path)?),
        })
    }

    /// The place of a request, and what it wants there.
    pub(super) fn of(head: &Head<'_>) -> Result<(Self, Wanted), Refusal> {
        let route = match (Self::at(head.path), head.method) {
            (Some(route), _) => route,
            // The method is judged before the target: nowhere does this one mean anything.
            (None, Method::Other) => Self::Whole,
            (None, _) => return Err(Code::NotFound.into()),
        };
        let wanted = match (head.method, route) {
            (Method::Options, _) => Wanted::Options,
            (Method::Get | Method::Head, Self::Probe(_))
            | (Method::Post, Self::One(_) | Self::Many(_) | Self::Token) => Wanted::Use,
            _ => {
                let field = Some(("Allow", route.methods()));
                return Err(Refusal { field, ..Code::MethodNotAllowed.into() });
            }
        };
        Ok((route, wanted))
    }

    /// The value of `Allow`.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Probe(_) => "GET, HEAD, OPTIONS",
            Self::One(_) | Self::Many(_) | Self::Token => "POST, OPTIONS",
            Self::Whole => "GET, HEAD, POST, OPTIONS",
        }
    }
}
