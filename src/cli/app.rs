//! `forebay app`: edits the apps file; running nodes see the change within a second.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use forebay::auth::{
    App, AppId, AppsFile, EVENTS_PER_SECOND_MAX, FileError, PUBLIC_KEY_EVENTS_PER_SECOND, RegistryError,
    Secret, is_origin,
};
use forebay::clock;
use forebay::config::{EXIT_CONFIG, parse_duration};

use super::fail;

/// Arguments of `forebay app`.
#[derive(Args)]
pub(crate) struct AppArgs {
    /// The registry of applications.
    #[arg(
        long,
        env = "FOREBAY_APPS_FILE",
        value_name = "PATH",
        default_value = "./forebay-data/apps.json",
        global = true
    )]
    apps_file: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AppCommand,
}

#[derive(Subcommand)]
enum AppCommand {
    /// Make an app; its secret is shown once.
    Create {
        /// A name for people.
        name: String,
        /// Take events on the paths of Raygun's SDKs by the API key alone. The key is public there, so the app needs a rate: 1000 events a
        /// second, if none is given.
        #[arg(long)]
        allow_api_key: bool,
        /// Events a second that are accepted. [default: unlimited]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(EVENTS_PER_SECOND_MAX)))]
        events_per_second: Option<u32>,
        /// Events that may come at once. [default: as many as come in a second]
        #[arg(long, value_name = "N", requires = "events_per_second", value_parser = clap::value_parser!(u32).range(1..))]
        burst: Option<u32>,
        /// Origin of browsers' pages that may send, `https://shop.example`; repeatable. [default: any]
        #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
        allowed_origin: Vec<String>,
    },
    /// List all apps.
    List,
    /// Show one app.
    Show {
        /// Its id.
        id: AppId,
    },
    /// Replace an app's secret; the new one is shown once. The old one and all tokens of before are refused: at once, or after --overlap.
    Regenerate {
        /// Its id.
        id: AppId,
        /// How long the old secret and its tokens stay good, so that clients can change over.
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
        overlap: Duration,
    },
    /// Refuse all that an app sends.
    Disable {
        /// Its id.
        id: AppId,
    },
    /// Take what an app sends again.
    Enable {
        /// Its id.
        id: AppId,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("there is no app {0}: `forebay app list` shows all")]
    Unknown(AppId),
    #[error("the name of an app has 1 to 200 characters and no control characters")]
    Name,
}

/// Runs the command.
pub(crate) fn app(args: &AppArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AppError::File(FileError::Registry { .. })) => fail(error, EXIT_CONFIG),
        Err(error) => fail(error, 1),
    }
}

fn run(args: &AppArgs) -> Result<(), AppError> {
    let file = AppsFile::new(&args.apps_file);
    let change = |id: AppId, change: &dyn Fn(&mut App)| {
        file.edit(|registry| {
            let app = registry.app_mut(id).ok_or(AppError::Unknown(id))?;
            change(app);
            Ok::<_, AppError>(app.clone())
        })
    };
    match &args.command {
        AppCommand::Create { name, allow_api_key, events_per_second, burst, allowed_origin } => {
            if !(1..=200).contains(&name.chars().count()) || name.chars().any(char::is_control) {
                return Err(AppError::Name);
            }
            let (mut app, secret) = App::create(name);
            app.allow_api_key = *allow_api_key;
            // Written down, so that who reads the file sees it.
            app.events_per_second =
                events_per_second.or(allow_api_key.then_some(PUBLIC_KEY_EVENTS_PER_SECOND));
            app.burst = *burst;
            app.allowed_origins.clone_from(allowed_origin);
            file.edit(|registry| Ok::<_, AppError>(registry.insert(app.clone())?))?;
            print_credentials(&app, &secret, args.json);
        }
        AppCommand::Regenerate { id, overlap } => {
            let (app, secret) = file.edit(|registry| {
                let app = registry.app_mut(*id).ok_or(AppError::Unknown(*id))?;
                let secret = app.regenerate(*overlap, clock::wall());
                Ok::<_, AppError>((app.clone(), secret))
            })?;
            print_credentials(&app, &secret, args.json);
        }
        AppCommand::Disable { id } => print_app(&change(*id, &|app| app.enabled = false)?, args.json),
        AppCommand::Enable { id } => print_app(&change(*id, &|app| app.enabled = true)?, args.json),
        AppCommand::Show { id } => {
            let registry = file.load()?;
            print_app(registry.app(*id).ok_or(AppError::Unknown(*id))?, args.json);
        }
        AppCommand::List => {
            let registry = file.load()?;
            if args.json {
                let apps: Vec<_> = registry.apps().iter().map(shown).collect();
                println!("{}", serde_json::Value::from(apps));
            } else {
                for app in registry.apps() {
                    let state = if app.enabled { "enabled" } else { "disabled" };
                    println!("{}  {}  {state:8}  {}", app.id, app.api_key, app.name);
                }
            }
        }
    }
    Ok(())
}

fn parse_origin(text: &str) -> Result<String, String> {
    if is_origin(text.as_bytes()) {
        return Ok(text.to_owned());
    }
    Err("an origin is a scheme and a host, and a port if it is not the usual one: https://shop.example, without a path".to_owned())
}

fn print_credentials(app: &App, secret: &Secret, json: bool) {
    if json {
        let credentials = serde_json::json!({
            "id": app.id, "api_key": app.api_key, "secret": secret.reveal(),
        });
        println!("{credentials}");
    } else {
        println!("id       {}\napi key  {}\nsecret   {}", app.id, app.api_key, secret.reveal());
        eprintln!("The secret is shown only now: keep it safe.");
    }
}

fn print_app(app: &App, json: bool) {
    let shown = shown(app);
    if json {
        println!("{shown}");
    } else {
        for (name, value) in shown.as_object().expect("an object") {
            println!("{name:20} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
}

/// What may be shown of an app: everything but the hashes of its secrets.
fn shown(app: &App) -> serde_json::Value {
    let mut shown = serde_json::to_value(app).expect("strings and numbers always serialise");
    shown.as_object_mut().expect("an object").remove("secret_sha256");
    if let Some(retiring) = shown.get_mut("retiring").and_then(serde_json::Value::as_object_mut) {
        retiring.remove("secret_sha256");
    }
    shown
}
