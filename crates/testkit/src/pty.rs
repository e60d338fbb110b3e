//! A program in a pseudo-terminal, and the screen as a person sees it.
//!
//! Waiting looks at the screen after every change. Closing the terminal hangs
//! up on the program, so nothing in it outlives this process.

use std::ffi::OsString;
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::error::{Doing, Error, Result};
use crate::process::kill_family;
use crate::wait::{Changes, poll_until};

/// Lines kept above the screen.
const SCROLLBACK_LINES: usize = 10_000;

/// How long typed text may take to appear: a busy machine, not a measured echo.
const ECHO_DEADLINE: Duration = Duration::from_secs(20);

/// How long the last output of a program that has ended may take to be drawn.
const DRAWN_WITHIN: Duration = Duration::from_secs(2);

/// A program to run in a terminal; its environment starts empty.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    rows: u16,
    columns: u16,
}

impl Program {
    /// Names a program and the folder it runs in.
    pub fn new(path: impl Into<PathBuf>, cwd: impl Into<PathBuf>) -> Self {
        let env = vec![("TERM".into(), "xterm-256color".into()), ("LANG".into(), "C.UTF-8".into())];
        Self { path: path.into(), args: Vec::new(), env, cwd: cwd.into(), rows: 40, columns: 120 }
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the size of the screen (40 rows of 120 columns otherwise).
    pub fn size(mut self, rows: u16, columns: u16) -> Self {
        (self.rows, self.columns) = (rows, columns);
        self
    }

    /// Starts it in a new terminal.
    pub fn start(self) -> Result<Terminal> {
        Terminal::start(self)
    }
}

/// A key that is more than its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Return.
    Enter,
    /// Escape.
    Escape,
    /// Tab.
    Tab,
    /// Backspace.
    Backspace,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Control and a letter, given in lower case.
    Ctrl(char),
}

impl Key {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Enter => b"\r".into(),
            Self::Escape => b"\x1b".into(),
            Self::Tab => b"\t".into(),
            Self::Backspace => b"\x7f".into(),
            Self::Up => b"\x1b[A".into(),
            Self::Down => b"\x1b[B".into(),
            Self::Right => b"\x1b[C".into(),
            Self::Left => b"\x1b[D".into(),
            Self::Ctrl(letter) => vec![letter as u8 & 0x1f],
        }
    }
}

/// A running program with its terminal; killed with its descendants when dropped.
pub struct Terminal {
    shared: Arc<Shared>,
    // Dropping the master hangs up on the program.
    master: Box<dyn MasterPty + Send>,
    input: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    reader: JoinHandle<()>,
    program: PathBuf,
}

struct Shared {
    parser: Mutex<vt100::Parser>,
    changes: Changes,
}

impl Shared {
    fn parser(&self) -> MutexGuard<'_, vt100::Parser> {
        self.parser.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Terminal {
    fn start(program: Program) -> Result<Self> {
        let failed = |cause: String| Error::Peer { what: format!("start {}", program.path.display()), said: cause };
        let size = PtySize { rows: program.rows, cols: program.columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).map_err(|cause| failed(cause.to_string()))?;
        let mut command = CommandBuilder::new(&program.path);
        command.args(&program.args);
        command.env_clear();
        for (name, value) in &program.env {
            command.env(name, value);
        }
        command.cwd(&program.cwd);
        let child = pair.slave.spawn_command(command).map_err(|cause| failed(cause.to_string()))?;
        let mut output = pair.master.try_clone_reader().map_err(|cause| failed(cause.to_string()))?;
        let input = pair.master.take_writer().map_err(|cause| failed(cause.to_string()))?;
        // Kept open here, the terminal would never report its end.
        drop(pair.slave);
        let parser = Mutex::new(vt100::Parser::new(program.rows, program.columns, SCROLLBACK_LINES));
        let shared = Arc::new(Shared { parser, changes: Changes::new() });
        let drawing = shared.clone();
        let draw = move || {
            let mut buffer = [0; 16 * 1024];
            // An error is how Linux reports the end of a terminal.
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                drawing.parser().process(&buffer[..read]);
                drawing.changes.announce();
            }
        };
        let reader = std::thread::Builder::new()
            .name("terminal".into())
            .spawn(draw)
            .doing(|| "start a terminal's reader".into())?;
        Ok(Self { shared, master: pair.master, input, child, reader, program: program.path })
    }

    /// Gives the screen as text, trailing blanks removed.
    pub fn screen(&self) -> String {
        self.shared.parser().screen().contents()
    }

    /// Gives the screen with all kept lines that have scrolled off it.
    pub fn history(&self) -> String {
        let mut parser = self.shared.parser();
        parser.screen_mut().set_scrollback(usize::MAX);
        let mut lines = Vec::new();
        // The screen is a window on the lines: move it down page by page.
        let (rows, columns) = parser.screen().size();
        let mut above = parser.screen().scrollback();
        loop {
            parser.screen_mut().set_scrollback(above);
            let page: Vec<String> = parser.screen().rows(0, columns).collect();
            let fresh = if above == 0 { page.len() } else { above.min(usize::from(rows)) };
            lines.extend(page.into_iter().take(fresh));
            if above == 0 {
                return lines.join("\n").trim_end().into();
            }
            above = above.saturating_sub(usize::from(rows));
        }
    }

    /// Looks at the screen itself: cells, cursor and the modes the program asked for.
    pub fn look<T>(&self, see: impl FnOnce(&vt100::Screen) -> T) -> T {
        see(self.shared.parser().screen())
    }

    /// Gives the process id of the program.
    pub fn pid(&self) -> Option<u32> {
        self.child.process_id()
    }

    /// Writes bytes as if typed, at once.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.write_all(bytes).and_then(|()| self.input.flush()).doing(|| "type into a terminal".into())
    }

    /// Presses a key.
    pub fn press(&mut self, key: Key) -> Result<()> {
        self.send(&key.bytes())
    }

    /// Types text and waits until the screen shows it.
    pub async fn type_text(&mut self, text: &str) -> Result<()> {
        let already = occurrences(&self.screen(), text);
        self.send(text.as_bytes())?;
        self.wait_for(ECHO_DEADLINE, |screen| occurrences(screen, text) > already).await.map(|_| ())
    }

    /// Types a line and then, once it shows, presses Enter: in one burst Claude Code takes Enter as part of a paste.
    pub async fn submit(&mut self, text: &str) -> Result<()> {
        self.type_text(text).await?;
        self.press(Key::Enter)
    }

    /// Waits until `wanted` holds of the screen, and gives it.
    pub async fn wait_for(&self, deadline: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let look = || Some(self.screen()).filter(|screen| wanted(screen));
        self.shared.changes.until("a terminal to show something", deadline, look, || self.screen()).await
    }

    /// Waits until the screen shows `text`, also where it is broken over lines.
    pub async fn wait_for_text(&self, deadline: Duration, text: &str) -> Result<String> {
        let look = || Some(self.screen()).filter(|screen| occurrences(screen, text) > 0);
        let what = format!("{text:?} in the terminal of {}", self.program.display());
        self.shared.changes.until(&what, deadline, look, || self.screen()).await
    }

    /// Changes the size of the terminal.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let said = |cause: String| Error::Peer { what: "resize a terminal".into(), said: cause };
        // The screen first, as a terminal knows its size before the program does: what is
        // drawn for the new one must not meet the old one.
        self.shared.parser().screen_mut().set_size(rows, columns);
        self.master.resize(size).map_err(|cause| said(cause.to_string()))
    }

    /// Waits until the program has ended and gives its exit code (128 + signal if one ended it).
    pub async fn wait_exit(&mut self, deadline: Duration) -> Result<u32> {
        let what = format!("{} to end", self.program.display());
        let ended = poll_until(&what, deadline, || self.child.try_wait().ok().flatten()).await;
        if ended.is_ok() {
            // What it said last is still on its way to the screen; something it left behind
            // may keep the terminal.
            let drawn = || self.reader.is_finished().then_some(());
            let _ = poll_until("the terminal to be drawn", DRAWN_WITHIN, drawn).await;
        }
        ended.map(|status| status.exit_code()).map_err(|error| match error {
            Error::TimedOut { what, waited, .. } => Error::TimedOut { what, waited, last_seen: self.screen() },
            other => other,
        })
    }

    /// Kills the program with its descendants at once.
    pub fn kill(&mut self) {
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), self.child.process_id()) {
            kill_family(pid);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("terminal of {} when the test failed:\n{}", self.program.display(), self.screen());
        }
        self.kill();
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("program", &self.program).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// Counts `text` on a screen, whatever line breaks, indents and frames wrapping put into it.
fn occurrences(screen: &str, text: &str) -> usize {
    let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '│' | '┃')).collect::<String>();
    let wanted = bare(text);
    if wanted.is_empty() { 0 } else { bare(screen).matches(&wanted).count() }
}
