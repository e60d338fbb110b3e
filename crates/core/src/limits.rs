//! Every bound in one place, with where the number comes from.

/// Prompts counted of a branch that grew beside a thread's conversation: as many as ids of a
/// ride are remembered; more are not counted.
pub const SIDE_PROMPTS: usize = TAKEN_IDS;
/// Messages a thread's inbox holds before senders are asked to wait: a busy
/// group writes about 100 an hour, and a ride rarely lasts two.
pub const INBOX_MESSAGES: usize = 200;
/// Bytes one held message may take with its host context. Telegram's own limit
/// is 4,096 characters; captions, quotes and ids come on top.
pub const HELD_BYTES: usize = 64 * 1024;
/// Bytes of all held messages of one thread: the state file is rewritten whole.
pub const INBOX_BYTES: usize = 1024 * 1024;
/// Of the inbox, messages and bytes, one sender may fill one part in so many: nobody
/// keeps the rest of a group out. What exceeds it is refused, and its sender told.
pub const SENDER_PART: usize = 4;
/// Notices about what happened to a thread that wait to be sent: each kind comes a few
/// times in a ride. One more is dropped; the driver learns the same by other ways.
pub const NOTICES: usize = 32;
/// Senders that are owed a notice of their own at one time. Those beyond it share one notice
/// for each place they write in.
pub const OWED: usize = 32;
/// Places with such a shared notice. Beyond them the host answers the sender itself.
pub const OWED_PLACES: usize = 8;
/// Notices sent in one minute: Telegram lets a bot send 20 messages a minute to a group, and
/// the rest is for the turns of a ride. What comes sooner waits and is merged.
pub const NOTICES_A_MINUTE: usize = 12;
/// Characters of a command that a notice names.
pub const COMMAND_CHARS: usize = 32;
/// Platform messages waiting for the channel before relaying is refused.
pub const OUTBOX_MESSAGES: usize = 500;
/// Bytes of one relay item: an answer of 32,000 tokens is about 130 KB.
pub const RELAY_BYTES: usize = 256 * 1024;
/// Bytes of the turns that are read from a transcript at once, when a ride ends: they cross the host's event loop
/// as JSON. What follows is read when these are in the outbox.
pub const SHOWN_BYTES: usize = 1024 * 1024;
/// Items of one `ride_relay`, and turns taken from a transcript in one commit.
pub const RELAY_ITEMS: usize = 32;
/// Relay ids remembered, so that a repeated hand-over sends nothing twice.
pub const TAKEN_IDS: usize = 1024;
/// Message ids remembered, so that an update the channel repeats is held once.
pub const MET_IDS: usize = 512;
/// Messages without an id that are counted: alike are those of one millisecond.
pub const ALIKE: usize = 64;
/// Senders told that a thread is ridden; the rest of a crowd has read it by then.
pub const TOLD: usize = 256;
/// Reports of the host during a ride, kept for the driver. Of each kind there is about one.
pub const NEWS: usize = 16;
/// Journal entries kept in the thread's file.
pub const JOURNAL: usize = 64;
/// Bytes of one file of the audit log; there are two, so that at least this much of the past is
/// kept. A line is about 300 bytes: some 3,500 takeovers and take-backs.
pub const AUDIT_BYTES: u64 = 1024 * 1024;
/// Lines of the audit log in one answer: 60 KB of JSON.
pub const AUDIT_LINES: usize = 200;
/// Refused relay items kept for the driver to see.
pub const UNDELIVERED: usize = 32;
/// UTF-16 units of one platform message: below Telegram's 4,096, with room for
/// the markup the host adds when it turns Markdown into HTML.
pub const MESSAGE_UNITS: usize = 3_500;
/// Bytes of the id of a chat ride's prompt: a UUID has 36.
pub const SAY_ID_BYTES: usize = 64;
/// Characters of a waiting message shown to the driver.
pub const WAITING_CHARS: usize = 280;
/// Waiting messages listed in one renewal.
pub const WAITING_LISTED: usize = 20;
/// Bytes of the whole texts in one `ride_inbox`: two of the largest messages.
pub const INBOX_READ_BYTES: usize = 128 * 1024;
/// Bytes of one frame of a transcript that is copied, before compression: the host reads and
/// writes its JSON on its event loop, and a megabyte that cannot be compressed is 2 ms of it.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// Bytes of one range that extends a transcript: all turns that were never pushed.
pub const RANGE_BYTES: u64 = 256 * 1024 * 1024;
/// Largest range that extends a file. It is written while no thread of the gateway may change: 64 MiB take
/// 0.1 s on a machine of 2 cores. One that makes a new file only gets its name then.
pub const EXTENDED_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a transcript that is extended by pushes: ten times the longest that were seen.
pub const COPIED_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Ranges of one grant that are not whole yet, all files together. A driver pushes one after the other, and begins one
/// again that was cut off; what lies there is removed when the grant ends.
pub const STAGED_FILES: usize = 16;
/// Bytes of the file about a subagent that travels beside its transcript: those seen have under 1 KB.
pub const META_BYTES: u64 = 64 * 1024;
/// How deep that file may be nested: those seen have one level.
pub const META_DEPTH: usize = 32;
/// Bytes of a transcript that are hashed in one go: some 50 ms of one of Node's four pool threads. One transcript at a
/// time is hashed, and what else needs that pool goes between.
pub const HASHED_BYTES: u64 = 32 * 1024 * 1024;
/// Transcripts whose hash is kept while it is made.
pub const HASHED_FILES: usize = 32;
/// Files of subagents that travel with one transcript; a long session has dozens.
pub const COPY_FILES: usize = 2_000;
/// Rows of one answer of `sessions_rideable`: the host reads and writes the answer's
/// JSON on its event loop, 250 rows are 150 KB and 2 ms of it.
pub const ROWS: u32 = 250;
/// Listings that are being read page by page, and how long one is remembered.
pub const LISTINGS: usize = 8;
/// Longest silence between two pages of a listing, milliseconds.
pub const LISTING_MS: u64 = 120_000;
/// Rules of `rideAllow`, patterns of one rule, characters of one pattern: people write them by hand.
pub const ALLOW: (usize, usize, usize) = (64, 64, 256);
/// Characters of a driver's or machine's name.
pub const NAME_CHARS: usize = 64;
/// Characters of what the host knows a person by: a device's id has 64, an address at most 254.
pub const IDENTITY_CHARS: usize = 256;
/// Longest a claim or release waits, milliseconds.
pub const WAIT_MS: u64 = 600_000;

/// A lease ends this long after the last renewal: three lost renewals and the
/// time a gateway takes to restart on a small machine.
pub const LEASE_MS: u64 = 60_000;
/// How often a driver renews.
pub const RENEW_EVERY_MS: u64 = 5_000;
/// How often a thing that is not ready yet is asked again.
pub const RETRY_MS: u64 = 250;
/// How often a lost driver is looked for; with `RETRY_MS` well within a second.
pub const PROBE_MS: u64 = 400;
/// The longest pause of that: what waits for a person need not be asked often.
pub const RETRY_LONGEST_MS: u64 = 5_000;
/// Claude Codes that have one thread's Claude session open outside a ride and are watched. One more
/// is not, and the journal says so; the thread is held as long as one of the others lives.
pub const TERMINALS: usize = 8;
/// How often it is looked whether they live: as often as a driver renews. One that says that it
/// ends is looked for at once.
pub const TERMINAL_LOOK_MS: u64 = RENEW_EVERY_MS;
/// A Claude Code that cannot be looked at from the gateway counts as alive for so long after its
/// start or its last prompt: longer than people read an answer, shorter than a working day.
pub const TERMINAL_UNSEEN_MS: u64 = 2 * 60 * 60_000;
/// A Claude Code reads a conversation within this time of its start, or of its change to another
/// session: 1 to 10 s were seen. A turn that ended within it may be missing in what was read.
pub const TERMINAL_READS_MS: u64 = 30_000;
/// Attempts to send a notice, or to hand a message over, before it is given up and said.
pub const ATTEMPTS: u32 = 8;
/// Pause before a send of unknown outcome is repeated.
pub const REPEAT_MS: u64 = 10_000;
/// First and longest pause between attempts to send.
pub const SEND_BACKOFF_MS: (u64, u64) = (1_000, 60_000);

/// Processes of one thread that were declared gone and are remembered, each by a name of at most
/// [`GONE_NAME_CHARS`]; the oldest is forgotten, and would have to be declared again. A thread has
/// seldom one.
pub const GONE_NAMES: usize = 16;

/// Longest such name: two numbers of 10 digits, one of 20, and what stands between them, twice.
pub const GONE_NAME_CHARS: usize = 90;
