//! The way to an OpenClaw gateway: where it is, and a connection to it.
//! In reading order: [`locate`], [`frame`], [`device`], [`tls`], [`owner`], [`client`], [`keep`].

pub mod client;
pub mod device;
pub mod frame;
pub mod keep;
pub mod locate;
pub mod owner;
pub mod tls;
