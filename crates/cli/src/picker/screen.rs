//! The terminal while the picker has it: raw, on the alternate screen, given back on
//! every way out: return, error, panic, a signal that ends the loop, Ctrl-Z.
//!
//! Invariant: [`restore`] may be called at any time, any number of times, and does
//! something only while the terminal is taken. What cannot be helped is SIGKILL.

use std::io::{self, Stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal};
use rustix::process::{Signal, kill_current_process_group};

/// Whether the terminal is taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The taken terminal; dropping it gives it back.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    pub fn take() -> io::Result<Screen> {
        static HOOK: Once = Once::new();
        // A panic prints before it unwinds: without this, onto the screen that is then left.
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        enter()?;
        let terminal = blank().inspect_err(|_| restore())?;
        Ok(Screen { terminal })
    }

    /// Its size now.
    pub fn area(&self) -> io::Result<Rect> {
        self.terminal.size().map(|size| Rect::new(0, 0, size.width, size.height))
    }

    /// Draws what differs from what is there.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// Stops the job as Ctrl-Z does, and takes the terminal again when it is continued.
    /// A job that no shell watches is not stopped: the kernel sees to that.
    pub fn suspend(&mut self) -> io::Result<()> {
        restore();
        kill_current_process_group(Signal::TSTP)?;
        self.renew()
    }

    /// Takes the terminal again from whoever had it meanwhile.
    pub fn renew(&mut self) -> io::Result<()> {
        restore();
        enter()?;
        self.redraw()
    }

    /// Forgets what is there, so that all of it is drawn: a window that shrank and grew
    /// again has lost some. Not by the library's own way, which asks the terminal where
    /// its cursor is and takes the answer from our keys.
    pub fn redraw(&mut self) -> io::Result<()> {
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = blank()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn blank() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

fn enter() -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()
        .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste))
        .inspect_err(|_| restore())
}

fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // The terminal may be gone; then there is nothing to give back.
        let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}
