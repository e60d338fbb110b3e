//! From transcript rows to prompts and answers.
//!
//! Claude Code gives a row's id when it stores the row, not when the prompt is
//! submitted: a prompt typed while a turn runs is a submission first, and one
//! row (or none, when the person takes it back) later. Measured on 2.1.330:
//!
//! - a prompt that begins a turn is a row of door `prompt` with the typed text;
//!   two that waited may begin one turn together, each with its own row;
//! - one that joins a running turn is a row of door `delivery`, the typed text
//!   inside a reminder;
//! - a slash command that asks the model is a row of door `command`, the typed
//!   line spread over tags; `/clear` and its like have other origins;
//! - `!command` is a row of door `command` of no origin, and no submission; a turn
//!   follows all the same;
//! - the answer of a turn is the text of its last `response` row with text.
//!
//! Ids come from rows alone. A submission only lends its text to a row that
//! holds it in wrapping; without one the wrapped text stands.

use std::collections::VecDeque;

use uuid::Uuid;

use super::wire::{Door, Row, Submitted};
use super::{Origin, Prompt};

/// Submissions remembered until they become rows. Claude Code queues prompts
/// only while a turn runs; those taken back stay here until pushed out.
const MAX_SUBMISSIONS: usize = 64;

/// What is known between a submission and the end of its turn.
#[derive(Debug, Default)]
pub struct Pairing {
    submitted: VecDeque<(String, bool)>,
    answer_row: Option<Uuid>,
    prompt_row: Option<Uuid>,
    /// A `!command` that no turn began for yet.
    shell: Option<Prompt>,
}

/// The ids of a turn that ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TurnIds {
    pub answer: Option<Uuid>,
    pub prompt: Option<Uuid>,
}

impl Pairing {
    /// Remembers a prompt that was let through.
    pub fn submit(&mut self, said: &Submitted) {
        if self.submitted.len() == MAX_SUBMISSIONS {
            self.submitted.pop_front();
        }
        self.submitted.push_back((said.text.clone(), said.command.is_some()));
    }

    /// Takes a row in; answers the prompt it is, if it is one.
    pub fn row(&mut self, row: Row) -> Option<Prompt> {
        if row.door == Door::Response {
            // `<synthetic>` rows say that the API failed; the turn's end tells.
            if row.has_text {
                self.answer_row = Some(row.uuid);
            }
            return None;
        }
        let origin = origin(&row.origin.kind);
        if let Some(typed) = shell(&row) {
            self.shell =
                Some(Prompt { id: row.uuid, text: typed, origin: Origin::Person, claude_session: row.session });
            return None;
        }
        let wrapped = match row.door {
            Door::Prompt => false,
            Door::Delivery => true,
            Door::Command if origin == Origin::Person => true,
            Door::Command | Door::Response | Door::Other => return None,
        };
        if row.is_meta && origin == Origin::Person {
            return None;
        }
        let at = self.submitted.iter().position(|(text, is_command)| match row.door {
            Door::Command => *is_command,
            Door::Delivery => row.text.contains(text.as_str()),
            _ => *text == row.text,
        });
        let typed = at.and_then(|at| self.submitted.remove(at));
        let text = match typed {
            Some((text, _)) if wrapped => text,
            _ => row.text,
        };
        if origin == Origin::Person {
            self.prompt_row = Some(row.uuid);
        }
        Some(Prompt { id: row.uuid, text, origin, claude_session: row.session })
    }

    /// Ends a turn: what belongs to it is handed out once.
    pub fn end_turn(&mut self) -> TurnIds {
        TurnIds { answer: self.answer_row.take(), prompt: self.prompt_row.take() }
    }

    /// A turn begins: text of an earlier one is not its answer. Answers what was typed
    /// for it and was no prompt by itself.
    pub fn begin_turn(&mut self) -> Option<Prompt> {
        self.answer_row = None;
        let shell = self.shell.take().filter(|_| self.prompt_row.is_none())?;
        self.prompt_row = Some(shell.id);
        Some(shell)
    }
}

/// What was typed, where the row is a `!command`'s.
fn shell(row: &Row) -> Option<String> {
    let of_nobody = row.door == Door::Command && origin(&row.origin.kind) != Origin::Person;
    let command = row.text.strip_prefix("<bash-input>")?.strip_suffix("</bash-input>")?;
    of_nobody.then(|| format!("!{command}"))
}

/// Reads Claude Code's origin kind.
pub fn origin(kind: &str) -> Origin {
    match kind {
        "composer" | "bridge" => Origin::Person,
        other => Origin::Machine(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::wire;

    fn row(n: u128, door: Door, kind: &str, text: &str) -> Row {
        Row {
            session: Uuid::nil(),
            uuid: Uuid::from_u128(n),
            door,
            origin: wire::Origin { kind: kind.to_owned() },
            is_meta: false,
            has_text: !text.is_empty(),
            text: text.to_owned(),
        }
    }

    fn submitted(text: &str, command: Option<&str>) -> Submitted {
        Submitted {
            text: text.to_owned(),
            origin: wire::Origin { kind: "composer".to_owned() },
            command: command.map(str::to_owned),
        }
    }

    /// Submissions and rows as 2.1.330 raised them, and the prompts they are.
    fn check(submissions: &[Submitted], rows: Vec<Row>, expected: &[(u128, &str, Origin)]) {
        let mut pairing = Pairing::default();
        submissions.iter().for_each(|s| pairing.submit(s));
        let prompts: Vec<_> = rows.into_iter().filter_map(|r| pairing.row(r)).collect();
        let found: Vec<_> = prompts.iter().map(|p| (p.id.as_u128(), p.text.as_str(), p.origin.clone())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_prompt_that_begins_a_turn() {
        check(
            &[submitted("hello", None)],
            vec![row(1, Door::Prompt, "composer", "hello")],
            &[(1, "hello", Origin::Person)],
        );
    }

    #[test]
    fn two_that_waited_begin_one_turn_and_keep_their_ids() {
        check(
            &[submitted("same", None), submitted("same", None)],
            vec![row(1, Door::Prompt, "composer", "same"), row(2, Door::Prompt, "composer", "same")],
            &[(1, "same", Origin::Person), (2, "same", Origin::Person)],
        );
    }

    #[test]
    fn one_that_joins_a_running_turn_is_unwrapped() {
        let reminder =
            "<system-reminder>\nThe user sent a new message while you were working:\nfolded in\n\nThis is how …";
        check(
            &[submitted("taken back", None), submitted("folded in", None)],
            vec![row(1, Door::Delivery, "composer", reminder)],
            &[(1, "folded in", Origin::Person)],
        );
        check(&[], vec![row(1, Door::Delivery, "composer", reminder)], &[(1, reminder, Origin::Person)]);
    }

    #[test]
    fn a_slash_command_is_what_was_typed() {
        let tags = "<command-message>thing</command-message>\n<command-name>/thing</command-name>\n<command-args>xyz</command-args>";
        check(
            &[submitted("/thing xyz", Some("thing"))],
            vec![row(1, Door::Command, "composer", tags), row(2, Door::Command, "engine", "<local-command-stdout>")],
            &[(1, "/thing xyz", Origin::Person)],
        );
    }

    #[test]
    fn a_shell_command_is_a_prompt_once_a_turn_begins_for_it() {
        let mut pairing = Pairing::default();
        let typed = row(1, Door::Command, "unclassified", "<bash-input>ls</bash-input>");
        assert_eq!(pairing.row(typed.clone()), None);
        let prompt = pairing.begin_turn().unwrap();
        assert_eq!((prompt.id, prompt.text.as_str()), (Uuid::from_u128(1), "!ls"));
        assert_eq!(pairing.end_turn().prompt, Some(prompt.id));
        assert_eq!(pairing.begin_turn(), None);
        // It waits beside a prompt: the turn is the prompt's.
        pairing.row(typed);
        pairing.row(row(2, Door::Prompt, "composer", "hello"));
        assert_eq!(pairing.begin_turn(), None);
    }

    #[test]
    fn machine_turns_keep_their_kind() {
        check(
            &[],
            vec![row(1, Door::Prompt, "task-notification", "<task-notification>…")],
            &[(1, "<task-notification>…", Origin::Machine("task-notification".to_owned()))],
        );
    }

    #[test]
    fn the_answer_is_the_last_row_with_text_of_its_own_turn() {
        let mut pairing = Pairing::default();
        pairing.row(row(1, Door::Prompt, "composer", "p"));
        pairing.begin_turn();
        pairing.row(row(2, Door::Response, "model", "calling tool"));
        pairing.row(row(3, Door::Response, "model", ""));
        pairing.row(row(4, Door::Response, "model", "done"));
        let id = |n| Some(Uuid::from_u128(n));
        assert_eq!(pairing.end_turn(), TurnIds { answer: id(4), prompt: id(1) });
        assert_eq!(pairing.end_turn(), TurnIds::default());
    }

    #[test]
    fn what_is_taken_back_does_not_pile_up() {
        let mut pairing = Pairing::default();
        (0..1000).for_each(|n| pairing.submit(&submitted(&n.to_string(), None)));
        assert_eq!(pairing.submitted.len(), MAX_SUBMISSIONS);
    }
}
