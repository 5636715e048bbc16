use super::*;
use crate::constraint::Guarded;
use genera_engine::config::{
    Attention, Embedding, FeedForward, Head, ModelConfig, Norm, Placement, Position, QkNorm, ScoreScale, Shape, Stack,
};
use genera_engine::generate::{Constraint, Fault, TokenMask};
use genera_engine::model::initial_params;
use genera_tensor::{Activation, DType, Device};

const VOCAB_SIZE: usize = 20;

fn model() -> Transformer {
    let attention = Attention {
        n_heads: 1,
        n_kv_heads: 1,
        d_head: 8,
        qkv_bias: false,
        out_bias: false,
        scale: ScoreScale::InverseSqrt,
        window: None,
        qk_norm: QkNorm::None,
        score_cap: None,
    };
    let feed_forward = FeedForward::Plain { activation: Activation::Relu, d_ff: 8, bias: false };
    let config = ModelConfig {
        shape: Shape::DecoderOnly(Stack { n_layers: 1, attention, feed_forward }),
        d_model: 8,
        vocab_size: VOCAB_SIZE,
        context_len: 64,
        position: Position::Learned,
        norm: Norm::Rms { eps: 1e-5 },
        placement: Placement::Pre,
        embedding: Embedding { scaled: false, norm: false, n_segment_types: 0, per_stack: false, width: None },
        head: Head::Untied,
        logit_cap: None,
    };
    let device = Device::cpu(1);
    Transformer::new(config.clone(), initial_params(&config, 1, DType::F32, &device), &device)
}

/// A mistake of ours that shows at the third token.
struct Panics(u32);

impl Constraint for Panics {
    fn restrict(&mut self, _: &mut TokenMask) {
        assert!(self.0 < 2, "on purpose");
    }

    fn advance(&mut self, _: TokenId) {
        self.0 += 1;
    }
}

fn request(constraint: Option<Box<dyn Constraint>>) -> Request {
    Request { max_tokens: 40, constraint, ..Request::new(vec![1, 2, 3]) }
}

/// Reads answers to their end: the number of tokens, and how they ended.
async fn read(mut answers: Answers) -> (usize, Result<Finish, Problem>) {
    let mut n_tokens = 0;
    loop {
        match answers.next().await {
            Ok(Some(Said::Finished { finish, .. })) => return (n_tokens, Ok(finish)),
            Ok(Some(_)) => n_tokens += 1,
            Ok(None) => panic!("an answer ends with a word"),
            Err(problem) => return (n_tokens, Err(problem)),
        }
    }
}

#[tokio::test]
async fn a_panic_of_the_engine_ends_answers_with_an_error_and_the_worker_goes_on() {
    let worker = Worker::start(model(), Limits::default(), 10).unwrap();
    let neighbour = worker.submit(vec![request(None)]).unwrap();
    let (n_tokens, end) = read(worker.submit(vec![request(Some(Box::new(Panics(0))))]).unwrap()).await;
    assert_eq!((n_tokens, end.unwrap_err().status), (2, hyper::StatusCode::INTERNAL_SERVER_ERROR));
    // The neighbour was at work at the same time or is so now; it ends in either case, and with a word.
    let _ = read(neighbour).await;
    assert!(worker.is_ready());
    let (n_tokens, end) = read(worker.submit(vec![request(None)]).unwrap()).await;
    assert_eq!((n_tokens, end), (40, Ok(Finish::MaxTokens)));
}

#[tokio::test]
async fn a_panic_of_a_constraint_ends_its_own_answer_only() {
    let worker = Worker::start(model(), Limits::default(), 10).unwrap();
    let neighbour = worker.submit(vec![request(None)]).unwrap();
    let guarded = Guarded::new(Box::new(Panics(0)));
    let (n_tokens, end) = read(worker.submit(vec![request(Some(Box::new(guarded)))]).unwrap()).await;
    assert_eq!((n_tokens, end), (2, Ok(Finish::Faulty(Fault::Failed))));
    assert_eq!(read(neighbour).await, (40, Ok(Finish::MaxTokens)));
}
