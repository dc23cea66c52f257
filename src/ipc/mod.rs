//! The original's client API on its own socket, and our requests on the same socket.
//!
//! ```text
//!              frame            requests                     cl_status · hb_standby
//! client ◀──▶ (bytes, bodies) ▶ (who may ask what, answers)  hb_takeover · ha status
//!              server                                        └──── client ────┘
//! ```

pub mod attribute;
pub mod cl_status;
pub mod client;
pub mod command;
pub mod frame;
pub mod maintenance;
pub mod members;
pub mod requests;
pub mod server;
pub mod status;
pub mod terminal;

/// Messages as bodies of frames.
mod codec {
    pub(super) use crate::wire::decode_local;
    use crate::wire::message::Message;

    /// A message that cannot be written becomes an empty body, which no frame may have: the
    /// sender gets the frame's error.
    pub(super) fn encode_api(message: &Message) -> Vec<u8> {
        crate::wire::encode_api(message).unwrap_or_default()
    }
}

/// Where the daemon listens (messaging spec 7.3).
pub const SOCKET_PATH: &str = "/var/run/heartbeat/register";
