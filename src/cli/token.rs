//! `forebay token`: a token on standard output.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use forebay::auth::{App, AppId, AppsFile, FileError, load_signing_keys, mint};
use forebay::clock;
use forebay::config::{EXIT_CONFIG, parse_duration};
use forebay::remote::{Remote, RemoteError};

use super::fail;
use super::remote::BOUNDS;

/// Arguments of `forebay token`.
#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The app.
    #[arg(long, value_name = "ID")]
    app: AppId,
    /// The registry of applications, where its API key is found.
    #[arg(long, env = "FOREBAY_APPS_FILE", value_name = "PATH", default_value = "./forebay-data/apps.json")]
    apps_file: PathBuf,
    /// Mint the token with these keys instead of asking a node.
    #[arg(long, env = "FOREBAY_SIGNING_KEY_FILE", value_name = "PATH")]
    signing_key_file: Option<PathBuf>,
    /// Lifetime of a minted token.
    #[arg(long, env = "FOREBAY_TOKEN_LIFETIME", value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    token_lifetime: Duration,
    /// The node to ask, `https://HOST:PORT`, or `http://HOST:PORT` on a trusted network.
    #[arg(long, env = "FOREBAY_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The app's secret, to ask a node with.
    #[arg(long, env = "FOREBAY_SECRET", value_name = "SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum TokenCommandError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} has no app {id}", path.display())]
    UnknownApp { path: PathBuf, id: AppId },
    #[error("to ask a node, give --secret; to mint a token, give --signing-key-file")]
    NoSecret,
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// Runs the command.
pub(crate) fn token(args: &TokenArgs) -> ExitCode {
    let answer = AppsFile::new(&args.apps_file).load().map_err(TokenCommandError::from).and_then(|registry| {
        let unknown = || TokenCommandError::UnknownApp { path: args.apps_file.clone(), id: args.app };
        let app = registry.app(args.app).ok_or_else(unknown)?;
        match &args.signing_key_file {
            Some(keys) => {
                let token = mint(&load_signing_keys(keys)?, app, clock::wall(), args.token_lifetime);
                Ok(serde_json::json!({
                    "access_token": token, "token_type": "Bearer", "expires_in": args.token_lifetime.as_secs(),
                }))
            }
            None => ask(args, app),
        }
    });
    match answer {
        Ok(answer) if args.json => println!("{answer}"),
        Ok(answer) => println!("{}", answer["access_token"].as_str().unwrap_or_default()),
        Err(error @ TokenCommandError::File(_)) => return fail(error, EXIT_CONFIG),
        Err(error) => return fail(error, 1),
    }
    ExitCode::SUCCESS
}

fn ask(args: &TokenArgs, app: &App) -> Result<serde_json::Value, TokenCommandError> {
    let secret = args.secret.as_ref().ok_or(TokenCommandError::NoSecret)?;
    let basic = STANDARD.encode(format!("{}:{secret}", app.api_key));
    let node = Remote::new(&args.url, BOUNDS)?.with_authorization(Some(format!("Basic {basic}")));
    Ok(node.submit("/oauth/token", "grant_type=client_credentials")?)
}
