//! Options as JavaScript hands them over: a JSON object, unknown keys refused.

use serde::de::DeserializeOwned;
use wasm_bindgen::JsError;

/// The options of `function`; all at their defaults when there are none.
pub(crate) fn parse<T: DeserializeOwned + Default>(
    function: &str,
    options: Option<&str>,
) -> Result<T, JsError> {
    let Some(options) = options else { return Ok(T::default()) };
    serde_json::from_str(options).map_err(|error| JsError::new(&format!("{function}: options: {error}")))
}
