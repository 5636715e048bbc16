//! The Python that runs the comparisons, with what they need.

use crate::process::{output, root, run};

/// Names the interpreter where no option does.
pub const VARIABLE: &str = "GENERA_PYTHON";
const REQUIREMENTS: &str = "benches/peers/requirements.txt";
/// The environment of our own, in the repository.
const VENV: &str = "target/peers/venv";
/// The oldest that there is a PyTorch of [`REQUIREMENTS`] for.
const OLDEST: &str = "3.11";
const WAY_OUT: &str = "an interpreter that has torch and transformers can be named with --python PATH or GENERA_PYTHON=PATH; \
                       bench peers --peers candle,burn does without PyTorch";

/// The interpreter: the one that an option names, or the environment, or else `python3`.
///
/// # Errors
/// Where the directory that a path starts from is not known.
pub fn named(option: Option<&str>) -> Result<String, String> {
    let name = option.map(str::to_owned).or_else(|| std::env::var(VARIABLE).ok());
    let name = name.unwrap_or_else(|| "python3".to_owned());
    if !name.contains('/') {
        return Ok(name);
    }
    // Programs are started in the repository. A link stays one: a virtual environment is known by it.
    let path = std::path::absolute(&name).map_err(|error| format!("{name}: {error}"))?;
    Ok(path.display().to_string())
}

/// Fails where the interpreter cannot be started.
pub fn check(python: &str) -> Result<(), String> {
    output(python, &["--version"]).map(|_| ()).map_err(|error| {
        let install = format!("install Python {OLDEST} or newer (Debian, Ubuntu: apt install python3 python3-venv)");
        format!(
            "{error}\nThe comparisons are run by Python: {install}, or name one with --python PATH or {VARIABLE}=PATH"
        )
    })
}

/// The interpreter, where it has these modules (comma between) of [`REQUIREMENTS`], or else that of a virtual environment of our
/// own, which is made where it is not there yet.
pub fn with_modules(python: &str, modules: &str) -> Result<String, String> {
    check(python)?;
    if output(python, &["-c", &format!("import {modules}")]).is_ok() {
        return Ok(python.to_owned());
    }
    let own = root().join(VENV).join("bin/python").display().to_string();
    if !is_complete(&own) {
        make_venv(python, &own, modules)?;
    }
    println!("{python} cannot import {modules}; the Python of {VENV} can");
    Ok(own)
}

/// Whether the environment has all that is required, which pip can tell without the network.
fn is_complete(own: &str) -> bool {
    output(own, &["-m", "pip", "install", "--quiet", "--no-index", "-r", REQUIREMENTS]).is_ok()
}

fn make_venv(python: &str, own: &str, modules: &str) -> Result<(), String> {
    let is_new_enough = format!("import sys; sys.exit(sys.version_info < ({}))", OLDEST.replace('.', ", "));
    if output(python, &["-c", &is_new_enough]).is_err() {
        let version = output(python, &["--version"])?;
        return Err(format!("{python} is {}, PyTorch wants {OLDEST} or newer; {WAY_OUT}", version.trim()));
    }
    println!(
        "{python} cannot import {modules}: {REQUIREMENTS} goes into {VENV}, once (PyPI's builds take 6 GB of disk)"
    );
    // An environment whose interpreter still starts goes on where the network ended it.
    if output(own, &["-m", "pip", "--version"]).is_err() {
        run(python, &["-m", "venv", "--clear", VENV])
            .map_err(|error| format!("{error}\nOn Debian and Ubuntu it takes apt install python3-venv; {WAY_OUT}"))?;
    }
    run(own, &["-m", "pip", "install", "-r", REQUIREMENTS]).map_err(|error| {
        format!("{error}\npip needs the network, or wheels in a folder that PIP_FIND_LINKS names; {WAY_OUT}")
    })
}
