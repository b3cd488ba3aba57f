//! The `swell` program: the operator and its command line.

use std::process::ExitCode;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Two TLS providers in one process would panic at the first connection: ours is named before anything else.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("swell: the TLS provider was set twice");
        return ExitCode::FAILURE;
    }
    swell::cli::run()
}
