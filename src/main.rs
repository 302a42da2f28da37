//! The `diarist` command-line program; see `cli`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main(std::env::args_os())
}
