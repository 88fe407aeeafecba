//! `forebay app`: edits the apps file, so that running nodes see the change within a second; or asks a node to make the change.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use forebay::auth::{App, AppChange, AppId, AppRule, AppsFile, FileError, RegistryError};
use forebay::clock;
use forebay::config::{EXIT_CONFIG, parse_duration};
use forebay::remote::{Remote, RemoteError};
use serde_json::{Value, json};
use ureq::http::Method;

use super::remote::{RemoteArgs, RemoteArgsError};
use super::{EXIT_USAGE, fail};

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
    #[command(flatten)]
    remote: RemoteArgs,
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
        #[arg(long, value_name = "N")]
        events_per_second: Option<u32>,
        /// Events that may come at once. [default: as many as come in a second]
        #[arg(long, value_name = "N")]
        burst: Option<u32>,
        /// Origin of browsers' pages that may send, `https://shop.example`; repeatable. [default: any]
        #[arg(long, value_name = "ORIGIN")]
        allowed_origin: Vec<String>,
    },
    /// List all apps.
    List,
    /// Show one app.
    Show {
        /// Its id.
        id: AppId,
    },
    /// Change an app; what is not given stays.
    Set {
        /// Its id.
        id: AppId,
        #[command(flatten)]
        settings: Settings,
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

/// What `set` changes.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Settings {
    /// Its name for people.
    #[arg(long)]
    name: Option<String>,
    /// Whether it may send on the paths of Raygun's SDKs by the API key alone.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    allow_api_key: Option<bool>,
    /// Events a second that are accepted; `none`: unlimited.
    #[arg(long, value_name = "N", value_parser = parse_number)]
    events_per_second: Option<Number>,
    /// Events that may come at once; `none`: as many as come in a second.
    #[arg(long, value_name = "N", value_parser = parse_number)]
    burst: Option<Number>,
    /// Origins of browsers' pages that may send; repeatable, and all that are meant have to be given. `any`: no list.
    #[arg(long, value_name = "ORIGIN")]
    allowed_origin: Option<Vec<String>>,
}

/// A number, or `none`.
#[derive(Clone, Copy)]
struct Number(Option<u32>);

fn parse_number(text: &str) -> Result<Number, String> {
    if text == "none" {
        return Ok(Number(None));
    }
    let number = text.parse().map_err(|_| format!("`{text}` is no whole number, and not `none`"))?;
    Ok(Number(Some(number)))
}

impl Settings {
    fn change(&self) -> AppChange {
        let given = |number: Number| number.0;
        let origins = |origins: &Vec<String>| Some(origins.clone()).filter(|origins| origins != &["any"]);
        AppChange {
            name: self.name.clone(),
            enabled: None,
            allow_api_key: self.allow_api_key,
            events_per_second: self.events_per_second.map(given),
            burst: self.burst.map(given),
            allowed_origins: self.allowed_origin.as_ref().map(origins),
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    RemoteArgs(#[from] RemoteArgsError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("there is no app {0}: `forebay app list` shows all")]
    Unknown(AppId),
    #[error(transparent)]
    Rule(#[from] AppRule),
}

/// Runs the command.
pub(crate) fn app(args: &AppArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AppError::File(FileError::Registry { .. })) => fail(error, EXIT_CONFIG),
        Err(error @ AppError::Rule(_)) => fail(error, EXIT_USAGE),
        Err(error) => fail(error, 1),
    }
}

fn run(args: &AppArgs) -> Result<(), AppError> {
    let place = match args.remote.remote()? {
        Some(node) => Place::Node(node),
        None => Place::File(AppsFile::new(&args.apps_file)),
    };
    let enable = |enabled| AppChange { enabled: Some(enabled), ..AppChange::default() };
    match &args.command {
        AppCommand::Create { name, allow_api_key, events_per_second, burst, allowed_origin } => {
            let settings = AppChange {
                name: Some(name.clone()),
                allow_api_key: Some(*allow_api_key),
                events_per_second: events_per_second.map(Some),
                burst: burst.map(Some),
                allowed_origins: Some(Some(allowed_origin.clone())),
                ..AppChange::default()
            };
            print_credentials(&place.create(&settings)?, args.json);
        }
        AppCommand::Set { id, settings } => print_app(&place.change(*id, &settings.change())?, args.json),
        AppCommand::Regenerate { id, overlap } => {
            print_credentials(&place.regenerate(*id, *overlap)?, args.json);
        }
        AppCommand::Disable { id } => print_app(&place.change(*id, &enable(false))?, args.json),
        AppCommand::Enable { id } => print_app(&place.change(*id, &enable(true))?, args.json),
        AppCommand::Show { id } => print_app(&place.show(*id)?, args.json),
        AppCommand::List => print_list(&place.list()?, args.json),
    }
    Ok(())
}

/// Where the registry is changed.
enum Place {
    File(AppsFile),
    Node(Remote),
}

impl Place {
    /// The credentials of a new app.
    fn create(&self, settings: &AppChange) -> Result<Value, AppError> {
        match self {
            Self::File(file) => {
                let (app, secret) = App::create_with(settings)?;
                file.edit(|registry| Ok::<_, AppError>(registry.insert(app.clone())?))?;
                Ok(json!({ "id": app.id, "api_key": app.api_key, "secret": secret.reveal() }))
            }
            Self::Node(node) => Ok(node.tell(Method::POST, "/admin/apps", settings)?),
        }
    }

    fn change(&self, id: AppId, change: &AppChange) -> Result<Value, AppError> {
        match self {
            Self::File(file) => file.edit(|registry| {
                let app = registry.app_mut(id).ok_or(AppError::Unknown(id))?;
                app.apply(change)?;
                Ok(app.shown())
            }),
            Self::Node(node) => Ok(node.tell(Method::PATCH, &format!("/admin/apps/{id}"), change)?),
        }
    }

    /// The new credentials.
    fn regenerate(&self, id: AppId, overlap: Duration) -> Result<Value, AppError> {
        match self {
            Self::File(file) => file.edit(|registry| {
                let app = registry.app_mut(id).ok_or(AppError::Unknown(id))?;
                let secret = app.regenerate(overlap, clock::wall());
                Ok(json!({ "id": app.id, "api_key": app.api_key, "secret": secret.reveal() }))
            }),
            Self::Node(node) => {
                let seconds = overlap.as_millis().div_ceil(1000);
                let body = json!({ "overlap_seconds": u64::try_from(seconds).unwrap_or(u64::MAX) });
                Ok(node.tell(Method::POST, &format!("/admin/apps/{id}/regenerate"), &body)?)
            }
        }
    }

    fn show(&self, id: AppId) -> Result<Value, AppError> {
        match self {
            Self::File(file) => Ok(file.load()?.app(id).ok_or(AppError::Unknown(id))?.shown()),
            Self::Node(node) => Ok(node.ask(Method::GET, &format!("/admin/apps/{id}"))?),
        }
    }

    fn list(&self) -> Result<Vec<Value>, AppError> {
        match self {
            Self::File(file) => Ok(file.load()?.apps().iter().map(App::shown).collect()),
            Self::Node(node) => {
                let mut answer = node.ask(Method::GET, "/admin/apps")?;
                Ok(answer["apps"].as_array_mut().map(std::mem::take).unwrap_or_default())
            }
        }
    }
}

fn print_list(apps: &[Value], json: bool) {
    if json {
        println!("{}", Value::from(apps));
        return;
    }
    let text = |app: &Value, name: &str| app[name].as_str().unwrap_or_default().to_owned();
    for app in apps {
        let state = if app["enabled"] == true { "enabled" } else { "disabled" };
        println!("{}  {}  {state:8}  {}", text(app, "id"), text(app, "api_key"), text(app, "name"));
    }
}

fn print_credentials(credentials: &Value, json: bool) {
    if json {
        println!("{credentials}");
    } else {
        let text = |name: &str| credentials[name].as_str().unwrap_or_default().to_owned();
        println!("id       {}\napi key  {}\nsecret   {}", text("id"), text("api_key"), text("secret"));
        eprintln!("The secret is shown only now: keep it safe.");
    }
}

fn print_app(app: &Value, json: bool) {
    if json {
        println!("{app}");
        return;
    }
    for (name, value) in app.as_object().into_iter().flatten() {
        println!("{name:20} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
}
