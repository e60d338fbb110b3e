//! A terminal of some size that counts what it is sent.

use std::cell::Cell;
use std::error::Error;
use std::io::{self, Write};
use std::rc::Rc;

use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use ride::picker::view::{self, Drawn, Look};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Its size.
pub const SCREEN: Rect = Rect { x: 0, y: 0, width: 160, height: 50 };

pub struct Screen {
    terminal: Terminal<CrosstermBackend<Counted>>,
    /// What it was sent.
    pub bytes: Rc<Cell<usize>>,
}

impl Screen {
    pub fn new() -> Result<Screen> {
        let bytes = Rc::new(Cell::new(0));
        let options = TerminalOptions { viewport: Viewport::Fixed(SCREEN) };
        let terminal = Terminal::with_options(CrosstermBackend::new(Counted(bytes.clone())), options)?;
        Ok(Screen { terminal, bytes })
    }

    pub fn draw(&mut self, picker: &mut impl Drawn) -> Result<()> {
        self.terminal.draw(|frame| view::draw(frame, picker, Look { colour: true }))?;
        Ok(())
    }
}

struct Counted(Rc<Cell<usize>>);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
