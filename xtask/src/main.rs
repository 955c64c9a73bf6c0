//! Drives everything: `cargo xtask help` lists it.

mod codegen;

fn main() -> anyhow::Result<()> {
    codegen::run()
}
