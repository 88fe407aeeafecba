//! `docs/configuration.md` says what `--help` says: it is made from it, and this test fails when the two differ. `make configuration` writes it anew.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `--help` prints, without line breaks of its own and without what this machine's environment says.
fn help_of(path: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(path)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "65535")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{path:?} has a help");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A flag or an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    name: String,
    environment: String,
    default: String,
    values: Vec<String>,
    text: Vec<String>,
}

impl Entry {
    /// Takes a line below the entry's name.
    fn take(&mut self, line: &str) {
        if let Some(variable) = line.strip_prefix("[env: ").and_then(|rest| rest.strip_suffix(']')) {
            variable.trim_end_matches('=').clone_into(&mut self.environment);
        } else if let Some(value) = line.strip_prefix("- ") {
            self.values.push(value.split(':').next().unwrap_or(value).to_owned());
        } else if !line.is_empty() && line != "Possible values:" {
            // A default that is not a value stands at the end of the text.
            let (text, default) = line.split_once("[default: ").unwrap_or((line, ""));
            if let Some(default) = default.strip_suffix(']') {
                default.clone_into(&mut self.default);
            }
            self.text.push(text.trim().to_owned());
        }
    }

    fn row(&self) -> String {
        let cell = |text: &str| text.replace('|', "\\|");
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) };
        let mut text = self.text.join(" ").trim().trim_end_matches('.').to_owned();
        if !self.values.is_empty() {
            let values: Vec<_> = self.values.iter().map(|value| format!("`{value}`")).collect();
            let _ = write!(text, ": {}", values.join(", "));
        }
        format!(
            "| {} | {} | {} | {} |",
            code(&self.name),
            code(&self.environment),
            cell(&self.default),
            cell(&text)
        )
    }
}

/// What one command says of itself.
#[derive(Debug, Default)]
struct Help {
    about: String,
    commands: Vec<String>,
    entries: Vec<Entry>,
}

impl Help {
    fn read(text: &str) -> Self {
        let mut help = Self::default();
        let mut section = "";
        for line in text.lines() {
            let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
            match (section, indent) {
                (_, 0) if line.ends_with(':') => section = line,
                ("", 0) if !line.is_empty() && !line.starts_with("Usage:") => {
                    let separator = if help.about.is_empty() { "" } else { " " };
                    let _ = write!(help.about, "{separator}{line}");
                }
                ("Commands:", 2) => {
                    help.commands.push(line.split(' ').next().expect("a name").to_owned());
                }
                ("Arguments:" | "Options:", 2 | 6) => {
                    help.entries.push(Entry { name: line.replace(['<', '>'], ""), ..Entry::default() });
                }
                ("Arguments:" | "Options:", _) => {
                    if let Some(entry) = help.entries.last_mut() {
                        entry.take(line);
                    }
                }
                _ => {}
            }
        }
        help.commands.retain(|name| name != "help");
        help.entries.retain(|entry| !entry.name.contains("--help") && !entry.name.contains("--version"));
        help
    }
}

fn table<'a>(page: &mut String, entries: impl Iterator<Item = &'a Entry>) {
    page.push_str("| flag | variable | default | |\n|---|---|---|---|\n");
    for entry in entries {
        page.push_str(&entry.row());
        page.push('\n');
    }
    page.push('\n');
}

/// Adds the sections of a command and of those below it. `above` has what its parents have told already, `told` each table and whose it is.
fn commands(page: &mut String, path: &[String], above: &[Entry], told: &mut HashMap<String, String>) {
    let help = Help::read(&help_of(path));
    let own: Vec<_> = help.entries.iter().filter(|entry| !above.contains(entry)).collect();
    if !path.is_empty() {
        let name = format!("forebay {}", path.join(" "));
        let _ = writeln!(page, "## `{name}`\n\n{}.\n", help.about.trim_end_matches('.'));
        let mut rows = String::new();
        table(&mut rows, own.iter().copied());
        match told.get(&rows) {
            _ if own.is_empty() => {}
            Some(other) => {
                let _ = writeln!(page, "It has the flags of `{other}`.\n");
            }
            None => {
                page.push_str(&rows);
                told.insert(rows, name);
            }
        }
    }
    let above: Vec<_> = above.iter().chain(own).cloned().collect();
    for name in help.commands {
        commands(page, &[path, &[name]].concat(), &above, told);
    }
}

fn page() -> String {
    let mut page = "# Configuration\n\n\
        Every flag of every command, as `--help` prints it; this page is made from there (`make configuration`), and a test holds it so.\n\n\
        A flag wins over its environment variable, and that over the default. A flag that may be repeated takes a list from its variable, with commas between (brokers' URLs: with spaces). \
        `SIZE` is a number of bytes, or has the unit `KiB`, `MiB` or `GiB`; `DURATION` has the unit `ms`, `s` or `m`; `LIST` is CPUs, such as `0-3,6`; \
        `CIDR` is an address or a network.\n\n\
        ## All commands\n\n"
        .to_owned();
    let all = Help::read(&help_of(&[])).entries;
    table(&mut page, all.iter());
    commands(&mut page, &[], &all, &mut HashMap::new());
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[test]
fn the_page_says_what_the_commands_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = page();
    if std::env::var_os("WRITE_CONFIGURATION").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(
        page == written,
        "docs/configuration.md is not what --help says: run `make configuration`. {differs:?}"
    );
}

#[test]
fn a_help_is_read_whole() {
    let help = Help::read(
        "Run a node\n\nUsage: forebay serve [OPTIONS] <NAME>\n\nCommands:\n  cat   Print\n  help  Print this message\n\nArguments:\n  <NAME>\n          \
         A name\n\nOptions:\n      --how <HOW>\n          How, or | not\n\n          Possible values:\n          - one: For people\n          - two: \
         For others\n\n          [env: FOREBAY_HOW=]\n          [default: one]\n\n      --cpus <LIST>\n          CPUs. [default: all]\n\n  -h, --help\n          \
         Print help\n",
    );
    assert_eq!((help.about.as_str(), help.commands), ("Run a node", vec!["cat".to_owned()]));
    let rows: Vec<_> = help.entries.iter().map(Entry::row).collect();
    assert_eq!(
        rows,
        [
            "| `NAME` |  |  | A name |",
            "| `--how HOW` | `FOREBAY_HOW` | one | How, or \\| not: `one`, `two` |",
            "| `--cpus LIST` |  | all | CPUs |",
        ]
    );
}
