//! Claude Code transcripts: lines to chain.
