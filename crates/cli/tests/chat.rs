//! `genera chat` from a pipe: with a small model whose template is plain text.

mod common;

use common::{Bench, tiny};
use std::io::Write;
use std::process::{Output, Stdio};

/// A model directory with a template that needs no special tokens.
fn model(template: Option<&str>) -> Bench {
    let bench = tiny();
    bench.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=20"]);
    if let Some(template) = template {
        bench.write("run/model/chat_template.jinja", template);
    }
    bench
}

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}\n{% endfor %}";

fn said(bench: &Bench, arguments: &[&str], lines: &str) -> Output {
    said_bytes(bench, arguments, lines.as_bytes())
}

fn said_bytes(bench: &Bench, arguments: &[&str], lines: &[u8]) -> Output {
    let arguments = [&["chat", "--model", "run/model", "--temperature", "0"], arguments].concat();
    let mut child = bench.command(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines).unwrap();
    child.wait_with_output().unwrap()
}

fn answers(bench: &Bench, arguments: &[&str], lines: &str) -> Vec<serde_json::Value> {
    let output = said(bench, &[arguments, &["--json"]].concat(), lines);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn refusal(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !error.contains("panicked"), "{error}");
    error
}

#[test]
fn a_line_is_a_message_and_gets_an_answer() {
    let bench = model(Some(TEMPLATE));
    let talked = answers(&bench, &["--max-tokens", "3"], "3 birds\n\nsat on\n");
    assert_eq!(talked.len(), 2, "an empty line is no message");
    let number = |answer: &serde_json::Value, key: &str| answer[key].as_u64().unwrap();
    assert_eq!((number(&talked[0], "kept_tokens"), number(&talked[0], "prompt_tokens")), (0, 8));
    assert!(number(&talked[1], "kept_tokens") >= 8, "what was read is read again: {talked:?}");
    let plain = said(&bench, &["--max-tokens", "3"], "3 birds\n");
    let expected = talked[0]["content"].as_str().unwrap();
    assert_eq!(String::from_utf8(plain.stdout).unwrap().trim(), expected.trim());
    let generated = bench.run(&[
        "generate",
        "--model",
        "run/model",
        "--prompt",
        "3 birds\n",
        "--temperature",
        "0",
        "--max-tokens",
        "3",
    ]);
    assert!(generated.trim_end().ends_with(expected), "{generated}, expected {expected}");
}

#[test]
fn instructions_change_what_is_said() {
    let bench = model(Some(TEMPLATE));
    let lines = "3 birds\n/undo\nsat on\n/retry\n/save a.jsonl\n/reset\n/system and\nof\n/save b.txt\n/quit\nnever\n";
    let talked = answers(&bench, &["--max-tokens", "2"], lines);
    let n_prompt: Vec<u64> = talked.iter().map(|answer| answer["prompt_tokens"].as_u64().unwrap()).collect();
    assert_eq!(n_prompt, [8, 7, 7, 7]);
    let saved: serde_json::Value = serde_json::from_str(&bench.read_text("a.jsonl")).unwrap();
    assert_eq!(saved["messages"][0], serde_json::json!({ "role": "user", "content": "sat on" }));
    assert_eq!(saved["messages"].as_array().unwrap().len(), 2);
    assert!(bench.read_text("b.txt").starts_with("system: and\n\nuser: of\n"));
    for (line, expect) in [
        ("/quti", "there is no /quti"),
        ("/undo", "nothing was asked"),
        ("/retry", "nothing was asked"),
        ("a\n/edit", "needs a terminal"),
        ("/save a.jsonl", "is there already"),
    ] {
        let error = refusal(&said(&bench, &["--max-tokens", "1"], &format!("{line}\n")));
        assert!(error.contains(expect), "{error}");
    }
    let help = said(&bench, &[], "/help\n/stats\n");
    let shown = String::from_utf8(help.stderr).unwrap();
    assert!(shown.contains("/system [TEXT]") && shown.contains("questions     0"), "{shown}");
    let lines = "/help\n/system\n3 birds\nsat on\n/stats\n";
    let asked = said(&bench, &["--max-tokens", "1"], lines);
    let shown = String::from_utf8(asked.stderr).unwrap();
    assert!(shown.contains("(nothing; before your message the model's template writes \"\")"), "{shown}");
    assert!(shown.contains("questions     2"), "{shown}");
    // The answers alone, in both forms.
    let only_asked = said(&bench, &["--max-tokens", "1"], "3 birds\nsat on\n");
    assert_eq!((help.stdout, asked.stdout), (Vec::new(), only_asked.stdout));
    assert_eq!(answers(&bench, &["--max-tokens", "1"], lines).len(), 2);
}

/// What ends a conversation from a pipe is named, with what it leaves unanswered.
#[test]
fn a_line_that_cannot_be_answered_is_named() {
    let bench = model(Some(TEMPLATE));
    for (lines, begin, end) in [
        ("3 birds\n\n/foo\nsat on\n\nof\n", "line 3", "slash; the 2 lines behind it were not answered\n"),
        ("/retry\nsat on", "line 1", "nothing was asked yet; the line behind it was not answered\n"),
        ("3 birds\n/undo 2\n", "line 2", ": /undo stands alone, without '2'\n"),
    ] {
        let output = said(&bench, &["--max-tokens", "1"], lines);
        let error = refusal(&output);
        assert!(error.contains(&format!("{begin} of the standard input: ")) && error.ends_with(end), "{error}");
        assert_eq!(output.stdout.is_empty(), lines.starts_with('/'), "what came before is answered");
    }
    // Whoever sends a line and waits for its answer is not waited for.
    let mut child = bench.command(&["chat", "--model", "run/model"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = child.stdin.take().unwrap();
    lines.write_all(b"/foo\nsat on\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let error = refusal(&output);
    assert!(
        error.contains("there is no /foo") && error.ends_with("behind it, at least 1, were not answered\n"),
        "{error}"
    );
    drop(lines);
    let latin1 = said_bytes(&bench, &[], b"\ncaf\xe9\n");
    assert!(refusal(&latin1).contains("line 2 of the standard input is not UTF-8"));
}

/// The context holds 32 tokens: old turns give way, and it is said.
#[test]
fn old_turns_give_way() {
    let bench = model(Some(TEMPLATE));
    let lines = "3 birds sat\n".repeat(4);
    let output = said(&bench, &["--max-tokens", "6"], &lines);
    assert!(output.status.success());
    let warned = String::from_utf8(output.stderr).unwrap();
    assert!(warned.contains("the context of 32 tokens is full; the oldest 2 turns are no longer told"), "{warned}");
    let talked = answers(&bench, &["--max-tokens", "6"], &lines);
    assert_eq!(talked.len(), 4);
    assert!(talked.iter().all(|answer| answer["prompt_tokens"].as_u64().unwrap() < 32));
    // What is taken back makes room again.
    let taken_back = said(&bench, &["--max-tokens", "6"], &format!("{lines}{}of\n", "/undo\n".repeat(4)));
    assert!(taken_back.status.success(), "{taken_back:?}");
    let error = refusal(&said(&bench, &[], &"3 birds sat ".repeat(4)));
    assert!(error.contains("this message alone takes 48 tokens") && error.contains("reads 32"), "{error}");
    let cut = said(&bench, &[], "3 birds sat on 4 trees\n");
    assert!(String::from_utf8(cut.stderr).unwrap().contains("ends here because the context"));
    let finish = |arguments: &[&str]| answers(&bench, arguments, "3 birds\n")[0]["finish"].clone();
    assert_eq!(finish(&["--max-tokens", "1"]), "max_tokens");
    assert_eq!(finish(&["--stop", " "]), "stop");
}

#[test]
fn models_that_cannot_talk() {
    let bench = model(None);
    let error = refusal(&said(&bench, &[], "hello\n"));
    assert!(error.contains("run/model has no chat template") && error.contains("-Instruct"), "{error}");
    assert!(error.contains("--chat-template FILE"), "{error}");
    bench.write("mine.jinja", TEMPLATE);
    let given = ["--chat-template", "mine.jinja", "--max-tokens", "3"];
    let [talked] = answers(&bench, &given, "3 birds\n").try_into().unwrap();
    let generated = bench.run(
        &[&["generate", "--model", "run/model", "--chat", "--prompt", "3 birds", "--temperature", "0"], &given[..]]
            .concat(),
    );
    assert_eq!(generated.trim(), talked["content"].as_str().unwrap().trim());
    let silent = [&["generate", "--model", "run/model", "--chat"], &given[..]].concat();
    let silent = refusal(&bench.output(&silent));
    assert!(silent.contains("--prompt TEXT") && silent.contains("standard input"), "{silent}");
    bench.write("mine.jinja", "x".repeat((1 << 20) + 1));
    let error = refusal(&said(&bench, &given, "hello\n"));
    assert!(error.contains("mine.jinja") && error.contains("at most 1048576"), "{error}");
    bench.write("mine.jinja", [0xff, 0xfe]);
    assert!(refusal(&said(&bench, &given, "hello\n")).contains("is no text"));
    bench.write("mine.jinja", "{% for i in range(1000000000) %}x{% endfor %}");
    let error = refusal(&said(&bench, &given, ""));
    assert!(error.contains("the chat template mine.jinja: line 1"), "{error}");
    bench.write("mine.jinja", "hello");
    let error = refusal(&bench.output(&["serve", "--model", "run/model", "--chat-template", "mine.jinja"]));
    assert!(error.contains("mine.jinja: it leaves out what the user says"), "{error}");
    let two = ["serve", "--model", "a=run/model", "--model", "b=run/model", "--chat-template", "mine.jinja"];
    assert!(refusal(&bench.output(&two)).contains("a single --model"));
    bench.write("run/model/chat_template.jinja", "{{ raise_exception('System role not supported') }}");
    let error = refusal(&said(&bench, &["--system", "and"], "birds\n"));
    assert!(error.contains("System role not supported"), "{error}");
    bench.write("run/model/chat_template.jinja", "{% for i in range(1000000000) %}x{% endfor %}");
    let started = std::time::Instant::now();
    // Before anything is said.
    let error = refusal(&said(&bench, &[], ""));
    assert!(started.elapsed().as_secs() < 20 && error.contains("template"), "{error}");
    for (option, name) in [("--temperature=-5", "temperature is -5"), ("--top-p=0", "top_p is 0")] {
        let error = refusal(&bench.output(&["chat", "--model", "run/model", option]));
        assert!(error.contains(name), "{error}");
    }
}

/// What the model's authors wrote beside it decides, unless an option does.
#[test]
fn a_model_brings_its_settings() {
    let bench = model(Some(TEMPLATE));
    let arguments = ["generate", "--model", "run/model", "--prompt", "3 birds"];
    let generate = |more: &[&str]| {
        let output = bench.output(&[&arguments, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let [greedy, hint] = generate(&["--temperature", "0", "--max-tokens", "5"]);
    assert!(hint.contains("--chat says it as a message instead"), "{hint}");
    let [chat, quiet] = generate(&["--temperature", "0", "--max-tokens", "5", "--chat"]);
    assert!(!quiet.contains("--chat"), "{quiet}");
    let talked = answers(&bench, &["--max-tokens", "5"], "3 birds\n");
    assert_eq!(chat.trim(), talked[0]["content"].as_str().unwrap().trim());
    let mut config: serde_json::Value =
        serde_json::from_str(&bench.read_text("run/model/generation_config.json")).unwrap();
    for (key, value) in [("temperature", 0.0), ("repetition_penalty", 1.0), ("max_new_tokens", 5.0)] {
        config[key] = if value == 5.0 { 5.into() } else { value.into() };
    }
    bench.write("run/model/generation_config.json", config.to_string());
    let [published, said] = generate(&[]);
    assert_eq!(published, greedy);
    assert!(
        said.contains("the most probable token each time, at most 5 tokens (as the model's authors set it"),
        "{said}"
    );
    config["typical_p"] = 0.2.into();
    config["eos_token_id"] = serde_json::json!([500]);
    bench.write("run/model/generation_config.json", config.to_string());
    let [published, said] = generate(&[]);
    assert_eq!(published, greedy, "ends that the model does not have");
    assert!(said.contains("authors ask for what is not done here: typical_p = 0.2"), "{said}");
    let [_, said] = generate(&["--temperature", "0.5", "--top-k", "3"]);
    assert!(said.contains("temperature 0.5, top-k 3, at most 5 tokens"), "{said}");
    let tokens = |more: &[&str]| -> Vec<u32> {
        let [printed, _] = generate(&[&["--json", "--max-tokens", "9"], more].concat());
        serde_json::from_value(serde_json::from_str::<serde_json::Value>(&printed).unwrap()["tokens"].clone()).unwrap()
    };
    let has_repeats = |tokens: &[u32]| (1..tokens.len()).any(|i| tokens[..i].contains(&tokens[i]));
    config["no_repeat_ngram_size"] = 1.into();
    config["min_new_tokens"] = 9.into();
    bench.write("run/model/generation_config.json", config.to_string());
    let distinct = tokens(&[]);
    assert!(distinct.len() == 9 && !has_repeats(&distinct), "{distinct:?}");
    let free = tokens(&["--no-repeat-ngram-size", "0"]);
    assert!(free.len() == 9 && has_repeats(&free), "{free:?}");
    bench.run(&["export", "--model", "run/model", "--to", "hf", "copy"]);
    let copied: serde_json::Value = serde_json::from_str(&bench.read_text("copy/generation_config.json")).unwrap();
    assert_eq!([&copied["no_repeat_ngram_size"], &copied["max_new_tokens"]], [1, 5]);
    // The second stands in the file that it was made of.
    assert_eq!([&copied["do_sample"], &copied["max_length"]], [&false.into(), &config["max_length"]]);
    config["top_p"] = 7.into();
    bench.write("run/model/generation_config.json", config.to_string());
    let error = bench.refusal(&arguments);
    assert!(error.contains("generation_config.json") && error.contains("'top_p' is 7"), "{error}");
}

/// Files of two models in one directory.
#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let bench = model(None);
    let original: serde_json::Value = serde_json::from_str(&bench.read_text("run/model/tokenizer.json")).unwrap();
    let mut tokenizer = original.clone();
    let config: serde_json::Value = serde_json::from_str(&bench.read_text("run/model/config.json")).unwrap();
    let n_rows = config["vocab_size"].as_u64().unwrap();
    let token = serde_json::json!({
        "id": n_rows, "content": "<one more>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    });
    // One that was added, such as a mask, is only refused where a text has it.
    tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    bench.write("run/model/tokenizer.json", tokenizer.to_string());
    bench.run(&["generate", "--model", "run/model", "--prompt", "3 birds", "--max-tokens", "2"]);
    let error = bench.refusal(&["generate", "--model", "run/model", "--prompt", "3 birds<one more>", "--special"]);
    assert!(error.contains(&format!("\"<one more>\" ({n_rows}) is beyond the {n_rows} that the model has")), "{error}");
    tokenizer = original;
    tokenizer["model"]["vocab"]["ou"] = n_rows.into();
    bench.write("run/model/tokenizer.json", tokenizer.to_string());
    let error = bench.refusal(&["generate", "--model", "run/model", "--prompt", "3 birds"]);
    let expected = format!("its tokenizer has {} tokens, but the model only {n_rows}", n_rows + 1);
    assert!(error.contains(&expected), "{error}");
}

/// The tables of models of one family are padded differently, and some files list the padding as tokens.
#[test]
fn a_draft_may_have_more_tokens_or_fewer() {
    let bench = model(None);
    let tokenizer: serde_json::Value = serde_json::from_str(&bench.read_text("run/model/tokenizer.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&bench.read_text("run/model/config.json")).unwrap();
    let n_rows = config["vocab_size"].as_u64().unwrap();
    let variant = |directory: &str, change: &dyn Fn(&mut serde_json::Value)| {
        std::fs::create_dir(bench.path(directory)).unwrap();
        for name in common::names(&bench.path("run/model")) {
            bench.write(&format!("{directory}/{name}"), bench.read(&format!("run/model/{name}")));
        }
        let mut changed = tokenizer.clone();
        change(&mut changed);
        bench.write(&format!("{directory}/tokenizer.json"), changed.to_string());
    };
    variant("padded", &|tokenizer| {
        tokenizer["added_tokens"].as_array_mut().unwrap().push(serde_json::json!({
            "id": n_rows, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }));
    });
    variant("other", &|tokenizer| {
        let vocab = &mut tokenizer["model"]["vocab"];
        let (a, b) = (vocab["a"].take(), vocab["b"].take());
        (vocab["a"], vocab["b"]) = (b, a);
    });
    let arguments =
        |model| ["generate", "--prompt", "3 birds", "--temperature", "0", "--max-tokens", "9", "--model", model];
    let alone = bench.run(&arguments("run/model"));
    for (model, draft) in [("run/model", "padded"), ("padded", "run/model")] {
        assert_eq!(bench.run(&[&arguments(model)[..], &["--draft", draft]].concat()), alone, "{draft}");
    }
    let error = bench.refusal(&[&arguments("run/model")[..], &["--draft", "other"]].concat());
    assert!(error.contains("the two models have different tokens"), "{error}");
}

/// What is sent to a terminal when a line begins to be edited.
#[cfg(unix)]
const EDITED: &str = "\x1b[?2004h";

/// A terminal with the program in it.
#[cfg(unix)]
struct Terminal {
    screen: std::fs::File,
    child: std::process::Child,
    /// Where the program's side of it is found.
    name: String,
    shown: String,
}

#[cfg(unix)]
impl Terminal {
    fn start(bench: &Bench, arguments: &[&str]) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let side = || std::fs::OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let mut command = bench.command(arguments);
        let child = command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        Self { screen: screen.into(), child, name, shown: String::new() }
    }

    fn send(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `what` was shown so often.
    fn expect(&mut self, what: &str, n_times: usize) {
        while self.shown.matches(what).count() < n_times {
            let mut bytes = [0; 4096];
            let n = std::io::Read::read(&mut self.screen, &mut bytes).unwrap_or(0);
            assert!(n > 0, "expected {what:?} {n_times} times in: {}", self.shown);
            self.shown += &String::from_utf8_lossy(&bytes[..n]);
        }
    }

    /// How it ended.
    fn end(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

#[cfg(unix)]
fn talk(bench: &Bench) -> Terminal {
    let mut terminal =
        Terminal::start(bench, &["chat", "--model", "run/model", "--temperature", "0", "--max-tokens", "2"]);
    terminal.expect("is ready", 1);
    terminal.expect("> ", 1);
    terminal
}

#[test]
#[cfg(unix)]
fn lines_that_come_together_are_all_read() {
    let bench = model(Some(TEMPLATE));
    let mut terminal = talk(&bench);
    terminal.send("3 birds\rsat on\rof\r/stats\r/quit\r");
    terminal.expect("cut off (a larger --max-tokens allows more), 2 tokens at", 3);
    terminal.expect("questions     3", 1);
    assert!(terminal.end().success());
}

#[test]
#[cfg(unix)]
fn a_message_that_was_refused_can_be_edited() {
    let bench = model(Some(TEMPLATE));
    let mut terminal = talk(&bench);
    terminal.send(&format!("{}\r", "3 birds sat ".repeat(4)));
    terminal.expect("this message alone takes", 1);
    terminal.expect(EDITED, 2);
    terminal.send("/edit\r");
    // All of it is deleted but for its beginning, and that is sent. Deletions need a line that is edited.
    terminal.expect(EDITED, 3);
    terminal.send(&format!("{}\r/stats\r/quit\r", "\x7f".repeat(41)));
    terminal.expect("questions     1", 1);
    assert!(terminal.end().success());
}

/// What was not answered is kept to be said again, and the conversation goes on however often somebody presses Ctrl-C.
#[test]
#[cfg(unix)]
fn the_reading_of_a_long_message_can_be_stopped() {
    use rustix::process::{Pid, Signal, kill_process};
    let bench = model(Some(TEMPLATE));
    let mut config: serde_json::Value = serde_json::from_str(&bench.read_text("run/model/config.json")).unwrap();
    config["max_position_embeddings"] = 20_000.into();
    bench.write("run/model/config.json", config.to_string());
    let mut terminal = talk(&bench);
    let stop = |terminal: &Terminal| {
        (0..20).for_each(|_| kill_process(Pid::from_child(&terminal.child), Signal::INT).unwrap());
    };
    // Pasted, with the marks that terminals put around what is.
    terminal.send(&format!("\x1b[200~{}\x1b[201~\r", "3 birds sat ".repeat(1500)));
    terminal.expect("reading 0 of 18,000 tokens", 1);
    stop(&terminal);
    terminal.expect("stopped before the answer", 1);
    terminal.send("/stats\r");
    terminal.expect("questions     0", 1);
    terminal.shown.clear();
    terminal.send("/retry\r");
    terminal.expect("tokens; Ctrl-C stops", 1);
    stop(&terminal);
    terminal.expect("stopped before the answer", 1);
    terminal.send("/undo\r");
    terminal.expect("forgot: 3 birds sat", 1);
    terminal.send("3 birds\r/stats\r/quit\r");
    terminal.expect("2 tokens at", 1);
    terminal.expect("questions     1", 1);
    assert!(terminal.end().success());
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_conversation_and_leaves_the_terminal_as_it_was() {
    use rustix::process::{Pid, Signal, kill_process};
    use rustix::termios::{LocalModes, tcgetattr};
    use std::os::unix::process::ExitStatusExt;
    let bench = model(Some(TEMPLATE));
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut terminal = talk(&bench);
        let side = std::fs::File::open(&terminal.name).unwrap();
        let is_edited = || !tcgetattr(&side).unwrap().local_modes.contains(LocalModes::ICANON);
        assert!(is_edited(), "the line is edited");
        kill_process(Pid::from_child(&terminal.child), signal).unwrap();
        let status = terminal.end();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        assert!(!is_edited(), "the terminal is left as it was");
    }
}
