//! What the binary is told to do. May use everything.

mod admin;
mod init;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::bootstrap::{Bootstrap, BootstrapError};
use crate::cni;

/// What can be asked.
const USAGE: &str = "\
usage: mesh-proxy run BOOTSTRAP.json     a proxy, as the file says
       mesh-proxy pod                    a pod's proxy, as its environment says
       mesh-proxy init [EXCLUSIONS]      write the rules that redirect a pod's connections, and end
       mesh-proxy cni-node               keep the CNI plug-in on this node, and answer it
       mesh-proxy admin PATH [BODY]      ask the proxy beside this process
       mesh-proxy wait [SECONDS]         until it is ready
       mesh-proxy --version
EXCLUSIONS: --exclude-outbound-ports=80,443 --exclude-inbound-ports=22
            --exclude-outbound-cidrs=10.0.0.0/8";

/// Does what `arguments` say.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["run", path] => serve(Bootstrap::load(Path::new(path))),
        ["pod"] => serve(Bootstrap::of_pod(
            |name| std::env::var(name).ok(),
            has_ipv6(),
        )),
        ["cni-node"] => serve_node(),
        ["init", ..] => init::run(arguments.get(1..).unwrap_or_default()),
        ["admin", path] => return admin::ask(path, ""),
        ["admin", path, body] => return admin::ask(path, body),
        ["wait"] => admin::wait("60"),
        ["wait", seconds] => admin::wait(seconds),
        ["--version"] => {
            return say(
                &format!("mesh-proxy {}", mesh_api::version()),
                ExitCode::SUCCESS,
            );
        }
        _ => return say(USAGE, ExitCode::from(2)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(
            &format!("mesh-proxy: {}", chain(error.as_ref())),
            ExitCode::FAILURE,
        ),
    }
}

/// What a command comes to.
type Done = Result<(), Box<dyn std::error::Error>>;

/// Runs the proxy until SIGTERM or SIGINT, on this thread's runtime.
fn serve(bootstrap: Result<Bootstrap, BootstrapError>) -> Done {
    log();
    let bootstrap = bootstrap?;
    runtime()?.block_on(async {
        let told = told_to_stop()?;
        crate::run(bootstrap, told).await?;
        Ok(())
    })
}

/// Runs the node's side of the CNI plug-in, likewise.
fn serve_node() -> Done {
    log();
    runtime()?.block_on(async { cni::serve(told_to_stop()?).await })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Completes on SIGTERM or SIGINT, which are heard from now on.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    })
}

fn log() {
    let variable = mesh_api::pod::env::LOG;
    let filter = EnvFilter::try_from_env(variable).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// True if this network knows IPv6.
fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// The error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    // A closed standard error leaves nobody to tell.
    writeln!(std::io::stderr(), "{text}").map_or(ExitCode::FAILURE, |()| code)
}
