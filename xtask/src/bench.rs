//! placeholder
use clap::Args;
#[derive(Args)]
pub(crate) struct Options {}
pub(crate) fn run(_: &Options, _: &std::path::Path) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("x")
}
