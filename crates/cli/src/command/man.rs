//! `ride man [command]`: the manual pages, from the same definitions as the help.

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::print;
use crate::args::Cli;
use crate::error::{Error, Kind};

pub fn run(command: Option<&str>) -> Result<(), Error> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let page = match command {
        None => all,
        Some(name) => {
            let found = all.find_subcommand(name).filter(|found| !found.is_hide_set());
            found.cloned().ok_or_else(|| Error::new(Kind::Usage, format!("ride has no command {name:?}")).hint("`ride --help` tells what there is"))?
        }
    };
    let mut text = Vec::new();
    let page = Man::new(page).manual("claude-code-sync").source(concat!("ride ", env!("CARGO_PKG_VERSION")));
    page.render(&mut text).map_err(|e| Error::new(Kind::Other, format!("could not write the page: {e}")))?;
    // The library's name for whatever follows the help is none that a manual has.
    let text = String::from_utf8_lossy(&text).replace(".SH EXTRA\nExit codes:\n", ".SH EXIT STATUS\n").replace(".SH EXTRA\n", ".SH NOTES\n");
    print(&text);
    Ok(())
}
