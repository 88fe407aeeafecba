//! The token parser: nothing panics, nothing that was not signed is good, and remembering changes no verdict.
//!
//! The first byte chooses: garbage as it is, a good token with bytes changed, or a good one cut and lengthened.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use forebay::auth::{App, Credentials, KeyRing, Registry, TokenCache, mint, verify};
use libfuzzer_sys::fuzz_target;

const NOW: Duration = Duration::from_secs(1_790_000_000);

struct Setting {
    credentials: Credentials,
    good: Vec<u8>,
}

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let mut registry = Registry::default();
    let (app, _) = App::create("fuzz");
    registry.insert(app.clone()).expect("the first app");
    let keys = br#"{"version":1,"keys":[{"kid":"fuzz","use":"signing","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
    let keys = KeyRing::parse(keys).expect("a key");
    let good = mint(&keys, &app, NOW, Duration::from_secs(900)).into_bytes();
    Setting { credentials: Credentials { registry, keys }, good }
});

fuzz_target!(|data: &[u8]| {
    let Setting { credentials, good } = &*SETTING;
    let Some((choice, rest)) = data.split_first() else { return };
    let token = match choice % 3 {
        0 => rest.to_vec(),
        // A good token with some of its bytes changed.
        1 => {
            let mut token = good.clone();
            for pair in rest.chunks_exact(2) {
                let at = usize::from(pair[0]) % token.len();
                token[at] = pair[1];
            }
            token
        }
        // A good token, cut or lengthened.
        _ => {
            let cut = good.len() * usize::from(rest.first().copied().unwrap_or(0)) / 255;
            [&good[..cut], rest.get(1..).unwrap_or_default()].concat()
        }
    };
    let verdict = verify(credentials, &token, NOW).map(|app| app.id);
    assert_eq!(verdict.is_ok(), token == *good, "only the signed token is good");
    let mut cache = TokenCache::default();
    assert!(cache.verify(credentials, good, NOW).is_ok());
    for _ in 0..2 {
        assert_eq!(cache.verify(credentials, &token, NOW).map(|app| app.id), verdict);
    }
});
