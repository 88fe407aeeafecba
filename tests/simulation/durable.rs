//! The real disk layer behind a recorder: whatever a power cut leaves, what was told to be synced is there.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::journal::format::BatchHead;
use forebay::journal::{
    Appender, AppenderOptions, CoreId, CoreLog, FileSystem, Keeper, KeeperOptions, Ledger, Log, LogId,
    Offset, SegmentWrite, Space, Wish, survey,
};
use forebay::uring::{Completion, Driver, Operation, Ring, RingOptions, Token};
use rustix::io::Errno;

use crate::driver::Dice;

const SEGMENT: usize = 64 << 10;
/// Less than many a batch has.
const WRITE: usize = 700;
const SECTOR: usize = 512;
const BATCHES: usize = 800;
const POINTS: usize = 1000;

/// What has happened, in order.
enum Event {
    Written {
        path: PathBuf,
        at: usize,
        bytes: Vec<u8>,
    },
    /// A sync has ended, which covers what was written to the file before this index.
    Synced {
        path: PathBuf,
        before: usize,
    },
    /// Everything below was told to be synced.
    Told(Offset),
}

/// Batches with their records, by their first offset.
type Batches = BTreeMap<Offset, (BatchHead, Bytes)>;

/// Writes through the ring, and keeps account.
struct Recorder {
    ring: Ring,
    events: Vec<Event>,
}

impl Recorder {
    /// Writes as the reactor does, and waits for it.
    fn write(&mut self, SegmentWrite { file, at, parts }: SegmentWrite) -> Result<usize, Errno> {
        let (path, at_byte) = (path_of(file), usize::try_from(at).expect("small"));
        let bytes = parts.concat();
        let result = self.complete(Operation::Write { file, at, parts }, |completion| match completion {
            Completion::Written { result } => Some(result),
            _ => None,
        });
        let bytes = bytes[..result?].to_vec();
        self.events.push(Event::Written { path, at: at_byte, bytes });
        result
    }

    /// Syncs as the reactor does, and waits for it.
    fn sync(&mut self, file: RawFd) -> Result<(), Errno> {
        let (path, before) = (path_of(file), self.events.len());
        let result = self.complete(Operation::Sync(file), |completion| match completion {
            Completion::Synced { result } => Some(result),
            _ => None,
        });
        self.events.push(Event::Synced { path, before });
        result
    }

    fn complete<T>(&mut self, operation: Operation, take: fn(Completion) -> Option<T>) -> T {
        self.ring.submit(Token { slot: 0, generation: 0 }, operation);
        let mut completions = Vec::new();
        loop {
            self.ring.turn(Duration::from_secs(1), &mut completions).expect("a turn");
            if let Some(taken) = completions.drain(..).find_map(take) {
                return taken;
            }
        }
    }
}

fn path_of(file: RawFd) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{file}")).expect("an open file")
}

/// Appends and syncs at random moments; what happened, and the records by offset.
fn record(folder: &Path, log: LogId) -> (Vec<Event>, Batches) {
    let mut dice = Dice(7);
    let marks = Arc::<CoreLog>::default();
    let log = Arc::new(Log::new(log, folder.join(log.to_string()), marks.clone(), Vec::new()));
    let options = KeeperOptions {
        journal_bytes_max: 1 << 30,
        segment_bytes: SEGMENT,
        space: Space::Reserved,
        cached_bytes: 0,
        takes_releases: false,
    };
    let mut epochs = Dice(9);
    let mut keeper = Keeper::new(
        FileSystem,
        folder.to_owned(),
        options,
        Arc::<Ledger>::default(),
        Box::new(Vec::new),
        Box::new(move || epochs.below(usize::MAX) as u64),
    );
    let spares = keeper.add_live(log.clone()).expect("a folder");
    let (wake, _woken) = crossbeam_channel::bounded(1);
    let appending = AppenderOptions {
        segment_bytes: SEGMENT,
        unsynced_bytes_max: 4 * SEGMENT,
        write_bytes: WRITE,
        sync_bytes: SEGMENT,
        sync_after_ms: 1000,
    };
    let mut appender = Appender::new(log, spares, wake, appending);
    let ring = Ring::new(RingOptions { entries: 8, buffers: 2, buffer_bytes: 512 }).expect("io_uring");
    let mut recorder = Recorder { ring, events: Vec::new() };
    let mut batches = Batches::new();
    for _ in 0..BATCHES {
        keeper.step(0);
        let records = Bytes::from(vec![u8::try_from(dice.below(256)).expect("a byte"); 1 + dice.below(1500)]);
        let events = 1 + u32::try_from(dice.below(5)).expect("small");
        let head = BatchHead { first: marks.appended(), events };
        appender.append(head, records.clone()).expect("a disk with room");
        while let Some(wish) = appender.poll(0) {
            let Wish::Write(write) = wish else { panic!("a disk with room: {wish:?}") };
            let result = recorder.write(write);
            appender.handle_written(result, 0);
        }
        assert!(!appender.is_busy());
        marks.set_appended(head.end());
        marks.set_written(head.end());
        batches.insert(head.first, (head, records));
        while let Some(file) = appender.poll_sync(dice.happens(200), 0) {
            let result = recorder.sync(file);
            appender.handle_synced(result, 0);
            recorder.events.push(Event::Told(marks.synced()));
        }
    }
    (recorder.events, batches)
}

/// The files as a power cut behind the first `events` may leave them: what was synced, and any sectors of the rest. And what was told by then.
fn after_power_cut(events: &[Event], dice: &mut Dice) -> (BTreeMap<PathBuf, Vec<u8>>, Offset) {
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut synced: BTreeMap<&PathBuf, usize> = BTreeMap::new();
    let mut told = Offset(0);
    for event in events {
        match event {
            Event::Synced { path, before } => drop(synced.insert(path, *before)),
            Event::Told(end) => told = *end,
            Event::Written { .. } => {}
        }
    }
    let survive = dice.below(1001);
    for (index, event) in events.iter().enumerate() {
        let Event::Written { path, at, bytes } = event else { continue };
        let file = files.entry(path.clone()).or_insert_with(|| vec![0; SEGMENT]);
        let is_synced = synced.get(path).is_some_and(|before| index < *before);
        let mut from = *at;
        while from < at + bytes.len() {
            let to = ((from / SECTOR + 1) * SECTOR).min(at + bytes.len());
            if is_synced || dice.happens(survive) {
                file[from..to].copy_from_slice(&bytes[from - at..to - at]);
            }
            from = to;
        }
    }
    (files, told)
}

#[test]
fn at_any_point_of_a_power_cut_what_was_told_to_be_synced_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = LogId { core: CoreId(0), epoch: 1 };
    let (events, batches) = record(folder.path(), log);
    assert!(events.iter().filter(|event| matches!(event, Event::Synced { .. })).count() > 50);
    let writes = events.iter().filter(|event| matches!(event, Event::Written { .. })).count();
    assert!(writes > BATCHES + BATCHES / 2, "many batches came in pieces: {writes}");
    let mut dice = Dice(11);
    let mut most = Offset(0);
    for point in 0..POINTS {
        let cut = dice.below(events.len() + 1);
        let (files, told) = after_power_cut(&events[..cut], &mut dice);
        let rebuilt = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(rebuilt.path().join(log.to_string())).expect("a folder");
        for (path, bytes) in files {
            let path = path.strip_prefix(folder.path()).expect("in the journal");
            std::fs::write(rebuilt.path().join(path), bytes).expect("written");
        }
        let mut found = Batches::new();
        survey(&FileSystem, rebuilt.path(), |_, _, batch| {
            found.insert(batch.head.first, (batch.head, Bytes::copy_from_slice(batch.records)));
        })
        .expect("readable");
        for (first, batch) in batches.iter().filter(|(_, (head, _))| head.end() <= told) {
            assert_eq!(found.get(first), Some(batch), "point {point}, behind event {cut}");
        }
        assert!(found.iter().all(|(first, batch)| batches.get(first) == Some(batch)), "none is invented");
        most = most.max(told);
    }
    assert!(most > Offset(1000), "something was at stake");
}
