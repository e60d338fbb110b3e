//! Transcripts for drivers that ride on a copy of their own. Whatever is read or extended is
//! of the ridden thread alone, under the fence in force; the thread cannot change hands while
//! a range is put into its file.

use std::path::Path;

use ride_core::event::{Event, Reply};
use ride_core::id::Fence;
use ride_core::limits::{COPY_FILES, EXTENDED_BYTES, RANGE_BYTES, WAIT_MS};
use ride_core::thread::{Lease, Thread};
use ride_core::view;
use ride_core::wire::{self, MethodError, Reason, method};
use ride_store::claude::last_prompt;
use ride_store::clock;
use ride_store::copy::{self, CopyError, Files, Range, Sliced, Staged, pack, unpack};
use serde_json::Value;

use super::{Answer, Outcome, Waiting, error, refused, store_error, value};
use crate::sync::Sync;

/// Characters of the last prompt that is told.
const PROMPT_CHARS: usize = 280;

/// The driver rides on a copy: what is here, compared with what it has.
pub(super) fn begin(sync: &Sync, params: &str) -> Outcome<Answer> {
    let asked: wire::Copy = wire::parse(method::COPY, params)?;
    let before = sync.store.read(&asked.key).map_err(|e| store_error(e.to_string()))?;
    let begins = before.as_ref().and_then(Thread::lease).is_some_and(|lease| lease.copy.is_none());
    let (thread, reply) =
        sync.apply(&asked.key, Event::Copied { fence: asked.fence, end: None }).map_err(store_error)?;
    if reply != Reply::Ok {
        return Err(refused(reply));
    }
    let lease = ridden(sync, Some(&thread), asked.fence)?;
    let files = files(lease)?;
    if begins {
        files.forget_staged();
    }
    compared(
        sync,
        Waiting {
            method: method::COPY.into(),
            key: asked.key,
            fence: asked.fence,
            wait_ms: WAIT_MS,
            size: asked.size,
            again: false,
            opens: None,
        },
    )
}

/// The answer once the transcript here is compared with as much of it as the driver has.
pub(super) fn compared(sync: &Sync, waiting: Waiting) -> Outcome<Answer> {
    let thread = sync.store.read(&waiting.key).map_err(|e| store_error(e.to_string()))?;
    let lease = ridden(sync, thread.as_ref(), waiting.fence)?;
    let files = files(lease)?;
    let opened =
        files.open(None).map_err(failed)?.ok_or_else(|| failed(CopyError::Missing(files.transcript().to_owned())))?;
    let io =
        |e: std::io::Error| error(Reason::Transcript, format!("could not read {}: {e}", files.transcript().display()));
    let size = opened.metadata().map_err(io)?.len();
    let compared = size.min(waiting.size);
    // Under one grant what stands there stays.
    let of = format!("{} {}", waiting.key, waiting.fence.grant);
    let sha256 = match sync.slices.next(&of, &opened, compared).map_err(io)? {
        Sliced::Hash(sha256) => sha256,
        Sliced::More => return Ok(Answer::Wait(Waiting { again: true, ..waiting })),
        Sliced::Busy => return Ok(Answer::Wait(Waiting { again: false, ..waiting })),
    };
    let last_prompt = last_prompt(files.transcript()).map_err(|e| error(Reason::Transcript, e.to_string()))?;
    let copied = value(&wire::Copied {
        size,
        compared,
        sha256,
        leaf: lease.mark.as_ref().and_then(|mark| mark.leaf),
        last_prompt: last_prompt.map(|text| text.chars().take(PROMPT_CHARS).collect::<String>().into()),
        files: files.beside().map_err(failed)?,
        repository: lease.claude.as_ref().and_then(|claude| copy::repository(Path::new(&claude.cwd))),
    })?;
    Ok(Answer::Ok(copied))
}

pub(super) fn pull(sync: &Sync, params: &str) -> Outcome<Value> {
    let asked: wire::Pull = wire::parse(method::PULL, params)?;
    let thread = sync.store.read(&asked.key).map_err(|e| store_error(e.to_string()))?;
    let files = files(ridden(sync, thread.as_ref(), asked.fence)?)?;
    let (frame, size) = files.read(asked.file.as_deref(), asked.from).map_err(failed)?;
    value(&wire::Pulled { data: pack(&frame), size })
}

pub(super) fn push(sync: &Sync, params: &str) -> Outcome<Value> {
    let asked: wire::Push = wire::parse(method::PUSH, params)?;
    let most = if asked.from == 0 { RANGE_BYTES } else { EXTENDED_BYTES };
    if asked.total > most {
        return Err(error(
            Reason::TooLarge,
            format!("the range has {} bytes; at most {most} are taken at once", asked.total),
        ));
    }
    let frame = unpack(&asked.data).map_err(|e| error(Reason::BadRequest, e.to_string()))?;
    let thread = sync.store.read(&asked.key).map_err(|e| store_error(e.to_string()))?;
    let files = files(ridden(sync, thread.as_ref(), asked.fence)?)?;
    let begins = asked.file.is_some() && asked.from == 0;
    if begins
        && files.open(asked.file.as_deref()).map_err(failed)?.is_none()
        && files.beside().map_err(failed)?.len() >= COPY_FILES
    {
        return Err(error(Reason::TooLarge, format!("there are {COPY_FILES} files of subagents; no more are taken")));
    }
    let tag = format!("{}-", asked.fence.grant.simple());
    let range = Range {
        file: asked.file.as_deref(),
        from: asked.from,
        before_sha256: &asked.before_sha256,
        total: asked.total,
        tag: &tag,
        looked_at: true,
    };
    let whole = match files.stage(&range, asked.at, &frame).map_err(failed)? {
        Staged::Part(at) => return value(&wire::Pushed { at, done: false }),
        Staged::Whole(whole) => whole,
    };
    whole.settle().map_err(failed)?;
    let committed = sync.store.while_it_stays(&asked.key, |thread| {
        ridden(sync, thread, asked.fence)?;
        whole.commit().map_err(failed)
    });
    committed.map_err(|e| store_error(e.to_string()))??.sync().map_err(failed)?;
    value(&wire::Pushed { at: asked.total, done: true })
}

/// The lease of the driver with this fence, while it rides on a copy.
fn ridden<'t>(sync: &Sync, thread: Option<&'t Thread>, fence: Fence) -> Outcome<&'t Lease> {
    let (now, rules) = (clock::now(), sync.rules());
    let thread = thread.ok_or_else(|| error(Reason::UnknownThread, "nobody rides this thread".into()))?;
    view::on_copy(thread, fence, now, &rules).ok_or_else(|| match view::rides(thread, fence, now, &rules) {
        true => error(Reason::BadRequest, "the ride is not on a copy: ride_copy begins one".into()),
        false => refused(view::stale(thread, fence, now, &rules)),
    })
}

/// The files of the ridden Claude session, where the claim found them.
fn files(lease: &Lease) -> Outcome<Files> {
    let found = lease.mark.as_ref().zip(lease.claude.as_ref());
    let (mark, claude) = found.ok_or_else(|| store_error("a ridden thread has no transcript mark".into()))?;
    Ok(Files::of(Path::new(&mark.path), claude.id))
}

fn failed(e: CopyError) -> MethodError {
    let reason = match &e {
        CopyError::Name(_) | CopyError::Line(_) => Reason::BadRequest,
        CopyError::Range(_) => Reason::TooLarge,
        CopyError::Diverged { .. } => Reason::Diverged,
        CopyError::Io { .. } => {
            return MethodError { code: "UNAVAILABLE".into(), ..error(Reason::Transcript, e.to_string()) };
        }
        CopyError::NotRegular(_) | CopyError::Missing(_) => Reason::Transcript,
    };
    error(reason, e.to_string())
}
