//! Why the control plane could not start or go on. May use nothing of this crate.

use std::path::{Path, PathBuf};

/// A failure of the control plane itself; refusals to callers are of their own types.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or socket could not be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: `read`, `write`, `bind`.
        action: &'static str,
        /// The file, folder or address.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate authority's files are missing parts or do not fit together.
    #[error("certificate authority: {0}")]
    Authority(String),
    /// A certificate or key could not be made or read.
    #[error("certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The bootstrap settings are wrong.
    #[error("bootstrap: {0}")]
    Bootstrap(String),
    /// The manifest folder cannot be watched.
    #[error("cannot watch the manifests")]
    Watch(#[from] notify::Error),
    /// The API server could not be asked, or refused.
    #[error("cannot {action}: {reason}")]
    Cluster {
        /// What was tried: `read Secret mesh-system/mesh-ca-root`.
        action: String,
        /// Why, and how to mend it.
        reason: String,
    },
    /// The gRPC server failed.
    #[error("the server of proxies failed")]
    Serve(#[from] tonic::transport::Error),
    /// A task of the control plane ended or panicked.
    #[error("a part of the control plane ended: {0}")]
    Ended(&'static str),
}

impl Error {
    /// Names the file or address of an I/O error, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// The error and its causes on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
