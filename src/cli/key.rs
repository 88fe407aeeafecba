//! `forebay key`: changes the signing key file, so that running nodes see the change within a second; or asks a node to make the change.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use forebay::auth::{FileError, KeySet, KeySetError, KeysFile, Margins, PutError};
use forebay::clock;
use forebay::config::{EXIT_CONFIG, parse_duration};
use forebay::remote::{Remote, RemoteError};
use serde_json::{Value, json};
use ureq::http::Method;

use super::fail;
use super::remote::{RemoteArgs, RemoteArgsError};

/// How often a change is tried on what another has just changed.
const ATTEMPTS_MAX: usize = 5;

/// Arguments of `forebay key`.
#[derive(Args)]
pub(crate) struct KeyArgs {
    /// The fleet's token signing keys.
    #[arg(
        long,
        env = "FOREBAY_SIGNING_KEY_FILE",
        value_name = "PATH",
        default_value = "./forebay-data/signing-keys.json",
        global = true
    )]
    signing_key_file: PathBuf,
    /// Lifetime of the nodes' tokens: for so long a key is needed after it has signed. A node that is spoken to knows its own.
    #[arg(long, env = "FOREBAY_TOKEN_LIFETIME", value_name = "DURATION", default_value = "15m", value_parser = parse_duration, global = true)]
    token_lifetime: Duration,
    /// How long it may take until every node has a change. A node that is spoken to knows its own.
    #[arg(long, env = "FOREBAY_KEY_ROTATION_WAIT", value_name = "DURATION", default_value = "1m", value_parser = parse_duration, global = true)]
    key_rotation_wait: Duration,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// List the keys: names, uses and times, never the keys themselves.
    List,
    /// Add a new key that only verifies; its name is printed.
    Add,
    /// Let a key sign new tokens, and the others only verify.
    Sign {
        /// Its name.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Remove a key that does not sign and of which no token can be good.
    Remove {
        /// Its name.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Even if tokens of it are good: they are refused from then on.
        #[arg(long)]
        force: bool,
    },
    /// Begin a rotation: a new key verifies, signs once all nodes can have it, and the old one goes a token's lifetime later. The running
    /// nodes take the steps.
    Rotate {
        /// How long to wait until the new key signs. [default: that of --key-rotation-wait]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        wait: Option<Duration>,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Put(#[from] PutError),
    #[error(transparent)]
    Keys(#[from] KeySetError),
    #[error(transparent)]
    RemoteArgs(#[from] RemoteArgsError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// Runs the command.
pub(crate) fn key(args: &KeyArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ KeyError::File(FileError::KeyRing { .. } | FileError::Exposed { .. })) => {
            fail(error, EXIT_CONFIG)
        }
        Err(error) => fail(error, 1),
    }
}

fn run(args: &KeyArgs) -> Result<(), KeyError> {
    let answer = match args.remote.remote()? {
        Some(node) => ask(&node, &args.command)?,
        None => edit(args)?,
    };
    match (args.json, answer["kid"].as_str()) {
        (true, _) => println!("{answer}"),
        (false, Some(kid)) => println!("{kid}"),
        (false, None) => print_keys(&answer),
    }
    Ok(())
}

fn ask(node: &Remote, command: &KeyCommand) -> Result<Value, RemoteError> {
    let all = "/admin/signing-keys";
    match command {
        KeyCommand::List => node.ask(Method::GET, all),
        KeyCommand::Add => node.ask(Method::POST, all),
        KeyCommand::Sign { kid } => node.ask(Method::POST, &format!("{all}/{kid}/sign")),
        KeyCommand::Remove { kid, force } => node.ask(Method::DELETE, &format!("{all}/{kid}?force={force}")),
        KeyCommand::Rotate { wait } => {
            let body = wait.map_or(json!({}), |wait| json!({ "wait_seconds": u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX) }));
            node.tell(Method::POST, &format!("{all}/rotate"), &body)
        }
    }
}

fn edit(args: &KeyArgs) -> Result<Value, KeyError> {
    let file = KeysFile::new(&args.signing_key_file);
    let margins = Margins { spread: args.key_rotation_wait, token_lifetime: args.token_lifetime };
    let now = clock::wall();
    let named = |kid: String| json!({ "kid": kid });
    match &args.command {
        KeyCommand::List => Ok(file.load()?.set().shown()),
        KeyCommand::Add => Ok(named(put(&file, |set| set.add(now))?.1)),
        KeyCommand::Sign { kid } => Ok(put(&file, |set| set.sign(kid, now))?.0.shown()),
        KeyCommand::Remove { kid, force } => {
            Ok(put(&file, |set| set.remove(kid, *force, margins, now))?.0.shown())
        }
        KeyCommand::Rotate { wait } => {
            let margins = Margins { spread: wait.unwrap_or(margins.spread), ..margins };
            Ok(named(put(&file, |set| set.rotate(margins, now))?.1))
        }
    }
}

fn put<T>(
    file: &KeysFile,
    change: impl Fn(&mut KeySet) -> Result<T, KeySetError>,
) -> Result<(KeySet, T), KeyError> {
    let mut attempts = 0;
    loop {
        let mut next = file.load()?.set().next();
        let outcome = change(&mut next)?;
        attempts += 1;
        match file.put(next.clone()) {
            Ok(_) => return Ok((next, outcome)),
            Err(PutError::Conflict(_)) if attempts < ATTEMPTS_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn print_keys(set: &Value) {
    let rotation = &set["rotation"];
    for key in set["keys"].as_array().into_iter().flatten() {
        let kid = key["kid"].as_str().unwrap_or_default();
        let key_use = key["use"].as_str().unwrap_or_default();
        let since = key["since"].as_u64().map_or_else(String::new, |since| {
            let since = std::time::UNIX_EPOCH + Duration::from_secs(since);
            format!("since {}", humantime::format_rfc3339_seconds(since))
        });
        let walk = match kid {
            _ if rotation["kid"] == kid => "  (rotation: to sign alone)",
            _ if rotation["from"] == kid => "  (rotation: to go)",
            _ => "",
        };
        println!("{kid:22}  {key_use:11}  {since}{walk}");
    }
}
