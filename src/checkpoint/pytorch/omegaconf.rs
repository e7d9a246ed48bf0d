//! Writes a section of a configuration as Lightning saves it: a `DictConfig` of omegaconf 2.3, whose parent is the
//! whole configuration. Code that gets it reads its values as attributes.
//!
//! Each node is a new object and then its state: `_metadata`, `_parent`, and `_content` (dict, list) or `_val`.

use serde_json::{Map, Value as Json};

use crate::pickle::PickleWriter;

/// Keys of the writer's memo. Every dict and list takes the next one.
type MemoKey = u32;

/// Writes the section `name` of `tree`. Nothing if the tree has no such section.
pub fn write_section(writer: &mut PickleWriter, tree: &Map<String, Json>, name: &str) {
    let Some(Json::Object(section)) = tree.get(name) else { return };
    let mut nodes = NodeWriter { writer, next_key: 0 };
    let own = nodes.new_container("dictconfig", "DictConfig");
    nodes.state(|nodes| {
        nodes.metadata(Key::Name(name), Some("dict"));
        nodes.writer.text("_parent");
        nodes.root(tree, name, own);
        nodes.writer.text("_content");
        nodes.content(section, own);
    });
}

/// The key of a node in its parent.
#[derive(Clone, Copy)]
enum Key<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

struct NodeWriter<'a> {
    writer: &'a mut PickleWriter,
    next_key: MemoKey,
}

impl NodeWriter<'_> {
    /// A dict or list without state. Later nodes refer to it by the result.
    fn new_container(&mut self, module: &str, class: &str) -> MemoKey {
        self.writer.new_object(&format!("omegaconf.{module}"), class);
        let key = self.next_key;
        self.next_key += 1;
        self.writer.remember(key);
        key
    }

    /// The state of the node before: keys and values that `entries` writes.
    fn state(&mut self, entries: impl FnOnce(&mut Self)) {
        self.writer.begin_dict();
        entries(self);
        self.writer.end_dict();
        self.writer.build();
    }

    /// The root of the tree, whose section `name` has been written as `section`.
    fn root(&mut self, tree: &Map<String, Json>, name: &str, section: MemoKey) {
        let own = self.new_container("dictconfig", "DictConfig");
        self.state(|nodes| {
            nodes.metadata(Key::Root, Some("dict"));
            nodes.writer.text("_parent");
            nodes.writer.none();
            nodes.writer.text("_content");
            nodes.writer.begin_dict();
            for (key, value) in tree {
                nodes.writer.text(key);
                match key == name {
                    true => nodes.writer.recall(section),
                    false => nodes.node(value, Key::Name(key), own),
                }
            }
            nodes.writer.end_dict();
        });
    }

    fn node(&mut self, value: &Json, key: Key, parent: MemoKey) {
        match value {
            Json::Object(map) => {
                let own = self.new_container("dictconfig", "DictConfig");
                self.state(|nodes| {
                    nodes.metadata(key, Some("dict"));
                    nodes.parent(parent);
                    nodes.writer.text("_content");
                    nodes.content(map, own);
                });
            }
            Json::Array(items) => {
                let own = self.new_container("listconfig", "ListConfig");
                self.state(|nodes| {
                    nodes.metadata(key, Some("list"));
                    nodes.parent(parent);
                    nodes.writer.text("_content");
                    nodes.writer.begin_list();
                    items.iter().enumerate().for_each(|(index, item)| nodes.node(item, Key::Index(index), own));
                    nodes.writer.end_list();
                });
            }
            leaf => {
                self.writer.new_object("omegaconf.nodes", "AnyNode");
                self.state(|nodes| {
                    nodes.metadata(key, None);
                    nodes.parent(parent);
                    nodes.writer.text("_val");
                    nodes.writer.json(leaf);
                });
            }
        }
    }

    fn content(&mut self, map: &Map<String, Json>, own: MemoKey) {
        self.writer.begin_dict();
        for (key, value) in map {
            self.writer.text(key);
            self.node(value, Key::Name(key), own);
        }
        self.writer.end_dict();
    }

    fn parent(&mut self, parent: MemoKey) {
        self.writer.text("_parent");
        self.writer.recall(parent);
    }

    /// The entry `_metadata`. `class` is Python's name of a container's type; a leaf has none.
    fn metadata(&mut self, key: Key, class: Option<&str>) {
        self.writer.text("_metadata");
        self.writer.new_object("omegaconf.base", if class.is_some() { "ContainerMetadata" } else { "Metadata" });
        self.state(|nodes| {
            let writer = &mut *nodes.writer;
            writer.text("ref_type");
            writer.global("typing", "Any");
            writer.text("object_type");
            match class {
                Some(class) => writer.global("__builtin__", class),
                None => writer.none(),
            }
            writer.text("optional");
            writer.bool(true);
            writer.text("key");
            match key {
                Key::Root => writer.none(),
                Key::Name(name) => writer.text(name),
                Key::Index(index) => writer.int(index as i64),
            }
            writer.text("flags");
            writer.dict(|_| {});
            writer.text("flags_root");
            writer.bool(false);
            writer.text("resolver_cache");
            writer.global("collections", "defaultdict");
            writer.tuple(|writer| writer.global("__builtin__", "dict"));
            writer.call();
            if let Some(class) = class {
                writer.text("key_type");
                match class {
                    "list" => writer.global("__builtin__", "int"),
                    _ => writer.global("typing", "Any"),
                }
                writer.text("element_type");
                writer.global("typing", "Any");
            }
        });
    }
}
