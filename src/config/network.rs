//! Networks as people write them: `192.0.2.0/24`, `2001:db8::/32`, or one address.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses a network, or an address as the network of itself alone.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse());
    let network: IpNet = network
        .map_err(|_| format!("`{text}` is no network: write for example 192.0.2.0/24 or 192.0.2.1"))?;
    if network.addr() == network.network() {
        Ok(network)
    } else {
        Err(format!("`{text}` has bits behind its prefix: is {} meant, or one address?", network.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_taken_and_half_of_each_is_not() {
        for (text, network) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse_network(text).map(|network| network.to_string()), Ok(network.to_owned()));
        }
        for text in ["", "localhost", "192.0.2.0/33", "192.0.2.0/", "/8"] {
            assert!(parse_network(text).is_err_and(|error| error.contains("is no network")), "{text}");
        }
        assert!(parse_network("192.0.2.1/24").is_err_and(|error| error.contains("192.0.2.0/24")));
    }
}
