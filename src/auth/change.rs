//! What may be set of an app, and which values are sound: one place for the command line and for the operators' listener.

use serde::{Deserialize, Deserializer, Serialize};

use super::app::{App, PUBLIC_KEY_EVENTS_PER_SECOND, Secret};
use super::origin::is_origin;
use super::rate::{BURST_MAX, EVENTS_PER_SECOND_MAX};

/// Longest name of an app, in characters.
const NAME_CHARACTERS_MAX: usize = 200;
/// Most origins of an app, and the longest of them: a browser's name of a host ends at 253.
const ORIGINS_MAX: usize = 100;
const ORIGIN_BYTES_MAX: usize = 300;

/// What is to be set of an app; what is not given stays. As JSON it is a merge patch (RFC 7396): null removes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    /// Its name for people.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it may send at all.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether its key alone is enough on the paths of Raygun's SDKs.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub allow_api_key: Option<bool>,
    /// Its rate; `Some(None)`: unlimited, or that of a public key.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<Option<u32>>,
    /// What may come at once; `Some(None)`: as many as come in a second.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub burst: Option<Option<u32>>,
    /// Origins of pages that may send; `Some(None)`: any.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub allowed_origins: Option<Option<Vec<String>>>,
}

/// A null is a value, not an absence: what cannot be null says so.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Why a value cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppRule {
    /// The name is missing, empty, too long, or not for people.
    #[error("the name of an app has 1 to {NAME_CHARACTERS_MAX} characters and no control characters")]
    Name,
    /// The rate is zero or beyond what can be counted.
    #[error("the events a second of an app lie between 1 and {EVENTS_PER_SECOND_MAX}")]
    EventsPerSecond,
    /// Nothing could ever come, or it is beyond what can be counted.
    #[error("the burst of an app lies between 1 and {BURST_MAX}")]
    Burst,
    /// A burst bounds nothing without a rate.
    #[error("a burst needs a rate: give the events a second too, or leave both away")]
    BurstAlone,
    /// No browser sends such an origin.
    #[error(
        "`{0}` is no origin: a scheme and a host, and a port if it is not the usual one, without a path: https://shop.example"
    )]
    Origin(String),
    /// More than are looked through for each request.
    #[error("an app has at most {ORIGINS_MAX} allowed origins")]
    Origins,
}

impl AppRule {
    /// The field that is meant, as JSON names it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::EventsPerSecond => "events_per_second",
            Self::Burst | Self::BurstAlone => "burst",
            Self::Origin(_) | Self::Origins => "allowed_origins",
        }
    }
}

impl App {
    /// A new app with fresh credentials and these settings, and its secret.
    pub fn create_with(settings: &AppChange) -> Result<(Self, Secret), AppRule> {
        let (mut app, secret) = Self::create(settings.name.as_deref().ok_or(AppRule::Name)?);
        app.apply(settings)?;
        Ok((app, secret))
    }

    /// Sets what is given, all or nothing.
    pub fn apply(&mut self, change: &AppChange) -> Result<(), AppRule> {
        let mut changed = self.clone();
        let AppChange { name, enabled, allow_api_key, events_per_second, burst, allowed_origins } = change;
        changed.name = name.clone().unwrap_or(changed.name);
        changed.enabled = enabled.unwrap_or(changed.enabled);
        changed.allow_api_key = allow_api_key.unwrap_or(changed.allow_api_key);
        changed.events_per_second = events_per_second.unwrap_or(changed.events_per_second);
        changed.burst = burst.unwrap_or(changed.burst);
        if let Some(origins) = allowed_origins {
            changed.allowed_origins = origins.clone().unwrap_or_default();
        }
        if changed.allow_api_key {
            // Written down, so that who reads the file sees it.
            changed.events_per_second.get_or_insert(PUBLIC_KEY_EVENTS_PER_SECOND);
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

    fn check(&self) -> Result<(), AppRule> {
        let characters = self.name.chars().count();
        if !(1..=NAME_CHARACTERS_MAX).contains(&characters) || self.name.chars().any(char::is_control) {
            return Err(AppRule::Name);
        }
        if self.events_per_second.is_some_and(|rate| !(1..=EVENTS_PER_SECOND_MAX).contains(&rate)) {
            return Err(AppRule::EventsPerSecond);
        }
        if let Some(burst) = self.burst {
            if !(1..=BURST_MAX).contains(&burst) {
                return Err(AppRule::Burst);
            }
            if self.events_per_second.is_none() {
                return Err(AppRule::BurstAlone);
            }
        }
        if self.allowed_origins.len() > ORIGINS_MAX {
            return Err(AppRule::Origins);
        }
        let is_sound = |origin: &&String| origin.len() <= ORIGIN_BYTES_MAX && is_origin(origin.as_bytes());
        match self.allowed_origins.iter().find(|origin| !is_sound(origin)) {
            Some(origin) => Err(AppRule::Origin(origin.chars().take(ORIGIN_BYTES_MAX).collect())),
            None => Ok(()),
        }
    }

    /// What may be shown of it: everything but the hashes of its secrets.
    pub fn shown(&self) -> serde_json::Value {
        let mut shown = serde_json::to_value(self).expect("strings and numbers always serialise");
        shown.as_object_mut().expect("an object").remove("secret_sha256");
        if let Some(retiring) = shown.get_mut("retiring").and_then(serde_json::Value::as_object_mut) {
            retiring.remove("secret_sha256");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(text: &str) -> Result<AppChange, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn rfc7396_what_is_given_is_set_null_removes_and_the_rest_stays() {
        let (mut app, _) = App::create("demo");
        let change = parse(r#"{"events_per_second":5,"burst":9,"allowed_origins":["https://a.example"]}"#);
        app.apply(&change.expect("a change")).expect("sound");
        let change = parse(r#"{"name":"shop","burst":null,"allowed_origins":null}"#).expect("a change");
        app.apply(&change).expect("sound");
        assert_eq!((app.name.as_str(), app.events_per_second, app.burst), ("shop", Some(5), None));
        assert!(app.allowed_origins.is_empty() && app.enabled);
        assert_eq!(parse(&serde_json::to_string(&change).expect("JSON")).expect("a change"), change);
        for text in [r#"{"name":null}"#, r#"{"enabled":null}"#, r#"{"id":"x"}"#, r#"{"burst":-1}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_sound_is_named_and_changes_nothing() {
        let (mut app, _) = App::create("demo");
        let before = app.clone();
        for (text, field) in [
            (r#"{"name":""}"#, "name"),
            (r#"{"name":"a\nb"}"#, "name"),
            (r#"{"enabled":false,"events_per_second":0}"#, "events_per_second"),
            (r#"{"events_per_second":10000001}"#, "events_per_second"),
            (r#"{"events_per_second":1,"burst":0}"#, "burst"),
            (r#"{"events_per_second":1,"burst":10000001}"#, "burst"),
            (r#"{"burst":1}"#, "burst"),
            (r#"{"allowed_origins":["shop.example"]}"#, "allowed_origins"),
        ] {
            let rule = app.apply(&parse(text).expect("a change")).expect_err("not sound");
            assert_eq!((rule.field(), &app), (field, &before), "{text}: {rule}");
        }
        let many = vec!["https://a.example".to_owned(); ORIGINS_MAX + 1];
        let change = AppChange { allowed_origins: Some(Some(many)), ..AppChange::default() };
        assert_eq!(app.apply(&change), Err(AppRule::Origins));
        assert_eq!(App::create_with(&AppChange::default()).map(drop), Err(AppRule::Name));
    }

    #[test]
    fn a_public_key_gets_its_rate_written_down() {
        let change = parse(r#"{"name":"page","allow_api_key":true,"burst":7}"#).expect("settings");
        let (mut app, _) = App::create_with(&change).expect("sound");
        assert_eq!(app.events_per_second, Some(PUBLIC_KEY_EVENTS_PER_SECOND));
        app.apply(&parse(r#"{"events_per_second":null}"#).expect("a change")).expect("sound");
        assert_eq!(app.events_per_second, Some(PUBLIC_KEY_EVENTS_PER_SECOND), "it needs one");
    }

    #[test]
    fn no_hash_is_shown() {
        let (mut app, _) = App::create("demo");
        app.regenerate(Duration::from_mins(1), Duration::from_secs(9));
        let shown = app.shown();
        assert!(shown["retiring"]["until"].is_u64() && shown["generation"] == 2);
        assert!(!shown.to_string().contains("sha256"), "{shown}");
    }
}
