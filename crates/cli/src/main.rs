//! The command `ride`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ride::command::main(ride::env::Env::from_process())
}
