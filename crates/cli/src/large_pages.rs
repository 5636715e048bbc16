//! Memory in pages of 2 MiB where the system gives them to those who ask.
//!
//! Weights and activations are read from end to end, again and again, and with pages of 4 KiB much of the time goes into
//! finding them. The C library asks for large ones if it is told so before a program starts, and only then; so the program
//! starts itself once more. Where that is not possible, everything works as before, slower.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Settings of the C library for a program that is started; see its manual, "Memory Allocation Tunables".
const VARIABLE: &str = "GLIBC_TUNABLES";
const SETTING: &str = "glibc.malloc.hugetlb=1";
/// Who gets large pages: all, those who ask (`madvise`) or nobody, with the choice in brackets.
const CHOICE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Starts the program again with large pages, unless it has been, or a person has settings of their own.
pub fn ask_for() {
    let is_for_those_who_ask = || fs::read_to_string(CHOICE).is_ok_and(|choice| choice.contains("[madvise]"));
    if env::var_os(VARIABLE).is_some() || !is_for_those_who_ask() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("genera"));
    // Comes back only when it fails.
    let _ = Command::new(program).arg0(name).args(arguments).env(VARIABLE, SETTING).exec();
}
