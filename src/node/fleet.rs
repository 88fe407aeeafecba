//! Who keeps the credentials of a node new: its own files alone, or its fleet.

use std::sync::Arc;

use super::NodeError;
use crate::admin::Store;
use crate::auth::{CredentialsFiles, LiveCredentials, SharedCredentials};
use crate::config::ServeOptions;
use crate::fleet::{FleetKey, Follower, FollowerOptions, StreamOptions};
use crate::telemetry::FleetMetrics;

/// What makes new credentials hold.
#[derive(Debug)]
pub(super) enum Credentialing {
    /// The files, which are looked at.
    Files(Arc<LiveCredentials>),
    /// The fleet, and the files with it.
    Fleet(Box<Follower>),
}

/// The key of the node's fleet, if it is in one.
pub(super) fn fleet_key(options: &ServeOptions) -> Result<Option<FleetKey>, NodeError> {
    Ok(options.fleet.fleet_key_file.as_deref().map(FleetKey::load).transpose()?)
}

/// Prepares it, with the way to change credentials; there is something counted only where there is a fleet.
pub(super) fn keep_credentials(
    options: &ServeOptions,
    node: &str,
    key: Option<FleetKey>,
    files: CredentialsFiles,
    credentials: Arc<SharedCredentials>,
) -> Result<(Credentialing, Store, Option<Arc<FleetMetrics>>), NodeError> {
    let Some(key) = key else {
        let live = Arc::new(LiveCredentials::new(files, credentials));
        return Ok((Credentialing::Files(live.clone()), Store::Files(live), None));
    };
    let stream = StreamOptions {
        urls: options.broker.urls()?,
        heartbeat: options.broker.amqp_heartbeat,
        stream: options.fleet.control_stream.clone(),
        declare: !options.broker.no_declare,
        stream_bytes_max: StreamOptions::STREAM_BYTES_MAX,
        segment_bytes_max: StreamOptions::SEGMENT_BYTES_MAX,
        node: node.to_owned(),
    };
    let metrics = Arc::<FleetMetrics>::default();
    let paths = &options.credentials;
    let (follower, fleet) = Follower::new(
        FollowerOptions::new(stream),
        &key,
        &paths.apps_file,
        &paths.signing_key_file,
        files,
        credentials.clone(),
        metrics.clone(),
    )?;
    let store = Store::Fleet { fleet, credentials, keys_file: paths.signing_key_file.clone() };
    Ok((Credentialing::Fleet(Box::new(follower)), store, Some(metrics)))
}
