//! `genera pull` against a server that plays the hub: well-behaved, failing midway, lying, and sending us elsewhere.

mod common;
mod hub;

use common::{Bench, names, tiny};
use hub::{Behaviour, Hub, Request};
use std::path::PathBuf;
use std::process::Output;

const COMMIT: &str = hub::COMMIT;

/// A bench with a home of its own for what is pulled.
struct Puller {
    bench: Bench,
    hub: Hub,
}

impl Puller {
    fn new(files: &[(&str, Vec<u8>)], behaviour: Behaviour) -> Self {
        Self { bench: Bench::new(), hub: Hub::start(files, behaviour) }
    }

    fn output_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.bench.command(arguments);
        for name in [
            "HF_TOKEN",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "HF_TOKEN_PATH",
            "http_proxy",
            "HTTP_PROXY",
            "ALL_PROXY",
            "HUGGING_FACE_HUB_TOKEN",
            "HUGGINGFACE_HUB_CACHE",
            "TRANSFORMERS_OFFLINE",
        ] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.address()).env("HF_HOME", self.bench.path("hf"));
        command.envs(variables.iter().copied()).output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output_with(arguments, &[]);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refusal_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.output_with(arguments, variables);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && !error.contains("panicked"), "{arguments:?}: {error}");
        error
    }

    /// The refusal holds every part.
    fn refuses(&self, arguments: &[&str], parts: &[&str]) {
        let error = self.refusal_with(arguments, &[]);
        parts.iter().for_each(|part| assert!(error.contains(part), "expected {part:?} in: {error}"));
    }

    fn model(&self) -> PathBuf {
        self.bench.path("hf/hub/models--org--name")
    }

    fn snapshot(&self) -> PathBuf {
        self.model().join("snapshots").join(COMMIT)
    }
}

/// Large enough to be cut off in the middle.
fn weights() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn plain_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("README.md", b"# A model".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"a\": 1}".to_vec()),
        ("model.safetensors", weights()),
        ("tf_model.h5", vec![7; 1000]),
        ("onnx/model.onnx", vec![7; 1000]),
    ]
}

#[test]
fn a_model_is_pulled_and_used_by_name() {
    let trained = tiny();
    trained.run(&["train", "tiny.toml", "--run", "run", "--set", "train.steps=4"]);
    let files: Vec<(&str, Vec<u8>)> =
        ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
            .into_iter()
            .filter(|name| trained.path("run/model").join(name).exists())
            .map(|name| (name, trained.read(&format!("run/model/{name}"))))
            .collect();
    let puller = Puller::new(&files, Behaviour::default());
    puller.refuses(&["generate", "--model", "hf:org/name"], &["hf:org/name is not in", "genera pull hf:org/name"]);
    let printed = puller.run(&["pull", "hf:org/name"]);
    assert!(printed.contains("--model hf:org/name"), "{printed}");
    let greedy = ["--prompt", "3 birds", "--temperature", "0"];
    let by_name = puller.run(&[&["generate", "--model", "hf:org/name"], &greedy[..]].concat());
    assert_eq!(by_name, trained.run(&[&["generate", "--model", "run/model"], &greedy[..]].concat()));
    assert!(puller.run(&["inspect", "hf:org/name"]).contains("Memory"));
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:1")];
    assert!(puller.output_with(&["pull", "hf:org/name"], &offline).status.success());
    assert!(puller.output_with(&["inspect", "hf:org/name"], &offline).status.success());
    let error = puller.refusal_with(&["pull", "hf:org/other"], &offline);
    assert!(error.contains("HF_HUB_OFFLINE forbids") && error.contains("unset HF_HUB_OFFLINE"), "{error}");
    let error = puller.refusal_with(&["inspect", "hf:org/other"], &offline);
    assert!(error.contains("unset HF_HUB_OFFLINE") && error.contains("genera pull hf:org/other"), "{error}");
    let error = puller.refusal_with(&["pull", "hf:org/name", "--file", "a.gguf"], &offline);
    assert!(error.contains("unset HF_HUB_OFFLINE") && error.contains("hf:org/name:a.gguf"), "{error}");
    let (tokenizer, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, _)| name.starts_with("tokenizer"));
    assert!(!tokenizer.is_empty());
    let printed = Puller::new(&others, Behaviour::default()).run(&["pull", "hf:org/name"]);
    assert!(printed.contains("no tokenizer") && printed.contains("genera logits --model hf:org/name"), "{printed}");
}

#[test]
fn the_cache_is_that_of_other_programs() {
    let puller = Puller::new(&plain_files(), Behaviour::default());
    let report: serde_json::Value = serde_json::from_str(&puller.run(&["pull", "hf:org/name", "--json"])).unwrap();
    assert_eq!(report["commit"], COMMIT);
    assert_eq!(report["fetched_bytes"], 1_200_000 + 2 + 8 + 9);
    assert_eq!(names(&puller.snapshot()), ["README.md", "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(std::fs::read(puller.snapshot().join("model.safetensors")).unwrap(), weights());
    assert_eq!(std::fs::read_to_string(puller.model().join("refs/main")).unwrap(), COMMIT);
    let blobs = names(&puller.model().join("blobs"));
    assert!(blobs.len() == 4 && blobs.iter().all(|name| [40, 64].contains(&name.len())), "{blobs:?}");
    #[cfg(unix)]
    assert!(std::fs::read_link(puller.snapshot().join("config.json")).unwrap().starts_with("../../blobs"));
    // All there already: nothing but the list is asked for.
    let n_asked = puller.hub.requests().len();
    let again: serde_json::Value = serde_json::from_str(&puller.run(&["pull", "hf:org/name", "--json"])).unwrap();
    assert_eq!((again["fetched_bytes"].as_u64(), puller.hub.requests().len()), (Some(0), n_asked + 1));
}

#[test]
fn a_damaged_file_of_the_cache_is_fetched_anew() {
    let puller = Puller::new(&plain_files(), Behaviour::default());
    puller.run(&["pull", "hf:org/name"]);
    let path = puller.snapshot().join("model.safetensors");
    let mut damaged = weights();
    damaged[1000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let output = puller.output_with(&["pull", "hf:org/name"], &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is damaged and is fetched anew"), "{output:?}");
    assert_eq!(std::fs::read(&path).unwrap(), weights());
}

#[test]
fn a_directory_gets_plain_files() {
    let puller = Puller::new(&plain_files(), Behaviour::default());
    puller.run(&["pull", "hf:org/name@refs/pr/1", "here"]);
    assert_eq!(names(&puller.bench.path("here")), ["README.md", "config.json", "model.safetensors", "tokenizer.json"]);
    assert!(puller.hub.requests().iter().any(|request| request.path.contains("/revision/refs%2Fpr%2F1?")));
    assert!(!puller.model().exists());
    puller.run(&["pull", "hf:org/name", "here"]);
    puller.bench.write("here/config.json", "[]");
    puller.refuses(&["pull", "hf:org/name", "here"], &["here/config.json", "is not the hub's"]);
    assert_eq!(puller.bench.read("here/config.json"), b"[]");
}

/// A card and terms that were there before, or that somebody has changed, are theirs.
#[test]
fn a_directory_keeps_its_own_card() {
    let files = [plain_files(), vec![("LICENSE", b"the terms".to_vec())]].concat();
    let puller = Puller::new(&files, Behaviour::default());
    std::fs::create_dir(puller.bench.path("here")).unwrap();
    puller.bench.write("here/README.md", "# My own");
    for _ in 0..2 {
        let output = puller.output_with(&["pull", "hf:org/name", "here", "--json"], &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.contains("README.md is not the hub's and is left as it is"), "{told}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["files"].as_array().unwrap().len(), 4, "{report}");
        assert_eq!(puller.bench.read("here/README.md"), b"# My own");
        assert_eq!(puller.bench.read("here/model.safetensors"), weights());
        puller.bench.write("here/LICENSE", "the terms");
    }
    puller.refuses(&["pull", "hf:org/name", "here", "--file", "README.md"], &["README.md", "is not the hub's"]);
    // What is in the way is said before anything is fetched.
    std::fs::create_dir(puller.bench.path("there")).unwrap();
    puller.bench.write("there/tokenizer.json", "[]");
    puller.refuses(&["pull", "hf:org/name", "there"], &["tokenizer.json is there already"]);
    assert_eq!(names(&puller.bench.path("there")), ["tokenizer.json"]);
}

/// Its tokenizer is inside.
#[test]
fn the_only_gguf_file_in_a_directory_is_the_model() {
    let parts = ["q/a-00001-of-00002.gguf", "q/a-00002-of-00002.gguf"];
    for (files, model) in [(&["a.gguf"][..], "here/a.gguf"), (&parts[..], "here/q/a-00001-of-00002.gguf")] {
        let files: Vec<_> = files.iter().chain(&["config.json"]).map(|name| (*name, vec![1; 10])).collect();
        let puller = Puller::new(&files, Behaviour::default());
        let printed = puller.run(&["pull", "hf:org/name", "here"]);
        assert!(printed.contains(&format!("genera generate --model {model} ")), "{printed}");
        assert!(!printed.contains("no tokenizer"), "{printed}");
        puller.refuses(&["inspect", model], &[model, "not a sound GGUF file"]);
        let report: serde_json::Value =
            serde_json::from_str(&puller.run(&["pull", "hf:org/name", "here", "--json"])).unwrap();
        assert_eq!(report["path"], model);
    }
}

#[test]
fn one_file_of_several_is_named() {
    let files = [("a.gguf", vec![1; 10]), ("q/b.gguf", vec![2; 20]), ("README.md", vec![3])];
    let puller = Puller::new(&files, Behaviour::default());
    puller.refuses(&["pull", "hf:org/name"], &["--file NAME", "a.gguf, q/b.gguf"]);
    puller.refuses(&["pull", "hf:org/name", "--file", "c.gguf"], &["no file 'c.gguf'"]);
    let printed = puller.run(&["pull", "hf:org/name", "--file", "q/b.gguf"]);
    assert!(printed.contains("--model hf:org/name:q/b.gguf "), "{printed}");
    assert_eq!(std::fs::read(puller.snapshot().join("q/b.gguf")).unwrap(), [2; 20]);
    puller.refuses(&["inspect", "hf:org/name"], &["b.gguf", "not a sound GGUF file"]);
    puller.run(&["pull", "hf:org/name", "--file", "a.gguf"]);
    let forms = ["several GGUF files", "\n  hf:org/name:a.gguf\n  hf:org/name:q/b.gguf"];
    puller.refuses(&["inspect", "hf:org/name"], &forms);
    // What was printed before goes on to be right.
    puller.refuses(&["inspect", "hf:org/name:q/b.gguf"], &["b.gguf", "not a sound GGUF file"]);
    puller.refuses(&["inspect", "hf:org/name:A"], &["a.gguf", "not a sound GGUF file"]);
    puller.refuses(&["inspect", "hf:org/name:q8_0"], &["genera pull hf:org/name:q8_0", "\n  hf:org/name:a.gguf"]);
    assert!(!puller.run(&["pull", "hf:org/name", "--file", "README.md"]).contains("Use it"));
    let printed = puller.run(&["pull", "hf:org/name@refs/pr/1:B"]);
    assert!(printed.contains("--model hf:org/name@refs/pr/1:q/b.gguf "), "{printed}");
    puller.refuses(&["inspect", "hf:org/name@refs/pr/1:q/b.gguf"], &["b.gguf", "not a sound GGUF file"]);
    puller.refuses(&["inspect", "hf:org/name@v2:B"], &["fetch it with: genera pull hf:org/name@v2:B"]);
    let pytorch = Puller::new(&[("pytorch_model.bin", vec![1]), ("config.json", vec![2])], Behaviour::default());
    pytorch.run(&["pull", "hf:org/name"]);
    assert_eq!(names(&pytorch.snapshot()), ["config.json", "pytorch_model.bin"]);
}

/// A connection that breaks off is made again and goes on where it was.
#[test]
fn a_transfer_that_breaks_off_goes_on() {
    let puller = Puller::new(&plain_files(), Behaviour { cut_after: Some(500_000), ..Behaviour::default() });
    puller.run(&["pull", "hf:org/name"]);
    assert_eq!(std::fs::read(puller.snapshot().join("model.safetensors")).unwrap(), weights());
    let ranges: Vec<u64> = puller.hub.requests().iter().filter_map(Request::range).collect();
    assert_eq!(ranges, [500_000, 1_000_000]);
    let failing = Behaviour { n_unavailable: 2, ..Behaviour::default() };
    Puller::new(&plain_files(), failing).run(&["pull", "hf:org/name"]);
}

/// A hub that fails for good leaves what there is, and the next pull goes on with it, in the cache and in a directory.
#[test]
fn a_pull_that_failed_goes_on() {
    for out in [None, Some("here")] {
        let failing = Behaviour { cut_after: Some(700_000), n_content: Some(4), ..Behaviour::default() };
        let mut puller = Puller::new(&plain_files(), failing);
        let pull: Vec<&str> = ["pull", "hf:org/name"].into_iter().chain(out).collect();
        puller.refuses(&pull, &["model.safetensors", "700000 of 1200000 bytes are kept", "goes on with them"]);
        if out.is_none() {
            puller.refuses(&["inspect", "hf:org/name"], &["genera pull hf:org/name"]);
        }
        puller.hub = Hub::start(&plain_files(), Behaviour::default());
        puller.run(&pull);
        let ranges: Vec<u64> = puller.hub.requests().iter().filter_map(Request::range).collect();
        assert_eq!(ranges, [700_000]);
        let directory = out.map_or_else(|| puller.snapshot(), |out| puller.bench.path(out));
        assert_eq!(std::fs::read(directory.join("model.safetensors")).unwrap(), weights());
        assert_eq!(names(&directory).len(), 4);
    }
}

/// What was kept is of another file, or the server cannot go on in the middle.
#[test]
fn what_cannot_be_gone_on_with_is_begun_again() {
    let puller = Puller::new(&plain_files(), Behaviour { ignores_ranges: true, ..Behaviour::default() });
    std::fs::create_dir(puller.bench.path("here")).unwrap();
    puller.bench.write("here/model.safetensors.incomplete", &weights()[..1000]);
    puller.run(&["pull", "hf:org/name", "here"]);
    assert_eq!(puller.bench.read("here/model.safetensors"), weights());
    let puller = Puller::new(&plain_files(), Behaviour::default());
    std::fs::create_dir(puller.bench.path("here")).unwrap();
    puller.bench.write("here/model.safetensors.incomplete", [9; 1000]);
    puller.refuses(&["pull", "hf:org/name", "here"], &["SHA-256", "other bytes came than were promised", "deleted"]);
    assert!(!puller.bench.path("here/model.safetensors").exists());
    puller.run(&["pull", "hf:org/name", "here"]);
    assert_eq!(puller.bench.read("here/model.safetensors"), weights());
}

#[test]
fn other_bytes_than_promised_are_refused() {
    let check = |behaviour: Behaviour, parts: &[&str]| {
        let puller = Puller::new(&plain_files(), behaviour);
        puller.refuses(&["pull", "hf:org/name"], parts);
        let partial = names(&puller.model().join("blobs"));
        assert!(partial.iter().all(|name| !name.ends_with(".incomplete")), "{partial:?}");
        puller.refuses(&["inspect", "hf:org/name"], &["genera pull"]);
    };
    check(Behaviour { flips_a_bit: true, ..Behaviour::default() }, &["config.json", "git SHA-1", "expected"]);
    check(Behaviour { n_longer: 5, ..Behaviour::default() }, &["2 bytes were promised, but 7 are sent"]);
    check(Behaviour { n_longer: -1, ..Behaviour::default() }, &["2 bytes were promised, but 1 are sent"]);
    check(Behaviour { n_longer: 5, is_chunked: true, ..Behaviour::default() }, &["more than the promised 2 bytes"]);
    let endless = Puller::new(&plain_files(), Behaviour { n_longer: -1, is_chunked: true, ..Behaviour::default() });
    endless.refuses(&["pull", "hf:org/name"], &["config.json", "the connection ended early"]);
    let chunked = Puller::new(&plain_files(), Behaviour { is_chunked: true, ..Behaviour::default() });
    chunked.run(&["pull", "hf:org/name"]);
}

/// Files are kept on another host. It is given no token; the hub is.
#[test]
fn the_token_goes_to_the_hub_alone() {
    let store = Hub::start(&plain_files(), Behaviour::default());
    let behaviour = Behaviour { redirects_to: Some(store.address()), ..Behaviour::default() };
    let puller = Puller::new(&plain_files(), behaviour);
    let output = puller.output_with(&["pull", "hf:org/name"], &[("HF_TOKEN", "hf_secret")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = |request: &Request| request.header("authorization").map(str::to_owned);
    assert!(puller.hub.requests().iter().all(|request| token(request).as_deref() == Some("Bearer hf_secret")));
    assert_eq!(store.requests().len(), 4);
    assert!(store.requests().iter().all(|request| token(request).is_none()));
    let anonymous = Puller::new(&plain_files(), Behaviour::default());
    anonymous.run(&["pull", "hf:org/name"]);
    assert!(anonymous.hub.requests().iter().all(|request| token(request).is_none()));
    let moved = Behaviour { redirects_to: Some(String::new()), ..Behaviour::default() };
    Puller::new(&plain_files(), moved).run(&["pull", "hf:org/name"]);
    let circle = Behaviour { redirects_in_circles: true, ..Behaviour::default() };
    Puller::new(&plain_files(), circle).refuses(&["pull", "hf:org/name"], &["sends us on more than 10 times"]);
    let elsewhere = Behaviour { redirects_to: Some("file:///etc/passwd?".to_owned()), ..Behaviour::default() };
    Puller::new(&plain_files(), elsewhere).refuses(&["pull", "hf:org/name"], &["no address that can be asked"]);
}

#[test]
fn refusals_say_what_to_do() {
    let check = |status: &'static str, code: &'static str, token: &[(&str, &str)], parts: &[&str]| {
        let behaviour = Behaviour { refuses_with: Some((status, code)), ..Behaviour::default() };
        let error = Puller::new(&[], behaviour).refusal_with(&["pull", "hf:org/name"], token);
        parts.iter().for_each(|part| assert!(error.contains(part), "expected {part:?} in: {error}"));
        assert!(error.contains("hf:org/name") && !error.contains("hf_secret"), "{error}");
    };
    let token = [("HF_TOKEN", "hf_secret")];
    check("401 Unauthorized", "RepoNotFound", &[], &["no such model", "set HF_TOKEN", "/settings/tokens"]);
    check("401 Unauthorized", "RepoNotFound", &token, &["no such model", "the token may not see it"]);
    check(
        "403 Forbidden",
        "GatedRepo",
        &token,
        &["model is gated; accept its licence", "/org/name ", "HF_TOKEN has to be"],
    );
    check("401 Unauthorized", "GatedRepo", &[], &["accept its licence", "/org/name ", "set HF_TOKEN to a token"]);
    check("404 Not Found", "RevisionNotFound", &[], &["no such revision"]);
    check("404 Not Found", "", &[], &["no such model or revision"]);
    let busy = ["500 Internal Server Error; the fault is there", "repeat the command later", "HF_ENDPOINT"];
    check("500 Internal Server Error", "", &[], &busy);
    check("418 Teapot", "Unheard", &[], &["418"]);
}

/// Who waits is told why, and a hub that fails is an error at once.
#[test]
fn a_failing_hub_is_told_of_at_once() {
    let begun = |behaviour: Behaviour, endpoint: Option<&str>| {
        let puller = Puller::new(&plain_files(), behaviour);
        let start = std::time::Instant::now();
        let variables: Vec<(&str, &str)> = endpoint.map(|endpoint| ("HF_ENDPOINT", endpoint)).into_iter().collect();
        let error = puller.refusal_with(&["pull", "hf:org/name"], &variables);
        assert!(start.elapsed() < std::time::Duration::from_secs(7), "{:?}: {error}", start.elapsed());
        (error, puller.hub.requests().len())
    };
    let (error, n_requests) = begun(Behaviour { n_unavailable: 99, ..Behaviour::default() }, None);
    assert!(error.contains("503") && error.contains("trying again in 0."), "{error}");
    assert_eq!(n_requests, 4, "{error}");
    let (error, n_requests) = begun(Behaviour { asks_to_wait: Some(3600), ..Behaviour::default() }, None);
    assert!(error.contains("429") && error.contains("left alone for 1 h 00 min"), "{error}");
    assert!(error.contains("repeat the command in some minutes, or set HF_TOKEN"), "{error}");
    assert_eq!(n_requests, 1, "{error}");
    let (error, _) = begun(Behaviour::default(), Some("http://127.0.0.1:1"));
    assert!(error.contains("cannot be reached") && !error.contains("trying again"), "{error}");
}

/// A hub that cannot answer now is asked again after the time that it names.
#[test]
fn a_busy_hub_is_waited_for() {
    let busy = Behaviour { n_unavailable: 2, retry_after: Some(1), ..Behaviour::default() };
    let puller = Puller::new(&plain_files(), busy);
    let start = std::time::Instant::now();
    let output = puller.output_with(&["pull", "hf:org/name"], &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.matches("trying again in 1.0 s").count() == 2, "{told}");
    assert!(start.elapsed() >= std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(std::fs::read(puller.snapshot().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn wrong_names_and_answers_are_refused() {
    let puller = Puller::new(&plain_files(), Behaviour::default());
    puller.refuses(&["pull", "org/name"], &["does not begin with 'hf:'", "did you mean hf:org/name?", "hf:ORG/NAME"]);
    puller.bench.write("birds.txt", common::text());
    let hint = ["does not exist", "for a model of the Hugging Face hub write hf:org/name\n"];
    puller.refuses(&["generate", "--model", "org/name"], &hint);
    puller.refuses(&["train", "--base", "org/name", "--data", "birds.txt"], &hint);
    std::fs::create_dir(puller.bench.path("runs")).unwrap();
    for other in ["runs/name", "name", "org/name/more", "./name"] {
        let error = puller.refusal_with(&["generate", "--model", other], &[]);
        assert!(error.contains("does not exist") && !error.contains("write hf:"), "{error}");
    }
    puller.refuses(&["pull", "hf:../name"], &["names no model"]);
    puller.refuses(&["generate", "--model", "hf:org/name@.."], &["names no revision"]);
    puller.refuses(&["generate", "--model", "hf:org/name:C:/x.gguf"], &["names no file"]);
    let twice = ["pull", "hf:org/name:Q4_0", "--file", "other.gguf"];
    puller.refuses(&twice, &["names the file 'Q4_0', and --file names 'other.gguf'; name one"]);
    assert!(puller.hub.requests().is_empty());
    puller.refuses(&["pull", "hf:org/other"], &["404"]);
    let error = puller.refusal_with(&["pull", "hf:org/name"], &[("HF_ENDPOINT", "http://127.0.0.1:1")]);
    assert!(error.contains("127.0.0.1 cannot be reached"), "{error}");
    let nonsense = Behaviour { lists: Some("{\"sha\": 3".to_owned()), ..Behaviour::default() };
    Puller::new(&[], nonsense).refuses(&["pull", "hf:org/name"], &["what the hub says of its files"]);
    let endless = Behaviour { lists: Some(" ".repeat(17 << 20)), ..Behaviour::default() };
    Puller::new(&[], endless).refuses(&["pull", "hf:org/name"], &["longer than 16777216 bytes"]);
}

/// What no disk here can hold is not begun.
#[test]
#[cfg(unix)]
fn room_is_asked_for_before_fetching() {
    let config = serde_json::json!({ "rfilename": "config.json", "size": 2, "blobId": "0".repeat(40) });
    let weights = serde_json::json!({
        "rfilename": "model.safetensors", "size": 1_u64 << 60, "blobId": "1".repeat(40),
        "lfs": { "sha256": "2".repeat(64), "size": 1_u64 << 60, "pointerSize": 130 },
    });
    let list = serde_json::json!({ "id": "org/name", "sha": COMMIT, "siblings": [config, weights] });
    let puller = Puller::new(&[], Behaviour { lists: Some(list.to_string()), ..Behaviour::default() });
    for arguments in [&["pull", "hf:org/name"][..], &["pull", "hf:org/name", "out"]] {
        puller.refuses(arguments, &["are to be fetched, but only", "are free where", "HF_HOME"]);
    }
    assert!(puller.hub.requests().iter().all(|request| !request.path.contains("resolve")));
}
