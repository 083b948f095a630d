//! The `mintkey` command.

/// A verify allocates a dozen small things and frees them at once; jemalloc does that in less time than libc.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    mintkey::cli::run()
}
