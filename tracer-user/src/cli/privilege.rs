//! What tracing needs, said before anything else happens.

use caps::{CapSet, Capability};

/// Checks that this process may load and attach kernel programs (capabilities(7): CAP_BPF and
/// CAP_PERFMON, or CAP_SYS_ADMIN which holds both).
///
/// # Errors
/// It may not; with the command that would.
pub fn check() -> anyhow::Result<()> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    if has(Capability::CAP_SYS_ADMIN) {
        return Ok(());
    }
    let missing: Vec<String> = [Capability::CAP_BPF, Capability::CAP_PERFMON]
        .into_iter()
        .filter(|capability| !has(*capability))
        .map(|capability| capability.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command: Vec<String> = std::env::args().map(|argument| quoted(&argument)).collect();
    anyhow::bail!(
        "not permitted: tracing needs {} (run: sudo {})",
        missing.join(" and "),
        command.join(" ")
    )
}

/// As a shell takes it for one word.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_for_a_shell() {
        for (argument, want) in [
            ("--pid", "--pid"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(argument), want);
        }
    }
}
