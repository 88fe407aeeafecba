//! Clients that are slow, silent or too many, and levels that are not reached: each has its time and its answer.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay::api::Code;
use forebay::config::AckLevel;
use forebay::reactor::ANSWERS_MAX;
use forebay::telemetry::Phase;

use crate::clients::{Answer, read};
use crate::disk::DiskFaults;
use crate::driver::Wire;
use crate::scenarios::CALM;
use crate::world::{Plan, World};

const SECOND: Duration = Duration::from_secs(1);

fn world_plan() -> Plan {
    Plan { clients: 0, ..CALM }
}

fn world() -> World {
    World::new(world_plan())
}

fn post(world: &World, fields: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer {}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        world.token,
        body.len()
    )
    .into_bytes()
}

fn send(world: &mut World, client: RawFd, bytes: &[u8]) {
    world.wire(client).up.extend(bytes);
    world.turn();
    world.turn();
}

fn answers(world: &mut World, client: RawFd) -> Vec<Answer> {
    read(&world.wire(client).down)
}

fn only(world: &mut World, client: RawFd) -> Answer {
    let mut answers = answers(world, client);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

/// A client that does not read the answer to its event, and has begun its next request.
fn connect_stuck(world: &mut World) -> RawFd {
    let client = world.connect();
    world.wire(client).window = Some(10);
    let mut requests = post(world, "", "{}");
    requests.extend(b"POST /v1/ev");
    send(world, client, &requests);
    client
}

#[test]
fn a_head_has_its_time_from_its_first_byte() {
    let mut world = world();
    let client = world.connect();
    world.wait(30 * SECOND);
    send(&mut world, client, b"POST /v1/ev");
    world.wait(4 * SECOND);
    send(&mut world, client, b"ents HTTP/1.1\r\n");
    assert!(answers(&mut world, client).is_empty());
    world.wait(2 * SECOND);
    let answer = only(&mut world, client);
    assert!(answer.status == 408 && answer.body.contains("head_timeout"), "{answer:?}");
    assert!(answer.head.contains("Connection: close"));
    world.wait(3 * SECOND);
    assert!(world.wire(client).closed);
}

#[test]
fn a_body_has_its_time_from_the_end_of_its_head() {
    let mut world = world();
    let client = world.connect();
    let request = post(&world, "", r#"{"a":1}"#);
    send(&mut world, client, &request[..request.len() - 3]);
    world.wait(9 * SECOND);
    send(&mut world, client, &request[request.len() - 3..request.len() - 2]);
    assert!(answers(&mut world, client).is_empty());
    world.wait(2 * SECOND);
    let answer = only(&mut world, client);
    assert!(answer.status == 408 && answer.body.contains("body_timeout"), "{answer:?}");
}

#[test]
fn an_answer_does_not_lend_its_time_to_what_comes_behind_it() {
    let mut world = world();
    let (head, body) = (world.connect(), world.connect());
    let mut request = post(&world, "", "{}");
    request.extend(b"POST /v1/ev");
    send(&mut world, head, &request);
    let expecting = post(&world, "X-Request-Id: mine\r\nExpect: 100-continue\r\n", "{}");
    send(&mut world, body, &expecting[..expecting.len() - 2]);
    assert!(world.wire(body).down.starts_with(b"HTTP/1.1 100"));
    world.wait(7 * SECOND);
    let late = answers(&mut world, head);
    assert!(late[0].status == 202 && late[1].body.contains("head_timeout"), "{late:?}");
    world.wait(5 * SECOND);
    let late = only(&mut world, body);
    assert!(late.body.contains("body_timeout") && late.head.contains("X-Request-Id: mine"), "{late:?}");
}

#[test]
fn a_slow_reader_is_not_cut_in_its_answer_for_the_head_that_follows() {
    let mut world = world();
    let client = connect_stuck(&mut world);
    world.wait(20 * SECOND);
    assert!(!world.wire(client).closed);
    world.wire(client).window = None;
    world.wait(SECOND);
    let statuses: Vec<u16> = answers(&mut world, client).iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [202, 408]);
}

#[test]
fn a_refusal_that_takes_the_last_place_for_answers_leaves_its_connection_quiet() {
    let mut world = world();
    let client = world.connect();
    send(&mut world, client, &b"GET /livez HTTP/1.1\r\nHost: s\r\n\r\n".repeat(ANSWERS_MAX));
    assert_eq!(answers(&mut world, client).len(), ANSWERS_MAX);
    world.enter(Phase::Closing);
    world.turn();
    world.turn();
    assert!(world.wire(client).down_ended, "a stop need not wait for it");
}

#[test]
fn a_request_that_comes_with_the_stop_is_answered() {
    let mut world = world();
    let client = world.connect();
    let request = post(&world, "", "{}");
    world.wire(client).up.extend(&request);
    world.enter(Phase::Closing);
    world.turn();
    world.turn();
    let answer = only(&mut world, client);
    assert_eq!(answer.status, 202);
}

#[test]
fn a_connection_that_comes_with_the_stop_is_served_and_then_let_go() {
    let mut world = world();
    let request = post(&world, "", "{}");
    world.wait(SECOND);
    let driver = world.reactor.driver_mut();
    driver.backlog.push_back(Wire { up: request.into(), ..Wire::default() });
    driver.backlog.push_back(Wire::default());
    world.enter(Phase::Closing);
    for _ in 0..4 {
        world.turn();
    }
    let clients: Vec<RawFd> = world.reactor.driver_mut().wires.keys().copied().collect();
    assert_eq!(only(&mut world, clients[0]).status, 202);
    assert!(!world.wire(clients[1]).down_ended, "it may still say something");
    world.wait(SECOND);
    assert!(world.wire(clients[1]).down_ended);
}

#[test]
fn before_the_whole_node_has_started_nothing_is_accepted() {
    let mut world = World::starting(Plan { clients: 0, ..CALM });
    world.reactor.driver_mut().backlog.push_back(Wire::default());
    world.wait(3 * SECOND);
    assert!(world.reactor.driver_mut().wires.is_empty());
    world.enter(Phase::Serving);
    world.turn();
    world.turn();
    assert_eq!(world.reactor.driver_mut().wires.len(), 1);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut world = world();
    let (silent, used) = (world.connect(), world.connect());
    world.wait(60 * SECOND);
    let request = post(&world, "", "{}");
    send(&mut world, used, &request);
    world.wait(20 * SECOND);
    assert!(world.wire(silent).closed && world.wire(silent).down.is_empty());
    assert!(!world.wire(used).down_ended, "its time began anew with its request");
    world.wait(60 * SECOND);
    assert!(world.wire(used).closed);
}

#[test]
fn an_answer_that_nobody_reads_ends_the_connection() {
    let mut world = world();
    let client = connect_stuck(&mut world);
    world.wait(70 * SECOND);
    assert!(!world.wire(client).closed);
    world.wait(8 * SECOND);
    assert!(world.wire(client).closed);
    assert_eq!(world.metrics.accepted.value(), 1, "the event is not forgotten");
}

#[test]
fn a_level_that_is_not_reached_in_time_says_what_was() {
    let mut world = World::new(Plan { clients: 0, forwarder: 0, ..CALM });
    let client = world.connect();
    let request = post(&world, "Forebay-Ack: confirmed\r\n", "{}");
    send(&mut world, client, &request);
    world.wait(9 * SECOND);
    assert!(answers(&mut world, client).is_empty());
    world.wait(2 * SECOND);
    let answer = only(&mut world, client);
    assert!(
        answer.status == 503
            && answer.body.contains("ack_timeout")
            && answer.body.contains(r#""level":"synced","id":""#)
    );
    assert!(answer.head.contains("Forebay-Ack: synced"), "{answer:?}");
    assert_eq!(world.metrics.accepted.value(), 1, "it stays accepted");
    // The connection goes on.
    let request = post(&world, "", "{}");
    send(&mut world, client, &request);
    assert_eq!(answers(&mut world, client)[1].status, 202);
}

#[test]
fn a_disk_that_stalls_holds_up_those_alone_who_need_it() {
    let mut world = World::new(Plan { ack: AckLevel::Written, ..world_plan() });
    world.reactor.driver_mut().disk_stalls = true;
    let clients: Vec<RawFd> = (0..3).map(|_| world.connect()).collect();
    let request = post(&world, "", "{}");
    for client in &clients {
        send(&mut world, *client, &request);
    }
    let other = world.connect();
    send(&mut world, other, b"POST /v1/events HTTP/1.1\r\nHost: sim\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(only(&mut world, other).status, 401, "it needs no disk");
    world.wait(9 * SECOND);
    assert!(answers(&mut world, clients[0]).is_empty());
    world.reactor.driver_mut().disk_stalls = false;
    world.wait(SECOND / 2);
    for client in clients {
        assert_eq!(only(&mut world, client).status, 202);
    }
    assert_eq!(world.metrics.accepted.value(), 3);
}

/// Two clients whose time is up while the disk stalls: the event of the first is being written, that of the second is to follow.
fn stall_too_long(world: &mut World) {
    world.reactor.driver_mut().disk_stalls = true;
    let clients = [world.connect(), world.connect()];
    let request = post(world, "", "{}");
    for client in clients {
        send(world, client, &request);
    }
    world.wait(11 * SECOND);
    for client in clients {
        let answer = only(world, client);
        assert!(answer.status == 503 && answer.body.contains(r#""level":"queued","id":""#), "{answer:?}");
    }
    assert_eq!(world.metrics.accepted.value(), 0, "nobody knows yet");
    world.reactor.driver_mut().disk_stalls = false;
}

#[test]
fn what_is_written_after_its_time_is_accepted_all_the_same() {
    let mut world = World::new(Plan { ack: AckLevel::Written, ..world_plan() });
    stall_too_long(&mut world);
    world.wait(SECOND);
    assert_eq!(world.metrics.accepted.value(), 2);
}

#[test]
fn what_is_not_written_after_its_time_is_counted_as_rejected() {
    let mut world = World::new(Plan { ack: AckLevel::Written, ..world_plan() });
    world.set_disk_faults(DiskFaults { write: 1000, ..DiskFaults::default() });
    stall_too_long(&mut world);
    world.wait(SECOND);
    assert_eq!(world.metrics.accepted.value(), 0);
    assert_eq!(world.metrics.rejected(Code::JournalFailed.index()), 2);
}

#[test]
fn past_the_ring_of_answers_nothing_more_is_read() {
    let mut world = World::new(Plan { clients: 0, forwarder: 0, ..CALM });
    let client = world.connect();
    let request = post(&world, "Forebay-Ack: confirmed\r\n", "{}");
    let many = ANSWERS_MAX + 500;
    world.wire(client).up.extend(request.repeat(many));
    world.wait(SECOND);
    assert_eq!(world.metrics.accepted.value(), ANSWERS_MAX as u64);
    for _ in 0..many / ANSWERS_MAX {
        let seen = usize::try_from(world.metrics.accepted.value()).expect("a few");
        let taken = request.len() * many - world.wire(client).up.len();
        assert!(taken < request.len() * seen + (128 << 10), "the kernel keeps the rest");
        world.wait(11 * SECOND);
    }
    assert_eq!(world.metrics.accepted.value(), many as u64, "all had their turn");
    assert_eq!(answers(&mut world, client).len(), many);
}

#[test]
fn beyond_the_cap_a_connection_is_told_so() {
    let mut world = World::new(Plan { clients: 0, connections_max: 2, ..CALM });
    let (first, second) = (world.connect(), world.connect());
    let third = world.connect();
    world.turn();
    world.turn();
    let answer = only(&mut world, third);
    assert!(
        answer.status == 503
            && answer.body.contains("overloaded")
            && answer.head.contains("Connection: close")
    );
    world.wire(third).up_ended = true;
    world.wire(second).up_ended = true;
    world.wait(SECOND);
    assert!(world.wire(third).closed && world.wire(second).closed && !world.wire(first).closed);
    let fourth = world.connect();
    let request = post(&world, "", "{}");
    send(&mut world, fourth, &request);
    assert_eq!(only(&mut world, fourth).status, 202, "there is room again");
}

#[test]
fn the_cap_counts_the_connections_of_all_reactors() {
    const CAP: usize = 2;
    let mut world = World::new(Plan { clients: 0, connections_max: CAP, ..CALM });
    // Those of another reactor: the node is full, and enough are being told so.
    world.connections.store(CAP + 64, Ordering::Relaxed);
    let client = world.connect();
    world.wait(SECOND);
    assert!(world.wire(client).closed && world.wire(client).down.is_empty());
    world.connections.store(CAP, Ordering::Relaxed);
    let client = world.connect();
    world.wait(SECOND);
    assert_eq!(only(&mut world, client).status, 503);
    world.connections.store(1, Ordering::Relaxed);
    let client = world.connect();
    let request = post(&world, "", "{}");
    send(&mut world, client, &request);
    assert_eq!(only(&mut world, client).status, 202);
}

#[test]
fn a_request_cut_short_by_the_end_of_the_stream_is_told_so() {
    let mut world = world();
    let client = world.connect();
    let request = post(&world, "", r#"{"a":1}"#);
    world.wire(client).up_ended = true;
    send(&mut world, client, &request[..request.len() - 1]);
    world.wait(SECOND);
    let answer = only(&mut world, client);
    assert!(answer.status == 400 && answer.body.contains("malformed_request"), "{answer:?}");
    assert!(world.wire(client).closed);
}

#[test]
fn rfc9110_10_1_1_continue_is_sent_only_while_the_body_is_waited_for() {
    let mut world = world();
    let client = world.connect();
    let request = post(&world, "Expect: 100-continue\r\n", "{}");
    send(&mut world, client, &request[..request.len() - 2]);
    assert_eq!(world.wire(client).down, b"HTTP/1.1 100 Continue\r\n\r\n");
    send(&mut world, client, b"{}");
    assert_eq!(only(&mut world, client).status, 202);
    let impatient = world.connect();
    send(&mut world, impatient, &request);
    assert!(world.wire(impatient).down.starts_with(b"HTTP/1.1 202"));
    let unwanted = world.connect();
    send(
        &mut world,
        unwanted,
        b"POST /v1/events HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    );
    let answer = only(&mut world, unwanted);
    assert!(answer.status == 401 && answer.head.contains("Connection: close"), "{answer:?}");
}
