//! `ride man [command]`: the manual pages, from the same definitions as the help.

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::print_exact;
use crate::args::Cli;
use crate::error::{Error, Kind};

pub fn run(command: &[String]) -> Result<(), Error> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let name = command.join("-");
    let mut page = &all;
    // As the pages name one another: ride-sync-restore(1).
    for word in name.split('-').filter(|word| !word.is_empty()) {
        let found = page.find_subcommand(word).filter(|found| !found.is_hide_set());
        page = found.ok_or_else(|| {
            Error::new(Kind::Usage, format!("ride has no command {name:?}")).hint("`ride --help` tells what there is")
        })?;
    }
    let page = page.clone();
    let mut text = Vec::new();
    let page = Man::new(page).manual("claude-code-sync").source(concat!("ride ", env!("CARGO_PKG_VERSION")));
    page.render(&mut text).map_err(|e| Error::new(Kind::Other, format!("could not write the page: {e}")))?;
    // The library puts whatever follows the help into one section, under a name that no manual has.
    let text = String::from_utf8_lossy(&text)
        .replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n")
        .replace("\nExit codes:\n", "\n.SH EXIT STATUS\n")
        .replace("\nEnvironment:\n", "\n.SH ENVIRONMENT\n")
        .replace(".SH EXTRA\n", ".SH NOTES\n");
    print_exact(&text);
    Ok(())
}
