//! The other nodes that this one asks how they do (`--peer`).

use std::path::PathBuf;

use crate::admin::{PEER_BOUNDS, Peers};
use crate::config::{ConfigError, ServeOptions};
use crate::remote::Remote;

/// Peers of a node, at most: each is a thread for as long as it is asked, and a tile on the page.
const PEERS_MAX: usize = 64;

/// The peers that the flags name, for the node of this name.
pub(super) fn peers(options: &ServeOptions, node: &str) -> Result<Peers, ConfigError> {
    let token_file = options.admin.admin_token_file.clone();
    let given = &options.admin.peer;
    if given.len() > PEERS_MAX {
        return Err(unusable(given.len().to_string(), format!("there may be {PEERS_MAX} peers at most")));
    }
    let read = |(index, url): (usize, &String)| peer(index, url, token_file.is_some());
    let remotes = given.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(Peers::new(node.to_owned(), remotes, move || find_token(token_file.as_ref())))
}

fn peer(index: usize, url: &str, has_token: bool) -> Result<Remote, ConfigError> {
    let Ok(remote) = Remote::new(url, PEER_BOUNDS) else {
        // What has a user may have a password.
        let shown = if url.contains('@') { format!("(number {})", index + 1) } else { url.to_owned() };
        let problem = "is no URL of a node: write https://HOST:PORT, or http://HOST:PORT, where its --admin-listen is reached";
        return Err(unusable(shown, problem.to_owned()));
    };
    if has_token && !remote.is_private() {
        let problem =
            "would be shown the operators' token in the clear: write https://, or name a loopback address";
        return Err(unusable(url.to_owned(), problem.to_owned()));
    }
    Ok(remote)
}

fn unusable(value: String, problem: String) -> ConfigError {
    ConfigError::Flag { flag: "peer", value, problem }
}

/// The nodes of a fleet are alike, so the peers' token is this node's. Read each time: a changed one holds from then on.
fn find_token(file: Option<&PathBuf>) -> Result<Option<String>, String> {
    let Some(file) = file else { return Ok(None) };
    let token = std::fs::read_to_string(file);
    token.map(|token| Some(token.trim().to_owned())).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(flags: &[&str]) -> Result<(), String> {
        peers(&ServeOptions::of_flags(flags.iter().copied()), "one")
            .map(drop)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_peer_that_cannot_be_asked_is_refused_by_its_flag() {
        let good = ["--peer", "http://127.0.0.1:9091", "--peer", "https://node-2:9090,https://node-3:9090/"];
        assert_eq!(checked(&good), Ok(()));
        for url in ["node-2:9090", "ftp://node-2", "http://node-2/path", "http://"] {
            let error = checked(&["--peer", url]).expect_err(url);
            assert!(error.starts_with(&format!("--peer {url}: is no URL")), "{error}");
        }
        let error = checked(&["--peer", "http://user:swordfish@node-2"]).expect_err("a user");
        assert!(error.starts_with("--peer (number 1)") && !error.contains("swordfish"), "{error}");
        let many = ["https://node-2"; PEERS_MAX + 1].join(",");
        assert!(checked(&["--peer", &many]).expect_err("too many").starts_with("--peer 65: "));
    }

    #[test]
    fn the_token_does_not_travel_in_the_clear() {
        let token = ["--admin-token-file", "token"];
        for (url, is_good) in [
            ("https://node-2:9090", true),
            ("http://127.0.0.1:9091", true),
            ("http://localhost:9091", true),
            ("http://node-2:9090", false),
        ] {
            let with = checked(&[&token[..], &["--peer", url]].concat());
            assert_eq!(with.is_ok(), is_good, "{with:?}");
            assert_eq!(checked(&["--peer", url]), Ok(()), "without one there is nothing to show");
        }
    }
}
