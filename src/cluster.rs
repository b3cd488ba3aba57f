//! ACTS. What the engine decides is carried out here, and what the cluster shows is reduced here; nothing is decided.
//!
//! Reads: [`watch`] feeds the [`view`], [`source`] reads manifests, [`discovery`] learns the kinds. Writes: [`perform`] for managed
//! objects, as the Application's account; [`application`] for Applications, as the operator.

pub mod account;
pub mod application;
pub mod client;
pub mod discovery;
pub mod error;
pub mod events;
pub mod evidence;
pub mod fence;
pub mod judge;
pub mod lease;
pub mod limit;
pub mod members;
pub mod perform;
pub mod rights;
pub mod sandbox;
pub mod source;
pub mod view;
pub mod watch;
