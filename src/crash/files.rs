//! The files of reports: written whole or not at all, and never many.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Reports that are kept, those that were sent among them; the oldest goes first.
pub const REPORTS_MAX: usize = 10;
const PREFIX: &str = "crash-";
/// Of a report that nobody has got yet, and of one that was sent.
const UNSENT: &str = "json";
const SENT: &str = "sent";

/// Writes a report; `time` orders the names.
pub(super) fn write(folder: &Path, time: &str, text: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let name = format!("{PREFIX}{time}-{}", std::process::id());
    let temporary = folder.join(format!(".{name}.tmp"));
    let path = folder.join(format!("{name}.{UNSENT}"));
    let written = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    written().inspect_err(|_| {
        // Where a disk is full, nothing is left behind.
        let _ = fs::remove_file(&temporary);
    })?;
    // The folder holds the name.
    File::open(folder)?.sync_all()?;
    remove_oldest(folder, &path)?;
    Ok(path)
}

/// The reports that nobody has got yet, oldest first.
pub fn unsent(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = all(folder)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == UNSENT));
    Ok(paths)
}

/// Notes that a report was sent.
pub fn mark_sent(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension(SENT))
}

/// All but the newest few, and never `newest`, whatever the clock was when others were named.
fn remove_oldest(folder: &Path, newest: &Path) -> io::Result<()> {
    let paths = all(folder)?;
    let too_many = paths.len().saturating_sub(REPORTS_MAX);
    paths.iter().filter(|path| *path != newest).take(too_many).try_for_each(fs::remove_file)
}

/// All reports, oldest first: their names begin with the time.
fn all(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_report = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
            && path.extension().is_some_and(|extension| extension == UNSENT || extension == SENT);
        if is_report {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        paths.iter().map(name).collect()
    }

    #[test]
    fn a_report_is_private_and_the_last_ten_are_kept_sent_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("data");
        let pid = std::process::id();
        for number in 0..15 {
            let path = write(&folder, &format!("2026{number:02}"), b"{}").expect("written");
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
            if number == 12 {
                mark_sent(&path).expect("renamed");
            }
        }
        fs::write(folder.join("node-id"), "n").expect("another file");
        let all = all(&folder).expect("a folder");
        assert_eq!((all.len(), &names(&all)[0]), (REPORTS_MAX, &format!("crash-202605-{pid}.json")));
        let unsent = names(&unsent(&folder).expect("a folder"));
        assert_eq!(unsent.len(), REPORTS_MAX - 1);
        assert!(!unsent.contains(&format!("crash-202612-{pid}.json")));
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), REPORTS_MAX + 1, "and nothing else");
    }

    #[test]
    fn the_newest_is_kept_though_the_clock_was_ahead_before_and_nothing_is_left_of_one_that_cannot_be_written()
     {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 10..10 + REPORTS_MAX {
            write(folder.path(), &format!("2030{number}"), b"{}").expect("written");
        }
        let newest = write(folder.path(), "2026", b"{}").expect("written");
        let kept = all(folder.path()).expect("a folder");
        assert!(kept.len() == REPORTS_MAX && kept[0] == newest, "{kept:?}");
        // Nothing can take its name.
        fs::remove_file(&newest).expect("ours");
        fs::create_dir(&newest).expect("ours");
        assert!(write(folder.path(), "2026", b"{}").is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), REPORTS_MAX);
    }

    #[test]
    fn where_nothing_can_be_written_it_says_so() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(write(file.path(), "2026", b"{}").is_err());
        assert!(unsent(Path::new("/nowhere/at/all")).is_err());
    }
}
