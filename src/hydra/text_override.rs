//! Writes an override for a text, as a user would type it.

/// The override `key=text`, with the text in quotes unless it is an ordinary path.
pub fn text_override(key: &str, text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_/-.".contains(c);
    if text.starts_with(['/', '.']) && text.chars().all(is_plain) {
        return format!("{key}={text}");
    }
    let mut quoted = String::new();
    let mut backslashes = 0;
    for (at, c) in text.char_indices() {
        if c == '\\' {
            backslashes += 1;
            continue;
        }
        // Backslashes are special before a quote and before an interpolation.
        let is_special = c == '\'' || text[at..].starts_with("${");
        quoted.extend(std::iter::repeat_n('\\', if is_special { 2 * backslashes + 1 } else { backslashes }));
        quoted.push(c);
        backslashes = 0;
    }
    quoted.extend(std::iter::repeat_n('\\', 2 * backslashes));
    format!("{key}='{quoted}'")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Request, load};

    #[test]
    fn the_override_gives_the_text_again() {
        for text in [
            "/a/b-c_1.0",
            "./a",
            "a b",
            "it's",
            "a,b{c}[d]",
            "x=y",
            "$HOMER",
            "${seed}",
            "\\${x}",
            "a\\",
            "\\'",
            "ü",
            "5",
        ] {
            let overrides = [text_override("paths.cache_dir", text)];
            let loaded = load(&Request { overrides: &overrides, ..Request::default() });
            let loaded = loaded.unwrap_or_else(|error| panic!("{text}: {}: {error}", overrides[0]));
            assert_eq!(loaded.config.paths.cache_dir, Path::new(text), "{}", overrides[0]);
        }
        assert_eq!(text_override("data.data_dir", "/data/cifar-10"), "data.data_dir=/data/cifar-10");
    }
}
