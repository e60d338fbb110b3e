//! Whose word counts for a certificate: the machine's authorities, or the pin.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority `ca.pem`, and certificates of it for this machine and for another.
fn certificates(folder: &Path) {
    let script = "set -e\n\
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n\
        openssl req -x509 $key -days 2 -subj /CN=authority -keyout ca.key -out ca.pem\n\
        for name in IP:127.0.0.1 DNS:elsewhere.example; do\n\
          file=${name%%:*}\n\
          openssl req $key -subj /CN=gateway -keyout $file.key -out $file.csr\n\
          echo subjectAltName=$name > $file.ext\n\
          openssl x509 -req -days 2 -in $file.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile $file.ext -out $file.pem\n\
        done\n";
    let made = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A server with that certificate, which refuses what it is asked: whoever is told so
/// has accepted the certificate.
async fn serving(folder: &Path, name: &str) -> String {
    let certificate = CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

/// What `ride ls` says, and the fingerprint in it.
async fn ls(address: &str, vars: &[(&str, &str)]) -> (String, Option<String>) {
    let home = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_ride"))
        .args(["ls", "--url", &format!("wss://{address}")])
        .env_clear()
        .env("HOME", home.path())
        .env("OPENCLAW_GATEWAY_TOKEN", "t")
        .envs(vars.iter().copied())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let pin = text.split_once("--pin ").map(|(_, rest)| rest.split_whitespace().next().unwrap_or_default().to_owned());
    (text.lines().next().unwrap_or_default().replace(address, "HOST"), pin)
}

#[tokio::test]
async fn authorities_and_pins() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let authority = folder.path().join("ca.pem").display().to_string();
    let trusted = [("SSL_CERT_FILE", authority.as_str())];
    let accepted = "error: could not connect to wss://HOST: no OpenClaw gateway answers there: HTTP 418 I'm a teapot";
    let refused = "error: could not connect to the gateway at wss://HOST: this machine's authorities do not vouch for its certificate (invalid peer certificate: ";

    let here = serving(folder.path(), "IP").await;
    assert_eq!(ls(&here, &trusted).await.0, accepted);
    let (text, pin) = ls(&here, &[]).await;
    assert!(text.starts_with(refused) || text.contains("this machine has no certificate authorities"), "{text}");

    // The right authority, another name.
    let other = serving(folder.path(), "DNS").await;
    let (text, other_pin) = ls(&other, &trusted).await;
    assert!(text.starts_with(refused) && text.contains("not valid for name"), "{text}");

    // A pin asks neither for authority nor name, and accepts nothing else.
    let other_pin = other_pin.unwrap();
    assert_eq!(ls(&other, &[("RIDE_PIN", &other_pin)]).await.0, accepted);
    let (text, _) = ls(&here, &[("RIDE_PIN", &other_pin), trusted[0]]).await;
    assert_eq!(text, "error: the gateway at wss://HOST shows another certificate than the pinned one");
    assert_ne!(pin.as_ref(), Some(&other_pin));
}
