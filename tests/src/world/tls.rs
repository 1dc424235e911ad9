//! A self-signed certificate for 127.0.0.1, made with the Java runtime's own `keytool`: nothing else to install.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const PASSWORD: &str = "changeit";

/// A PKCS #12 key store for a server, and the certificate its clients trust.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key_store: PathBuf,
    /// PEM.
    pub(super) ca: PathBuf,
}

impl Certificate {
    pub(super) fn create(folder: &Path) -> Self {
        let certificate = Self { key_store: folder.join("server.p12"), ca: folder.join("ca.pem") };
        let name =
            ["-dname", "CN=weir-test", "-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "bc:c=ca:true"];
        certificate.keytool(&[&["-genkeypair", "-keyalg", "EC", "-validity", "2"], &name[..]].concat());
        let ca = certificate.ca.display().to_string();
        certificate.keytool(&["-exportcert", "-rfc", "-file", &ca]);
        certificate
    }

    fn keytool(&self, args: &[&str]) {
        let mut command = Command::new("keytool");
        command.args(args).args(["-alias", "weir", "-storetype", "PKCS12", "-storepass", PASSWORD]);
        let output = command.arg("-keystore").arg(&self.key_store).output().expect("keytool comes with Java");
        assert!(output.status.success(), "keytool: {}", String::from_utf8_lossy(&output.stdout));
    }
}
