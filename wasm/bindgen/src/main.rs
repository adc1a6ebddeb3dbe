//! `bindgen node|web MODULE.wasm DIR`: writes the JavaScript and TypeScript that call a Wasm module.
//!
//! Does what `wasm-bindgen-cli` does for these two targets, from the same library, so that nothing is downloaded
//! ready-made and the version is the one of the lock file.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

const USAGE: &str = "usage: bindgen node|web MODULE.wasm DIR";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [target, module, folder] => write(target, module, folder),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bindgen: {reason}");
            ExitCode::from(2)
        }
    }
}

/// Writes into `folder` what `target` needs to call `module`.
fn write(target: &str, module: &str, folder: &str) -> Result<(), String> {
    let mut bindgen = Bindgen::new();
    match target {
        "node" => bindgen.nodejs(true),
        "web" => bindgen.web(true),
        _ => return Err(format!("expected node or web, found {target}; {USAGE}")),
    }
    .map_err(|error| error.to_string())?;
    // Names of functions are a tenth of what a page would load.
    bindgen.remove_name_section(true).remove_producers_section(true);
    // Without the default path a page would have to tell `init` where the module lies.
    bindgen.input_path(module).typescript(true).omit_default_module_path(false);
    bindgen.generate(folder).map_err(|error| format!("{module}: {error:#}"))
}
