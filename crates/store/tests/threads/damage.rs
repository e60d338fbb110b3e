//! Files that are not what was written: never a panic, never a fence of before, always said.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use ride_core::event::{Event, Reply};
use ride_core::id::Fence;
use ride_core::rules::Rules;
use ride_core::thread::{FORMAT, Thread};
use ride_core::time::Now;
use ride_core::wire::Reason;
use ride_store::slots::unseal;
use ride_store::{Gate, Store, StoreError, clock};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{OTHER, TOPIC, claim, gateway_folder, perform, release, says, take, thread_file};

/// A thread in its second ride, and what its file held during the first.
struct Ridden {
    dir: TempDir,
    store: Store,
    claude: Uuid,
    file: PathBuf,
    first: (Fence, Vec<u8>),
    fence: Fence,
}

fn fence(store: &Store) -> Fence {
    store.read(TOPIC).unwrap().unwrap().lease().unwrap().fence
}

fn ridden() -> Ridden {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::files(dir.path(), "/state").unwrap();
    let claude = Uuid::new_v4();
    let ride = |name: &str| {
        claim(&store, TOPIC, name, claude);
        perform(&store, TOPIC);
        let fence = fence(&store);
        assert!(matches!(renew(&store, fence, name, clock::now()), Ok((_, Reply::Ok))));
        fence
    };
    let first = ride("ada");
    let file = thread_file(dir.path());
    let first = (first, fs::read(&file).unwrap());
    release(&store, TOPIC);
    perform(&store, TOPIC);
    let fence = ride("bob");
    Ridden { dir, store, claude, file, first, fence }
}

fn later(ms: u64) -> Now {
    let now = clock::now();
    Now { mono_ms: now.mono_ms + ms, ..now }
}

fn renew(store: &Store, fence: Fence, name: &str, now: Now) -> Result<(Thread, Reply), StoreError> {
    let event = Event::Renew { fence, secret_sha256: name.into(), claude: None, active: true };
    store.apply(TOPIC, event, now, &Rules::default())
}

impl Ridden {
    fn renew(&self, fence: Fence, name: &str, now: Now) -> Result<(Thread, Reply), StoreError> {
        renew(&self.store, fence, name, now)
    }

    /// The file is not its last value: nobody's fence counts, nothing is let through, it
    /// is said, and once no driver can act any more the thread begins anew.
    fn is_lost(&self, how: &str) {
        let lost = |result: Result<(Thread, Reply), StoreError>| match result {
            Err(error @ StoreError::Lost { .. }) => error.to_string(),
            other => panic!("{how}: {other:?}"),
        };
        let said = lost(self.renew(self.fence, "bob", clock::now()));
        assert!(said.contains(how) && said.contains("begun anew in "), "{said}");
        lost(self.renew(self.first.0, "ada", later(40_000)));
        assert_eq!(self.store.gate(TOPIC).unwrap(), Gate::Closed, "{how}");
        assert!(self.store.ridden(self.claude).unwrap(), "{how}: its Claude session is still somebody's");

        for (fence, name) in [(self.fence, "bob"), (self.first.0, "ada")] {
            let (thread, reply) = self.renew(fence, name, later(61_000)).unwrap();
            assert!(
                matches!(&reply, Reply::Refused { refusal, .. } if refusal.reason == Reason::Stale),
                "{how}: {reply:?}"
            );
            assert_ne!(thread.incarnation, self.fence.incarnation, "{how}");
            assert!(thread.journal.iter().any(|line| line.what.contains(how)), "{how}: {:?}", thread.journal);
        }
        assert_eq!(self.store.gate(TOPIC).unwrap(), Gate::Open, "{how}");
        assert!(!self.store.ridden(self.claude).unwrap(), "{how}");
        claim(&self.store, TOPIC, "cara", self.claude);
        assert_ne!(fence(&self.store).incarnation, self.fence.incarnation, "{how}");
    }
}

// Rule STORE-2.
#[test]
fn a_damaged_file_is_set_aside_as_it_was() {
    let ridden = ridden();
    let half = fs::read(&ridden.file).unwrap().split_at(5_000).0.to_vec();
    fs::write(&ridden.file, &half).unwrap();
    ridden.is_lost("its state file was damaged");
    let aside = gateway_folder(ridden.dir.path()).join("damaged").join(ridden.file.file_name().unwrap());
    assert_eq!(fs::read(aside).unwrap(), half);
}

// Rule LEASE-2.
#[test]
fn a_deleted_file_makes_no_fence_good_again() {
    let ridden = ridden();
    fs::remove_file(&ridden.file).unwrap();
    ridden.is_lost("its state file is gone");
}

// Rules LEASE-2, STORE-2.
#[test]
fn an_older_file_put_back_makes_no_fence_good_again() {
    // During a later ride, and when nobody rides: the fence of then is refused.
    let during = ridden();
    fs::write(&during.file, &during.first.1).unwrap();
    during.is_lost("an older state file");

    let after = ridden();
    release(&after.store, TOPIC);
    perform(&after.store, TOPIC);
    fs::write(&after.file, &after.first.1).unwrap();
    let (thread, reply) = after.renew(after.first.0, "ada", clock::now()).unwrap();
    assert!(matches!(&reply, Reply::Refused { refusal, .. } if refusal.reason == Reason::Stale), "{reply:?}");
    assert!(thread.journal.iter().any(|line| line.what.contains("an older state file")), "{:?}", thread.journal);
}

// Rule STORE-2.
#[test]
fn a_file_cut_or_changed_anywhere_is_never_taken_for_a_value() {
    let whole = ridden();
    let good = fs::read(&whole.file).unwrap();
    let truth = unseal::<Thread>(&good).unwrap();
    // Blanks, and the value before, say nothing: what is read is the truth, or nothing is.
    let check = |bytes: &[u8], what: &dyn std::fmt::Debug| {
        if let Ok(read) = unseal::<Thread>(bytes) {
            assert_eq!(read, truth, "{what:?}");
        }
    };
    let (headers, value) = places(&good);
    for length in 0..value.end {
        assert!(unseal::<Thread>(&good[..length]).is_err(), "{length}");
    }
    for length in value.end..good.len() {
        check(&good[..length], &length);
    }
    for at in (0..good.len()).filter(|at| good[*at] != b' ' || at % 64 == 0) {
        for mask in [1 << (at % 8), good[at] ^ b' ', good[at] ^ b'"'].into_iter().filter(|mask| *mask != 0) {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            check(&bytes, &(at, mask));
            // A change of the first line may leave the last value what it is; then it is read.
            assert!(
                unseal::<Thread>(&bytes).is_err() || !headers[1].contains(&at) && !value.contains(&at),
                "{at} {mask}"
            );
        }
    }
    // Some of them through the whole store, to the end.
    for part in 0..4 {
        let cut = ridden();
        let bytes = fs::read(&cut.file).unwrap();
        let (_, value) = places(&bytes);
        fs::write(&cut.file, &bytes[..value.end * part / 4]).unwrap();
        cut.is_lost("its state file was damaged");
        let changed = ridden();
        let mut bytes = fs::read(&changed.file).unwrap();
        let (headers, value) = places(&bytes);
        let range = if part == 0 { headers[1].clone() } else { value };
        bytes[range.start + range.len() * part / 4] ^= 1;
        fs::write(&changed.file, &bytes).unwrap();
        changed.is_lost("its state file was damaged");
    }
}

/// Where the first line and the last value's header stand, and that value.
fn places(file: &[u8]) -> ([Range<usize>; 2], Range<usize>) {
    let json = |at: usize| {
        let end = at + file[at..].iter().position(|b| *b == b'}').unwrap() + 1;
        (at..end, serde_json::from_slice::<serde_json::Value>(&file[at..end]).unwrap())
    };
    let number = |value: &serde_json::Value, name: &str| value[name].as_u64().unwrap() as usize;
    let (first, counts) = json(0);
    let at = [512, 1024].into_iter().find(|at| file[*at] == b'{' && json(*at).1["nth"] == counts["last"]).unwrap();
    let (header, stands) = json(at);
    let begin = 4096 + if at == 512 { 0 } else { number(&counts, "room") };
    ([first, header], begin..begin + number(&stands, "length"))
}

// Rule STORE-3.
#[test]
fn another_format_is_refused_and_left_alone() {
    let ridden = ridden();
    let newer = fs::read_to_string(&ridden.file).unwrap().replacen(&format!("\"format\":{FORMAT}"), "\"format\":99", 1);
    fs::write(&ridden.file, &newer).unwrap();
    for result in [ridden.store.read(TOPIC).map(|_| ()), ridden.renew(ridden.fence, "bob", clock::now()).map(|_| ())] {
        let said = result.unwrap_err().to_string();
        assert!(said.ends_with(&format!("has format 99, this version reads 1 to {FORMAT}")), "{said}");
    }
    assert_eq!(fs::read_to_string(&ridden.file).unwrap(), newer);
}

#[test]
fn an_index_that_is_gone_or_damaged_is_made_again() {
    let ridden = ridden();
    says(&ridden.store, OTHER, "m1", Some(ridden.claude));
    let index = ridden.dir.path().join("index.json");
    let kept = fs::read_to_string(&index).unwrap();
    let others: [&dyn Fn(); 2] = [
        &|| fs::remove_file(&index).unwrap(),
        // In place, under the eyes of whoever has it open.
        &|| fs::write(&index, &kept[..kept.len() - 9]).unwrap(),
    ];
    for happens in others {
        happens();
        let fresh = Store::files(ridden.dir.path(), "/state").unwrap();
        for store in [&ridden.store, &fresh] {
            assert_eq!(store.gate(TOPIC).unwrap(), Gate::Closed);
            assert!(store.ridden(ridden.claude).unwrap());
            assert_eq!(
                store.busy().unwrap(),
                [OTHER, TOPIC].map(String::from).iter().rev().cloned().collect::<Vec<_>>()
            );
        }
        assert_eq!(fence(&ridden.store), ridden.fence);
        assert!(matches!(ridden.renew(ridden.fence, "bob", clock::now()), Ok((_, Reply::Ok))));
    }
}

#[test]
fn what_is_found_damaged_after_a_restart_of_the_machine_is_said_too() {
    let ridden = ridden();
    fs::write(&ridden.file, "").unwrap();
    fs::remove_file(ridden.dir.path().join("index.json")).unwrap();
    let restarted = Store::files(ridden.dir.path(), "/state").unwrap();
    take(&restarted, TOPIC);
    let thread = restarted.read(TOPIC).unwrap().unwrap();
    assert!(thread.journal.iter().any(|line| line.what.contains("set aside as damaged/")), "{:?}", thread.journal);
    assert_ne!(thread.incarnation, ridden.fence.incarnation);
}
