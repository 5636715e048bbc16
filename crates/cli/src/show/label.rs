//! Titles and labels of pictures, as SVG.

use super::html::escape;

/// Characters of a label at most.
const MOST_CHARACTERS: usize = 18;

/// Pixels of a character of a label, and of a title, on average.
const CHARACTER: f64 = 5.6;
const TITLE_CHARACTER: f64 = 7.9;

/// Degrees by which labels below a picture rise.
const SLANT: f64 = 40.0;

/// The beginning of an `<svg>` element with its title.
pub fn opened(title: &str, width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" fill=\"#1d1f21\">\
         <text x=\"12\" y=\"22\" font-size=\"15\">{}</text>",
        escape(title)
    )
}

/// Pixels that a title needs from the left edge of its picture.
pub fn title_width(title: &str) -> f64 {
    24.0 + TITLE_CHARACTER * title.chars().count() as f64
}

/// A title that ends within this many pixels.
pub fn fitting_title(title: &str, width: f64) -> String {
    shortened(title, ((width - 24.0) / TITLE_CHARACTER) as usize)
}

/// A label that rises towards its end at (x, y).
pub fn slanted(label: &str, x: f64, y: f64) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"10\" text-anchor=\"end\" transform=\"rotate(-{SLANT} {x:.1} {y:.1})\">\
         {}</text>",
        escape(&short(label))
    )
}

/// Pixels that slanted labels reach down, below where they end.
pub fn depth<'l>(labels: impl IntoIterator<Item = &'l str>) -> f64 {
    let longest = labels.into_iter().map(width).fold(0.0, f64::max);
    longest * SLANT.to_radians().sin() + 8.0
}

/// Pixels that a slanted label reaches to the left of where it ends.
pub fn reach(label: &str) -> f64 {
    width(label) * SLANT.to_radians().cos()
}

/// A label of usual length.
pub fn short(label: &str) -> String {
    shortened(label, MOST_CHARACTERS)
}

/// The beginning of a text of more than this many characters, with an ellipsis.
pub fn shortened(text: &str, most: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
    }
}

fn width(label: &str) -> f64 {
    CHARACTER * label.trim().chars().count().min(MOST_CHARACTERS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(shortened(" abc ", 3), "abc");
        assert_eq!(shortened("äöüß", 3), "äö…");
        assert_eq!(shortened("abc", 0), "…");
        assert_eq!(fitting_title("a title", 500.0), "a title");
        assert!(title_width(&fitting_title(&"x".repeat(300), 500.0)) <= 500.0);
    }

    #[test]
    fn longer_labels_need_more_room_until_they_are_cut() {
        assert!(depth(["a", "abc"]) > depth(["a"]) && reach("abc") > reach("a"));
        assert_eq!(depth([&*"x".repeat(18)]), depth([&*"x".repeat(99)]));
    }
}
