//! The file in which a node remembers, over restarts, what it need not forward again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::disk::Disk;
use super::ledger::{Account, SettledEvents};
use super::watermarks::Offset;

/// Its name in the journal's folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.json";
const VERSION: u32 = 1;
/// What fills a file up to its size.
const PADDING: u8 = b'\n';
/// Its size grows in steps of this many bytes.
const STEP_BYTES: usize = 64 << 10;
/// More than any checkpoint has: a larger file is none.
const BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Checkpoint {
    version: u32,
    #[serde(flatten)]
    total: SettledEvents,
    /// Offset below which everything is settled, by the name of the log.
    settled: BTreeMap<String, u64>,
    apps: BTreeMap<Uuid, SettledEvents>,
    rejected: BTreeMap<String, u64>,
}

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file is there, and cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// Written by a newer version of Forebay.
    #[error("has the unknown version {0}: written by a newer Forebay?")]
    UnknownVersion(u32),
}

/// Writes the account down; when this returns, it survives a power cut.
pub fn write_checkpoint(disk: &impl Disk, folder: &Path, account: &Account) -> io::Result<()> {
    let checkpoint = Checkpoint {
        version: VERSION,
        total: account.total,
        settled: account.logs.iter().map(|(log, end)| (log.to_string(), end.0)).collect(),
        apps: account.apps.clone(),
        rejected: account.rejected.clone(),
    };
    let mut text = seal(&checkpoint);
    // On a full disk it has to be written, too, or nothing could ever be freed: so it takes its room ahead, and keeps it.
    text.resize(text.len().next_multiple_of(STEP_BYTES), PADDING);
    disk.rewrite(&folder.join(CHECKPOINT_FILE), &text)
}

/// A checksum on a line of its own, then the value as JSON.
pub(super) fn seal(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("maps and numbers");
    let mut text = format!("{:08x}\n", crc32c::crc32c(&json)).into_bytes();
    text.extend(json);
    text.push(b'\n');
    text
}

/// Reads what was sealed; `None` if there is no such file.
pub(super) fn read_sealed<T: DeserializeOwned>(
    disk: &impl Disk,
    path: &Path,
) -> Result<Option<T>, CheckpointError> {
    let mut text = Vec::new();
    match disk.read(path, 0, BYTES_MAX, &mut text) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let text = std::str::from_utf8(&text).map_err(|_| damaged("it is no text"))?;
    let (crc, json) = text.split_once('\n').ok_or_else(|| damaged("it has no checksum"))?;
    let (json, padding) = json.split_once('\n').ok_or_else(|| damaged("it is cut short"))?;
    if padding.bytes().any(|byte| byte != PADDING) {
        return Err(damaged("something follows its end"));
    }
    if crc != format!("{:08x}", crc32c::crc32c(json.as_bytes())) {
        return Err(damaged("its checksum does not match"));
    }
    serde_json::from_str(json).map_err(|error| CheckpointError::Damaged(error.to_string()))
}

fn damaged(what: &str) -> CheckpointError {
    CheckpointError::Damaged(what.to_owned())
}

/// Reads the account; an empty one if there is none yet.
pub fn read_checkpoint(disk: &impl Disk, folder: &Path) -> Result<Account, CheckpointError> {
    let Some(checkpoint) = read_sealed::<Checkpoint>(disk, &folder.join(CHECKPOINT_FILE))? else {
        return Ok(Account::default());
    };
    if checkpoint.version != VERSION {
        return Err(CheckpointError::UnknownVersion(checkpoint.version));
    }
    let mut logs = BTreeMap::new();
    for (log, end) in checkpoint.settled {
        logs.insert(log.parse().map_err(|()| damaged("a log has no name"))?, Offset(end));
    }
    Ok(Account { total: checkpoint.total, apps: checkpoint.apps, logs, rejected: checkpoint.rejected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::FileSystem;
    use crate::journal::{CoreId, Ledger, LogId};

    #[test]
    fn an_account_comes_back_and_what_is_damaged_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        assert_eq!(read_checkpoint(&FileSystem, path).expect("none yet"), Account::default());
        let ledger = Ledger::default();
        let log = LogId { core: CoreId(1), epoch: 7 };
        let settled = SettledEvents { confirmed: 10, parked: 1 };
        ledger.settle(log, Offset(11), [(Uuid::from_u128(5), settled)]);
        write_checkpoint(&FileSystem, path, &ledger.account()).expect("written");
        let account = read_checkpoint(&FileSystem, path).expect("read");
        assert_eq!(account, ledger.account());
        assert_eq!((account.total, account.logs[&log], settled.events()), (settled, Offset(11), 11));

        let file = path.join(CHECKPOINT_FILE);
        let whole = std::fs::read(&file).expect("there");
        let text = whole.iter().rposition(|byte| *byte != PADDING).expect("JSON") + 2;
        for at in 0..text {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&file, &flipped).expect("written");
            assert!(
                matches!(read_checkpoint(&FileSystem, path), Err(CheckpointError::Damaged(_))),
                "byte {at}"
            );
            std::fs::write(&file, &whole[..at]).expect("written");
            assert!(read_checkpoint(&FileSystem, path).is_err(), "cut at {at}");
        }
    }
}
