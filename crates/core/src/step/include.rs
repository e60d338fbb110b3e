//! The driver includes held messages in a prompt: the agent must not answer them again.
//!
//! The driver reports it when the prompt's line is in the transcript. If anything dies
//! before, the message is still in the inbox for the agent. A repeated or late request
//! changes nothing. Absent on purpose: the texts. The driver reads them by
//! [`crate::view::inbox`], which changes nothing either.

use uuid::Uuid;

use crate::event::Reply;
use crate::id::{Fence, Route};
use crate::limits;
use crate::plain;
use crate::rules::Rules;
use crate::thread::{Held, LeaveStage, Phase, Thread, Why};
use crate::time::Now;
use crate::view;
use crate::wire::{Reason, Refusal};

use super::{notice, phases};

pub(super) fn take(t: &mut Thread, fence: Fence, prompt: Uuid, seqs: &[u64], now: Now, rules: &Rules) -> Reply {
    phases::if_overdue(t, now, rules);
    let name = match &mut t.phase {
        Phase::Ridden { lease } if lease.fence == fence => {
            lease.active = now.stamp();
            lease.driver.name.clone()
        }
        // Like the last items of a ride: `ride` says it after Claude Code has ended.
        Phase::Leaving { lease, at, why: Why::Released, .. }
            if lease.fence == fence && at.stage == LeaveStage::Prove =>
        {
            lease.driver.name.clone()
        }
        _ => return view::stale(t, fence, now, rules),
    };
    if seqs.len() > limits::WAITING_LISTED {
        let message = format!("{} messages; at most {} at once", seqs.len(), limits::WAITING_LISTED);
        return Reply::Refused { message, refusal: Refusal { reason: Reason::TooLarge, holder: None, hint: None } };
    }
    let (taken, left): (Vec<Held>, Vec<Held>) = t.inbox.drain(..).partition(|held| seqs.contains(&held.seq));
    t.inbox = left.into();
    if !taken.is_empty() {
        let numbers: Vec<String> = taken.iter().map(|held| held.seq.to_string()).collect();
        t.note(now, format!("took {} along with {prompt}", numbers.join(", ")));
        tell(t, &name, &taken);
    }
    Reply::Taken { waiting: t.inbox.len() as u32 }
}

/// Says it once in each place the messages came from.
fn tell(t: &mut Thread, driver: &str, taken: &[Held]) {
    let mut places: Vec<&Route> = Vec::new();
    for held in taken {
        if !places.contains(&&held.route) {
            places.push(&held.route);
        }
    }
    for place in places {
        let mut names: Vec<String> = Vec::new();
        let here = taken.iter().filter(|held| held.route == *place);
        let count = here.clone().count();
        here.map(|held| plain::name(&held.name)).for_each(|name| {
            if !names.contains(&name) {
                names.push(name)
            }
        });
        let what = if count == 1 { "message".to_owned() } else { format!("{count} messages") };
        // A crowd need not be told by name.
        let whose = if names.len() > 3 {
            format!("{what} of {} people", names.len())
        } else {
            format!("{what} of {}", names.join(", "))
        };
        notice::tell(
            t,
            Some(place),
            &format!(
                "⇄ {driver} included the {whose} in a prompt. The agent will not answer {} again.",
                if count == 1 { "it" } else { "them" }
            ),
        );
    }
}
