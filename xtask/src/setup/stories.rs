//! The stories of the decoder tests: independent encoders put the field lists of `tests/decode/fields` into header
//! blocks, and hyperframe writes frames. What is kept is what they wrote; the encoders are not.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::command::step;
use super::go::go;
use super::recipe::{Build, crate_of_its_own, maven, venv};

pub(super) fn stories(build: &Build<'_>) -> Result<()> {
    let source = build.places.sources().join("stories");
    let (lists, stories) = (build.folder.join("lists"), build.folder.join("stories"));
    let tools = build.folder.join("tools");
    fs::create_dir(&tools)?;

    // The lists come from the tests' own code, and so does their form.
    crate_of_its_own(build, "stories/rust", "encoders")?;
    let encoders = build.folder.join("encoders");
    step(Command::new(&encoders).arg("lists").arg(&lists), build.log)?;
    let mut command = Command::new(&encoders);
    command.arg("encode").arg(&stories);
    step(&mut command, build.log)?;
    fs::remove_file(&encoders)?;

    let program = tools.join("go");
    let mut command = Command::new(go(build)?);
    command
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(source.join("go"));
    step(&mut command, build.log)?;
    step(Command::new(program).args([&lists, &stories]), build.log)?;

    let python = venv(
        build,
        &tools.join("python"),
        "stories/python/requirements.txt",
    )?;
    let mut command = Command::new(&python);
    command
        .arg(source.join("python/stories.py"))
        .args([&lists, &stories]);
    step(&mut command, build.log)?;
    let mut command = Command::new(&python);
    command
        .arg(source.join("python/frames.py"))
        .arg(build.folder.join("frames.json"));
    step(&mut command, build.log)?;

    let java = tools.join("java");
    maven(build, &java, "stories/java/pom.xml")?;
    let path = format!("{0}/classes:{0}/lib/*", java.display());
    let mut command = Command::new("java");
    command
        .args(["-cp", &path, "h2trace.Stories"])
        .args([&lists, &stories]);
    step(&mut command, build.log)?;

    fs::remove_dir_all(&tools).with_context(|| format!("cannot remove {}", tools.display()))
}
