//! Whether this kernel and sandbox give us what we need, and what to say if not.

use rustix::io::Errno;

/// The oldest kernel that has everything: `IORING_SETUP_DEFER_TASKRUN` came last, with 6.1.
const KERNEL_NEEDED: &str = "6.1";
const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// Why there is no ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UringError {
    /// The kernel, its settings or a sandbox refuse something that is needed.
    #[error("io_uring cannot be used: {feature} failed with {errno} on Linux {kernel}. {advice}")]
    Unsupported {
        /// What was asked for.
        feature: &'static str,
        /// The kernel's answer.
        errno: Errno,
        /// The running kernel's version.
        kernel: String,
        /// The setting to change.
        advice: String,
    },
}

impl UringError {
    /// Explains a failed step of the set-up.
    pub(crate) fn explain(feature: &'static str, errno: Errno) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let sysctl = std::fs::read_to_string(SYSCTL).ok();
        let advice = advice(errno, sysctl.as_deref().map(str::trim));
        Self::Unsupported { feature, errno, kernel, advice }
    }
}

/// What to do, from the errno and the value of the sysctl `kernel.io_uring_disabled`.
fn advice(errno: Errno, sysctl: Option<&str>) -> String {
    match (errno, sysctl) {
        (Errno::PERM, Some(value @ ("1" | "2"))) => format!(
            "The sysctl kernel.io_uring_disabled is {value}: set it to 0 (sysctl -w kernel.io_uring_disabled=0){}",
            if value == "1" { ", or add the user's group to kernel.io_uring_group" } else { "" }
        ),
        (Errno::PERM | Errno::ACCESS, _) => {
            "A sandbox forbids it: allow the system calls io_uring_setup, io_uring_enter and \
             io_uring_register in the seccomp profile (container runtimes block them by default)"
                .to_owned()
        }
        (Errno::NOSYS, _) => format!(
            "The kernel was built without io_uring (CONFIG_IO_URING) or a seccomp profile hides it; Linux {KERNEL_NEEDED} or newer is needed"
        ),
        (Errno::NOMEM, _) => {
            "Locked memory is at its limit: raise RLIMIT_MEMLOCK (LimitMEMLOCK= of the systemd unit)"
                .to_owned()
        }
        (Errno::MFILE | Errno::NFILE, _) => {
            "No descriptor is free: raise RLIMIT_NOFILE (LimitNOFILE= of the systemd unit)".to_owned()
        }
        _ => format!("Linux {KERNEL_NEEDED} or newer is needed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_feature_kernel_and_setting() {
        let error = UringError::explain("io_uring_setup", Errno::NOSYS).to_string();
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        assert!(
            error.contains("io_uring_setup") && error.contains(&kernel) && error.contains("CONFIG_IO_URING"),
            "{error}"
        );
    }

    #[test]
    fn each_cause_has_its_setting() {
        for (errno, sysctl, expected) in [
            (Errno::PERM, Some("2"), "sysctl -w kernel.io_uring_disabled=0"),
            (Errno::PERM, Some("1"), "io_uring_group"),
            (Errno::PERM, Some("0"), "seccomp"),
            (Errno::PERM, None, "seccomp"),
            (Errno::NOSYS, None, "CONFIG_IO_URING"),
            (Errno::NOMEM, Some("0"), "RLIMIT_MEMLOCK"),
            (Errno::MFILE, Some("0"), "RLIMIT_NOFILE"),
            (Errno::INVAL, Some("0"), "6.1"),
        ] {
            assert!(
                advice(errno, sysctl).contains(expected),
                "{errno:?} {sysctl:?}: {}",
                advice(errno, sysctl)
            );
        }
    }
}
