//! Checks of values that have the right type but are impossible, and warnings about keys without effect.

mod checker;
mod data;
mod idle_keys;
mod optim;
mod split;
mod trainer;
mod transforms;
mod whole;

pub(super) use idle_keys::is_users;
pub(super) use whole::validate;
