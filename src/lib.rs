//! Swell deploys an application in order: phase by phase, wave by wave, hooks included, by server-side apply.
//!
//! - [`api`]: the wire types, the custom resource `Application`
//! - [`engine`]: DECIDES, pure
pub mod api;
pub mod engine;
