//! Commands as they are shown, and run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// `cargo`: the one that runs this task.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Said of this package to it, and handed on it would be news to build scripts that ask for it, such as ring's: half
    // of the workspace would be built anew each time that a task comes after a plain `cargo build`, and the other way.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!(
                "{}={}",
                name.to_string_lossy(),
                quoted(&value.to_string_lossy())
            ));
        }
    }
    let program = Path::new(command.get_program());
    // `cargo` is called by its full path, which nobody types.
    let name = match program.file_name() {
        Some(name) if name == "cargo" => name.to_string_lossy(),
        _ => program.to_string_lossy(),
    };
    words.push(name.into_owned());
    words.extend(
        command
            .get_args()
            .map(|word| quoted(&word.to_string_lossy())),
    );
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

/// Runs the command to its end.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// What the command prints.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Installs a command of cargo's from the registry, unless it is there in this version.
pub(crate) fn installed(root: &Path, name: &str, version: &str) -> anyhow::Result<()> {
    let short = name.trim_start_matches("cargo-");
    let said = cargo(root).args([short, "--version"]).output();
    let is_there = said.is_ok_and(|said| {
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        text.split_whitespace().any(|word| word == version)
    });
    if is_there {
        return Ok(());
    }
    let mut install = cargo(root);
    install.args(["install", name, "--version", version, "--locked"]);
    println!("{}", shown(&install));
    run(&mut install)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/home/x/.cargo/bin/cargo");
        command
            .args(["doc", "a b"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            shown(&command),
            "RUSTDOCFLAGS='-D warnings' cargo doc 'a b'"
        );
    }

    #[test]
    fn builds_are_told_nothing_of_this_package() {
        // Cargo runs this test, and says these of it.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let cargo = cargo(Path::new("."));
        let mut removed = cargo.get_envs().filter(|(_, value)| value.is_none());
        assert!(removed.any(|(name, _)| name == "CARGO_PKG_NAME"));
    }
}
