//! ride-core
