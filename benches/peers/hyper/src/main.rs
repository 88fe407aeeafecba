//! A peer for benchmarks: HMAC token, JSON check, 202, batches to RabbitMQ with confirms, on bare hyper and tokio.
//!
//! `peer-hyper ADDRESS SIGNING_KEY_FILE AMQP_URL SERVER_CPU PUBLISHER_CPU`
//!
//! It does what a careful author would: one single-threaded runtime for HTTP, another for publishing, a bounded channel between them, batches of
//! 64 KiB, 64 messages in flight, tokens verified with the same crypto library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use ring::hmac;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

const QUEUE: &str = "peer-hyper.events";
const BATCH_BYTES: usize = 64 << 10;
const WINDOW: usize = 64;

#[derive(Deserialize)]
struct Claims {
    aud: String,
    sub: Uuid,
    exp: u64,
}

struct Accepted {
    app: Uuid,
    id: Uuid,
    payload: Bytes,
}

struct Service {
    key: hmac::Key,
    queue: mpsc::Sender<Accepted>,
    accepted: AtomicU64,
    confirmed: Arc<AtomicU64>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, keys, amqp, server_cpu, publisher_cpu] = &args[..] else {
        panic!("peer-hyper ADDRESS SIGNING_KEY_FILE AMQP_URL SERVER_CPU PUBLISHER_CPU");
    };
    let (sender, receiver) = mpsc::channel(65_536);
    let confirmed = Arc::new(AtomicU64::new(0));
    {
        let (amqp, cpu, confirmed) = (amqp.clone(), publisher_cpu.parse().expect("a CPU"), confirmed.clone());
        std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || {
                pin(cpu);
                runtime().block_on(publish(&amqp, receiver, confirmed));
            })
            .expect("a thread");
    }
    pin(server_cpu.parse().expect("a CPU"));
    let service =
        Arc::new(Service { key: signing_key(keys), queue: sender, accepted: AtomicU64::new(0), confirmed });
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.expect("an address");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            let service = service.clone();
            tokio::spawn(async move {
                let serve = service_fn(|request| answer(&service, request));
                // A client that goes away is none of ours.
                let _ = http1::Builder::new()
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(stream), serve)
                    .await;
            });
        }
    });
}

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).expect("a CPU of ours");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn signing_key(path: &str) -> hmac::Key {
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("the keys")).expect("JSON");
    let key = file["keys"][0]["key"].as_str().expect("a key");
    hmac::Key::new(hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(key).expect("base64url"))
}

async fn answer(
    service: &Service,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/events") => accept(service, request).await,
        (&Method::GET, "/pending") => {
            let pending =
                service.accepted.load(Ordering::Relaxed) - service.confirmed.load(Ordering::Relaxed);
            Ok(Response::new(pending.to_string().into()))
        }
        _ => Ok(empty(StatusCode::NOT_FOUND)),
    }
}

async fn accept(
    service: &Service,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let Some(app) = verify(&service.key, request.headers()) else {
        return Ok(empty(StatusCode::UNAUTHORIZED));
    };
    let body = request.into_body().collect().await?.to_bytes();
    if serde_json::from_slice::<IgnoredAny>(&body).is_err() || std::str::from_utf8(&body).is_err() {
        return Ok(empty(StatusCode::BAD_REQUEST));
    }
    let id = Uuid::now_v7();
    if service.queue.try_send(Accepted { app, id, payload: body }).is_err() {
        return Ok(empty(StatusCode::SERVICE_UNAVAILABLE));
    }
    service.accepted.fetch_add(1, Ordering::Relaxed);
    let accepted =
        Response::builder().status(StatusCode::ACCEPTED).header(header::CONTENT_TYPE, "application/json");
    Ok(accepted.body(format!(r#"{{"id":"{id}"}}"#).into()).expect("constants are proper"))
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

fn verify(key: &hmac::Key, headers: &HeaderMap) -> Option<Uuid> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let (signed, tag) = token.rsplit_once('.')?;
    hmac::verify(key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
    let (_, claims) = signed.split_once('.')?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    (claims.aud == "forebay" && claims.exp > now).then_some(claims.sub)
}

async fn publish(amqp: &str, mut queue: mpsc::Receiver<Accepted>, confirmed: Arc<AtomicU64>) {
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await.expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await.expect("a queue");
    let mut in_flight: JoinSet<u64> = JoinSet::new();
    let mut events = Vec::new();
    loop {
        while in_flight.len() >= WINDOW {
            let Some(Ok(count)) = in_flight.join_next().await else { return };
            confirmed.fetch_add(count, Ordering::Relaxed);
        }
        tokio::select! {
            Some(done) = in_flight.join_next(), if !in_flight.is_empty() => {
                confirmed.fetch_add(done.expect("a confirm"), Ordering::Relaxed);
                continue;
            }
            count = queue.recv_many(&mut events, 100) => if count == 0 { return },
        }
        let mut body = Vec::with_capacity(BATCH_BYTES);
        let mut count = 0;
        for Accepted { app, id, payload } in events.drain(..) {
            body.push(if body.is_empty() { b'[' } else { b',' });
            body.extend_from_slice(
                format!(
                    r#"{{"specversion":"1.0","id":"{id}","source":"/apps/{app}","type":"forebay.event","datacontenttype":"application/json","data":"#
                )
                .as_bytes(),
            );
            body.extend_from_slice(&payload);
            body.push(b'}');
            count += 1;
        }
        body.push(b']');
        let channel = channel.clone();
        in_flight.spawn(async move {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(2);
            let sent = channel.basic_publish("".into(), QUEUE.into(), options, &body, properties).await;
            let answer = sent.expect("published").await.expect("confirmed");
            assert!(matches!(answer, Confirmation::Ack(None)), "a message came back");
            count
        });
    }
}
