//! `genera chat`: a conversation in the terminal.

use super::Common;
use super::sampling::SamplingOptions;
use crate::answers::Settings;
use crate::failure::{Failure, Outcome, While};
use crate::model::{LoadedModel, ModelArguments};
use crate::run::interrupt::Interrupt;
use crate::show::prose::{fitted, width, wrapped};
use crate::talk::{Conversation, Flow, Input, Instruction, Quiet, Speaker, Spoken, help};
use crate::talk::{remember, restore};
use crate::{hub, machine};
use genera_engine::config::Shape;
use genera_engine::generate::{Finish, Sampling, WhenFull};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Talk with a model that was trained on conversations.
///
/// Answers appear as they are made; Ctrl-C stops one and keeps what was said, and Ctrl-D ends. /help lists what else can be asked
/// for. From a pipe every line is a message, or an instruction where it begins with / (// for a message that does), and only the
/// answers are printed; what /help, /stats and /system show goes to standard error. A line that cannot be answered ends it.
///
/// Examples:
///   genera chat --model hf:HuggingFaceTB/SmolLM2-135M-Instruct
///   genera chat --model model.gguf --system "Answer in one sentence." --temperature 0
///   echo "What is the capital of France?" | genera chat --model model.gguf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Tell the model how to answer.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// A file with a chat template (Jinja, as in chat_template.jinja), in place of the model's own if it has one.
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingOptions,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    arguments.sampling.over(Sampling::default()).validate(usize::MAX)?;
    arguments.sampling.check_lengths()?;
    let device = machine::device(common.threads);
    let mut model = arguments.model.load_to_answer(&device)?;
    model.take_template(arguments.chat_template.as_deref())?;
    check(&model, &arguments.model.path)?;
    let settings = settings(&arguments.sampling, &model);
    model.note_of_ignored();
    let model = model.speaking()?;
    let speaker = Speaker::new(&model, &settings);
    let conversation = Conversation::new(arguments.system);
    speaker.check(&conversation)?;
    let mut input = Input::open()?;
    let manner = match (common.json, input.is_terminal()) {
        (true, _) => Manner::Json,
        (false, true) => Manner::Person,
        (false, false) => Manner::Pipe,
    };
    if manner == Manner::Person {
        let model = arguments.model.path.display();
        println!("{}", fitted(&format!("{model} is ready. /help lists instructions, Ctrl-D ends."), 0));
        println!("{}", fitted(&settings.line(), 0));
    }
    let interrupt = if input.is_terminal() {
        remember();
        Some(Interrupt::listen_for_ctrl_c(restore)?)
    } else {
        None
    };
    let mut chat = Chat { conversation, speaker, interrupt, manner, refused: None };
    while let Some(message) = input.next()? {
        match chat.obey(&message, &mut input) {
            Ok(true) => {}
            Ok(false) => break,
            // A person can say it otherwise; a pipe cannot.
            Err(failure) if failure.is_closed_pipe() => return Err(failure),
            Err(failure) if manner == Manner::Person => chat.warn(failure.message()),
            Err(failure) => return Err(input.ended_by(&failure)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a model that cannot talk, before anybody types.
fn check(model: &LoadedModel, path: &Path) -> Outcome<()> {
    let place = hub::locate(path)?.display().to_string();
    if model.modality.is_paired() || matches!(model.transformer.config().shape, Shape::EncoderOnly(_)) {
        return Err(Failure::new(format!(
            "{place} is no model that goes on with a text, so it cannot talk; `genera inspect` shows what it is"
        )));
    }
    if model.codebook()?.chat_template().is_some() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{place} has no chat template, so nothing says how it was told who speaks; take a model that was trained on \
         conversations (their names often end in -Instruct or -chat), give it one with --chat-template FILE or as \
         chat_template.jinja beside its tokenizer.json, or go on with a text by `genera generate`"
    )))
}

fn settings(options: &SamplingOptions, model: &LoadedModel) -> Settings {
    let defaults = Settings::of_message(model);
    Settings {
        max_tokens: options.max_tokens.map_or(defaults.max_tokens, |n| n as usize),
        when_full: WhenFull::Stop,
        reads_on: false,
        sampling: options.over(defaults.sampling),
        rules: options.rules_over(defaults.rules),
        beam: None,
        stop: if options.stop.is_empty() { defaults.stop } else { options.stop.clone() },
        ..defaults
    }
}

/// For whom it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Text as it comes, with speed and hints.
    Person,
    /// The answers alone.
    Pipe,
    /// One JSON object an answer.
    Json,
}

struct Chat<'m> {
    conversation: Conversation,
    speaker: Speaker<'m>,
    interrupt: Option<Interrupt>,
    manner: Manner,
    /// The newest question, where it was not answered and so was not kept.
    refused: Option<String>,
}

impl Chat<'_> {
    /// Does what a message asks for; false to end.
    fn obey(&mut self, message: &str, input: &mut Input) -> Outcome<bool> {
        match Instruction::parse(message)? {
            Instruction::Say(text) => self.ask(text)?,
            Instruction::Quit => return Ok(false),
            Instruction::Help => {
                self.show(&help(if self.manner == Manner::Person { width() } else { usize::MAX }));
            }
            Instruction::Stats => self.show(&self.stats()),
            Instruction::System(None) => {
                let nothing = || -> Outcome<String> {
                    let opening = self.speaker.opening()?;
                    Ok(format!("(nothing; before your message the model's template writes {opening:?})"))
                };
                let told = self.conversation.system().map_or_else(nothing, |text| Ok(text.to_owned()))?;
                self.show(&self.fitted(&told, 0));
            }
            Instruction::System(Some(text)) => {
                self.conversation.set_system(&text);
                self.hint("the model is told so from now on");
            }
            Instruction::Save(path) => {
                self.conversation.save(&path)?;
                self.hint(&format!("wrote {}", path.display()));
            }
            Instruction::Reset => {
                self.conversation.reset();
                self.refused = None;
                self.speaker.forget();
                self.hint("all is forgotten");
            }
            Instruction::Undo => {
                let question = self.newest_question().ok_or_else(nothing_was_asked)?;
                self.speaker.forget();
                self.hint(&format!("forgot: {question}"));
            }
            Instruction::Retry => {
                let question = self.newest_question().ok_or_else(nothing_was_asked)?;
                self.ask(question)?;
            }
            Instruction::Edit => {
                let refused = self.refused.as_deref();
                let question = refused.or(self.conversation.last_question()).ok_or_else(nothing_was_asked)?;
                if let Some(text) = input.edited(question)?.filter(|text| !text.is_empty()) {
                    if self.refused.is_none() {
                        self.conversation.undo();
                    }
                    self.ask(text)?;
                }
            }
        }
        Ok(true)
    }

    /// Takes back the newest question, be it one that was not answered.
    fn newest_question(&mut self) -> Option<String> {
        self.refused.take().or_else(|| self.conversation.undo())
    }

    /// Asks the model; a question that cannot be answered, or whose reading was stopped, is kept to be edited, not in the
    /// conversation.
    fn ask(&mut self, question: String) -> Outcome<()> {
        self.conversation.ask(question);
        let mut out: Box<dyn Write> = match self.manner {
            Manner::Json => Box::new(std::io::sink()),
            Manner::Person if std::io::stdout().is_terminal() => Box::new(Flow::new(std::io::stdout(), width())),
            Manner::Person | Manner::Pipe => Box::new(std::io::stdout()),
        };
        self.interrupt.iter().for_each(Interrupt::withdraw);
        let quiet = self.interrupt.as_ref().map(|_| Quiet::begin());
        let spoken = self.speaker.answer(&self.conversation, self.interrupt.as_ref(), &mut out);
        drop(quiet);
        self.interrupt.iter().for_each(Interrupt::withdraw);
        let is_answered = spoken.as_ref().is_ok_and(|spoken| !spoken.is_unsaid());
        self.refused = if is_answered { None } else { self.conversation.undo() };
        let spoken = spoken?;
        if is_answered {
            self.conversation.answer(spoken.text.as_str());
        }
        self.report(&spoken)
    }

    fn report(&self, spoken: &Spoken) -> Outcome<()> {
        let Spoken { spent, .. } = spoken;
        if self.manner == Manner::Json {
            let line = serde_json::json!({
                "role": "assistant", "content": spoken.text, "finish": spoken.finish_name(),
                "n_dropped_turns": spoken.n_dropped,
                "prompt_tokens": spent.n_prompt, "kept_tokens": spent.n_kept, "tokens": spent.n_tokens,
                "prompt_tokens_per_s": spent.reading_rate(), "tokens_per_s": spent.writing_rate(),
            });
            return writeln!(std::io::stdout(), "{line}").during("cannot write the answer");
        }
        if !spoken.is_unsaid() {
            writeln!(std::io::stdout()).during("cannot write the answer")?;
        }
        if spoken.n_dropped > 0 {
            self.warn(&format!(
                "the context of {} tokens is full; the oldest {} turns are no longer told to the model",
                self.speaker.context_len(),
                spoken.n_dropped
            ));
        }
        if spoken.finish == Finish::ContextFull {
            self.warn(&format!(
                "the answer ends here because the context of {} tokens is full",
                self.speaker.context_len()
            ));
        }
        if spoken.is_unsaid() {
            self.hint(
                "stopped before the answer; the message is taken back: /retry says it again, /edit changes it first",
            );
            return Ok(());
        }
        let ending = match spoken.finish_name() {
            "cancelled" => "stopped, ",
            "max_tokens" => "cut off (a larger --max-tokens allows more), ",
            _ => "",
        };
        self.hint(&format!(
            "{ending}{} tokens at {:.1}/s; read {} of {} at {:.0}/s",
            spent.n_tokens,
            spent.writing_rate(),
            spent.n_prompt - spent.n_kept,
            spent.n_prompt,
            spent.reading_rate()
        ));
        Ok(())
    }

    fn stats(&self) -> String {
        let total = self.speaker.total;
        [
            format!("  questions     {}", self.conversation.n_questions()),
            format!("  context       {} tokens", self.speaker.context_len()),
            format!("  written       {} tokens at {:.1}/s", total.n_tokens, total.writing_rate()),
            format!("  read          {} tokens at {:.1}/s", total.n_prompt - total.n_kept, total.reading_rate()),
            format!("  not reread    {} tokens", total.n_kept),
        ]
        .join("\n")
    }

    /// Shows what an instruction asks for; beside the answers where these go to a file or a program.
    fn show(&self, text: &str) {
        let text = text.trim_end_matches('\n');
        if self.manner == Manner::Person && std::io::stdout().is_terminal() {
            println!("{text}");
        } else {
            eprintln!("{text}");
        }
    }

    /// A text for the terminal of a person; anything else gets it as it is.
    fn fitted(&self, text: &str, indent: usize) -> String {
        if self.manner == Manner::Person { wrapped(text, width(), indent) } else { text.to_owned() }
    }

    /// Says what went otherwise than it was asked for.
    fn warn(&self, text: &str) {
        eprintln!("{}", self.fitted(&format!("genera: {text}"), 0));
    }

    /// Says something beside the conversation to a person; a pipe gets the answers alone.
    fn hint(&self, text: &str) {
        let text = self.fitted(&format!("  {text}"), 2);
        match self.manner {
            Manner::Person if std::io::stdout().is_terminal() => println!("\x1b[2m{text}\x1b[0m"),
            Manner::Person => println!("{text}"),
            Manner::Pipe | Manner::Json => {}
        }
    }
}

fn nothing_was_asked() -> Failure {
    Failure::new("nothing was asked yet")
}
