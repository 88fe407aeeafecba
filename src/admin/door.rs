//! Connections of operators: TLS where it is spoken, bounded in number and in time, and a last moment for answers that are under way.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::wire::Tls;

/// Connections of operators, scrapers and dashboards at a time; one more is closed.
const CONNECTIONS_MAX: usize = 256;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the next request of a connection may take to come, head and all.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read at a time, and the most that a head may have.
const BUFFER_BYTES: usize = 32 << 10;
/// How long answers that are under way have when the node ends.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long what was sent may wait to be taken in by the other side. A viewer of the stream whose machine has vanished would else hold its place
/// for as long as TCP tries: a quarter of an hour.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be accepted: most likely there are no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until `over`.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    app: Router,
    over: impl Future<Output = ()>,
) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut over = pin!(over);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut over => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let Ok(seat) = seats.clone().try_acquire_owned() else { continue };
                let app = app.clone().layer(Extension(Peer(address.ip())));
                let (tls, watcher) = (tls.clone(), graceful.watcher());
                tokio::spawn(async move {
                    converse(stream, tls, app, watcher).await;
                    drop(seat);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept an operator's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Those that stream for ever are cut.
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, graceful.shutdown()).await;
}

async fn converse(stream: TcpStream, tls: Option<Arc<Tls>>, app: Router, watcher: Watcher) {
    // Answers are written whole: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let delivery_ms = u32::try_from(DELIVERY_TIMEOUT.as_millis()).expect("some seconds");
    let _ = set_tcp_user_timeout(&stream, delivery_ms);
    let Some(tls) = tls else { return exchange(stream, app, watcher).await };
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    // A client that does not shake hands is its own business.
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        exchange(stream, app, watcher).await;
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, app: Router, watcher: Watcher) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        // Who has said all there is to say may close its side, and gets the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    // How a connection ends is the client's business.
    let _: Result<(), _> = watcher.watch(connection).await;
}
