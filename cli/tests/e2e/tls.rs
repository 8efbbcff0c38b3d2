//! An upstream over https: trusted roots are those of the system (`SSL_CERT_FILE`), and nothing is sent past a bad certificate.
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::parts::parts;
use crate::support::up::{Place, Up};

/// What stands before a plain http server and speaks TLS with a certificate of an authority of its own.
struct TlsFront {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl TlsFront {
    /// Puts one before `url`, and the authority's certificate into `roots`.
    fn before(url: &str, roots: &Path) -> Self {
        let target = reqwest::Url::parse(url).unwrap();
        let behind = format!("127.0.0.1:{}", target.port().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(certified(roots)));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(outside).await else { return };
                    let mut inside = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Self { url: format!("https://localhost:{port}{}", target.path()), _runtime: runtime }
    }
}

/// A certificate for `localhost` and its key, signed by an authority whose own goes into `roots`.
pub fn certificate(roots: &Path) -> (rcgen::Certificate, KeyPair) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    std::fs::write(roots, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (server.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap(), key)
}

/// The same for a server.
fn certified(roots: &Path) -> ServerConfig {
    let (server, key) = certificate(roots);
    let chain = vec![CertificateDer::from(server.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

#[test]
fn a_server_behind_https_is_called_when_its_certificate_is_trusted_and_not_otherwise() {
    let (_everything, plain) = parts().everything_http();
    let place = Place::new();
    let roots = place.path("roots.pem");
    let front = TlsFront::before(&plain, &roots);
    let server = json!({"kind": "server", "name": "far", "externalUrl": front.url, "allowPrivateAddress": true});
    let project = json!({"kind": "project", "name": "tls", "servers": ["far"]});
    let call = |up: &Up, token: &str| {
        let endpoint = up.endpoint_of("tls");
        up.mcpctl(&["test", "mcp", &endpoint, "--token", token, "--tool", "echo", "--args", r#"{"message":"sealed"}"#])
    };

    let up = Up::start_with(place, |command| {
        command.env("SSL_CERT_FILE", &roots);
    });
    up.apply(&[server, project]);
    let token = up.create_token("agent", "tls");
    let answered = call(&up, &token).ok();
    assert!(answered.stdout.contains("Echo: sealed"), "{}", answered.said());

    let (place, _) = up.stop();
    let up = Up::start_in(place);
    let refused = call(&up, &token);
    assert!(refused.code != Some(0) && refused.said().contains("check its certificate"), "{}", refused.said());
}
