//! ride-node
