//! The `mintkey` command.

/// A verify allocates a dozen small things and frees them at once; jemalloc does that in less time than libc.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The settings of jemalloc, under the name by which it finds them. By default it would keep what a flood of requests has
/// used until further requests, for up to ten seconds; a thread of its own returns it after one.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> std::process::ExitCode {
    mintkey::cli::run()
}
