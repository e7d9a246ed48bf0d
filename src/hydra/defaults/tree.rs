//! The files of a configuration as the tree of its defaults lists, and as the list in merge order.

use crate::hydra::node::Node;

/// A file with its defaults list, or the content of a file.
pub(in crate::hydra) struct DefaultsTree {
    /// The entry as `group: choice`, or the file's path.
    pub label: String,
    /// The path of the file whose content this is. None for a file with a list: its content is one of the children.
    pub path: Option<String>,
    /// The place of the content: a dotted path, empty for the root.
    pub package: String,
    /// The path of the file whose list names this one.
    pub parent: Option<String>,
    /// The content stands at `_self_` in its own list.
    pub is_self: bool,
    pub body: Option<Node>,
    /// In merge order.
    pub children: Vec<DefaultsTree>,
}

impl DefaultsTree {
    /// A group without a choice.
    pub fn placeholder(label: String) -> Self {
        DefaultsTree {
            label,
            path: None,
            package: String::new(),
            parent: None,
            is_self: false,
            body: None,
            children: Vec::new(),
        }
    }

    /// The tree as indented lines, as Hydra prints it.
    pub fn lines(&self, indent: usize, lines: &mut Vec<String>) {
        let label = if self.is_self { "_self_" } else { &self.label };
        let colon = if self.children.is_empty() { "" } else { ":" };
        lines.push(format!("{}{label}{colon}", "  ".repeat(indent)));
        self.children.iter().for_each(|child| child.lines(indent + 1, lines));
    }

    /// The list in merge order: path, package, whether it is `_self_`, and parent of each content.
    pub fn rows(&self, rows: &mut Vec<[String; 4]>) {
        if let Some(path) = &self.path {
            let is_self = if self.is_self { "True" } else { "False" };
            let parent = self.parent.clone().unwrap_or_default();
            rows.push([path.clone(), self.package.clone(), is_self.into(), parent]);
        }
        self.children.iter().for_each(|child| child.rows(rows));
    }

    /// Takes the contents out of the tree: package and keys of each, in merge order.
    pub fn take_contents(&mut self, contents: &mut Vec<(String, Node)>) {
        contents.extend(self.body.take().map(|body| (self.package.clone(), body)));
        self.children.iter_mut().for_each(|child| child.take_contents(contents));
    }
}
