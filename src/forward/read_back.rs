//! Reads of the journal that are on their way, with the files that they are of.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_uring::fs::File;

use crate::journal::{LogId, ReadRequest};

/// How long a disk that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);

type Opened = (PathBuf, Rc<File>);
type Read = Pin<Box<dyn Future<Output = (LogId, io::Result<(Opened, Vec<u8>)>)>>>;

/// A read that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) log: LogId,
    pub(super) result: io::Result<Vec<u8>>,
}

/// One read at a time for each log.
#[derive(Default)]
pub(super) struct ReadBack {
    reads: FuturesUnordered<Read>,
    /// The file that was last read of each log; none while a read is on its way.
    files: BTreeMap<LogId, Option<Opened>>,
}

impl std::fmt::Debug for ReadBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBack").field("reads", &self.reads.len()).finish_non_exhaustive()
    }
}

impl ReadBack {
    /// Starts a read, unless one of the same log is on its way.
    pub(super) fn start(&mut self, log: LogId, request: &ReadRequest) {
        let opened = match self.files.insert(log, None) {
            Some(None) => return,
            Some(Some(opened)) => Some(opened),
            None => None,
        };
        let request = request.clone();
        self.reads.push(Box::pin(async move {
            let result = read(opened.filter(|(path, _)| *path == request.path), request).await;
            if result.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            (log, result)
        }));
    }

    /// The next read that ends; never, if none is on its way.
    pub(super) async fn next(&mut self) -> Finished {
        let Some((log, result)) = self.reads.next().await else { return std::future::pending().await };
        let result = match result {
            Ok((opened, bytes)) => {
                self.files.insert(log, Some(opened));
                Ok(bytes)
            }
            Err(error) => {
                self.files.remove(&log);
                Err(error)
            }
        };
        Finished { log, result }
    }

    /// Closes the files of logs that are gone, whose space the disk has back then.
    pub(super) fn retain(&mut self, is_there: impl Fn(LogId) -> bool) {
        self.files.retain(|log, _| is_there(*log));
    }
}

async fn read(opened: Option<Opened>, request: ReadRequest) -> io::Result<(Opened, Vec<u8>)> {
    let (path, file) = if let Some(opened) = opened {
        opened
    } else {
        let file = File::open(&request.path).await?;
        (request.path, Rc::new(file))
    };
    let mut bytes = Vec::new();
    while bytes.len() < request.bytes {
        let piece = Vec::with_capacity(request.bytes - bytes.len());
        let (result, piece) = file.read_at(piece, request.at + bytes.len() as u64).await;
        match result {
            Ok(0) => break,
            Ok(_) if bytes.is_empty() => bytes = piece,
            Ok(_) => bytes.extend(piece),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(((path, file), bytes))
}
