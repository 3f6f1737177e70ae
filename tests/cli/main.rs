//! The command line as a user meets it: help, exit statuses, refusals. No test here traces anything.

mod binary;
mod explain;
mod generate;
mod help;
mod plugin;
mod refusal;
mod replay;
mod rights;
mod silence;
mod yaml;
