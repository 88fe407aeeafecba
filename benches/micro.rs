//! What each step of an event's way costs by itself: `make bench`.

mod pieces;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::handoff::{Bell, Doorbell, QueueLimits, queue};
use forebay::journal::{Disk, FileSystem, SegmentWrite, Space};
use forebay::uring::{Completion, Driver, Operation, Ring, RingOptions, Token};
use pieces::{SEGMENT_BYTES, Segments, batch_records};

/// The ring knows one write at a time, and needs no name for it.
const TOKEN: Token = Token { slot: 0, generation: 0 };
/// Longest time that a disk may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pieces without a kernel.
fn pure(c: &mut Criterion) {
    for mut piece in pieces::pieces() {
        let mut group = c.benchmark_group("piece");
        if piece.bytes > 0 {
            group.throughput(Throughput::Bytes(piece.bytes as u64));
        }
        group.bench_function(piece.name, |b| b.iter(&mut piece.work));
        group.finish();
    }
}

/// A batch through the appender, the ring and a file, written before as a node's segments are. Syncs are left out: what they take is the disk's.
fn journal(c: &mut Criterion) {
    // Not in /tmp, which may have no disk below.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("segment");
    FileSystem.make_segment(&path, SEGMENT_BYTES, Space::Reserved).expect("a file");
    let mut segments = Segments::open_with(move || {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path);
        Box::new(file.expect("made above"))
    });
    let mut ring = Ring::new(RingOptions::default()).expect("a kernel with io_uring");
    let records = batch_records(64 << 10);
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Bytes(records.len() as u64));
    group.bench_function("append a batch of 64 KiB, through the ring into a file", |b| {
        b.iter(|| {
            let SegmentWrite { file, at, parts } = segments.append(black_box(&records));
            ring.submit(TOKEN, Operation::Write { file, at, parts });
            segments.handle_written(await_write(&mut ring));
            segments.sync_without_disk();
        });
    });
    group.finish();
}

/// Bytes that were written.
fn await_write(ring: &mut Ring) -> usize {
    let mut completions = Vec::new();
    loop {
        ring.turn(PATIENCE, &mut completions).expect("the ring turns");
        match completions.pop() {
            Some(Completion::Written { result }) => return result.expect("the disk takes it"),
            None => {}
            Some(other) => unreachable!("nothing else was asked for: {other:?}"),
        }
    }
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

criterion_group!(benches, pure, journal, handoff);
criterion_main!(benches);
