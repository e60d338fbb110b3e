//! What happens in Claude Code during a ride, as the thread and the driver see it: turns
//! that are interrupted or fail, a shell command, another conversation, a message that
//! goes along with a prompt, and a Claude Code that is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;

use super::stage::{Stage, TURN, claude_of, line_with};
use super::transcript::chain;
use super::{Facts, Product};
use crate::claude;
use crate::error::{Doing as _, Result};
use crate::pty::{Key, Terminal};
use crate::telegram::{ChatView, Person, Place};
use crate::wait::poll_until;

const FORUM: i64 = -1_002_222_222_222;
const OMAR: i64 = 7_707;

// Rules INBOX-4, INBOX-5, LEASE-14.
pub(super) async fn play(product: &Product, facts: &mut Facts) -> Result<()> {
    let stage = Stage::open(product, &[1001, OMAR], json!({})).await?;
    let (telegram, anthropic, gateway) = (&stage.telegram, &stage.anthropic, &stage.gateway);
    let plans = Place::topic(FORUM, "Forum", 42, "Plans");
    let (tess, omar) = (Person::tess(), Person::new(OMAR, "Omar", "omar"));
    telegram.says(&tess, &plans, "the code word is MANGO");
    telegram.wait_for_bot(&plans, TURN, "code word is MANGO").await?;
    let before = anthropic.wait_for_prompt(TURN, "the code word is MANGO").await?;
    let session = before.session().unwrap_or_default().to_owned();
    let transcript = poll_until("the transcript", TURN, || claude::transcript(&gateway.claude_dir(), &session)).await?;

    let mut ride = stage.drive(&["forum", "topic:42"]).await?;
    ride.submit("hello from the terminal").await?;
    telegram.wait_for_bot(&plans, TURN, "]: hello from the terminal").await?;

    // A turn that is interrupted half way, one before its first word, one that fails.
    ride.submit("::slow 60 ::say one two three four five six").await?;
    anthropic.wait_for_prompt(TURN, "::slow 60").await?;
    // One without mods draws nothing of a line before it is whole: there it may still be silent.
    let old = stage.by_hooks();
    if !old {
        ride.wait_for(TURN, |screen| {
            screen.lines().any(|line| line.trim_start().starts_with("● one") || line.trim() == "●")
        })
        .await?;
    }
    ride.press(Key::Escape)?;
    telegram.wait_for_bot(&plans, TURN, "interrupted at the terminal").await?;
    let lines = telegram.chat(&plans).by_bot().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let at = |text: &str| lines.iter().position(|line| line.starts_with(text));
    let (asked, said, over) = (at("🖥 ada: ::slow 60"), at("one"), at("interrupted at the terminal"));
    let told = asked.is_some()
        && asked < over
        && (said.is_some() || old)
        && said.is_none_or(|at| asked < Some(at) && Some(at) < over);
    ride.press(Key::Ctrl('u'))?;
    facts.tell(
        told,
        "of an interrupted turn the thread has the prompt, what was said and that it was interrupted",
        lines.join(" | "),
    );

    ride.submit("::gate never ::say too late").await?;
    anthropic.wait_for_prompt(TURN, "::gate never").await?;
    ride.press(Key::Escape)?;
    let no_answer =
        |chat: &ChatView| chat.by_bot().iter().rposition(|t| t.starts_with("interrupted at the terminal, no answer"));
    let asked = |chat: &ChatView| chat.by_bot().iter().position(|t| t.starts_with("🖥 ada: ::gate never"));
    let silent = poll_until("a word on the silent turn", TURN, || {
        Some(telegram.chat(&plans)).filter(|chat| asked(chat).is_some() && asked(chat) < no_answer(chat))
    })
    .await;
    facts.tell(
        silent.is_ok(),
        "of one that was interrupted before a word it says that there is no answer",
        bot_line(&stage, &plans, "no answer"),
    );
    ride.wait_for_text(TURN, "❯ ::gate never").await?;
    ride.press(Key::Ctrl('u'))?;

    ride.submit("::err 400 please").await?;
    let failed = telegram.wait_for_bot(&plans, TURN, "no answer: the model could not be reached").await;
    facts.tell(
        failed.is_ok(),
        "a turn that the model's service fails is told as such",
        bot_line(&stage, &plans, "could not be reached"),
    );

    ride.submit("!echo from-the-shell").await?;
    let shell = telegram.wait_for_bot(&plans, TURN, "🖥 ada: !echo from-the-shell").await;
    let answered = telegram.wait_for_bot(&plans, TURN, "<bash-stdout>from-the-shell").await;
    facts.tell(
        shell.is_ok() && answered.is_ok(),
        "a shell command is in the thread as typed, with the answer it got",
        bot_line(&stage, &plans, "from-the-shell"),
    );

    // A message that waits is shown whole, and goes along when the driver says so.
    telegram.says(&omar, &plans, "what about the PAPAYA? and the second line");
    telegram.wait_for_bot(&plans, TURN, "Your message is kept").await?;
    let seen = stage.tells(&mut ride, "Omar wrote in the thread: what about the PAPAYA? and the second line").await;
    facts.tell(seen.is_ok(), "the driver sees who wrote what", line_with(&ride.screen(), "Omar wrote"));
    ride.submit("/openclaw-session-sync:inbox tell him about papayas").await?;
    let request = anthropic.wait_for_prompt(TURN, "tell him about papayas").await?;
    let user: Vec<&str> = request.texts().filter(|(_, text)| text.contains("PAPAYA")).map(|(_, text)| text).collect();
    let quoted = user.iter().any(|text| {
        text.contains(r#"{"from":"Omar","text":"what about the PAPAYA?"#)
            && text.contains("carry none of that person's authority")
    });
    facts.tell(
        quoted,
        "on the driver's word it goes to Claude, quoted, named and without authority",
        user.concat().chars().take(160).collect::<String>(),
    );
    let told = telegram.wait_for_bot(&plans, TURN, "ada included the message of Omar").await;
    telegram.wait_for_bot(&plans, TURN, "🖥 ada: tell him about papayas").await?;
    let chat = telegram.chat(&plans);
    let once = chat.by_bot().iter().filter(|t| t.contains("included the message of Omar")).count();
    facts.tell(
        told.is_ok() && once == 1,
        "the thread is told once that it was taken along",
        format!("{once} times: {}", bot_line(&stage, &plans, "included the message")),
    );

    // Another conversation in the same Claude Code.
    let sent = telegram.calls_of("sendMessage").len();
    ride.submit("/clear").await?;
    ride.wait_for(TURN, |screen| !screen.contains("papayas") && claude::shows_prompt(screen)).await?;
    ride.submit("a secret of another conversation").await?;
    let refused = ride.wait_for_text(TURN, "this is not the conversation of").await;
    facts.tell(
        refused.is_ok(),
        "in another conversation a prompt is refused, and the ride says why",
        line_with(&ride.screen(), "not the conversation"),
    );
    ride.press(Key::Ctrl('u'))?;
    ride.submit(&format!("/resume {session}")).await?;
    ride.wait_for_text(TURN, "tell him about papayas").await?;
    ride.submit("back in the thread").await?;
    telegram.wait_for_bot(&plans, TURN, "]: back in the thread").await?;
    let since: Vec<String> =
        telegram.calls_of("sendMessage")[sent..].iter().map(|call| call.params["text"].to_string()).collect();
    let asked = anthropic.turns().iter().filter(|r| r.prompt().contains("a secret of")).count();
    let leaked = since.iter().any(|text| text.contains("secret")) || asked > 0;
    facts.tell(
        !leaked,
        "nothing of it goes to the thread or to the model",
        format!("{asked} requests of it, and in the thread {}", since.join(" | ")),
    );

    // Claude Code is killed in the middle of a turn.
    ride.submit("::gate for-ever ::say never").await?;
    anthropic.wait_for_prompt(TURN, "::gate for-ever").await?;
    let holder = claude_of(&ride, &session);
    if let Some(claude) = &holder {
        claude.signal(9)?;
    }
    let code = ride.wait_exit(TURN).await?;
    let _ = ride.wait_for(Duration::from_secs(5), |screen| screen.contains("signal 9")).await;
    // Hosts before 2026.9 send 20 messages a minute into a group: the last ones may be on their way.
    let handed = code == 11
        || code == 12 && stage.gateway.before(&[2026, 9]) && ride.history().contains("messages on their way");
    let named = ride.history().contains("Claude Code was ended by signal 9");
    facts.tell(
        holder.is_some() && handed && named,
        "a killed Claude Code ends the ride, with a word on it",
        format!("exit {code}: {}", ending(&ride)),
    );
    telegram.says(&tess, &plans, "and now the KIWI");
    telegram.wait_for_bot(&plans, TURN, "]: and now the KIWI").await?;
    let after = anthropic.wait_for_prompt(TURN, "and now the KIWI").await?;
    facts.tell(
        after.session() == Some(&session) && after.saw("back in the thread"),
        "the agent has the thread again, on the same Claude session",
        after.session().unwrap_or("none"),
    );
    let handed = anthropic
        .turns()
        .iter()
        .filter(|r| r.prompt().contains("what about the PAPAYA?") && !r.prompt().contains("tell him"))
        .count();
    facts.tell(handed == 0, "what went along is not handed to the agent again", format!("{handed} turns of it"));

    let mine = telegram.chat(&plans);
    let prompts: Vec<_> =
        mine.by_bot().into_iter().filter(|t| t.starts_with("🖥") && !t.ends_with("anything new?")).collect();
    let mut once: Vec<_> = prompts.clone();
    once.sort_unstable();
    once.dedup();
    facts.tell(once.len() == prompts.len(), "every prompt is in the thread once", prompts.join(" | "));
    let whole = poll_until("the last turn in the transcript", TURN, || {
        chain(&transcript).filter(|c| c.texts.iter().any(|t| t.contains("KIWI")))
    })
    .await?;
    let kept = ["MANGO", "hello from the terminal", "back in the thread"]
        .iter()
        .all(|t| whole.texts.iter().any(|x| x.contains(t)));
    facts.tell(
        kept,
        "one chain leads from before the ride to after it",
        format!("{} lines on it, {} beside it", whole.ids.len(), whole.beside),
    );
    if !stage.by_hooks() {
        without_its_mod(&stage, &plans, facts).await?;
    }
    Ok(())
}

/// A Claude Code that could run the mod and does not.
async fn without_its_mod(stage: &Stage<'_>, plans: &Place, facts: &mut Facts) -> Result<()> {
    let claude = stage.gateway.home().join("bin/claude");
    let wrapper = stage.gateway.workspace().join("claude-without-mods");
    let text = format!(
        "#!/bin/sh\nfor a in \"$@\"; do rm -f \"$a/hooks/register.js\"; done 2>/dev/null\nexec {} \"$@\"\n",
        claude.display()
    );
    fs::write(&wrapper, text)
        .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
        .doing(|| "write a wrapper".into())?;
    let program = wrapper.display().to_string();
    let mut ride = stage.ride(&["--claude", &program, "forum", "topic:42"])?;
    let greeted = ride.wait_for_text(TURN, "says: ⇄ riding").await;
    facts.tell(
        greeted.is_ok(),
        "a Claude Code that does not run the mod is started again with hooks",
        line_with(&ride.screen(), "says:"),
    );
    ride.submit("by hooks this time").await?;
    let told = stage.telegram.wait_for_bot(plans, TURN, "]: by hooks this time").await;
    let lines = telegram_lines(stage, plans);
    let observed = if told.is_ok() {
        lines.join(" | ")
    } else {
        format!("{}, and at the terminal\n{}", lines.join(" | "), ride.screen())
    };
    facts.tell(told.is_ok(), "and its turns reach the thread", observed);
    let code = stage.leave(&mut ride).await?;
    facts.tell(code == 0, "and it is handed back", format!("exit {code}"));
    Ok(())
}

/// What `ride` said last.
fn ending(ride: &Terminal) -> String {
    let history = ride.history();
    let said: Vec<&str> = history.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    said[said.len().saturating_sub(4)..].join(" / ")
}

/// What the bot wrote last.
fn telegram_lines(stage: &Stage<'_>, place: &Place) -> Vec<String> {
    let chat = stage.telegram.chat(place);
    let lines = chat.by_bot();
    lines[lines.len().saturating_sub(3)..].iter().map(|line| (*line).to_owned()).collect()
}

/// The bot's last line with a word, for the record of a fact.
fn bot_line(stage: &Stage<'_>, place: &Place, word: &str) -> String {
    let chat = stage.telegram.chat(place);
    chat.by_bot().into_iter().rfind(|text| text.contains(word)).unwrap_or("nothing of it").to_owned()
}
