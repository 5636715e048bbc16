//! One way to end a line.

use super::{Step, Verdict, edit};
use crate::Document;

/// Writes the line ends of Windows (`\r\n`) and of old Macintoshes (`\r`) as `\n`.
#[derive(Clone, Copy, Debug)]
pub struct UnifyNewlines;

impl Step for UnifyNewlines {
    fn apply(&mut self, document: Document) -> Verdict {
        let unify =
            |text: String| if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text };
        Verdict::Keep(edit(document, unify))
    }
}
