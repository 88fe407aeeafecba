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
        if !is_root() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={MIB}m,mode=700");
        mount(&["-t", "tmpfs", "-o", &options], Path::new("forebay-chaos"), folder.path());
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
        unmount(self.folder.path());
    }
}

/// Whether file systems can be mounted here.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not root: no disk can be mounted, and what would happen to it is left out");
    }
    is_root
}

pub(crate) fn mount(options: &[&str], source: &Path, folder: &Path) {
    run("mount", &[options.iter().map(Path::new).collect(), vec![source, folder]].concat());
}

pub(crate) fn unmount(folder: &Path) {
    // Lazily: who still has a file there keeps it, and nobody else sees it.
    let _ = Command::new("umount").arg("--lazy").arg(folder).status();
}

pub(crate) fn run(program: &str, args: &[&Path]) {
    let status = Command::new(program).args(args).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{program} {args:?}: {status:?}");
}
