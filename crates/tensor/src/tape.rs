//! tape
/// x
pub struct Tape;
/// x
pub struct Gradients;
/// x
pub struct ParamId;
/// x
pub struct Var;
