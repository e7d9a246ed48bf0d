//! The source files of the crate, and the files that each of them imports from.
//!
//! Imports are read from the text: `use` lines and paths within the code, from `crate::`, `super::`, `self::` or a child
//! module. A name that a `mod.rs` re-exports counts as an import from the file that defines it. Unit tests, comments and
//! text literals are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Path below the repository, and text.
pub type Sources = BTreeMap<String, String>;

/// For each file: the files that it imports from, with the imported names.
pub type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` of the repository whose name ends with one of `endings`.
pub fn read(folder: &str, endings: &[&str]) -> Sources {
    let mut found = Sources::new();
    let mut pending: Vec<PathBuf> = vec![repository().join(folder)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending))
            && let Ok(text) = fs::read_to_string(&path)
        {
            let name = path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned();
            found.insert(name, text);
        }
    }
    found
}

/// The code of a file without comments, text literals and unit tests.
pub fn code(text: &str) -> String {
    without_unit_tests(&without_comments_and_literals(text))
}

fn without_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut kept, mut at) = (String::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with("r\"")
            || rest.starts_with("r#") && rest[1..].trim_start_matches('#').starts_with('"')
        {
            let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            at += rest[body..].find(&end).map_or(rest.len(), |found| body + found + end.len());
        } else if let Some(body) = rest.strip_prefix('"') {
            at += 1 + literal_length(body);
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            at += rest[1..].find('\'').unwrap() + 2;
        } else {
            let next = rest.chars().next().unwrap();
            kept.push(next);
            at += next.len_utf8();
        }
    }
    kept
}

/// Bytes of a literal from behind its opening quote to behind the closing one.
fn literal_length(body: &str) -> usize {
    let mut escaped = false;
    for (at, next) in body.char_indices() {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    body.len()
}

/// Drops each item behind `#[cfg(test)]`: to the end of its block, or of its line.
fn without_unit_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut rest) = (String::new(), code);
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        rest = &rest[start + MARK.len()..];
        let (open, end) = (rest.find('{').unwrap_or(rest.len()), rest.find([';', ',']).unwrap_or(rest.len()));
        rest = if end < open { &rest[end + 1..] } else { behind_block(&rest[open..]) };
    }
    kept + rest
}

fn behind_block(text: &str) -> &str {
    let mut depth = 0;
    for (at, next) in text.char_indices() {
        match next {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + next.len_utf8()..];
        }
    }
    ""
}

/// The modules of the crate: `a::b` for `src/a/b.rs` and `src/a/b/mod.rs`, empty for `src/lib.rs`.
struct Modules<'a> {
    file_of: BTreeMap<Vec<&'a str>, &'a str>,
    /// For each module the names that it re-exports, with the path behind each.
    exports: BTreeMap<&'a str, BTreeMap<String, Vec<String>>>,
}

fn module_of(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').collect() }
}

/// The imports of all files.
pub fn imports(sources: &Sources) -> Imports {
    let codes: BTreeMap<&str, String> = sources.iter().map(|(file, text)| (file.as_str(), code(text))).collect();
    let file_of = codes.keys().filter(|file| **file != "src/main.rs").map(|file| (module_of(file), *file)).collect();
    let mut modules = Modules { file_of, exports: BTreeMap::new() };
    for (file, code) in &codes {
        let paths = uses(code).into_iter().filter(|(public, _)| *public).flat_map(|(_, tree)| expand(&tree));
        // A name from another crate, or of a macro, is no path of ours: the file itself stands for it.
        let named = paths.filter_map(|(path, name)| Some((name, modules.absolute(file, &path)?)));
        modules.exports.insert(file, named.collect());
    }
    let mut found = Imports::new();
    for (file, code) in &codes {
        let edges = found.entry((*file).to_owned()).or_default();
        let is_folder = file.ends_with("/mod.rs") || *file == "src/lib.rs";
        for path in paths(code, is_folder) {
            let Some(path) = modules.absolute(file, &path) else { continue };
            if let Some((target, name)) = modules.resolve(&path)
                && target != *file
            {
                edges.entry(target.to_owned()).or_default().insert(name);
            }
        }
    }
    found
}

impl Modules<'_> {
    /// The path from the root of the crate; none for paths into other crates.
    fn absolute(&self, file: &str, path: &[String]) -> Option<Vec<String>> {
        let mut module: Vec<String> = module_of(file).into_iter().map(str::to_owned).collect();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (module, rest) = (Vec::new(), &path[1..]),
            "regun" if file == "src/main.rs" => (module, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    module.pop()?;
                    rest = &rest[1..];
                }
            }
            child => {
                let own: Vec<&str> = module.iter().map(String::as_str).chain([child]).collect();
                self.file_of.get(&own)?;
            }
        }
        Some(module.into_iter().chain(rest.iter().cloned()).collect())
    }

    /// The file that defines what the path names, and the name.
    fn resolve(&self, path: &[String]) -> Option<(&str, String)> {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let depth = (0..=parts.len()).rev().find(|&depth| self.file_of.contains_key(&parts[..depth]))?;
        let file = self.file_of[&parts[..depth]];
        let Some(name) = path.get(depth) else { return Some((file, "(module)".into())) };
        match self.exports[file].get(name) {
            Some(behind) if behind[..] != path[..=depth] => self.resolve(behind),
            _ => Some((file, name.clone())),
        }
    }
}

/// All paths of a file: those of `use` lines, and those within the code. Re-exports of a `mod.rs` are no imports.
fn paths(code: &str, is_folder: bool) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (public, tree) in uses(code) {
        if !(public && is_folder) {
            found.extend(expand(&tree).into_iter().map(|(path, _)| path));
        }
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = without_uses(code);
    while let Some(at) = rest.find("::") {
        let start = rest[..at].rfind(|c| !is_name(c)).map_or(0, |before| before + 1);
        let end = rest[at..].find(|c| !is_name(c) && c != ':').map_or(rest.len(), |length| at + length);
        let parts: Vec<String> =
            rest[start..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if !rest[..start].ends_with("::") && parts.len() > 1 {
            found.push(parts);
        }
        rest = rest.split_off(end.max(at + 2));
    }
    found
}

/// The trees of all `use` lines, and whether each is public.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for statement in code.split_inclusive(';') {
        let Some(line) = statement.rfind("use ").filter(|at| starts_statement(&statement[..*at])) else { continue };
        let public = statement[..line].trim_end().rsplit('\n').next().unwrap_or("").trim_start().starts_with("pub");
        let tree: String = statement[line + 4..].trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" ");
        found.push((public, tree));
    }
    found
}

/// Whether only a visibility stands between the start of the line and here.
fn starts_statement(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or("").trim();
    line.is_empty() || line == "pub" || line.starts_with("pub(") && line.ends_with(')')
}

fn without_uses(code: &str) -> String {
    let drop_use = |statement: &str| match statement.rfind("use ").filter(|at| starts_statement(&statement[..*at])) {
        Some(at) => statement[..at].to_owned(),
        None => statement.to_owned(),
    };
    code.split_inclusive(';').map(drop_use).collect()
}

/// The paths of a `use` tree, each with the name that it brings in.
fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    fn walk(prefix: &[String], tree: &str, found: &mut Vec<(Vec<String>, String)>) {
        let tree = tree.trim();
        if let Some(open) = tree.find('{') {
            let mut prefix = prefix.to_vec();
            prefix.extend(tree[..open].split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
            let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
            let (mut depth, mut start) = (0, 0);
            for (at, next) in inner.char_indices().chain([(inner.len(), ',')]) {
                match next {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        if !inner[start..at].trim().is_empty() {
                            walk(&prefix, &inner[start..at], found);
                        }
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            return;
        }
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut parts = prefix.to_vec();
        parts.extend(path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        if parts.len() > 1 && parts.last().is_some_and(|last| last == "self") {
            parts.pop();
        }
        let name = if alias.is_empty() { parts.last().cloned().unwrap_or_default() } else { alias.trim().to_owned() };
        found.push((parts, name));
    }
    let mut found = Vec::new();
    walk(&[], tree, &mut found);
    found
}
