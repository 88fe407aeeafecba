//! A server: started, measured, stopped.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::str::FromStr;

use super::await_true;

/// CPU time, nanoseconds, as the scheduler counts it: the kernel's work for a thread included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// Of the thread that serves.
    pub(crate) server_ns: u64,
    /// Of all threads of its process.
    pub(crate) process_ns: u64,
}

/// One server, running until it is dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    address: String,
    /// Address and path that tell how many events are not confirmed.
    pending: Option<(String, &'static str)>,
    child: Child,
    /// The process that serves, and the name of its thread.
    pid: u32,
    thread: &'static str,
}

impl Server {
    /// For servers that serve on the thread that they begin with, whatever its name is.
    pub(crate) const MAIN_THREAD: &str = "";

    /// Starts a server and waits until it listens.
    pub(crate) fn start(
        name: &'static str,
        address: &str,
        thread: &'static str,
        mut command: Command,
    ) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let pid = child.id();
        // Already one that is stopped when it is dropped.
        let server = Self { name, address: address.to_owned(), pending: None, child, pid, thread };
        await_true(name, || TcpStream::connect(address).is_ok());
        // A node listens before its threads run.
        await_true(thread, || server.cpu_so_far().server_ns > 0);
        server
    }

    /// Tells where the number of events is that are not confirmed yet: a number alone, or a page of metrics.
    pub(crate) fn with_pending(mut self, address: &str, path: &'static str) -> Self {
        self.pending = Some((address.to_owned(), path));
        self
    }

    /// The one child of its process is what serves: nginx's worker.
    pub(crate) fn served_by_child(mut self) -> Self {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let worker = fs::read_to_string(children).expect("a master with a worker");
        self.pid = worker.trim().parse().expect("one worker");
        self
    }

    /// Where it is.
    pub(crate) fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let cpu = self.cpu_so_far();
        assert!(cpu.server_ns > 0, "{} has a thread {}", self.name, self.thread);
        cpu
    }

    fn cpu_so_far(&self) -> Cpu {
        let mut cpu = Cpu { server_ns: 0, process_ns: 0 };
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).expect("the server runs").flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let ns: u64 = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            cpu.process_ns += ns;
            let is_main = task.file_name().to_str() == Some(&self.pid.to_string());
            let serves =
                if self.thread == Self::MAIN_THREAD { is_main } else { read("comm").trim() == self.thread };
            if serves {
                cpu.server_ns += ns;
            }
        }
        cpu
    }

    /// The most memory it has had, bytes: resident, the binary's pages included.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the server runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts it");
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    /// Waits until everything that was accepted is confirmed, if it is for this server to see to that.
    pub(crate) fn settle(&self) {
        await_true("everything is confirmed", || self.pending() == 0);
    }

    /// Events that are not confirmed yet.
    pub(crate) fn pending(&self) -> u64 {
        self.number("forebay_events_pending")
    }

    /// A metric, or what stands alone.
    pub(crate) fn number(&self, metric: &str) -> u64 {
        self.value(metric)
    }

    /// The same of one that need not be whole.
    pub(crate) fn decimal(&self, metric: &str) -> f64 {
        self.value(metric)
    }

    fn value<T: FromStr + Default>(&self, metric: &str) -> T {
        let Some((address, path)) = &self.pending else { return T::default() };
        let mut stream = TcpStream::connect(address).expect("the server listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        let value = body.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        value.unwrap_or(body).trim().parse().unwrap_or_else(|_| panic!("{metric} of {}: {body}", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's master takes its worker with it on a signal that it can see.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        // A ring lets go of its listener some time after its process: until then connections to the next server there may go to nobody.
        await_true("the port is free", || TcpStream::connect(&self.address).is_err());
    }
}
