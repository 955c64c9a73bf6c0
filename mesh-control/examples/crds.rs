//! Prints our kinds as Kubernetes `CustomResourceDefinition`s: JSON objects in a list, as `kubectl apply -f -`
//! takes it; with the name of a kind, its definition alone.

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let all = mesh_control::crd::all();
    match std::env::args().nth(1) {
        None => println!(
            "{:#}",
            json!({ "apiVersion": "v1", "kind": "List", "items": all })
        ),
        Some(kind) => {
            let mut found = all.iter().filter(|one| one.spec.names.kind == kind);
            let one = found.next().ok_or("no kind of ours has this name")?;
            println!("{:#}", serde_json::to_value(one)?);
        }
    }
    Ok(())
}
