//! Where events wait that no broker would take: a file of `CloudEvents`, one a line, for people to look at and to send on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::line::join_lines;
use super::message::Message;

/// The file's name in the data directory.
const NAME: &str = "parked.ndjson";

/// Why an event could not be parked.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct ParkingError {
    path: PathBuf,
    error: io::Error,
}

/// The parking file. Opened for each event: parking is rare, and the file may be moved away at any time.
#[derive(Clone, Debug)]
pub struct Parking {
    path: PathBuf,
}

impl Parking {
    /// Parks in the node's data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(NAME) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the message's one event and waits until it is on the disk.
    pub fn park(&self, message: &Message) -> Result<(), ParkingError> {
        assert!(message.events() == 1, "only single events are parked");
        // Without the brackets of the array.
        let mut line = message.body[1..message.body.len() - 1].to_vec();
        join_lines(&mut line);
        line.push(b'\n');
        self.append(&line).map_err(|error| ParkingError { path: self.path.clone(), error })
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(line).and_then(|()| file.sync_all()) {
            // Half a line would spoil the next one. If this fails too, the first error is the one to tell.
            let _ = file.set_len(before);
            return Err(error);
        }
        // The folder holds the name.
        let folder = self.path.parent().expect("a file in the data directory");
        File::open(folder)?.sync_all()
    }
}
