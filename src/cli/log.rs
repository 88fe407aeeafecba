//! Where log lines go.

use forebay::config::{LogFormat, LogOptions};
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error.
pub(crate) fn start_log(options: &LogOptions) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .parse(&options.log_level)
        .map_err(|error| format!("--log-level {}: {error}", options.log_level))?;
    // lapin tells of each returned message with all its bytes, which are its sender's business; its errors are told by the forwarder.
    let filter = filter.add_directive("lapin=off".parse().expect("a constant"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Human => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(is_terminal).with_target(false).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).init(),
    }
    Ok(())
}
