//! How what a model makes of a text's tokens becomes one vector for the text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What the files of a model of sentences say of that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pooling {
    /// Which tokens count.
    pub taken: Taken,
    /// Whether the vector is scaled to length 1.
    pub normalizes: bool,
    /// What else is said of texts, kept for those who load the model elsewhere.
    pub texts: Map<String, Value>,
}

/// Which of a text's tokens its vector is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// The mean of all.
    Mean,
    /// The first, which stands before the text.
    First,
    /// The last, which stands behind the text.
    Last,
    /// The largest of all, number by number.
    Largest,
    /// Something else, by name: there is no vector then.
    Unknown(String),
}

impl Default for Pooling {
    /// Where nothing is said: the mean, of length 1.
    fn default() -> Self {
        Self { taken: Taken::Mean, normalizes: true, texts: Map::new() }
    }
}

impl Pooling {
    /// A text as the model was taught to read it.
    pub fn read_as<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let lowers = self.texts.get("do_lower_case") == Some(&Value::Bool(true));
        if lowers { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
    }

    /// As many of a text's tokens as the model was taught to read, `frame` being what stands around every text: what closes a
    /// text stays its end.
    #[must_use]
    pub fn cut(&self, mut tokens: Vec<u32>, frame: &[u32]) -> Vec<u32> {
        let longest = self.texts.get("max_seq_length").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let Some(longest) = longest.filter(|&longest| longest > 0 && tokens.len() > longest) else { return tokens };
        let n_opening = frame.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        let n_closing = frame[n_opening..].len().min(longest);
        let end = tokens.len() - n_closing;
        tokens.drain(longest - n_closing..end);
        tokens
    }

    /// The vector of a text from rows of `width` numbers, one for each token.
    ///
    /// # Errors
    /// The name of what is not computed here.
    ///
    /// # Panics
    /// When there is no row.
    pub(crate) fn pool(&self, rows: &[f32], width: usize) -> Result<Vec<f32>, &str> {
        let wide = |row: &[f32]| row.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let mut each = rows.chunks_exact(width);
        let (first, last) = (&rows[..width], &rows[rows.len() - width..]);
        let mut vector = match &self.taken {
            Taken::First => wide(first),
            Taken::Last => wide(last),
            Taken::Largest => each.fold(wide(first), |largest, row| {
                largest.iter().zip(row).map(|(largest, &value)| largest.max(f64::from(value))).collect()
            }),
            Taken::Mean => {
                let mut sums = vec![0.0_f64; width];
                each.by_ref().for_each(|row| {
                    sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
                });
                let n_rows = (rows.len() / width) as f64;
                sums.iter_mut().for_each(|sum| *sum /= n_rows);
                sums
            }
            Taken::Unknown(name) => return Err(name),
        };
        if self.normalizes {
            let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            // Zeros stay zeros.
            let scale = if length > 0.0 { length.recip() } else { 0.0 };
            vector.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(vector.into_iter().map(|x| x as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_made_of_the_tokens_that_count() {
        let check = |taken: Taken, normalizes: bool, expected: [f32; 2]| {
            let pooling = Pooling { taken, normalizes, ..Pooling::default() };
            assert_eq!(pooling.pool(&[3.0, 4.0, 1.0, 12.0, 5.0, -1.0], 2).unwrap(), expected, "{pooling:?}");
        };
        check(Taken::Mean, false, [3.0, 5.0]);
        check(Taken::First, false, [3.0, 4.0]);
        check(Taken::First, true, [0.6, 0.8]);
        check(Taken::Last, false, [5.0, -1.0]);
        check(Taken::Largest, false, [5.0, 12.0]);
        check(Taken::Largest, true, [5.0 / 13.0, 12.0 / 13.0]);
        let mean = Pooling::default();
        assert_eq!(mean.pool(&[3.0, 0.0, 3.0, 8.0], 2).unwrap(), [0.6, 0.8]);
        assert_eq!(mean.pool(&[0.0, 0.0], 2).unwrap(), [0.0, 0.0]);
        let unknown = Pooling { taken: Taken::Unknown("rank".to_owned()), ..mean };
        assert_eq!(unknown.pool(&[0.0, 0.0], 2), Err("rank"));
    }

    /// As sentence-transformers does.
    #[test]
    fn texts_are_read_as_the_files_say() {
        let plain = Pooling::default();
        assert_eq!((plain.read_as("Ä B"), plain.cut(vec![1; 9], &[])), ("Ä B".into(), vec![1; 9]));
        let texts = serde_json::json!({ "max_seq_length": 4, "do_lower_case": true });
        let pooling = Pooling { texts: texts.as_object().unwrap().clone(), ..plain };
        assert_eq!(pooling.read_as("Ä B"), "ä b");
        let frame = [101, 102];
        assert_eq!(pooling.cut(vec![101, 7, 8, 9, 102], &frame), [101, 7, 8, 102]);
        assert_eq!(pooling.cut(vec![101, 7, 8, 102], &frame), [101, 7, 8, 102]);
        assert_eq!(pooling.cut(vec![1, 2, 3, 4, 5], &[]), [1, 2, 3, 4]);
        assert_eq!(pooling.cut(vec![5, 1, 2, 3, 4], &[5]), [5, 1, 2, 3]);
    }
}
