//! The `mintkey` command.

fn main() -> std::process::ExitCode {
    mintkey::cli::run()
}
