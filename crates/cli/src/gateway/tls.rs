//! TLS to a gateway elsewhere: the machine's own trust store, or exactly one pinned
//! certificate (OpenClaw's `tlsFingerprint`, a gateway's self-made certificate).
//!
//! Whatever comes of it, the certificate that was shown is remembered: a person who
//! has to decide about it must be told which one it was.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::locate::Pin;

/// The fingerprint of the first certificate in a PEM file.
pub fn pin_of_file(path: &Path) -> Result<Pin, pem::Error> {
    let certificate = CertificateDer::from_pem_file(path)?;
    Ok(fingerprint(&certificate))
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Pin {
    Pin(Sha256::digest(certificate).into())
}

/// The certificate the other side showed, once it did.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Option<Pin>>>);

impl Seen {
    /// Its fingerprint.
    pub fn get(&self) -> Option<Pin> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, pin: Pin) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pin);
    }
}

/// A connector that trusts the pinned certificate alone, or the machine's authorities.
pub fn connector(pin: Option<Pin>) -> Result<(TlsConnector, Seen), String> {
    let provider = Arc::new(ring::default_provider());
    let trust = match pin {
        Some(pin) => Trust::Pin(pin),
        None => {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(
                    "this machine has no certificate authorities (package ca-certificates); a pin needs none".into()
                );
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            Trust::Authorities(verifier.build().map_err(|e| e.to_string())?)
        }
    };
    let seen = Seen::default();
    let verifier = Verifier { trust, seen: seen.clone(), provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), seen))
}

/// Who says that the certificate is the gateway's.
#[derive(Debug)]
enum Trust {
    /// The fingerprint alone, whatever name or date the certificate carries: it is the
    /// stronger statement.
    Pin(Pin),
    /// The machine's authorities.
    Authorities(Arc<WebPkiServerVerifier>),
}

/// Signatures are checked in either case, so the certificate's key must be there.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = fingerprint(end_entity);
        self.seen.set(seen);
        match &self.trust {
            Trust::Pin(pin) if seen == *pin => Ok(ServerCertVerified::assertion()),
            Trust::Pin(_) => Err(rustls::Error::General("it is not the pinned certificate".into())),
            Trust::Authorities(roots) => {
                roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
