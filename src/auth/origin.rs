//! The origin of a page, as browsers write it.

/// Whether `text` is a serialised origin (HTML standard, section 7.1.1): `scheme://host`, with a port if it is not the scheme's own, or `null`.
pub fn is_origin(text: &[u8]) -> bool {
    if text == b"null" {
        return true;
    }
    let Some(colon) = text.windows(3).position(|three| three == b"://") else { return false };
    let (scheme, rest) = (&text[..colon], &text[colon + 3..]);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    let (host, port) = match rest {
        [b'[', inner @ ..] => match inner.iter().position(|b| *b == b']') {
            Some(end) => (&rest[1..=end], &rest[end + 2..]),
            None => return false,
        },
        _ => rest.split_at(rest.iter().position(|b| *b == b':').unwrap_or(rest.len())),
    };
    let is_host = match rest.first() {
        Some(b'[') => std::str::from_utf8(host).is_ok_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok()),
        _ => !host.is_empty() && host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(b)),
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_scheme && is_host && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for good in [
            "null",
            "https://example.com",
            "http://localhost:3000",
            "https://xn--bcher-kva.example",
            "http://[::1]:8080",
            "http://192.0.2.7",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert!(is_origin(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "*",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com:",
            "https://example.com:123456",
            "https://user@example.com",
            "https://a b",
            "://example.com",
            "http://[::1",
            "http://[x]",
            "https://a, https://b",
            "https://example.com\r\nX: y",
        ] {
            assert!(!is_origin(bad.as_bytes()), "{bad}");
        }
    }
}
