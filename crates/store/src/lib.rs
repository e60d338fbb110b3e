//! ride-store
