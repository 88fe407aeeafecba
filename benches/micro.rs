//! What each step of an event's way costs by itself.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::auth::{App, Credentials, KeyRing, Registry, TokenCache, mint, verify};
use forebay::event::{EventIds, EventKind, JsonChecker, Record, SecondLook, TurnBatch};
use forebay::handoff::{Bell, Doorbell, QueueLimits, queue};
use forebay::http::{Decoder, HeadLimits, Step};
use uuid::Uuid;

const NOW: Duration = Duration::from_secs(1_790_000_000);

/// A crash report of about `bytes`.
fn report(bytes: usize) -> Vec<u8> {
    let frame = r#"{"lineNumber":217,"className":"app.checkout.Service","fileName":"src/core/queue.rs","methodName":"commit"}"#;
    let frames = vec![frame; 1 + bytes.saturating_sub(300) / frame.len()].join(",");
    format!(r#"{{"occurredOn":"2026-11-24T12:00:00.000Z","details":{{"machineName":"web-7","error":{{"className":"TypeError","message":"Cannot read properties of undefined","stackTrace":[{frames}]}}}}}}"#).into_bytes()
}

fn credentials() -> (Credentials, String) {
    let mut registry = Registry::default();
    let (app, _) = App::create("bench");
    registry.insert(app.clone()).expect("the first app");
    let keys = KeyRing::parse(&KeyRing::generate()).expect("own text");
    let token = mint(&keys, &app, NOW, Duration::from_mins(15));
    (Credentials { registry, keys }, token)
}

fn http(c: &mut Criterion) {
    let (_, token) = credentials();
    let body = report(600);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n\
         Accept-Encoding: identity\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    let limits = HeadLimits { head_bytes_max: 16 << 10 };
    c.bench_function("http: a request in one piece", |b| {
        let mut decoder = Decoder::default();
        let mut input = request.clone();
        b.iter(|| {
            let (used, step) = decoder.step(&mut input, limits);
            assert!(matches!(step, Step::Head(_)));
            decoder.take_body(usize::MAX);
            let (_, step) = decoder.step(&mut input[used..], limits);
            assert!(matches!(step, Step::Body(_)));
        });
    });
}

fn auth(c: &mut Criterion) {
    let (credentials, token) = credentials();
    c.bench_function("auth: verify a token", |b| {
        b.iter(|| verify(&credentials, black_box(token.as_bytes()), NOW).is_ok());
    });
    c.bench_function("auth: verify a token that is remembered", |b| {
        let mut cache = TokenCache::default();
        b.iter(|| cache.verify(&credentials, black_box(token.as_bytes()), NOW).is_ok());
    });
}

struct NoLooks;

impl SecondLook for NoLooks {
    fn spend(&mut self, _: usize) -> bool {
        false
    }
}

fn event(c: &mut Criterion) {
    let mut group = c.benchmark_group("event: check and frame");
    for bytes in [600, 2_000, 16_000] {
        let body = report(bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{bytes} B"), |b| {
            let (mut checker, mut ids, mut batch) =
                (JsonChecker::default(), EventIds::default(), TurnBatch::default());
            let mut spoiled = body.clone();
            b.iter(|| {
                batch.begin(usize::MAX, usize::MAX);
                spoiled.copy_from_slice(&body);
                let placed = batch.append(&Record {
                    kind: EventKind::Event,
                    lenient: false,
                    received_us: 1,
                    app: Uuid::nil(),
                    id: ids.next(1),
                    traceparent: None,
                    payload: &spoiled,
                });
                let checked = checker.check_object(batch.payload(placed), &mut spoiled, &mut NoLooks);
                assert!(checked.is_ok());
                batch.take()
            });
        });
    }
    group.finish();
}

fn handoff(c: &mut Criterion) {
    c.bench_function("handoff: push and pop a batch", |b| {
        let limits = QueueLimits { bytes_max: 1 << 20, told_bytes_max: 1 << 20, batches_max: 64 };
        let doorbell = Doorbell::new().expect("an eventfd");
        let (mut inlet, mut outlet) = queue(limits, Arc::default(), Bell::default(), doorbell);
        let records = Bytes::from_static(&[0; 1000]);
        b.iter(|| {
            assert!(inlet.push(1, records.clone()));
            let batch = outlet.pop().expect("just pushed");
            outlet.log().set_read(batch.end());
            outlet.log().set_published(batch.end());
            outlet.settle(batch.end(), batch.events.into(), 0, batch.records.len());
        });
    });
}

criterion_group!(benches, http, auth, event, handoff);
criterion_main!(benches);
