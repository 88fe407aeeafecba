//! What becomes of crash reports.

use clap::Args;
use uuid::Uuid;

/// Crash reports.
#[derive(Args, Clone, Debug)]
pub struct CrashOptions {
    /// The app as whose events the crash reports of earlier lives of the node are sent, through the node itself, as soon as it is ready. [default: they
    /// stay in --data-dir]
    #[arg(long, env = "FOREBAY_SELF_REPORT_APP", value_name = "ID")]
    pub self_report_app: Option<Uuid>,
}
