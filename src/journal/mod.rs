//! What was accepted is written down: a log of segments for each core, and what is known of it.
//!
//! ```text
//!  reactor --append--> Appender --writev--> segment files <--read-- Reader <-- forwarder
//!     |                   ^                      ^                                 |
//!     +- write, sync -----+ spares               | make, reuse, remove             | settle
//!                         +------------------- Keeper <-- checkpoint <-- Ledger <--+
//! ```
//!
//! - [`format`](mod@format) is the layout of a segment: batches with checksums that only hold in one use of the file.
//! - [`Appender`] writes: a state machine that a reactor drives. A batch is *written* when its write has returned, *synced* when a sync of the file has.
//! - [`Reader`] reads back what the queue to the forwarder had no room for, and what an earlier life of the node left.
//! - [`Keeper`] makes segments ahead of need, lets them serve again below the checkpoint, and writes the checkpoint.
//! - [`survey`](fn@survey) finds and checks everything in a folder, at the start and for `forebay journal`, which also has [`list_logs`]
//!   (where each event is, in order), [`Follower`] (what is appended meanwhile), [`Release`] (exported, so not to be forwarded) and
//!   [`repair`](fn@repair).
//! - [`CoreLog`] has the watermarks, [`Ledger`] the counts.
//!
//! **Every start begins a new log for each core**, a folder named by an epoch that was drawn for it. So nothing is ever appended behind a torn tail,
//! and no offset is given twice: (epoch, core, offset) names one event for good. What earlier lives left is read by the forwarder, whatever
//! number of cores they had, and goes when it is settled. `docs/journal.md` has the layout, byte for byte.

mod appender;
mod backlog;
mod checkpoint;
mod disk;
mod follower;
pub mod format;
mod keeper;
mod ledger;
mod left;
mod listing;
mod log;
mod reader;
mod release;
mod repair;
#[cfg(test)]
mod samples;
mod survey;
mod watermarks;

pub use appender::{AppendError, Appender, AppenderOptions, SegmentFile, SegmentWrite, Spare, Wish};
pub use backlog::{Backlog, Course};
pub use checkpoint::{CHECKPOINT_FILE, CheckpointError, read_checkpoint, write_checkpoint};
pub use disk::{Disk, FileSystem, Holder, JournalLock, LockError, Space};
pub use follower::Follower;
pub use format::HeaderError;
pub use keeper::{DAMAGED_FOLDER, JournalGauges, Keeper, KeeperOptions};
pub use ledger::{Account, Ledger, SettledEvents};
pub use left::{LeftLog, find_left, trim_left};
pub use listing::{ListedLog, Run, list_logs};
pub use log::{Log, LogId, Segment, Trouble, draw_epoch};
pub use reader::{ReadBatch, ReadRequest, ReadStep, Reader};
pub use release::{RELEASE_FILE, Release, ReleasedLog, ReleasedRun, read_release, write_release};
pub use repair::{Repair, RepairError, RepairedFile, repair};
pub use survey::{
    Content, Damage, FoundLog, FoundSegment, Held, SEGMENT_SUFFIX, for_each_behind, read_segment, survey,
};
pub use watermarks::{CoreId, CoreLog, Offset};
