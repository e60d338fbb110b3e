//! (c) That message_received comes before before_dispatch, and what each carries.

use std::path::Path;

use anyhow::{Context, Result};

use super::cells::{Cells, listed, those, yes};
use super::handover::{PNG, pictured, renamed};
use super::lab::{Lab, TURN, Thread, owner, stranger};
use super::log::{Entry, fields, first};
use super::turns::{EVERYWHERE, last_message};

pub(super) async fn measure(lab: &Lab, cells: &mut Cells) -> Result<()> {
    let thread = lab.topic(3);
    let words = lab.turn(&thread, &stranger(), "words alone").await?;
    let (received, dispatch) = pair(&lab.since(&words.since).await?, &thread)?;
    cells.cell("order", order(&received, &dispatch));
    cells.cell(
        "before_dispatch messageId in",
        those([("event", !dispatch.event["messageId"].is_null()), ("ctx", !dispatch.ctx["messageId"].is_null())]),
    );
    cells.cell("before_dispatch event", listed(&fields(&dispatch.event)));
    cells.cell("before_dispatch ctx", listed(&fields(&dispatch.ctx)));
    cells.cell("before_dispatch conversationId", shape(&dispatch.ctx["conversationId"], &thread));
    cells.cell("message_received event", listed(&fields(&received.event)));
    cells.cell("metadata", listed(&fields(&received.event["metadata"])));
    cells.cell("AsyncLocalStorage from hook to hook", yes(dispatch.flow == received.event["messageId"]));

    let since = lab.mark().await?;
    let send = || lab.telegram.sends_photo(&owner(), &thread.place, PNG, Some("held with a photo"));
    let held = lab.hold_next(&thread, send).await?;
    let (received, dispatch) = pair(&lab.since(&since).await?, &thread)?;
    cells.cell("photo: order", order(&received, &dispatch));
    cells.cell("photo: media[] in the event", yes(received.event["media"].is_array()));
    let meta = &received.event["metadata"];
    let media: Vec<&str> = fields(meta).into_iter().filter(|name| name.starts_with("media")).collect();
    cells.cell("photo: metadata", listed(&media));
    lab.calm().await?;
    let path = meta["mediaPath"].as_str().or(meta["mediaPaths"][0].as_str());
    cells.cell("photo: file there after the hold", yes(path.is_some_and(|path| Path::new(path).is_file())));
    let handed = lab.hand_over(&held, EVERYWHERE, &renamed(&held)).await?;
    let request = lab.asked(&handed.since).context("the model was not asked")?;
    cells.cell("photo: held, handed over", pictured(&last_message(&request)));

    lab.gate(&thread, false).await?;
    let since = lab.mark().await?;
    lab.telegram.sends_photo(&owner(), &thread.place, PNG, Some("live with a photo"));
    lab.wait(&since, TURN, "the live photo's turn", |e| e.is_hook("agent_end", &thread.key)).await?;
    let request = lab.asked(&since).context("the model was not asked")?;
    cells.cell("photo: live, for comparison", pictured(&last_message(&request)));
    lab.calm().await
}

/// The two hooks of the first message noted.
fn pair(noted: &[Entry], thread: &Thread) -> Result<(Entry, Entry)> {
    let of = |hook: &str| first(noted, |e| e.is_hook(hook, &thread.key)).cloned();
    Ok((of("message_received").context("no message_received")?, of("before_dispatch").context("no before_dispatch")?))
}

fn order(received: &Entry, dispatch: &Entry) -> String {
    let before = if received.n < dispatch.n { "message_received first" } else { "before_dispatch first" };
    format!("{before}, {} ms apart", (dispatch.t - received.t).abs())
}

/// A value with this run's chat id made comparable.
fn shape(value: &serde_json::Value, thread: &Thread) -> String {
    value.to_string().replace(&thread.place.chat.to_string(), "<chat>")
}
