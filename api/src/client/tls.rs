//! A connection under TLS that is not HTTP: to a receiver of logs.
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Whom is trusted, read once.
#[derive(Clone)]
pub struct Trust(TlsConnector);

/// TLS can't be used as asked, or nobody trusted answers.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates can't be read.
    #[error("{path} has no certificates to trust (PEM): {why}")]
    Roots {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The machine's own can't be used.
    #[error(
        "the machine's trusted certificates can't be used ({0}): install the CA certificates, or name a file of them"
    )]
    Machine(String),
    /// The host can't be named in a certificate.
    #[error("{0:?} is no valid name for TLS")]
    Name(String),
    /// There is no connection, or the other side is not trusted.
    #[error("can't connect")]
    Connect(#[source] std::io::Error),
}

impl Trust {
    /// Trusts the certificates of a file, or without one those that the machine trusts.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn of(roots: Option<&Path>) -> Result<Self, TlsError> {
        use rustls_platform_verifier::BuilderVerifierExt as _;
        let machine = |error: tokio_rustls::rustls::Error| TlsError::Machine(error.to_string());
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(machine)?;
        let builder = match roots {
            Some(path) => builder.with_root_certificates(read(path)?),
            None => builder.with_platform_verifier().map_err(machine)?,
        };
        Ok(Self(TlsConnector::from(Arc::new(builder.with_no_client_auth()))))
    }

    /// Connects to `HOST:PORT`, and sees to it that it is that host.
    ///
    /// # Errors
    /// When nobody is there, or nobody trusted.
    pub async fn connect(&self, address: &str) -> Result<TlsStream<TcpStream>, TlsError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        let stream = TcpStream::connect(address).await.map_err(TlsError::Connect)?;
        self.0.connect(name, stream).await.map_err(TlsError::Connect)
    }
}

fn read(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |why: String| TlsError::Roots { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("there is none in it".to_owned())) } else { Ok(roots) }
}
