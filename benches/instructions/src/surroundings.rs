//! What counts of instructions depend on besides the code.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where counts hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Surroundings {
    /// The compiler.
    pub(crate) rustc: String,
    /// CPU features that a process sees, of those that libraries choose by at run time.
    pub(crate) features: String,
}

impl Surroundings {
    /// As this process sees them.
    pub(crate) fn seen_here() -> Self {
        Self { rustc: rustc_version(), features: features() }
    }

    /// As a process sees them below valgrind, whose CPU is not quite the machine's.
    pub(crate) fn below_valgrind() -> Self {
        let own = std::env::current_exe().expect("a path");
        let output = Command::new("valgrind")
            .args(["--tool=none", "--quiet"])
            .arg(own)
            .arg("--surroundings")
            .output()
            .expect("valgrind is installed: scripts/install valgrind");
        assert!(output.status.success(), "valgrind: {}", String::from_utf8_lossy(&output.stderr));
        let features = String::from_utf8(output.stdout).expect("names of features").trim().to_owned();
        Self { rustc: rustc_version(), features }
    }

    /// What is different in `other`, for people.
    pub(crate) fn difference_to(&self, other: &Self) -> Option<String> {
        let parts = [(&self.rustc, &other.rustc), (&self.features, &other.features)];
        let different: Vec<String> = parts
            .iter()
            .filter(|(one, other)| one != other)
            .map(|(one, other)| format!("{one} instead of {other}"))
            .collect();
        (!different.is_empty()).then(|| different.join("; "))
    }
}

fn rustc_version() -> String {
    let output = Command::new("rustc").arg("--version").output().expect("the compiler that built this");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let features = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("aes", is_x86_feature_detected!("aes")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi1", is_x86_feature_detected!("bmi1")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("adx", is_x86_feature_detected!("adx")),
        ("movbe", is_x86_feature_detected!("movbe")),
        ("sha", is_x86_feature_detected!("sha")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    let seen = features.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
    ["x86_64"].into_iter().chain(seen).collect::<Vec<_>>().join(" ")
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    std::env::consts::ARCH.to_owned()
}
