//! A file of the tree, and its Rust code without comments, strings and tests.

/// A file.
#[derive(Debug)]
pub(super) struct Source {
    /// Path below the root, with `/`.
    pub(super) path: String,
    /// Its text; empty when it is binary.
    pub(super) text: String,
    /// Rust only: the text with comments, the contents of strings, and tests blanked; same lines.
    pub(super) code: String,
}

impl Source {
    /// Takes a file's bytes.
    pub(super) fn new(path: &str, bytes: &[u8]) -> Source {
        let text = String::from_utf8(bytes.to_vec()).unwrap_or_default();
        let is_test =
            path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/");
        let code = if path.ends_with(".rs") && !is_test {
            without_tests(&without_comments_and_strings(&text))
        } else {
            String::new()
        };
        Source {
            path: path.to_owned(),
            text,
            code,
        }
    }

    /// Code lines with their numbers.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(n, line)| (n + 1, line))
    }
}

/// Blanks the code of files that are modules under `#[cfg(test)]`, and of the files below them.
pub(super) fn blank_test_modules(sources: &mut [Source]) {
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in sources {
        let is_test = tests.iter().any(|module| {
            source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
        });
        if is_test {
            source.code.clear();
        }
    }
}

/// The paths (without `.rs`) of the modules that a file declares under `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let Some(stem) = file.strip_suffix(".rs") else {
        return Vec::new();
    };
    let below = match stem {
        "mod" | "lib" | "main" => folder.to_owned(),
        _ => format!("{folder}/{stem}"),
    };
    let mut found = Vec::new();
    let mut lines = source.text.lines().map(str::trim);
    while lines.any(|line| line == "#[cfg(test)]") {
        let mut path = None;
        for line in lines.by_ref() {
            if let Some(given) = line.strip_prefix("#[path = \"") {
                path = given
                    .strip_suffix(".rs\"]")
                    .map(|name| format!("{folder}/{name}"));
            } else if !line.starts_with("#[") {
                let name = line
                    .strip_suffix(';')
                    .and_then(|line| Some(line.rsplit_once("mod ")?.1));
                found.extend(name.map(|name| path.unwrap_or_else(|| format!("{below}/{name}"))));
                break;
            }
        }
    }
    found
}

/// Blanks comments and the contents of string and character literals, keeping the lines.
fn without_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    // Skips to `end`, keeping the line ends on the way.
    let blank = |out: &mut String, from: usize, end: usize| {
        for c in chars.iter().take(end.min(chars.len())).skip(from) {
            out.push(if *c == '\n' { '\n' } else { ' ' });
        }
        end
    };
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..chars.len())
                .find(|&j| at(j) == '\n')
                .unwrap_or(chars.len()),
            ('/', '*') => end_of_block_comment(&chars, i),
            ('"', _) => end_of_string(&chars, i),
            ('r', '"' | '#') if i == 0 || !is_word(at(i - 1)) || at(i - 1) == 'b' => {
                match end_of_raw_string(&chars, i) {
                    Some(end) => end,
                    None => i,
                }
            }
            ('\'', '\\') => (i + 3..chars.len())
                .find(|&j| at(j) == '\'')
                .map_or(chars.len(), |j| j + 1),
            // A character, and not a lifetime.
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end == i {
            out.push(at(i));
            i += 1;
        } else {
            i = blank(&mut out, i, end);
        }
    }
    out
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0usize;
    let mut i = start;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut i = open + 1;
    while i < chars.len() {
        if chars[i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
        {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out: Vec<char> = code.chars().collect();
    let attribute: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut i = 0;
    while i + attribute.len() <= out.len() {
        if out[i..i + attribute.len()] != attribute[..] {
            i += 1;
            continue;
        }
        let end = end_of_item(&out, i + attribute.len());
        for c in &mut out[i..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        i = end;
    }
    out.into_iter().collect()
}

/// The end of the item that begins at `start`: its `;`, or the brace that closes it.
fn end_of_item(chars: &[char], start: usize) -> usize {
    let mut depth = 0usize;
    for (i, c) in chars.iter().enumerate().skip(start) {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            ';' if depth == 0 => return i + 1,
            _ => {}
        }
    }
    chars.len()
}

/// May stand inside an identifier.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `text` has `word` in it, not as a part of a longer identifier.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("tracer-user/core/src/frame/x.rs", text.as_bytes()).code
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        for text in [
            "// tokio\n",
            "/* tokio /* tokio */ tokio */ x",
            "let a = \"tokio \\\" tokio\"; x",
            "let a = r#\"tokio \" tokio\"#; x",
            "//! tokio\n/// tokio\nx",
        ] {
            assert!(!has_word(&code(text), "tokio"), "{text}: {}", code(text));
        }
    }

    #[test]
    fn code_after_a_literal_is_still_code() {
        for text in [
            "let a = '\"'; tokio",
            "let a = '\\''; tokio",
            "fn f<'a>(x: &'a str) { tokio }",
            "b\"//\"; tokio",
        ] {
            assert!(has_word(&code(text), "tokio"), "{text}: {}", code(text));
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a\n/* b\nc */\n\"d\ne\"\n#[cfg(test)]\nmod tests {\n}\nf";
        assert_eq!(code(text).lines().count(), text.lines().count());
        assert!(code(text).lines().last().is_some_and(|line| line == "f"));
    }

    #[test]
    fn tests_are_no_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { tokio } }\nfn c() {}\n#[cfg(test)]\nmod tokio;\n";
        assert!(!has_word(&code(text), "tokio"));
        assert!(has_word(&code(text), "c"));
    }

    #[test]
    fn files_of_test_modules_are_no_code() {
        let file = |path: &str, text: &str| Source::new(path, text.as_bytes());
        let mut sources = [
            file(
                "a/mod.rs",
                "#[cfg(test)]\npub(crate) mod scenarios;\npub mod real;\n",
            ),
            file("a/scenarios/mod.rs", "x\n"),
            file("a/scenarios/one.rs", "x\n"),
            file(
                "a/real.rs",
                "x\n#[cfg(test)]\n#[path = \"real_tests.rs\"]\nmod tests;\n",
            ),
            file("a/real_tests.rs", "x\n"),
            file("a/b.rs", "x\n#[cfg(test)]\nmod inner;\n"),
            file("a/b/inner.rs", "x\n"),
            file("a/inner.rs", "x\n"),
        ];
        blank_test_modules(&mut sources);
        let code: Vec<&str> = sources
            .iter()
            .filter(|source| has_word(&source.code, "x"))
            .map(|source| source.path.as_str())
            .collect();
        assert_eq!(code, ["a/real.rs", "a/b.rs", "a/inner.rs"]);
    }

    #[test]
    fn a_word_is_not_a_part_of_a_longer_one() {
        assert!(has_word("use aya::x", "aya"));
        assert!(!has_word("use ayame::x", "aya"));
        assert!(!has_word("let maya = 1", "aya"));
    }
}
