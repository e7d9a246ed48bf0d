//! Keys that the Python program once spelled in another way.

use crate::error::Result;
use crate::hydra::{Node, Section, Value};

const CIFAR_STEM: &str = "cifar_stem";
const STEM: &str = "stem";

/// Turns `model.model.cifar_stem` into `model.model.stem`, where that is absent or null. Otherwise `cifar_stem` has no
/// effect, which a warning says if the two differ.
///
/// # Errors
/// `Usage` for a value that is neither true nor false.
pub(super) fn respell(tree: &mut Node, warnings: &mut Vec<String>) -> Result<()> {
    let model = tree.as_map_mut().and_then(|root| root.get_mut("model"));
    let Some(network) = model.and_then(Node::as_map_mut).and_then(|model| model.get_mut("model")) else {
        return Ok(());
    };
    let section = Section::new("model.model", network.clone());
    let Some(old) = network.as_map_mut().and_then(|network| network.remove(CIFAR_STEM)) else { return Ok(()) };
    let stem = match old.value {
        Value::Null => return Ok(()),
        Value::Bool(true) => "cifar",
        Value::Bool(false) => "none",
        _ => return Err(section.reject(CIFAR_STEM, "true or false")),
    };
    match section.get(STEM).map(|node| &node.value) {
        None | Some(Value::Null) => {
            let node = Node::new(Value::Str(stem.into()), old.origin);
            network.as_map_mut().into_iter().for_each(|network| network.insert(STEM, node.clone()));
        }
        Some(Value::Str(given)) if given != stem => warnings.push(format!(
            "model.model.cifar_stem has no effect: model.model.stem={given} is given; write model.model.stem={stem}"
        )),
        Some(_) => {}
    }
    Ok(())
}
