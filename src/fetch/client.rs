//! The HTTP client: time limits, proxies, certificates.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::proxy;
use super::retry_policy::RetryPolicy;
use crate::error::{Error, Result};

/// Environment variable with the file of the certificates to trust instead of Mozilla's, which are compiled in.
/// Networks with their own certificate authority need it. OpenSSL reads the same variable.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// A client for one address and the addresses that it redirects to.
pub(super) fn agent(url: &str, retry: &RetryPolicy) -> Result<Agent> {
    let RetryPolicy { connect, stall, .. } = *retry;
    let tls = TlsConfig::builder().root_certs(certificates()?).build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("regun/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy::for_url(url, |name| std::env::var(name).ok())?)
        .tls_config(tls)
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_per_read(Some(stall))
        .timeout_per_write(Some(stall));
    Ok(config.build().new_agent())
}

fn certificates() -> Result<RootCerts> {
    let Some(path) = std::env::var_os(CERTIFICATES).filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let unusable = |reason: String| {
        Error::usage(format!("{CERTIFICATES}={}: {reason}", path.display()))
            .hint("wanted a file of PEM certificates; without the variable Mozilla's are used")
    };
    let text = std::fs::read(&path).map_err(|error| unusable(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| unusable(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(unusable("it holds no certificate".into()));
    }
    Ok(certificates.into())
}

/// The reason of a failed request, and whether another attempt may succeed.
pub(super) fn explain(error: &ureq::Error, retry: &RetryPolicy) -> (String, bool) {
    let seconds = |limit: Duration| limit.as_secs_f64();
    match error {
        ureq::Error::HostNotFound => ("the host name is not known here".into(), true),
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            (format!("no connection within {} s", seconds(retry.connect)), true)
        }
        ureq::Error::Timeout(_) => (format!("no byte for {} s", seconds(retry.stall)), true),
        ureq::Error::ConnectProxyFailed(reason) => (format!("the proxy did not connect: {reason}"), true),
        ureq::Error::Io(error) => {
            let text = error.to_string();
            match text.contains("certificate") {
                true => (format!("{text} (a network's own certificates are given with {CERTIFICATES})"), false),
                false => (text, true),
            }
        }
        ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed => (error.to_string(), true),
        _ => (error.to_string(), false),
    }
}
