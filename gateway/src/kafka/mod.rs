//! (to be written)

pub mod admin;
pub mod properties;
pub mod settings;
