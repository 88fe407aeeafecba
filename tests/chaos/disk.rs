//! A disk that can be filled to the last byte without harm to anybody else.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Room for the whole journal, and some more.
const MIB: usize = 96;

/// A small file system in memory, for as long as this lives. Mounting takes root.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one, if that is possible here.
    pub(crate) fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: there is no disk to fill, and that fault is left out");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={MIB}m,mode=700"), "forebay-chaos"]);
        assert!(command.arg(folder.path()).status().expect("mount runs").success(), "a tmpfs is mounted");
        Some(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no room at all.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file");
        // The last blocks are smaller than a write.
        for bytes in [1 << 20, 4096] {
            let error = loop {
                if let Err(error) = file.write_all(&vec![0; bytes]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }

    /// Gives the room back.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: who still has a file there keeps it, and nobody else sees it.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}
