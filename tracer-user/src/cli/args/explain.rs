//! `h2trace explain`.

use clap::Args;

use super::Format;

/// `h2trace explain`
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  h2trace explain\n  h2trace explain missing_trailers\n  h2trace explain \"Received RST_STREAM with code 0\""
)]
pub struct ExplainArgs {
    /// A finding's name, or an error text as an application or proxy printed it; if omitted, all findings
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,

    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}
