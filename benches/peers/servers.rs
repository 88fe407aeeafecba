//! The other servers, and how each is started.

use std::path::Path;

use crate::lab::{LOAD_CPU, Lab, SERVER_CPU, Server};

/// Below the repository's root, where `scripts/peers` installs what is no part of it.
const INSTALLED: &str = "target/peers";

/// The constant answer.
pub(crate) fn nginx(lab: &Lab) -> Server {
    let mut command = lab.on_cpus(SERVER_CPU, Path::new("nginx"));
    command.arg("-p").arg(&lab.folder).arg("-c").arg(lab.root.join("benches/peers/nginx.conf"));
    Server::start("nginx", "127.0.0.1:18081", "nginx", command).served_by_child()
}

/// One of the services in Rust: a thread that serves, another that publishes.
pub(crate) fn rust(lab: &Lab, name: &'static str, thread: &'static str, port: u16) -> Server {
    let address = format!("127.0.0.1:{port}");
    let program = lab.root.join(INSTALLED).join("rust/release").join(thread);
    let mut command = lab.on_cpus("0,1", &program);
    command.args([&address, "keys.json", &Lab::amqp_url(), SERVER_CPU, LOAD_CPU]);
    Server::start(name, &address, thread, command).with_pending(&address, "/pending")
}

/// The service on Node.js: one process for all, its helpers' threads on the same CPU.
pub(crate) fn fastify(lab: &Lab) -> Server {
    let address = "127.0.0.1:18086";
    let mut command = lab.on_cpus(SERVER_CPU, Path::new("node"));
    command.arg(lab.root.join(INSTALLED).join("fastify/server.js"));
    command.args([address, "keys.json", &Lab::amqp_url()]);
    Server::start("fastify", address, Server::MAIN_THREAD, command).with_pending(address, "/pending")
}

/// The service in Python: one process for all.
pub(crate) fn fastapi(lab: &Lab) -> Server {
    let address = "127.0.0.1:18087";
    let mut command = lab.on_cpus(SERVER_CPU, &lab.root.join(INSTALLED).join("fastapi/bin/python"));
    command.arg(lab.root.join("benches/peers/fastapi/server.py"));
    command.args([address, "keys.json", &Lab::amqp_url()]);
    Server::start("fastapi", address, Server::MAIN_THREAD, command).with_pending(address, "/pending")
}
