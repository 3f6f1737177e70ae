//! `h2trace doctor`: what this kernel and these privileges allow.

use std::process::ExitCode;

use super::args::DoctorArgs;

/// Examines and prints. Exit status 2 when h2trace cannot trace here.
///
/// # Errors
/// The report cannot be printed.
pub fn run(_args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the kernel programs are not built in yet")
}
