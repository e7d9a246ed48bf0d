//! Quotes words for a shell, so that a command in a message can be pasted.

/// The words as one command line. A shell reads the same words from it.
pub fn command<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// One word of a command line, in quotes where a shell needs them.
///
/// The result is one line without control characters. They become escapes in `$'...'`, which bash, zsh, ksh and POSIX
/// (2024) read. All other words are right for any POSIX shell and for fish.
pub fn quote(word: &str) -> String {
    // shlex would put each `key=value` in quotes. Zsh expands a word that begins with `=`.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=,:+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('=') {
        return word.to_owned();
    }
    match shlex::try_quote(word) {
        Ok(quoted) if !word.contains(char::is_control) => quoted.into_owned(),
        _ => format!("$'{}'", word.chars().map(escaped).collect::<String>()),
    }
}

/// A character inside `$'...'`.
fn escaped(c: char) -> String {
    match c {
        '\\' | '\'' => format!("\\{c}"),
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        // A control character above ASCII has several bytes, each with an escape of its own.
        c if c.is_control() => c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
        c => c.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_again() {
        let words = [
            "regun",
            "data=digits",
            "logging.name='a, b'",
            "a b",
            "",
            "it's",
            "\"quoted\"",
            "both ' and \"",
            "$HOME and `id` and $(id)",
            "back\\slash\\",
            "[3,5]",
            "{a: 1, b: 2}",
            "x={a,b}",
            "(1; 2) & | < > # ! ? *",
            "history!!",
            "~unlearn",
            "+a.b=1",
            "--opt=-1",
            "Köln/日本/☃.pt",
            "two\nlines",
            "tab\there",
            "\u{1b}[31mred\u{7f}\u{85}",
            "control\n and ' and \\ and $x",
            "=cmd",
            "%1",
            "^a^b",
        ];
        let line = command(words);
        assert!(!line.contains(char::is_control), "{line}");
        for shell in ["bash", "zsh", "ksh"] {
            let script = format!("printf '%s\\0' {line}");
            let Ok(output) = std::process::Command::new(shell).args(["-c", &script]).output() else { continue };
            let read = String::from_utf8(output.stdout).unwrap();
            assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), words, "{shell} reads {line}");
        }
    }

    #[test]
    fn plain_words_stay_as_they_are() {
        let words = ["regun", "pipeline", "data=cifar10", "split.forget_frac=0.1", "outputs/2026-11-23/10-00-00/a.pt"];
        assert_eq!(command(words), words.join(" "));
    }
}
