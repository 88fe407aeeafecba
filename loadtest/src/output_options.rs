//! Flags that say where else a run's findings go.

use std::path::PathBuf;

use clap::Args;

/// Outputs besides the terminal and `--json`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OutputOptions {
    /// Write the response times of accepted requests as a percentile distribution (.hgrm, milliseconds).
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
    /// Write the report as a page that needs nothing else, with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Look at the node's /metrics once a second, for the report: its --admin-listen, as http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub(crate) admin_url: Option<String>,
}
