//! `cargo xtask image`: the images of the mesh, without a container engine.
//!
//! Each has its program, the libraries that it asks for, and its user; that of the proxy has `nft` and the CNI plug-in too.
//! May use `archive`, `debian`, `dist` and `step`.

mod dated;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;

use crate::archive::{Image, Runs};
use crate::debian;
use crate::dist::mebibytes;
use crate::step::{self, cargo};

/// How the programs are built.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Profile {
    /// As the end-to-end cases run them.
    Release,
    /// As they are published: smaller, and slower to build.
    Dist,
}

/// One of our images.
struct Ours {
    program: &'static str,
    package: &'static str,
    /// Its user and group: injection knows the proxy's.
    user: u32,
    /// It captures: `nft` and the CNI plug-in belong to it.
    captures: bool,
}

const OURS: [Ours; 3] = [
    Ours {
        program: "mesh-proxy",
        package: "mesh-proxy",
        user: 15008,
        captures: true,
    },
    Ours {
        program: "mesh-control",
        package: "mesh-control",
        user: 15012,
        captures: false,
    },
    // The apps of the demo.
    Ours {
        program: "meshctl",
        package: "mesh-ctl",
        user: 15012,
        captures: false,
    },
];
/// The CNI plug-in, which the proxy's image carries to the nodes.
const PLUGIN: &str = "mesh-cni";
/// What names of our images start with.
const REGISTRY: &str = "mesh.dev";
const SEARCH_PATH: &str = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Folders that a program writes to.
const WRITTEN: [&str; 2] = ["/run/mesh", "/var/lib/mesh"];

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }
}

/// Writes the images and prints their sizes.
pub(crate) fn run(profile: Profile, tag: Option<&str>) -> anyhow::Result<()> {
    for path in write_all(profile, tag)? {
        let size = std::fs::metadata(&path)?.len();
        println!("{:>10}  {}", mebibytes(size), path.display());
    }
    Ok(())
}

/// Builds the programs and writes their images, with `tag` or else the version of the workspace; where
/// the archives are.
pub(crate) fn write_all(profile: Profile, tag: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
    let mut build = cargo(["build", "--locked", "--profile", profile.name()]);
    for ours in &OURS {
        build.args(["--package", ours.package]);
    }
    step::run(&mut build)?;
    build_plugin(profile)?;
    let programs = step::target().join(profile.name());
    archives(
        &programs,
        profile.name(),
        tag.unwrap_or(env!("CARGO_PKG_VERSION")),
    )
}

/// Builds the CNI plug-in without shared libraries, beside the other programs: it runs on nodes, not in
/// an image.
fn build_plugin(profile: Profile) -> anyhow::Result<()> {
    let said = step::output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?;
    let flags = format!("target.{host}.rustflags=['-Ctarget-feature=+crt-static']");
    let mut build = cargo(["build", "--locked", "--profile", profile.name()]);
    build.args(["--package", PLUGIN, "--target", host, "--config", &flags]);
    step::run(&mut build)?;
    let built = step::target().join(host).join(profile.name()).join(PLUGIN);
    let beside = step::target().join(profile.name()).join(PLUGIN);
    std::fs::copy(built, beside)?;
    Ok(())
}

/// Images of programs as they were built for release, told to be of an older `version`; the programs
/// themselves are left in the folder `older` of the target.
pub(crate) fn write_older(built: &Path, version: &str) -> anyhow::Result<Vec<PathBuf>> {
    let older = step::target().join("older");
    std::fs::create_dir_all(&older)?;
    for Ours { program, .. } in &OURS {
        dated::write(&built.join(program), &older.join(program), version)?;
    }
    std::fs::copy(built.join(PLUGIN), older.join(PLUGIN))?;
    archives(&older, "older", version)
}

fn archives(programs: &Path, folder: &str, tag: &str) -> anyhow::Result<Vec<PathBuf>> {
    let folder = step::target().join("images").join(folder);
    let write = |ours: &Ours| {
        let path = folder.join(format!("{}-{tag}.tar", ours.program));
        ours.image(programs, tag)?.write(&path)?;
        Ok(path)
    };
    OURS.iter().map(write).collect()
}

/// The app of our own cases in the cluster; where its archive is. A release: one for debugging took more of
/// the CPUs under load than the mesh.
pub(crate) fn case_app() -> anyhow::Result<PathBuf> {
    let program = "cluster-app";
    step::run(&mut cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "--bin",
        program,
    ]))?;
    let at = format!("/usr/local/bin/{program}");
    let runs = Runs {
        entrypoint: vec![at.clone()],
        environment: vec![SEARCH_PATH.to_owned()],
        user: "65532:65532".to_owned(),
    };
    let mut image = Image::new(&["mesh.dev/e2e-app:dev"], runs);
    let built = step::target().join("release").join(program);
    image.file(&at, &built, 0o755);
    image.libraries(
        &step::output(Command::new("ldd").arg(&built))?,
        Path::new("/"),
    );
    image.text("/etc/passwd", "app:x:65532:65532::/:/\n");
    let path = step::target().join("images/e2e-app.tar");
    image.write(&path)?;
    Ok(path)
}

impl Ours {
    fn image(&self, programs: &Path, tag: &str) -> anyhow::Result<Image> {
        let Self {
            program,
            user,
            captures,
            ..
        } = self;
        let at = format!("/usr/local/bin/{program}");
        let runs = Runs {
            entrypoint: vec![at.clone()],
            environment: vec![SEARCH_PATH.to_owned()],
            user: format!("{user}:{user}"),
        };
        let mut image = Image::new(&[&format!("{REGISTRY}/{program}:{tag}")], runs);
        let built = programs.join(program);
        image.file(&at, &built, 0o755);
        image.libraries(
            &step::output(Command::new("ldd").arg(&built))?,
            Path::new("/"),
        );
        let users = format!(
            "root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n{program}:x:{user}:{user}::/:/\n"
        );
        let groups = format!("root:x:0:\nnogroup:x:65534:\n{program}:x:{user}:\n");
        image
            .text("/etc/passwd", &users)
            .text("/etc/group", &groups);
        // Names of Services, then files: what the loader does without this file differs by version.
        image.text("/etc/nsswitch.conf", "hosts: files dns\n");
        for at in WRITTEN {
            image.folder_of(at, 0o755, *user);
        }
        image.link("/var/run", "/run").folder("/tmp", 0o1777);
        if *captures {
            add_nft(&mut image)?;
            let plugin = programs.join(PLUGIN);
            image.file(&format!("/usr/local/bin/{PLUGIN}"), &plugin, 0o755);
        }
        Ok(image)
    }
}

/// `nft` and its libraries, from Debian's packages.
fn add_nft(image: &mut Image) -> anyhow::Result<()> {
    let prefix = debian::prefix()?;
    let nft = prefix.path("usr/sbin/nft");
    let mut ldd = Command::new("ldd");
    ldd.arg(&nft).env("LD_LIBRARY_PATH", prefix.libraries());
    let said = step::output(&mut ldd)?;
    image.libraries(&said, Path::new("/"));
    image.file("/usr/sbin/nft", &nft, 0o755);
    Ok(())
}
