//! The `retune` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: retune_kernels::memory::KeepLargeBlocks = retune_kernels::memory::KeepLargeBlocks::new();

fn main() -> ExitCode {
    ExitCode::from(retune_cli::main(&std::env::args_os().collect::<Vec<_>>()))
}
