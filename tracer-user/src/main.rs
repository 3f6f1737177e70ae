//! The `h2trace` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    h2trace::cli::main()
}
