//! Help and version.

use super::binary::h2trace;

#[test]
fn help_of_every_command_is_printed_with_status_0() {
    for (command, words) in [
        (
            &["--help"][..],
            &[
                "serve",
                "trace",
                "record",
                "doctor",
                "explain",
                "demo",
                "generate",
                "Exit status",
            ][..],
        ),
        (
            &["serve", "--help"],
            &[
                "--listen",
                "0.0.0.0:9464",
                "--header",
                "--ready-file",
                "--pid",
                "--cgroup",
                "--namespace",
                "--exclude-namespace",
                "--selector",
            ],
        ),
        (
            &["trace", "--help"],
            &[
                "--pid",
                "--comm",
                "--cgroup",
                "--netns",
                "--port",
                "--all",
                "--pod",
                "--container",
                "different options: and; several values: or",
                "--header",
                "--for",
                "--limit",
                "--output",
                "--findings",
                "--fail-on",
                "--ready-file",
            ],
        ),
        (
            &["record", "--help"],
            &[
                "--write",
                "--include-payload",
                "--max-size",
                "--pid",
                "--for",
                "--limit",
                "--ready-file",
            ],
        ),
        (&["doctor", "--help"], &["--output"]),
        (
            &["explain", "--help"],
            &["[WORDS]", "--output", "Examples:"],
        ),
        (&["demo", "--help"], &["Usage: h2trace demo"]),
        (
            &["generate", "--help"],
            &["completions", "man", "schema", "metrics"],
        ),
        (
            &["generate", "completions", "--help"],
            &["bash", "zsh", "fish"],
        ),
        (&["generate", "man", "--help"], &["--dir"]),
    ] {
        let said = h2trace(command);
        assert_eq!(said.status, Some(0), "{command:?}: {}", said.stderr);
        assert_eq!(said.stderr, "", "{command:?}");
        for word in words {
            assert!(
                said.stdout.contains(word),
                "{command:?} lacks {word}:\n{}",
                said.stdout
            );
        }
    }
}

#[test]
fn version_is_that_of_the_workspace() {
    let said = h2trace(&["--version"]);
    assert_eq!(
        (said.status, said.stdout),
        (Some(0), format!("h2trace {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn no_command_at_all_shows_the_help_with_status_2() {
    let said = h2trace(&[]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.contains("Commands:"), "{}", said.stderr);
}
