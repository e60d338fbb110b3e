//! Rare ways through a world that an exploration must go, or it shows nothing about them.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    LatePatchWritten,
    LatePatchDeclines,
    EmptyPatchWaits,
    ChildAgain,
    Slipped,
    ShownTwice,
    HandedTwice,
    StaleRenewal,
    ComesBack,
    PassesOn,
    OtherGatewayWaitedFor,
    Pushed,
    FailsAfterParking,
    Stranger,
}

/// Each of them, in words.
pub const WAYS: &[(Way, &str)] = &[
    (Way::LatePatchWritten, "a patch that nobody waits for is written"),
    (Way::LatePatchDeclines, "a patch that nobody waits for declines"),
    (Way::EmptyPatchWaits, "an empty patch waits for one that is being written"),
    (Way::ChildAgain, "the proof finds the gateway's child again"),
    (Way::Slipped, "a restore meets a turn beside the ride"),
    (Way::ShownTwice, "the channel shows a turn twice"),
    (Way::HandedTwice, "a message is handed over twice"),
    (Way::StaleRenewal, "a renewal is refused"),
    (Way::ComesBack, "a driver comes back by its secret"),
    (Way::PassesOn, "a thread passes from one driver to the next"),
    (Way::OtherGatewayWaitedFor, "another gateway is waited for"),
    (Way::Pushed, "lines of a copy are pushed"),
    (Way::FailsAfterParking, "a claim fails after parking"),
    (Way::Stranger, "a process that is nobody's is seen to write beside a ride"),
];

/// Those that were gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gone(u32);

impl Gone {
    pub fn note(&mut self, way: Way) {
        self.0 |= 1 << way as u32;
    }

    pub fn add(&mut self, other: Gone) {
        self.0 |= other.0;
    }

    /// In words, those that were not.
    pub fn never(self) -> Vec<&'static str> {
        WAYS.iter().filter(|(way, _)| self.0 & 1 << *way as u32 == 0).map(|(_, words)| *words).collect()
    }
}
