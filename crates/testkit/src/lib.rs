//! ride-testkit
