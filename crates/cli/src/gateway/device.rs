//! The device identity: an Ed25519 key of this machine's `ride`, kept with the tokens
//! gateways gave it, and the signature OpenClaw asks for. The file is 0600 and
//! replaced as a whole.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use ride_core::versioned::{self, Unread, Versioned};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::frame::{Challenge, ClientInfo, DeviceProof};

/// A device identity cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("could not use the device identity: {}: {cause}", path.display())]
pub struct DeviceError {
    path: PathBuf,
    cause: String,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    seed: String,
    /// By gateway origin.
    #[serde(default)]
    tokens: BTreeMap<String, String>,
}

/// Format 1 is the same without the program's version.
impl Versioned for Stored {
    const FORMAT: u32 = 2;
}

/// This machine's `ride`, as gateways know it.
pub struct Device {
    path: PathBuf,
    key: SigningKey,
    tokens: BTreeMap<String, String>,
}

impl Device {
    /// Opens the identity in a folder, making folder and identity on first use.
    pub fn open(state_dir: &Path) -> Result<Device, DeviceError> {
        if let Some(device) = Device::existing(state_dir)? {
            return Ok(device);
        }
        let path = state_dir.join("device.json");
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| DeviceError { path: path.clone(), cause: e.to_string() })?;
        let device = Device { key: SigningKey::from_bytes(&seed), tokens: BTreeMap::new(), path };
        device.save()?;
        Ok(device)
    }

    /// Opens the identity in a folder, `None` where there is none yet.
    pub fn existing(state_dir: &Path) -> Result<Option<Device>, DeviceError> {
        let path = state_dir.join("device.json");
        let fail = |cause: String| DeviceError { path: path.clone(), cause };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(e.to_string())),
        };
        let stored: Stored = versioned::read(&bytes).map_err(|e| {
            let what = match e {
                Unread::Damaged(_) => "move it away, and the gateway is asked to allow this device anew",
                Unread::Unknown { .. } => "it is left as it is; use that version, or a later one",
            };
            fail(format!("{e}; {what}"))
        })?;
        let seed = BASE64.decode(&stored.seed).map_err(|e| fail(e.to_string()))?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| fail("the seed is not 32 bytes".into()))?;
        Ok(Some(Device { key: SigningKey::from_bytes(&seed), tokens: stored.tokens, path }))
    }

    /// SHA-256 of the public key, hex: how the gateway lists this device.
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.key.verifying_key().as_bytes()))
    }

    /// The token a gateway gave this device.
    pub fn token(&self, origin: &str) -> Option<&str> {
        self.tokens.get(origin).map(String::as_str)
    }

    /// Keeps the token a gateway gave, or forgets one it no longer takes.
    pub fn set_token(&mut self, origin: &str, token: Option<&str>) -> Result<(), DeviceError> {
        if self.token(origin) == token {
            return Ok(());
        }
        match token {
            Some(token) => self.tokens.insert(origin.to_owned(), token.to_owned()),
            None => self.tokens.remove(origin),
        };
        self.save()
    }

    /// Signs a challenge: the `v3` payload of OpenClaw 2026.5 and newer.
    pub fn prove(
        &self,
        challenge: &Challenge,
        client: &ClientInfo<'_>,
        role: &str,
        scopes: &[&str],
        token: Option<&str>,
    ) -> DeviceProof {
        let id = self.id();
        let signed = format!(
            "v3|{id}|{}|{}|{role}|{}|{}|{}|{}|{}|",
            client.id,
            client.mode,
            scopes.join(","),
            challenge.ts,
            token.unwrap_or(""),
            challenge.nonce,
            client.platform,
        );
        DeviceProof {
            id,
            public_key: BASE64.encode(self.key.verifying_key().as_bytes()),
            signature: BASE64.encode(self.key.sign(signed.as_bytes()).to_bytes()),
            signed_at: challenge.ts,
            nonce: challenge.nonce.clone(),
        }
    }

    fn save(&self) -> Result<(), DeviceError> {
        let fail = |cause: String| DeviceError { path: self.path.clone(), cause };
        let folder = self.path.parent().expect("the path was joined to a folder");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| fail(e.to_string()))?;
        let stored = Stored { seed: BASE64.encode(self.key.to_bytes()), tokens: self.tokens.clone() };
        let text = versioned::write(&stored).map_err(|e| fail(e.to_string()))?;
        let fresh = self.path.with_extension(format!("json.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)
        };
        write().map_err(|e| fail(e.to_string()))
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    // Rule STORE-7.
    #[test]
    fn every_identity_that_was_ever_written_is_read_and_an_unknown_one_is_left_alone() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/kept/device");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("device.json");
        for shape in ["1a.json", "2a.json"] {
            fs::copy(Path::new(kept).join(shape), &file).unwrap();
            let mut device = Device::existing(dir.path()).unwrap().unwrap();
            assert_eq!(device.key.to_bytes(), [7; 32]);
            assert_eq!(device.token("ws://127.0.0.1:18789"), Some("t"));
            device.set_token("ws://b", Some("u")).unwrap();
            let again = Device::existing(dir.path()).unwrap().unwrap();
            assert_eq!((again.token("ws://127.0.0.1:18789"), again.token("ws://b")), (Some("t"), Some("u")));
        }
        for (text, why) in [
            (r#"{"format":3,"writtenBy":"ride 9.0.0"}"#, "ride 9.0.0 wrote it"),
            (r#"{"format":2,"seed":"","tokens":{},"more":1}"#, "unknown field more"),
            ("{", "it is damaged"),
        ] {
            fs::write(&file, text).unwrap();
            let said = Device::open(dir.path()).err().unwrap().to_string();
            assert!(said.contains(&file.display().to_string()) && said.contains(why), "{said}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
