//! The flags that were given, as text, for a report to those who run the node.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// What stands for a value that is a secret.
const HIDDEN: &str = "(hidden)";

/// The flags of `command` that were given on the command line or in the environment, by their long names, with their values. Those that hold secrets
/// are the ones whose help hides them (`hide_env_values`); a URL that names a user is taken for one too.
pub fn given_flags(command: &Command, matches: &ArgMatches) -> BTreeMap<String, Vec<String>> {
    let mut flags = BTreeMap::new();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let source = matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id));
        let is_given = matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        let (Some(long), true) = (argument.get_long(), is_given) else { continue };
        let shown = |value: &std::ffi::OsStr| {
            let value = value.to_string_lossy();
            let is_secret = argument.is_hide_env_values_set() || value.contains("://") && value.contains('@');
            if is_secret { HIDDEN.to_owned() } else { value.into_owned() }
        };
        let values = matches.get_raw(id).into_iter().flatten().map(shown).collect();
        flags.insert(format!("--{long}"), values);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServeOptions;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        _serve: ServeOptions,
    }

    #[test]
    fn what_was_given_is_shown_and_what_is_secret_is_not() {
        let arguments = [
            "forebay",
            "--amqp-url",
            "amqp://user:swordfish@rabbit/%2f",
            "--ack",
            "synced",
            "--no-declare",
            "--proxy-protocol-from",
            "192.0.2.1,192.0.2.2",
            "--exchange",
            "http://bob:swordfish@x",
        ];
        let flags = given_flags(&Cli::command(), &Cli::command().get_matches_from(arguments));
        let given = |name: &str| flags.get(name).map(|values| values.join(" "));
        assert_eq!(given("--ack").as_deref(), Some("synced"));
        assert_eq!(given("--proxy-protocol-from").as_deref(), Some("192.0.2.1 192.0.2.2"));
        assert_eq!(given("--amqp-url").as_deref(), Some(HIDDEN));
        assert_eq!(given("--exchange").as_deref(), Some(HIDDEN));
        assert!(flags.contains_key("--no-declare"));
        assert!(!flags.contains_key("--queue"), "a default was not given");
    }
}
