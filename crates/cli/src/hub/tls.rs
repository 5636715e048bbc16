//! How addresses with https are spoken to; the only file that knows of the cryptography.

use crate::failure::{Failure, Outcome};
use std::sync::Arc;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Trusts the certificates of the system, or those that SSL_CERT_FILE and SSL_CERT_DIR name.
///
/// # Errors
/// When the system has no certificates, or the processor lacks instructions that the cryptography is written in.
pub fn config() -> Outcome<TlsConfig> {
    if !is_supported() {
        return Err(Failure::new(
            "https needs a processor with AES, PCLMULQDQ, ADX, AVX2 and BMI2 (x86 since 2014); fetch the files with another \
             program and give --model their directory",
        ));
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(Failure::new(format!(
            "the system has no certificates to trust ({why}); install the package ca-certificates, or name a file of them in \
             SSL_CERT_FILE"
        )));
    }
    let certificates: Vec<Certificate<'static>> =
        found.certs.iter().map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()))
        .root_certs(RootCerts::from(certificates))
        .build())
}

#[cfg(target_arch = "x86_64")]
fn is_supported() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("aes")
        && has!("ssse3")
        && has!("pclmulqdq")
        && has!("bmi1")
        && has!("bmi2")
        && has!("adx")
        && has!("avx")
        && has!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_supported() -> bool {
    true
}
