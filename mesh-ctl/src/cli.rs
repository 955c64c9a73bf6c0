//! The command line. Help text here is the reference.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;

use crate::command::{
    check, complete, control, diff, explain, get, inject, install, logs, man, proxy, proxy_config,
    proxy_status, reference, run, test, token, uninstall, upgrade, validate, version,
};
use crate::demo;
use crate::render::{Colour, Output, ReaderGone, note, print, report};
use crate::source::origin::Origin;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed, or faults were found
  2  the command line is wrong
  `meshctl run` ends with the exit code of its app.

Colours follow NO_COLOR and CLICOLOR. Nothing is written outside the state folder (--state,
MESH_STATE, .mesh), but a socket in the runtime directory where the folder's path is too long.";

/// Runs, inspects and explains the mesh.
#[derive(Debug, Parser)]
#[command(
    name = "meshctl",
    version = mesh_api::version(),
    after_long_help = EXIT_CODES,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    origin: Origin,
    /// When to colour.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        global = true,
        help_heading = "Options of every command"
    )]
    color: Colour,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a mesh of a Kubernetes cluster; mends one that is half there.
    #[command(after_long_help = "\
Examples:
  meshctl install                          of the kubeconfig's current context
  meshctl install --profile ha --set image.registry=registry.example.com/mesh
  meshctl install -f values.yaml --dry-run > mesh.yaml
  meshctl install --cni                    for pods that allow no init container with rights

Nothing is touched if the cluster is too old or these credentials lack a right. It can be run
again at any time: what differs is mended, by server-side apply as the field manager meshctl.")]
    Install(Box<install::Install>),
    /// Bring an installed mesh to the version of this meshctl.
    #[command(after_long_help = "\
Examples:
  meshctl upgrade
  meshctl upgrade --set control.replicas=3
  meshctl upgrade --dry-run | kubectl diff -f -

What was set at the installation stays. Replicas of the control plane roll one by one; pods keep
their sidecar until they are restarted, and the ones with an older sidecar are named. One minor
version at a time.")]
    Upgrade(Box<upgrade::Upgrade>),
    /// Take the mesh out of a cluster; nothing of it is left.
    #[command(after_long_help = "\
Examples:
  meshctl uninstall
  meshctl uninstall --yes --keep-crds

What still uses the mesh is named before anything is removed. At the end everything is listed
again: it succeeds only if nothing is left.")]
    Uninstall(uninstall::Uninstall),
    /// Start a whole mesh on this machine: no root, no Kubernetes, no containers.
    #[command(after_long_help = "\
Examples:
  meshctl demo                     until Ctrl-C; prints the address of a page
  meshctl demo --check -o json     proves what the mesh promises, and ends
  meshctl demo --kubernetes        the same apps as pods of a cluster that has a mesh
  meshctl demo --kubernetes --delete    takes away what one left, with --keep or by a crash")]
    Demo(demo::show::DemoArgs),
    /// Run a process as a workload of the mesh, with its sidecar.
    #[command(after_long_help = "\
Examples:
  meshctl run shop --service-account shop -n demo -l app=shop --port http=8080 \\
      --upstream catalog:80=127.0.0.1:19080 -- ./shop
  meshctl run visitor --service-account visitor -n demo --upstream shop:80=127.0.0.1:8000
  meshctl run shop --service-account shop -n demo -l app=shop --port http=8080 --transparent \
      --address 10.1.2.3 --token shop.token -- ./shop

The app listens on 127.0.0.1 at the ports named, and finds them in its environment: PORT (the
first), MESH_PORT_<NAME>, MESH_UPSTREAM_<SERVICE>_<PORT>, MESH_ADDRESS, MESH_WORKLOAD.")]
    Run(Box<run::Run>),
    /// Run the control plane in the foreground.
    #[command(after_long_help = "\
Example:
  meshctl control --manifests ./manifests --state .mesh")]
    Control(control::Control),
    /// Run a data plane in the foreground.
    Proxy(proxy::Proxy),
    /// Make a join token, a process's way to its first certificate; or inspect one.
    #[command(after_long_help = "\
Examples:
  meshctl token -n demo --service-account shop > shop.token
  meshctl token -n demo --service-account shop --lifetime 10m --single-use --service shop
  meshctl token inspect shop.token     what it grants; never its secret")]
    Token(Box<token::Token>),
    /// List resources with their status, services, or workloads.
    #[command(after_long_help = "\
Examples:
  meshctl get                              every resource, accepted or not and why
  meshctl get HTTPRoute demo/catalog -o yaml    as it is in force, with its conditions
  meshctl get workloads -n demo -l app=shop -o wide
  meshctl get services -o hosts            lines for /etc/hosts
  meshctl get routes --watch")]
    Get(Box<get::Get>),
    /// Add the proxy to the pods of manifests, as the webhook does to those of a cluster.
    #[command(after_long_help = "\
Examples:
  meshctl inject -f app.yaml --root-hash \"$HASH\" | kubectl apply -f -
  kubectl get deploy -o yaml | meshctl inject -f - --root-hash \"$HASH\" -o json

Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, Pods and Lists of them. What is
left alone, and why, is told on standard error; and what strict mutual TLS would break among
these manifests, with what mends it.")]
    Inject(Box<inject::Inject>),
    /// Show what every proxy runs: SYNCED, STALE or NACKED.
    #[command(after_long_help = "\
Examples:
  meshctl proxy-status
  meshctl proxy-status demo/shop           with every entry and its version
  meshctl proxy-status --watch -o wide")]
    ProxyStatus(proxy_status::ProxyStatus),
    /// Show what one proxy decides by, and the field that each part comes from.
    #[command(after_long_help = "\
Examples:
  meshctl proxy-config routes demo/shop
  meshctl proxy-config endpoints shop --service catalog --port 80
  meshctl proxy-config policies shop -o wide          defaults as well
  meshctl proxy-config all shop -o json > dump.json
  meshctl proxy-config all --file dump.json           without a mesh")]
    ProxyConfig(Box<proxy_config::ProxyConfig>),
    /// Check the whole mesh: what is wrong, why, and what helps.
    #[command(after_long_help = "\
Examples:
  meshctl check
  meshctl check --wait 30s                 after a start: until nothing fails
  meshctl check --strict -o short          warnings fail as well; only what is found is printed
  meshctl check --only proxies -o json
  meshctl check --pre                      can this cluster have a mesh
  meshctl check --pre --adopt shop         and what joining would break in the namespace shop

Every check is explained in docs/reference/check.md.
Exit codes: 0 nothing fails, 1 something does (with --strict, a warning as well), 2 the command
line is wrong.")]
    Check(check::Check),
    /// Print what a workload wrote: exchanges, its sidecar's log, its app's output.
    #[command(after_long_help = "\
Examples:
  meshctl logs shop -f
  meshctl logs shop --status 5xx --since 10m
  meshctl logs shop --to catalog --path '/items/*' --tail 20 -o json
  meshctl logs shop --source proxy
  meshctl logs -n demo deploy/shop -f      in a cluster: of all its pods")]
    Logs(Box<logs::Logs>),
    /// Check manifests: every fault with file, line and field.
    #[command(after_long_help = "\
Example:
  meshctl validate ./manifests extra.yaml

References are resolved among everything given. Exits with 1 if there is any fault.")]
    Validate(validate::Validate),
    /// Explain a request: which rule, why the others lost, backends, timeouts, retries.
    #[command(after_long_help = "\
Examples:
  meshctl explain GET 'http://catalog.demo:80/items?x=1' --from demo/shop -f ./manifests
  meshctl explain http://catalog/items --from demo/shop -H 'x-user: beta' --live")]
    Explain(explain::Explain),
    /// Test manifests: requests, and the decisions expected on them.
    #[command(after_long_help = "\
Example:
  meshctl test cases.yaml -f ./manifests

A file of cases:
  cases:
  - name: beta users see v2
    request: GET http://catalog/items
    from: demo/shop
    headers: { x-user: beta }
    expect: { route: catalog, rule: 0, backends: { catalog-v2: 100 }, timeout: 2s }

Only what is given under `expect` is compared: route, rule (place or name), backends (percent),
status, reason, location, target, host, headers (null: absent), timeout.
Exits with 1 if a decision is not the one expected.")]
    Test(test::Test),
    /// Show what a change of manifests does to requests, before it is applied.
    #[command(after_long_help = "\
Example:
  meshctl diff ./manifests ./manifests.new

Requests are made up from the matches of all routes on either side and decided on by both.
Exits with 1 if anything changes.")]
    Diff(diff::Diff),
    /// Show the version of this binary.
    Version {
        #[command(flatten)]
        output: Output,
    },
    /// Print a completion script for a shell. It asks the control plane for names.
    #[command(after_long_help = "\
Examples:
  source <(meshctl completion bash)        in ~/.bashrc
  source <(meshctl completion zsh)         in ~/.zshrc
  meshctl completion fish | source         in ~/.config/fish/config.fish")]
    Completion {
        /// The shell.
        shell: complete::Shell,
    },
    /// Write manual pages.
    #[command(after_long_help = "\
Example:
  meshctl man ~/.local/share/man/man1")]
    Man(man::Man),
    /// Print the page of commands of the documentation.
    #[command(hide = true)]
    Reference,
    /// An app of the demo.
    #[command(hide = true)]
    DemoApp(demo::app::DemoApp),
    /// Become a command that ends with its parent.
    #[command(hide = true)]
    Guard {
        /// The parent's process number.
        #[arg(long)]
        parent: u32,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// Parses the arguments and runs the command.
pub(crate) fn run() -> ExitCode {
    // A shell that completes a command line asks by an environment variable, and this ends here.
    CompleteEnv::with_factory(Cli::command)
        .bin("meshctl")
        .complete();
    if std::env::args_os().len() <= 1 {
        note(&Cli::command().render_help().ansi().to_string());
        return ExitCode::from(2);
    }
    let cli = Cli::parse();
    cli.color.choose();
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Commands that start no runtime of their own here; the rest is asynchronous.
fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Version { output } => version::run(output),
        Command::Completion { shell } => {
            print(&complete::script(shell)?)?;
            Ok(0)
        }
        Command::Man(arguments) => man::run(&arguments, Cli::command()),
        Command::Reference => reference::run(&mut Cli::command()),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Inject(arguments) => inject::run(&arguments),
        Command::Test(arguments) => test::run(&arguments, &cli.origin.state),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Guard { parent, command } => run::guard(parent, &command),
        command => block_on(dispatch_async(command, &cli.origin)),
    }
}

async fn dispatch_async(command: Command, origin: &Origin) -> anyhow::Result<u8> {
    match command {
        Command::Install(arguments) => install::run(*arguments, &origin.cluster).await,
        Command::Upgrade(arguments) => upgrade::run(*arguments, &origin.cluster).await,
        Command::Uninstall(arguments) => uninstall::run(arguments, &origin.cluster).await,
        Command::Demo(arguments) if arguments.kubernetes => {
            demo::kubernetes::run(arguments, &origin.cluster).await
        }
        Command::Demo(arguments) => demo::show::run(arguments, &origin.state).await,
        Command::Run(arguments) => run::run(*arguments, &origin.state).await,
        Command::Control(arguments) => control::run(arguments, &origin.state).await,
        Command::Token(arguments) => token::run(*arguments, &origin.state).await,
        Command::Get(arguments) => get::run(*arguments, origin).await,
        Command::ProxyStatus(arguments) => proxy_status::run(arguments, origin).await,
        Command::ProxyConfig(arguments) => proxy_config::run(*arguments, origin).await,
        Command::Check(arguments) => check::run(arguments, origin).await,
        Command::Logs(arguments) => logs::run(*arguments, origin).await,
        Command::DemoApp(app) => demo::app::run(app).await,
        Command::Proxy(arguments) => proxy::run(arguments).await,
        Command::Explain(arguments) => explain::run(arguments, origin).await,
        Command::Validate(_)
        | Command::Version { .. }
        | Command::Completion { .. }
        | Command::Man(_)
        | Command::Inject(_)
        | Command::Test(_)
        | Command::Diff(_)
        | Command::Reference
        | Command::Guard { .. } => Ok(0),
    }
}

/// Runs `work` on this thread: children started there end with it, not with a worker thread.
fn block_on<F: Future<Output = anyhow::Result<u8>>>(work: F) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_app_keeps_its_own_arguments() {
        let cli = Cli::try_parse_from([
            "meshctl",
            "run",
            "a",
            "--service-account",
            "a",
            "--port",
            "http=0",
            "--",
            "sh",
            "-c",
            "x",
        ]);
        assert!(matches!(cli.unwrap().command, Command::Run(_)));
        let missing = Cli::try_parse_from(["meshctl", "run", "a"]).unwrap_err();
        assert_eq!(missing.exit_code(), 2);
    }
}
