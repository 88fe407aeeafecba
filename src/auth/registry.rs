//! All apps, found by id or by key.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::app::{App, AppId};
use super::rate::{Bucket, Limit};

/// Version of the apps file.
const VERSION: u32 = 1;

/// Why a text is no registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Not the JSON that is expected.
    #[error("it is not a registry of apps: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer version.
    #[error("it has format version {0}, this Forebay knows {VERSION}: upgrade, or restore the file")]
    Version(u32),
    /// Two apps share an id or a key.
    #[error("the apps `{0}` and `{1}` have the same {2}: remove one of them")]
    Duplicate(String, String, &'static str),
}

/// Why a new version of something was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It does not follow on the version that is known: another change was faster.
    #[error("another change was faster: look again, and change what is there now{}", .0.map(|found| format!(" (version {found})")).unwrap_or_default())]
    Conflict(Option<u64>),
    /// The registry cannot hold it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] super::file::FileError),
}

#[derive(Deserialize)]
struct Stored {
    version: u32,
    apps: Vec<App>,
}

#[derive(Serialize)]
struct Storing<'a> {
    version: u32,
    apps: &'a [App],
}

/// The apps of a fleet; looked up by id (tokens) and by key (credentials).
#[derive(Clone, Debug, Default)]
pub struct Registry {
    apps: Vec<App>,
    /// One for each app, in the same order.
    buckets: Vec<Arc<Bucket>>,
    /// Looked at for each request; the ids are the operators', so a hash that nobody can foresee is enough.
    by_id: foldhash::HashMap<AppId, usize>,
    by_key: HashMap<String, usize>,
}

impl Registry {
    /// Reads what [`Self::to_json`] wrote.
    pub fn parse(text: &[u8]) -> Result<Self, RegistryError> {
        let stored: Stored = serde_json::from_slice(text)?;
        if stored.version != VERSION {
            return Err(RegistryError::Version(stored.version));
        }
        let mut registry = Self::default();
        for app in stored.apps {
            registry.insert(app)?;
        }
        Ok(registry)
    }

    /// The file's text.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(&Storing { version: VERSION, apps: &self.apps })
            .expect("strings and numbers always serialise");
        text.push(b'\n');
        text
    }

    /// Adds an app.
    pub fn insert(&mut self, app: App) -> Result<(), RegistryError> {
        let index = self.apps.len();
        let twin = |other: usize, what| {
            Err(RegistryError::Duplicate(self.apps[other].name.clone(), app.name.clone(), what))
        };
        if let Some(other) = self.by_id.get(&app.id) {
            return twin(*other, "id");
        }
        if let Some(other) = self.by_key.get(&app.api_key.0) {
            return twin(*other, "API key");
        }
        self.by_id.insert(app.id, index);
        self.by_key.insert(app.api_key.0.clone(), index);
        self.apps.push(app);
        self.buckets.push(Arc::default());
        Ok(())
    }

    /// Adds an app, or replaces the one with its id, whatever the versions.
    pub fn replace(&mut self, app: App) -> Result<(), RegistryError> {
        let Some(index) = self.by_id.get(&app.id).copied() else { return self.insert(app) };
        if let Some(other) = self.by_key.get(&app.api_key.0).filter(|other| **other != index) {
            let name = self.apps[*other].name.clone();
            return Err(RegistryError::Duplicate(name, app.name, "API key"));
        }
        self.by_key.remove(&self.apps[index].api_key.0);
        self.by_key.insert(app.api_key.0.clone(), index);
        self.apps[index] = app;
        Ok(())
    }

    /// All apps, in the order they were made.
    pub fn apps(&self) -> &[App] {
        &self.apps
    }

    /// The app with this id.
    pub fn app(&self, id: AppId) -> Option<&App> {
        self.by_id.get(&id).map(|index| &self.apps[*index])
    }

    /// The app with this id, to change all of it but its id, its key and its version, which is raised here.
    pub fn app_mut(&mut self, id: AppId) -> Option<&mut App> {
        let app = self.by_id.get(&id).map(|index| &mut self.apps[*index])?;
        app.version += 1;
        Some(app)
    }

    /// Compare-and-set: takes `app` if what is known of it has the version before, or, if nothing is, as its first version. An app keeps
    /// its key for good.
    pub fn put(&mut self, app: App) -> Result<(), PutError> {
        let Some(index) = self.by_id.get(&app.id).copied() else {
            return if app.version == 1 { Ok(self.insert(app)?) } else { Err(PutError::Conflict(None)) };
        };
        let known = &self.apps[index];
        if known.version.checked_add(1) != Some(app.version) || known.api_key != app.api_key {
            return Err(PutError::Conflict(Some(known.version)));
        }
        self.apps[index] = app;
        Ok(())
    }

    /// The bound on the events of an app; none: it may send as many as it likes.
    pub fn limit(&self, app: &App) -> Option<Limit> {
        let (rate, burst) = app.rate()?;
        let index = *self.by_id.get(&app.id)?;
        Some(Limit::new(self.buckets[index].clone(), rate, burst))
    }

    /// Goes on with what is left in the buckets of an earlier registry: an edit fills nobody's, but for one of the rate itself. What is left is kept as
    /// time, which is worth another number of events then.
    pub(super) fn inherit(&mut self, before: &Self) {
        for (app, bucket) in self.apps.iter().zip(&mut self.buckets) {
            if let Some(index) = before.by_id.get(&app.id)
                && before.apps[*index].rate() == app.rate()
            {
                *bucket = before.buckets[*index].clone();
            }
        }
    }

    /// The app with this key.
    pub fn app_by_key(&self, key: &str) -> Option<&App> {
        self.by_key.get(key).map(|index| &self.apps[*index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_come_back_as_they_were_stored() {
        let mut registry = Registry::default();
        let (mut app, _) = App::create("one");
        app.allowed_origins.push("https://example.com".into());
        app.events_per_second = Some(5);
        registry.insert(app.clone()).expect("new");
        registry.insert(App::create("two").0).expect("new");
        let read = Registry::parse(&registry.to_json()).expect("own text");
        assert_eq!(read.apps(), registry.apps());
        assert_eq!(read.app(app.id), Some(&app));
        assert_eq!(read.app_by_key(&app.api_key.0), Some(&app));
        assert_eq!(read.app_by_key("other"), None);
        registry.app_mut(app.id).expect("known").enabled = false;
        assert_eq!(registry.app(app.id).map(|changed| changed.version), Some(app.version + 1));
    }

    #[test]
    fn an_app_that_is_replaced_keeps_its_place_and_takes_no_others_key() {
        let mut registry = Registry::default();
        let (one, two) = (App::create("one").0, App::create("two").0);
        registry.replace(one.clone()).expect("new");
        registry.replace(two.clone()).expect("new");
        let changed = App { api_key: super::super::ApiKey::generate(), name: "new".into(), ..one.clone() };
        registry.replace(changed.clone()).expect("replaced");
        assert_eq!(registry.apps(), [changed.clone(), two.clone()]);
        assert_eq!(registry.app_by_key(&one.api_key.0), None);
        assert_eq!(registry.app_by_key(&changed.api_key.0), Some(&changed));
        let thief = App { api_key: two.api_key.clone(), ..changed.clone() };
        assert!(matches!(registry.replace(thief), Err(RegistryError::Duplicate(..))));
        assert_eq!(registry.apps(), [changed, two], "nothing has changed");
    }

    #[test]
    fn of_two_changes_of_one_version_the_second_is_refused() {
        let mut registry = Registry::default();
        let (app, _) = App::create("one");
        registry.put(app.clone()).expect("its first version");
        assert!(matches!(registry.put(app.clone()), Err(PutError::Conflict(Some(1)))));
        let one = App { version: 2, enabled: false, ..app.clone() };
        let other = App { version: 2, name: "other".into(), ..app.clone() };
        registry.put(one.clone()).expect("the next version");
        assert!(matches!(registry.put(other), Err(PutError::Conflict(Some(2)))));
        assert_eq!(registry.app(app.id), Some(&one));
        let rekeyed = App { version: 3, api_key: App::create("x").0.api_key, ..app.clone() };
        assert!(matches!(registry.put(rekeyed), Err(PutError::Conflict(Some(2)))));
        let gone = App { version: 2, ..App::create("gone").0 };
        assert!(matches!(registry.put(gone), Err(PutError::Conflict(None))));
        // Apps of before versions were counted have none.
        let old = App { version: 0, ..App::create("old").0 };
        registry.insert(old.clone()).expect("new");
        registry.put(App { version: 1, ..old }).expect("the next version");
    }

    #[test]
    fn an_edit_fills_no_bucket() {
        let now = std::time::Duration::from_secs(7);
        let mut registry = Registry::default();
        let (mut app, _) = App::create("one");
        app.events_per_second = Some(2);
        registry.insert(app.clone()).expect("new");
        registry.limit(&app).expect("bounded").take(2, now).expect("full");
        let mut edited = Registry::parse(&registry.to_json()).expect("own text");
        edited.inherit(&registry);
        assert!(edited.limit(&app).expect("bounded").take(1, now).is_err());
        // Another rate is another bucket: the debt of hours at the old one may be worth a moment.
        app.events_per_second = Some(10_000);
        let mut faster = Registry::default();
        faster.insert(app.clone()).expect("new");
        faster.inherit(&edited);
        assert!(faster.limit(&app).expect("bounded").take(10_000, now).is_ok());
        app.events_per_second = None;
        assert!(edited.limit(&app).is_none());
    }

    #[test]
    fn twins_unknown_fields_and_other_versions_are_refused_by_name() {
        let mut registry = Registry::default();
        let (app, _) = App::create("one");
        registry.insert(app.clone()).expect("new");
        let twin = App { name: "two".into(), ..app.clone() };
        assert!(registry.insert(twin).is_err_and(|e| e.to_string().contains("`one` and `two`")));
        let same_key = App { name: "two".into(), id: App::create("x").0.id, ..app };
        assert!(registry.insert(same_key).is_err_and(|e| e.to_string().contains("API key")));
        assert!(matches!(Registry::parse(br#"{"version":2,"apps":[]}"#), Err(RegistryError::Version(2))));
        for text in ["", "{}", "[]", r#"{"version":1,"apps":[{"name":"x"}]}"#] {
            assert!(matches!(Registry::parse(text.as_bytes()), Err(RegistryError::Malformed(_))), "{text}");
        }
        let text = String::from_utf8(registry.to_json()).expect("JSON").replace("\"name\"", "\"nome\"");
        assert!(matches!(Registry::parse(text.as_bytes()), Err(RegistryError::Malformed(_))));
    }
}
