//! Changes through the handle that the admin API has, and what the stream's history needs time for: snapshots and retention.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay::auth::{App, AppId, CredentialsFiles, KeyRing, Registry, SharedCredentials, create_private};
use forebay::fleet::{FleetKey, Follower, FollowerOptions, PutError, StreamOptions};
use forebay::telemetry::FleetMetrics;
use tokio::task::JoinHandle;

use super::Fleet;
use crate::support::{Broker, DEADLINE};

/// A follower without a node around it.
struct Member {
    fleet: forebay::fleet::Fleet,
    credentials: Arc<SharedCredentials>,
    metrics: Arc<FleetMetrics>,
    keys: PathBuf,
    _folder: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Member {
    fn join(fleet: &Fleet, change: impl FnOnce(&mut FollowerOptions)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (apps, keys) = (folder.path().join("apps.json"), folder.path().join("keys.json"));
        let key = FleetKey::load(fleet.key_file().as_ref()).expect("the fleet's key");
        create_private(&keys, &key.first_signing_keys()).expect("made");
        let mut files = CredentialsFiles::new(&apps, &keys);
        let credentials = Arc::new(SharedCredentials::new(files.load().expect("readable")));
        let metrics = Arc::<FleetMetrics>::default();
        let stream = StreamOptions {
            urls: vec![fleet.url.parse().expect("a URL")],
            heartbeat: Duration::from_secs(10),
            stream: fleet.stream.name.clone(),
            declare: true,
            stream_bytes_max: StreamOptions::STREAM_BYTES_MAX,
            segment_bytes_max: StreamOptions::SEGMENT_BYTES_MAX,
            node: "test".to_owned(),
        };
        let mut options = FollowerOptions::new(stream);
        change(&mut options);
        let made = Follower::new(options, &key, &apps, &keys, files, credentials.clone(), metrics.clone());
        let (follower, fleet) = made.expect("a follower");
        Self { fleet, credentials, metrics, keys, _folder: folder, task: tokio::spawn(follower.run()) }
    }

    async fn follows(&self) {
        until("it follows", || self.metrics.stale_since_ms.value() == 0).await;
    }

    fn app(&self, id: AppId) -> Option<App> {
        self.credentials.newest().registry.app(id).cloned()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looked = async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while !is_so() {
            looks.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, looked).await.is_ok(), "{what}: not within {DEADLINE:?}");
}

fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

/// As whoever changes an app does it.
fn changed(app: &App, name: &str) -> App {
    let mut registry = Registry::default();
    registry.insert(app.clone()).expect("the first");
    let app = registry.app_mut(app.id).expect("known");
    name.clone_into(&mut app.name);
    app.clone()
}

#[test]
fn of_two_who_change_an_app_at_once_one_is_told_that_it_was_too_late() {
    let fleet = Fleet::new(&Broker::main().url());
    on_runtime(async {
        let (a, b) = (Member::join(&fleet, |_| {}), Member::join(&fleet, |_| {}));
        let app = App::create("demo").0;
        assert_eq!(a.fleet.put_app(app.clone()).await, Err(PutError::Away), "it has not met the others yet");
        a.follows().await;
        b.follows().await;
        assert_eq!(a.fleet.put_app(app.clone()).await, Ok(app.clone()));
        assert_eq!(a.app(app.id), Some(app.clone()), "it holds here when this is told");
        until("the other has it", || b.app(app.id).is_some()).await;
        for round in 0..20 {
            let current = a.app(app.id).expect("known");
            until("both have the same", || b.app(app.id) == Some(current.clone())).await;
            let (of_a, of_b) =
                (changed(&current, &format!("a {round}")), changed(&current, &format!("b {round}")));
            let outcomes = tokio::join!(a.fleet.put_app(of_a.clone()), b.fleet.put_app(of_b.clone()));
            let winner = match outcomes {
                (Ok(app), Err(PutError::Conflict)) | (Err(PutError::Conflict), Ok(app)) => app,
                outcomes => panic!("one and only one: {outcomes:?}"),
            };
            until("both have the winner's", || {
                [&a, &b].iter().all(|m| m.app(app.id) == Some(winner.clone()))
            })
            .await;
        }
        // Whoever has seen an old version only is told so, too.
        assert_eq!(b.fleet.put_app(changed(&app, "late")).await, Err(PutError::Conflict));
    });
}

#[test]
fn signing_keys_are_replaced_by_whoever_has_seen_the_newest() {
    let fleet = Fleet::new(&Broker::main().url());
    on_runtime(async {
        let (a, b) = (Member::join(&fleet, |_| {}), Member::join(&fleet, |_| {}));
        a.follows().await;
        b.follows().await;
        let before = std::fs::read_to_string(&a.keys).expect("the keys");
        let after = String::from_utf8(KeyRing::generate()).expect("JSON");
        assert_eq!(
            a.fleet.put_keys(before.clone(), "{}".to_owned()).await,
            Err(PutError::Conflict),
            "no keys"
        );
        assert_eq!(a.fleet.put_keys(before.clone(), after.clone()).await, Ok(()));
        assert_eq!(std::fs::read_to_string(&a.keys).expect("the keys"), after);
        until("the other has them", || std::fs::read_to_string(&b.keys).is_ok_and(|text| text == after))
            .await;
        let other = String::from_utf8(KeyRing::generate()).expect("JSON");
        assert_eq!(b.fleet.put_keys(before, other.clone()).await, Err(PutError::Conflict));
        assert_eq!(b.fleet.put_keys(after, other).await, Ok(()));
    });
}

#[test]
fn a_history_that_is_cut_is_begun_from_the_last_snapshot() {
    let fleet = Fleet::new(&Broker::main().url());
    on_runtime(async {
        // What others keep for weeks is gone at once here.
        let small = |options: &mut FollowerOptions| {
            (options.stream.stream_bytes_max, options.stream.segment_bytes_max) = (512 << 10, 64 << 10);
            (options.snapshot_changes, options.snapshot_bytes) = (10, 64 << 10);
        };
        let a = Member::join(&fleet, small);
        a.follows().await;
        let app = App::create("demo").0;
        let mut newest = a.fleet.put_app(app.clone()).await.expect("made");
        // Somebody fills the stream with what is none of ours; the node goes on changing its app.
        let connection = lapin::Connection::connect(&fleet.url, lapin::ConnectionProperties::default()).await;
        let channel = connection.expect("a broker").create_channel().await.expect("a channel");
        for round in 0..80 {
            super::write_on(&channel, &fleet.stream.name, &[vec![7; 32 << 10]]).await;
            newest = a.fleet.put_app(changed(&newest, &format!("{round}"))).await.expect("changed");
        }
        assert!(a.metrics.snapshots.value() > 10, "{} snapshots", a.metrics.snapshots.value());
        assert!(a.metrics.refused.value() >= 80);
        let b = Member::join(&fleet, small);
        b.follows().await;
        assert_eq!(b.app(app.id), Some(newest.clone()));
        assert_eq!(b.metrics.gaps.value(), 0);
        assert_eq!(
            b.fleet.put_app(changed(&newest, "by the new one")).await.map(|app| app.version),
            Ok(newest.version + 1)
        );
    });
    let first = fleet.entries().first().expect("entries").0;
    assert!(first > 0, "the beginning is gone");
}
