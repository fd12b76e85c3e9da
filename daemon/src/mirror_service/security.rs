//! What a mirror proves itself with, and what it asks of the centre: files read at the start.
//!
//! What it is        passwords, keys and certificates from their files, checked.
//! What it is not    kept fresh: a changed file counts from the next start on.
//! Invariants        1. a secret that everybody on this machine can read is refused. 2. no error
//!                   shows what is in a file. 3. a server's certificate is always verified.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use kafka_lite::sasl::Credentials;
use mirror::options::Login;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::mirror::MirrorConfig;
use crate::limits::SECRET_FILE_BYTES_MAX;

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct Security {
    /// Who this gateway is, with SASL.
    pub(super) login: Option<Login>,
    /// With TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Security {
    /// Reads the files of a mirror.
    ///
    /// Errors: one line that names the key and the file.
    pub(crate) fn load(config: &MirrorConfig) -> Result<Self, String> {
        let protocol = config.security_protocol;
        Ok(Self {
            login: match protocol.has_sasl() {
                true => Some(login(config)?),
                false => None,
            },
            tls: match protocol.has_tls() {
                true => Some(Arc::new(tls(&TlsFiles {
                    authorities: config.ssl_ca_location.as_deref(),
                    certificate: config.ssl_certificate_location.as_deref(),
                    key: config.ssl_key_location.as_deref(),
                })?)),
                false => None,
            },
        })
    }
}

fn login(config: &MirrorConfig) -> Result<Login, String> {
    let missing = || "sasl.mechanism, sasl.username or sasl.password.file is missing".to_owned();
    let file = config.sasl_password_file.as_deref().ok_or_else(missing)?;
    let mechanism = config.sasl_mechanism.ok_or_else(missing)?;
    let username = config.sasl_username.as_deref().ok_or_else(missing)?;
    let refused = |reason: &str| format!("sasl.password.file {}: {reason}", file.display());
    let password = read_password(file).map_err(|reason| refused(&reason))?;
    let credentials = Credentials::new(mechanism, username, &password).map_err(refused)?;
    let nonce_key = random_bytes().map_err(|error| format!("random numbers: {error}"))?;
    Ok(Login {
        credentials,
        nonce_key,
    })
}

/// Files of a connection with TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsFiles<'a> {
    /// `ssl.ca.location`; `None` believes what the system believes.
    pub(crate) authorities: Option<&'a Path>,
    /// `ssl.certificate.location`
    pub(crate) certificate: Option<&'a Path>,
    /// `ssl.key.location`
    pub(crate) key: Option<&'a Path>,
}

/// Reads the files of a connection with TLS.
///
/// Errors: one line that names the key and the file.
pub(crate) fn tls(files: &TlsFiles<'_>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(files.authorities)?);
    let (Some(certificate), Some(key)) = (files.certificate, files.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("ssl.certificate.location", certificate)?;
    let refused = |reason: &str| format!("ssl.key.location {}: {reason}", key.display());
    let bytes = read_secret(key).map_err(|reason| refused(&reason))?;
    let private = PrivateKeyDer::from_pem_slice(&bytes);
    let private = private.map_err(|_| refused("no private key in PEM, unencrypted, is in it"))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|error| refused(&error.to_string()))
}

/// Whom to believe: a file, or what the system believes.
fn roots(authorities: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = authorities {
        let key = "ssl.ca.location";
        for certificate in certificates(key, file)? {
            let added = roots.add(certificate);
            added.map_err(|error| format!("{key} {}: {error}", file.display()))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this machine has no certificates of authorities; name a file with \
                    ssl.ca.location"
                .to_owned(),
        );
    }
    Ok(roots)
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let refused = |reason: &str| format!("{key} {}: {reason}", file.display());
    let opened = File::open(file).map_err(|error| refused(&error.to_string()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(opened).collect();
    let all = all.map_err(|_| refused("it is not PEM"))?;
    if all.is_empty() {
        return Err(refused("no certificate in PEM is in it"));
    }
    Ok(all)
}

/// Reads a password from a file of its own; a line end behind it does not count.
///
/// Errors: what is wrong with the file.
pub(crate) fn read_password(file: &Path) -> Result<String, String> {
    let bytes = read_secret(file)?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    // An editor ends the line.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    Ok(password.to_owned())
}

/// A file that only its owner and group may read.
fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| error.to_string();
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.mode() & 0o007 != 0 {
        return Err(format!(
            "everybody on this machine can read or write it; chmod o= {}",
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    let most = SECRET_FILE_BYTES_MAX;
    let length = file
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if u64::try_from(length).is_ok_and(|length| length > most) {
        return Err(format!("more than {most} bytes"));
    }
    Ok(bytes)
}

fn random_bytes() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::Security;
    use crate::config::mirror::MirrorConfig;
    use crate::test_directory::TestDirectory;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn config(rows: &[(&str, &str)]) -> MirrorConfig {
        let mut config = MirrorConfig::default();
        for (key, value) in rows {
            config.apply(key, &[(*value).to_owned()]).unwrap();
        }
        config
    }

    #[test]
    fn a_password_comes_from_a_file_that_not_everybody_can_read() {
        let directory = TestDirectory::new("mirror-security");
        let path = directory.path().join("password");
        let config = config(&[
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "gateway"),
            ("sasl.password.file", path.to_str().unwrap()),
        ]);
        let refusal = || Security::load(&config).unwrap_err();
        assert!(refusal().contains("No such file"));
        fs::write(&path, "secret\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(refusal().contains("chmod o= "), "{}", refusal());
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let security = Security::load(&config).unwrap();
        assert!(!format!("{security:?}").contains("secret"));
        let credentials = security.login.unwrap().credentials;
        let mechanism = credentials.mechanism;
        let expected = kafka_lite::sasl::Credentials::new(mechanism, "gateway", "secret");
        assert_eq!(Ok(credentials), expected);
        fs::write(&path, "\n").unwrap();
        assert!(refusal().contains("empty"), "{}", refusal());
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let directory = TestDirectory::new("mirror-security-tls");
        let path = directory.path().join("ca.pem");
        fs::write(&path, "nothing\n").unwrap();
        let place = path.to_str().unwrap();
        let config = config(&[("security.protocol", "SSL"), ("ssl.ca.location", place)]);
        let error = Security::load(&config).unwrap_err();
        let expected = format!("ssl.ca.location {place}: no certificate in PEM is in it");
        assert_eq!(error, expected);
    }
}
