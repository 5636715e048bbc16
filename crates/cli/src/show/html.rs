//! Self-contained pages.

use std::path::Path;

/// Whether the name of a file says that it holds a page.
pub fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("html") || end.eq_ignore_ascii_case("htm"))
}

/// Text as it may stand in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A page with a title and a body, without anything from outside.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        escape(title)
    )
}

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #1d1f21; --quiet: #63686e; --rule: #dcdfe3; --card: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --paper: #17191c; --ink: #e6e7e9; --quiet: #9aa0a6; --rule: #34383d; --card: #1f2226; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
p.quiet { color: var(--quiet); margin: 0 0 1.5rem; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { white-space: nowrap; } td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 5rem; } th { font-weight: 600; color: var(--quiet); }
figure { margin: 0 0 1.25rem; background: #fff; border: 1px solid var(--rule); border-radius: 8px; padding: .5rem; overflow-x: auto; }
figure svg { display: block; margin: 0 auto; max-width: 100%; height: auto; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; } .pair figure { flex: 1 1 20rem; min-width: min(100%, 16rem); box-sizing: border-box; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap; font-size: .88rem; }
details > summary { cursor: pointer; padding: .3rem 0; }
";
