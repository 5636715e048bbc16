//! Which tokens may come next: what is generated under a constraint is valid by construction.

mod allowed;
mod mask;

pub use allowed::Allowed;
pub use mask::TokenMask;

use super::request::Fault;
use genera_tokens::TokenId;

/// Says, token by token, what an answer may go on with.
///
/// One value belongs to one answer. Before each token [`Constraint::restrict`] is asked, then [`Constraint::confirms`]
/// about what was chosen, and [`Constraint::advance`] is told of it. Stop tokens are tokens like any other here: an answer
/// may end where one of them is allowed and confirmed; `advance` is not called for it.
pub trait Constraint: Send {
    /// Forbids, in a mask that may already forbid others, every token that must not come next.
    ///
    /// When nothing is left, the answer ends with [`Finish::NothingAllowed`](super::Finish::NothingAllowed), or by its
    /// [`Constraint::fault`].
    fn restrict(&mut self, mask: &mut TokenMask);

    /// Whether `token`, which the mask allowed and which was chosen, may indeed come next; otherwise another one is chosen.
    ///
    /// For rules that cost too much to be looked at for every token: where a model knows its data, its first choice is
    /// nearly always right.
    fn confirms(&mut self, _token: TokenId) -> bool {
        true
    }

    /// Why it allows nothing, where that is not because nothing can follow.
    fn fault(&self) -> Option<Fault> {
        None
    }

    /// The answer goes on with `token`, which the mask allowed and [`Constraint::confirms`] confirmed.
    fn advance(&mut self, token: TokenId);
}

/// Several constraints at once: a token must be allowed by each.
impl Constraint for Vec<Box<dyn Constraint>> {
    fn restrict(&mut self, mask: &mut TokenMask) {
        self.iter_mut().for_each(|constraint| constraint.restrict(mask));
    }

    fn confirms(&mut self, token: TokenId) -> bool {
        self.iter_mut().all(|constraint| constraint.confirms(token))
    }

    fn fault(&self) -> Option<Fault> {
        self.iter().find_map(|constraint| constraint.fault())
    }

    fn advance(&mut self, token: TokenId) {
        self.iter_mut().for_each(|constraint| constraint.advance(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed_by(constraint: &mut dyn Constraint, n: usize) -> Vec<TokenId> {
        let mut mask = TokenMask::all(n);
        constraint.restrict(&mut mask);
        (0..n as TokenId).filter(|&token| mask.allows(token)).collect()
    }

    #[test]
    fn constraints_intersect() {
        let mut both: Vec<Box<dyn Constraint>> =
            vec![Box::new(Allowed::only(&[1, 3, 70], 80)), Box::new(Allowed::stepwise(&[&[1, 3, 5]], 80))];
        assert_eq!(allowed_by(&mut both, 80), [1, 3]);
        both.advance(3);
        assert_eq!(allowed_by(&mut both, 80), [1, 3, 70]);
    }

    #[test]
    fn a_sequence_of_sets_is_followed_and_then_free() {
        let mut steps = Allowed::stepwise(&[&[2], &[0, 1]], 4);
        assert_eq!(allowed_by(&mut steps, 4), [2]);
        steps.advance(2);
        assert_eq!(allowed_by(&mut steps, 4), [0, 1]);
        steps.advance(0);
        assert_eq!(allowed_by(&mut steps, 4), [0, 1, 2, 3]);
    }
}
