//! The command `ride`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before everything else: it runs once per prompt, and never by hand.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "hook") {
        return ride::hook::main(args.next().as_deref().and_then(|event| event.to_str()).unwrap_or_default());
    }
    ride::command::main(ride::env::Env::from_process())
}
