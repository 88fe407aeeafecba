//! Whose request it is, as far as the network says.

use std::net::IpAddr;

use ipnet::IpNet;

/// The client's address: that of the connection, or, where that is a proxy's, what it says of whom it forwards for. `X-Forwarded-For` grows at its end,
/// so the last address that is not itself a proxy's is the client's; what is ahead of it anybody may have written.
pub(super) fn client_address(
    connection: Option<IpAddr>,
    forwarded_for: Option<&[u8]>,
    proxies: &[IpNet],
) -> Option<IpAddr> {
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    if !connection.is_some_and(is_proxy) {
        return connection;
    }
    let mut client = connection;
    for member in forwarded_for.unwrap_or_default().rsplit(|byte| *byte == b',') {
        // What is no address was written by no proxy that is known here.
        let Some(address) = std::str::from_utf8(member.trim_ascii()).ok().and_then(|text| text.parse().ok())
        else {
            break;
        };
        client = Some(address);
        if !is_proxy(address) {
            break;
        }
    }
    client
}

/// The same, if it is another than the connection's.
pub(super) fn forwarded_client(
    connection: Option<IpAddr>,
    forwarded_for: Option<&[u8]>,
    proxies: &[IpNet],
) -> Option<IpAddr> {
    if proxies.is_empty() {
        return None; // nobody is believed, as on most nodes
    }
    client_address(connection, forwarded_for, proxies).filter(|client| Some(*client) != connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        let proxies = ["10.0.0.0/8".parse().expect("a network")];
        for (connection, forwarded_for, expected) in [
            ("192.0.2.1", Some("198.51.100.1"), "192.0.2.1"),
            ("10.0.0.1", None, "10.0.0.1"),
            ("10.0.0.1", Some("198.51.100.1"), "198.51.100.1"),
            ("::ffff:10.0.0.1", Some("198.51.100.1"), "198.51.100.1"),
            ("10.0.0.1", Some("203.0.113.9, 198.51.100.1 ,10.0.0.2"), "198.51.100.1"),
            ("10.0.0.1", Some("10.0.0.3, 10.0.0.2"), "10.0.0.3"),
            ("10.0.0.1", Some("198.51.100.1, unknown"), "10.0.0.1"),
            ("10.0.0.1", Some("2001:db8::1"), "2001:db8::1"),
        ] {
            let connection = Some(connection.parse().expect("an address"));
            let found = client_address(connection, forwarded_for.map(str::as_bytes), &proxies);
            assert_eq!(found, Some(expected.parse().expect("an address")), "{forwarded_for:?}");
        }
    }
}
