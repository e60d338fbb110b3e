//! A Claude session on the screen.

use ratatui::text::Line;

use super::{SessionPicker, Sessions};
use crate::picker::search::Searched as _;
use crate::picker::selection::Choice;
use crate::picker::view::{Drawn, Look, RowLook, fit, quoted};
use crate::render::clean;

impl Drawn for SessionPicker {
    type List = Sessions;

    fn choice(&self) -> &Choice<Sessions> {
        &self.choice
    }

    fn choice_mut(&mut self) -> &mut Choice<Sessions> {
        &mut self.choice
    }

    fn verb(&self) -> &'static str {
        "adopt"
    }

    fn searched(&self) -> &'static str {
        "title, last prompt, project and id"
    }

    fn empty(&self) -> [&'static str; 2] {
        match self.listed {
            true => ["there is no Claude session on this machine", "one begins with `claude` in a project folder"],
            false => ["looking for Claude sessions", ""],
        }
    }

    fn line(&self, at: usize) -> RowLook {
        let sessions = self.choice.list();
        let (local, _) = sessions.local(at);
        let state = local.live.map_or_else(String::new, |pid| format!("open in process {pid}"));
        let names = vec![sessions.projects[0].get(at).to_owned()];
        RowLook {
            at_ms: Some(local.found.changed_ms),
            names,
            state,
            stands_out: local.live.is_some(),
            dim: local.live.is_some(),
        }
    }

    fn head(&self, at: usize) -> [String; 3] {
        let sessions = self.choice.list();
        let cwd = sessions.local(at).1.and_then(|summary| summary.cwd.as_deref());
        [sessions.titles[at].text().to_owned(), cwd.map_or_else(|| "-".to_owned(), clean), sessions.ids[at].clone()]
    }

    fn body<'a>(&self, at: usize, width: usize, _room: usize, look: Look) -> Vec<Line<'a>> {
        let (local, summary) = self.choice.list().local(at);
        let mut lines = Vec::new();
        if let Some(pid) = local.live {
            lines.push(Line::styled(
                fit(&format!("open in a Claude Code, process {pid}: cannot be adopted before that is left"), width),
                look.mark(),
            ));
        }
        if let Some(prompt) = summary.and_then(|summary| summary.last_prompt.as_deref()) {
            lines.push(Line::styled(fit("last prompt", width), look.dim()));
            let said: Vec<String> = prompt.lines().map(clean).collect();
            lines.extend(quoted(&said, width));
        }
        lines
    }

    fn alarm(&self) -> Option<String> {
        let unread = self.choice.list().unread();
        let searching = !self.choice.query().text().trim().is_empty();
        (searching && unread > 0).then(|| format!("{unread} of {} are still being read", self.choice.list().rows()))
    }
}
