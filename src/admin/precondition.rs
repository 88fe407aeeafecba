//! Versions of what is changed: `ETag` tells them, `If-Match` asks for one (RFC 9110, section 13.1.1).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponseParts, ResponseParts};
use tracing::error;

use super::problem::Problem;
use super::store::PutError;

/// How often a change is tried on what another has just changed.
const ATTEMPTS_MAX: usize = 5;

/// A version, as the entity tag of an answer.
pub(super) struct ETag(pub(super) u64);

impl IntoResponseParts for ETag {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        let tag = HeaderValue::try_from(format!("\"{}\"", self.0)).expect("digits in quotes");
        parts.headers_mut().insert(header::ETAG, tag);
        Ok(parts)
    }
}

/// The version that the client has seen; none if it takes any.
pub(super) fn expected(fields: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = fields.get(header::IF_MATCH) else { return Ok(None) };
    if value == "*" {
        return Ok(None);
    }
    let tag = value.to_str().ok().and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"'));
    let version = tag.and_then(|tag| tag.parse().ok());
    let problem = || Problem::malformed("If-Match holds no ETag of this resource, such as \"3\".");
    version.map(Some).ok_or_else(problem)
}

/// A change on its way: tried again where others are faster, unless the client has named its version.
pub(super) struct Changed {
    expected: Option<u64>,
    attempts: usize,
}

impl Changed {
    pub(super) fn expecting(expected: Option<u64>) -> Self {
        Self { expected, attempts: 0 }
    }

    /// Whether a change of this version is what the client wants.
    pub(super) fn see(&self, version: u64) -> Result<(), Problem> {
        match self.expected {
            Some(expected) if expected != version => Err(conflict()),
            _ => Ok(()),
        }
    }

    /// What was taken; none: try again.
    pub(super) fn settle<T>(&mut self, outcome: Result<T, PutError>) -> Result<Option<T>, Problem> {
        self.attempts += 1;
        match outcome {
            Ok(taken) => Ok(Some(taken)),
            Err(PutError::Conflict) if self.expected.is_none() && self.attempts < ATTEMPTS_MAX => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn conflict() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "version_conflict",
        "This was changed since you looked: look again, and change what is there now.",
    )
}

impl From<PutError> for Problem {
    fn from(problem: PutError) -> Self {
        match problem {
            PutError::Conflict => conflict(),
            PutError::Unavailable(reason) => {
                error!(error = reason, "could not write down a change");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_13_1_1_a_tag_names_its_version() {
        let asked = |value: Option<&str>| {
            let mut fields = HeaderMap::new();
            if let Some(value) = value {
                fields.insert(header::IF_MATCH, value.parse().expect("a value"));
            }
            expected(&fields).map_err(|problem| problem.code())
        };
        assert_eq!((asked(None), asked(Some("*"))), (Ok(None), Ok(None)));
        assert_eq!(asked(Some("\"7\"")), Ok(Some(7)));
        for bad in ["7", "W/\"7\"", "\"x\"", "\"", "\"1\", \"2\""] {
            assert_eq!(asked(Some(bad)), Err("malformed_request"), "{bad}");
        }
    }

    #[test]
    fn who_names_no_version_is_tried_again_and_not_for_ever() {
        let mut any = Changed::expecting(None);
        for _ in 1..ATTEMPTS_MAX {
            assert!(matches!(any.settle::<()>(Err(PutError::Conflict)), Ok(None)));
        }
        let last = any.settle::<()>(Err(PutError::Conflict)).expect_err("enough");
        assert_eq!((last.status(), last.code()), (StatusCode::CONFLICT, "version_conflict"));
        let mut one = Changed::expecting(Some(3));
        assert!(one.see(3).is_ok() && one.see(4).is_err());
        assert!(one.settle::<()>(Err(PutError::Conflict)).is_err());
        assert!(matches!(one.settle(Ok(4)), Ok(Some(4))));
    }
}
