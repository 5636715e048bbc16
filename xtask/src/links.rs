//! Links between the repository's Markdown pages: every file and every heading that is pointed to must exist.

use crate::process::{output, root};
use std::path::{Path, PathBuf};

/// Checks all Markdown files that git tracks.
pub fn check() -> Result<(), String> {
    println!("> links of the Markdown pages");
    let pages = output("git", &["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])?;
    let broken: Vec<String> = pages.lines().flat_map(|page| broken_links(&root().join(page))).collect();
    if broken.is_empty() { Ok(()) } else { Err(format!("broken links:\n{}", broken.join("\n"))) }
}

fn broken_links(page: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(page) else { return vec![format!("{}: cannot be read", page.display())] };
    let is_broken =
        |target: &String| !target.contains("://") && !target.starts_with("mailto:") && !exists(page, target);
    let describe = |target| format!("{}: {target}", page.display());
    targets(&text).into_iter().filter(is_broken).map(describe).collect()
}

/// The targets of `[text](target)` outside of code blocks.
fn targets(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let parts = line.split("](").skip(1);
        found.extend(parts.filter_map(|rest| rest.split([')', ' ']).next()).map(str::to_owned));
    }
    found
}

fn exists(page: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path: PathBuf = if file.is_empty() { page.to_owned() } else { page.with_file_name("").join(file) };
    match heading {
        None => path.exists(),
        Some(heading) => {
            std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| anchor(line) == heading))
        }
    }
}

/// The anchor that hosting sites make of a heading line.
fn anchor(line: &str) -> String {
    let title = line.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    if line.starts_with('#') { kept.map(|c| if c == ' ' { '-' } else { c }).collect() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_targets_outside_code() {
        let text = "see [a](b.md) and [c](#d)\n```\n[x](y)\n```\n![picture](p.svg \"title\")";
        assert_eq!(targets(text), ["b.md", "#d", "p.svg"]);
    }

    #[test]
    fn anchors_as_hosting_sites_make_them() {
        assert_eq!(anchor("## Bad input, clear error"), "bad-input-clear-error");
        assert_eq!(anchor("text"), "");
    }
}
