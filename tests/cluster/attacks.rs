//! The part of an attacker who has rights on Applications, and what a tenant usually has, in one namespace only. Nothing gets through,
//! and each refusal says why. What lower levels show is listed in `docs/security.md`.

mod forgery;
mod hostile;
mod reach;
mod tenants;
