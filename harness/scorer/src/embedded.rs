//! The encoder that comes with the crate: a static table distilled from all-MiniLM-L6-v2 (see `bundles/README.md`, which
//! is also the model card inside).

use crate::bundle::Bundle;
use crate::error::Result;

/// The bundle in its one-file form.
pub const EMBEDDED: &[u8] = include_bytes!("../bundles/static-minilm-l6-v2.bundle");

/// The embedded bundle: works at once, without a download.
///
/// # Errors
/// Only if the build embedded a damaged file.
pub fn embedded() -> Result<Bundle> {
    Bundle::from_bytes(EMBEDDED)
}
