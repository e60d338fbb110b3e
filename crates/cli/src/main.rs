//! The command `ride`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before everything else: these run once per prompt, and never by hand.
    let args: Vec<String> = std::env::args_os().skip(1).take(4).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let second = args.get(1).map_or("", String::as_str);
    match args.first().map(String::as_str) {
        Some("hook") => ride::hook::main(second),
        Some("guard") => ride::command::guard::main(ride::env::Env::from_process(), &args[1..]),
        _ => ride::command::main(ride::env::Env::from_process()),
    }
}
