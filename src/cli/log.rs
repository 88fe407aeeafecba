//! Where log lines go.

use std::io::{IsTerminal, stderr};

use forebay::admin::LogLevel;
use forebay::config::{LogFormat, LogOptions};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

/// Starts logging to standard error; what is logged can be changed later.
pub(crate) fn start_log(options: &LogOptions) -> Result<LogLevel, String> {
    let filter = read_filter(&options.log_level)
        .map_err(|error| format!("--log-level {}: {error}", options.log_level))?;
    let (filter_layer, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    let registry = registry().with(filter_layer);
    match options.log_format {
        LogFormat::Human => registry.with(lines.with_ansi(stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(LogLevel::new(&options.log_level, move |text| {
        let filter = read_filter(text)?;
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}

fn read_filter(text: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    // lapin tells of each returned message with all its bytes, which are its sender's business; its errors are told by the forwarder.
    Ok(filter.add_directive("lapin=off".parse().expect("a constant")))
}
