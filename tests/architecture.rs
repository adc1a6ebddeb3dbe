//! The floors of the house, checked against cargo's own view of it: a crate leans only on lower floors, and some
//! dependencies are for named crates only (`[workspace.metadata]` in the root manifest).

use std::process::Command;

use serde_json::Value;

fn workspace() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let output =
        Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every `(crate, dependency)` edge of the workspace's own manifests, tests and build scripts left out.
fn edges(workspace: &Value) -> Vec<(&str, &str)> {
    let packages = workspace["packages"].as_array().unwrap().iter();
    packages
        .flat_map(|package| {
            let ordinary =
                package["dependencies"].as_array().unwrap().iter().filter(|edge| edge["kind"].is_null());
            ordinary.map(|edge| (package["name"].as_str().unwrap(), edge["name"].as_str().unwrap()))
        })
        .collect()
}

#[test]
fn every_crate_leans_only_on_lower_floors() {
    let workspace = workspace();
    let floor = |name: &str| workspace["metadata"]["floors"][name].as_u64();
    for package in workspace["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(floor(name).is_some(), "{name} has no floor in [workspace.metadata.floors]");
    }
    for (name, dependency) in edges(&workspace) {
        let Some(below) = floor(dependency) else { continue };
        let own = floor(name).unwrap();
        assert!(below < own, "{name} (floor {own}) leans on {dependency} (floor {below})");
    }
}

#[test]
fn some_dependencies_are_for_named_crates_only() {
    let workspace = workspace();
    let only_in = workspace["metadata"]["only-in"].as_object().unwrap();
    for (name, dependency) in edges(&workspace) {
        let Some(rooms) = only_in.get(dependency) else { continue };
        assert!(
            rooms.as_array().unwrap().iter().any(|room| room == name),
            "{name} may not depend on {dependency}"
        );
    }
}

#[test]
fn one_regex_engine_natively_and_in_the_browser() {
    let lock = include_str!("../Cargo.lock");
    assert!(
        !lock.contains("name = \"onig\""),
        "onig in Cargo.lock: tokens would differ between native and Wasm"
    );
}

#[test]
fn the_floors_that_do_no_input_or_output_have_their_guard() {
    for room in ["kernels", "harness/relevance", "harness/scorer", "harness/trainer", "harness/synthesis"] {
        let guard = format!("{}/../../{room}/clippy.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&guard).unwrap_or_else(|error| panic!("{guard}: {error}"));
        assert!(text.contains("std::fs::read") && text.contains("std::time::Instant::now"), "{guard}");
    }
}
