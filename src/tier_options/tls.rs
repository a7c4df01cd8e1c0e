//! TLS to Redis: whom to believe, and who one is.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the options say.
#[derive(Clone, Default)]
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl TlsFiles {
    pub(super) fn is_given(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some()
    }
}

/// How to speak to one server.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for Tls {}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| format!("{}: {e}", path.display()))?;
    match found.is_empty() {
        true => Err(format!("{}: no certificate in it", path.display())),
        false => Ok(found),
    }
}

impl Tls {
    /// Reads the files. Without a CA file the system's certificates are believed.
    pub(super) fn new(host: &str, files: &TlsFiles) -> Result<Tls, String> {
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|e| format!("{}: {e}", path.display()))?;
                }
            }
            None => {
                // One of them that cannot be read is of no use, and the others are.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err("the system has no certificates of authorities: name a file".into());
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let builder = builder.with_root_certificates(roots);
        let config = match (&files.certificate, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let said = |e: &dyn std::fmt::Display| format!("{}: {e}", key.display());
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| said(&e))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| said(&e))?
            }
            _ => return Err("a client certificate needs its key, and a key its certificate".into()),
        };
        let name = ServerName::try_from(host.to_string()).map_err(|e| format!("host {host}: {e}"))?;
        Ok(Tls { config: Arc::new(config), name })
    }

    pub(crate) fn session(&self) -> Result<ClientConnection, String> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(|e| e.to_string())
    }
}
