//! `cargo xtask manifests`: the plain manifests, and the Job of the kubectl plugin, from the Helm chart. The plugin is
//! linted as well.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{command, demo};

/// What `cargo xtask manifests` takes.
#[derive(Args)]
pub(crate) struct ManifestsOptions {
    /// Write nothing: fail when something differs from what the chart gives
    #[arg(long)]
    check: bool,
}

const CHART: &str = "tracer-user/deploy/chart";
const MANIFEST: &str = "tracer-user/deploy/manifests/h2trace.yaml";
const PLUGIN: &str = "tracer-user/deploy/kubectl-h2trace";

/// Between these lines the plugin's Job stands.
const BEGIN: &str = "# --- made by \"cargo xtask manifests\" from the chart: begin\n";
const END: &str = "# --- made by \"cargo xtask manifests\" from the chart: end\n";

/// The release and the namespace that the plain manifests are of.
const RELEASE: &str = "h2trace";

/// What the chart is rendered for: the version decides nothing in it, but must not be an old one.
const KUBE_VERSION: &str = "1.34.0";

/// Writes, or compares.
pub(crate) fn run(options: &ManifestsOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let helm = helm(root)?;
    let manifest = format!(
        "# Made by \"cargo xtask manifests\" from the chart: change that instead.\n{}",
        template(&helm, root, &[])?
    );
    lint(root)?;
    let job = template(&helm, root, &["--set", "adHoc=true"])?;
    let plugin = std::fs::read_to_string(root.join(PLUGIN))
        .with_context(|| format!("cannot read {PLUGIN}"))?;
    let plugin = with_job(&plugin, &job)?;
    let mut differ = Vec::new();
    for (path, should) in [(MANIFEST, manifest), (PLUGIN, plugin)] {
        let is = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if is == should {
            continue;
        }
        differ.push(path);
        if !options.check {
            // In place: the plugin stays executable.
            std::fs::write(root.join(path), should)
                .with_context(|| format!("cannot write {path}"))?;
        }
    }
    match (differ.is_empty(), options.check) {
        (true, _) => println!("{MANIFEST} and {PLUGIN} are what the chart gives"),
        (false, false) => println!("wrote {}", differ.join(" and ")),
        (false, true) => bail!(
            "{} is not what the chart gives; run \"cargo xtask manifests\" and commit it",
            differ.join(" and ")
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// The plugin as shellcheck sees it, all of its warnings.
fn lint(root: &Path) -> anyhow::Result<()> {
    let mut shellcheck = Command::new("shellcheck");
    shellcheck.arg(root.join(PLUGIN));
    let said = shellcheck
        .output()
        .context("shellcheck is missing; install it with: cargo xtask setup --only programs")?;
    if !said.status.success() {
        bail!(
            "shellcheck finds this:\n{}",
            String::from_utf8_lossy(&said.stdout).trim()
        );
    }
    Ok(())
}

/// The Helm of `cargo xtask setup`, or the one on the path.
fn helm(root: &Path) -> anyhow::Result<PathBuf> {
    let peers = std::env::var_os("H2TRACE_PEERS_DIR")
        .map_or_else(|| demo::target(root).join("peers"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    [peers.join("helm")]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("helm"))
        .find(|program| program.is_file())
        .context("Helm is missing; install it with: cargo xtask setup --only helm")
}

fn template(helm: &Path, root: &Path, more: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(helm);
    command
        .args(["template", RELEASE])
        .arg(root.join(CHART))
        .args(["--namespace", RELEASE, "--kube-version", KUBE_VERSION])
        .args(more);
    let said = command
        .output()
        .with_context(|| format!("cannot run {}", command::shown(&command)))?;
    if !said.status.success() {
        bail!(
            "{} failed: {}",
            command::shown(&command),
            String::from_utf8_lossy(&said.stderr).trim()
        );
    }
    String::from_utf8(said.stdout).context("the chart gives text that is not UTF-8")
}

/// The plugin with this Job in it: a here-document of the shell, whose variables stand where the chart has `"@NAME@"`.
fn with_job(plugin: &str, job: &str) -> anyhow::Result<String> {
    let (Some(begin), Some(end)) = (plugin.find(BEGIN), plugin.find(END)) else {
        bail!("{PLUGIN} has lost the lines between which its Job stands: {BEGIN:?} and {END:?}");
    };
    let mut text = String::new();
    for line in job.lines() {
        if line == "---" || line.trim_start().starts_with('#') {
            continue;
        }
        if line.contains(['$', '`', '\\']) {
            bail!("the shell would change this line of the plugin's Job: {line}");
        }
        // Numbers and lists stand there without the quotes that YAML wants for the placeholder.
        let mut line = line.to_owned();
        for name in ["SECONDS", "ARGUMENTS"] {
            line = line.replace(&format!("\"@{name}@\""), &variable(name));
        }
        for name in ["NAME", "NAMESPACE", "NODE", "IMAGE"] {
            line = line.replace(&format!("@{name}@"), &variable(name));
        }
        if line.contains('@') {
            bail!("the plugin has no variable for this line of its Job: {line}");
        }
        text.push_str(&line);
        text.push('\n');
    }
    let (before, after) = (&plugin[..begin + BEGIN.len()], &plugin[end..]);
    Ok(format!("{before}cat <<EOF\n{text}EOF\n{after}"))
}

/// The plugin's variable of a placeholder.
fn variable(name: &str) -> String {
    format!("${{job_{}}}", name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_has_the_version_of_the_workspace() {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CHART);
        let text = std::fs::read_to_string(chart.join("Chart.yaml")).unwrap();
        for name in ["version", "appVersion"] {
            let line = format!("\n{name}: {}\n", env!("CARGO_PKG_VERSION"));
            assert!(text.contains(&line), "no {line:?} in Chart.yaml");
        }
    }

    #[test]
    fn job_becomes_a_document_of_the_shell() {
        let plugin = format!("a\n{BEGIN}old\n{END}b\n");
        let job = "---\n# Source: x\nname: \"@NAME@\"\nseconds: \"@SECONDS@\"\n";
        let got = with_job(&plugin, job).unwrap();
        assert_eq!(
            got,
            format!(
                "a\n{BEGIN}cat <<EOF\nname: \"${{job_name}}\"\nseconds: ${{job_seconds}}\nEOF\n{END}b\n"
            )
        );
        assert_eq!(with_job(&got, job).unwrap(), got);
    }

    #[test]
    fn job_that_the_shell_would_change_is_refused() {
        let plugin = format!("{BEGIN}{END}");
        for job in ["a: $b\n", "a: `b`\n", "a: \\n\n", "a: \"@OTHER@\"\n"] {
            assert!(with_job(&plugin, job).is_err(), "{job}");
        }
        assert!(with_job("no markers", "a: b\n").is_err());
    }
}
