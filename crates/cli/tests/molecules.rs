//! Molecules from a file to new ones, in every form, and toward a score.

mod common;

use common::Bench;

const SMALL: [&str; 10] = [
    "--set",
    "train.steps=40",
    "--set",
    "model.d_model=32",
    "--set",
    "model.n_layers=1",
    "--set",
    "model.n_heads=2",
    "--set",
    "molecule.properties=[\"logp\", \"rings\"]",
];

/// 400 molecules: chains of one kind, rings of another; and a few lines that are none.
fn molecules() -> String {
    let line = |i: usize| match i % 4 {
        0 => format!("{}O name {i}\n", "C".repeat(1 + i % 7)),
        1 => format!("c1ccccc1{}N\n", "C".repeat(i % 5)),
        2 => format!("CC({})C\n", ["O", "N", "F"][i % 3]),
        _ => format!("O=C(N)C{}\n", "C".repeat(i % 6)),
    };
    let mut text: String = (0..400).map(line).collect();
    text += "c1cccc1\nC1CC\nhello\n";
    text
}

fn trained() -> Bench {
    let bench = Bench::new();
    bench.write("some.smi", molecules());
    let data = ["train", "--data", "some.smi", "--minutes", "0.02", "--run", "run"];
    let output = bench.output(&[&data[..], &SMALL].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("some.smi, number 401: no molecule: aromatic atoms"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 dropped: no SMILES: ring numbers do not pair"));
    let samples = common::names(&bench.path("run/samples"));
    let last = bench.read_text(&format!("run/samples/{}", samples.last().unwrap()));
    assert!(
        last.lines().count() > 0 && last.lines().all(genera_chemistry::is_valid),
        "samples keep to the rules: {last}"
    );
    bench
}

#[test]
fn molecules_are_learned_made_and_written_in_every_form() {
    let bench = trained();
    let make = |more: &[&str]| bench.run(&[&["generate", "--model", "run", "--n", "20"], more].concat());
    let lines = make(&[]);
    assert_eq!(lines.lines().count(), 20);
    let made = bench.json(&["generate", "--model", "run", "--n", "1", "--json", "--property", "rings = 1"]);
    assert_eq!(made["valid"], true, "{made}");
    assert!(made["rings"].is_u64(), "a whole number: {made}");
    assert!(make(&["--prompt", "O=C(N)"]).lines().all(|line| line.starts_with("O=C(N)")));
    make(&["--no-grammar", "--output", "free.csv", "--histograms", "properties.svg"]);
    let free = bench.read_text("free.csv");
    assert!(free.starts_with("smiles,valid,logp,qed,weight,rings\n") && free.lines().count() == 21, "{free}");
    assert!(bench.read_text("properties.svg").starts_with("<svg"));
    make(&["--output", "new.sdf"]);
    assert_eq!(bench.read_text("new.sdf").matches("$$$$").count(), 20);
    make(&["--output", "new.svg"]);
    assert!(bench.read_text("new.svg").contains("g/mol"));
    let many = bench.output(&["generate", "--model", "run", "--n", "103", "--output", "many.svg"]);
    let said = String::from_utf8(many.stderr).unwrap();
    assert!(many.status.success() && said.contains("the first 100 of 103 are drawn in many.svg"), "{said}");
    // What was written is learned again, and a block that is cut short is named by its line.
    let written = bench.read_text("new.sdf");
    let n_lines = written.lines().count();
    bench.write("new.sdf", written + "CO\n\n\n  2  1  0\n$$$$\n");
    let again = ["train", "--data", "new.sdf", "--minutes", "0.01", "--run", "again"];
    let output = bench.output(&[&again[..], &SMALL[..8]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    let expect =
        format!("new.sdf, number 21: no block of a molecule (MDL V2000): is cut short at line {}", n_lines + 5);
    assert!(output.status.success() && said.contains(&expect), "{said}");
    let says = |arguments: &[&str], part: &str| {
        let message = bench.refusal(arguments);
        assert!(message.contains(part), "{message}");
    };
    says(&["generate", "--model", "run", "--property", "qed = 0.9"], "it learned logp, rings");
    says(&["generate", "--model", "run", "--property", "mass = 1"], "known are logp, qed, weight, sa, rings");
    says(&["generate", "--model", "run", "--property", "logp = much"], "name = number");
    says(&["generate", "--model", "run", "--property", "rings = 5"], "go from 0 to 1");
    says(&["generate", "--model", "run", "--property", "rings = 2.5"], "rings is a whole number");
    says(&["generate", "--model", "run", "--guidance", "3"], "leads toward the properties of --property");
    says(&["generate", "--model", "run", "--property", "rings = 1", "--guidance", "-1"], "expected 0 to 100");
    says(&["generate", "--model", "run", "--property", "rings = 0, rings = 1"], "rings is asked for twice");
    says(&["generate", "--model", "run", "--max-tokens", "9"], "--max-tokens: without effect on molecules");
    says(&["generate", "--model", "run", "--prompt", "C)C"], "no molecule begins with");
    says(&["generate", "--model", "run", "--prompt", "[Xe]"], "the model learned from no molecule with");
    says(&["generate", "--model", "run", "--output", "x.pdf"], "expected .smi");
    says(&["generate", "--model", "run", "--where", "a = 1"], "for models of tables");
}

#[test]
fn a_model_is_improved_toward_a_score() {
    let bench = trained();
    let small = ["--calls", "60", "--per-round", "20", "--experts", "20"];
    let run_to = |output: &'static str, more: &[&'static str]| {
        [&["optimize", "--model", "run", "--output", output], &small[..], more].concat()
    };
    let run = |more: &[&'static str]| run_to("better", more);
    let said = bench.run(&run(&["--objective", "-weight"]));
    assert!(said.contains("60 scored") && said.contains("Mean score of the best 60 of 60 candidates"), "{said}");
    assert!(said.contains("the best 20 so far") && said.contains("the best 40 so far"), "{said}");
    let scores = bench.read_text("better/candidates.csv");
    assert!(scores.starts_with("candidate,score\n") && scores.lines().count() == 61, "{scores}");
    let values: Vec<f64> = scores.lines().filter_map(|line| line.rsplit_once(',')?.1.parse().ok()).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    assert!(
        said.contains(&format!("of 60 candidates: {mean:.4}.")),
        "of all, not of the 20 that are learned from: {said}"
    );
    assert_eq!(bench.run(&["generate", "--model", "better", "--n", "5"]).lines().count(), 5);
    assert!(bench.read_text("better/README.md").contains("| tuned from | run |"));
    bench.write("better/README.md", "---\nlicense: mit\n---\n");
    bench.write("better/LICENSE", "the terms");
    let again = ["optimize", "--model", "better", "--output", "best", "--calls", "20", "--objective", "-weight"];
    bench.run(&again);
    let card = bench.read_text("best/README.md");
    assert!(card.contains("license: \"mit\"") && card.contains("| tuned from | better |"), "{card}");
    assert_eq!(bench.read_text("best/LICENSE"), "the terms");
    let message = bench.refusal(&run(&["--objective", "qed"]));
    assert!(message.contains("better is not empty"), "{message}");
    assert_eq!(bench.read_text("better/candidates.csv"), scores, "a result stays as it is");
    for output in ["run", "run/better", "."] {
        let message = bench.refusal(&run_to(output, &["--objective", "qed"]));
        assert!(message.contains("and that stays as it is"), "{message}");
    }
    let message = bench.refusal(&run_to("new", &["--objective", "beauty"]));
    assert!(message.contains("logp, qed, weight, sa, rings"), "{message}");
    let message = bench.refusal(&run_to("new", &["--objective", "qed = 7"]));
    assert!(message.contains("qed is a number from 0 to 1"), "{message}");
}

#[cfg(unix)]
#[test]
fn commands_score_and_what_goes_wrong_is_told() {
    let bench = trained();
    let run = |output: &'static str, command: &'static str| {
        let small = ["--calls", "80", "--per-round", "20", "--experts", "20"];
        let optimize = ["optimize", "--model", "run", "--output", output, "--objective-command", command];
        [&optimize[..], &small].concat()
    };
    bench.run(&run("lengths", "while read -r line; do echo ${#line}; done"));
    let fails = |output: &'static str, command: &'static str, parts: &[&str]| {
        let message = bench.refusal(&run(output, command));
        parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} in {message}"));
    };
    let nothing = "no candidate was scored before, so no model was written";
    fails("none", "head -n 3 >/dev/null; echo oops", &["printed \"oops\" for candidate 1", nothing]);
    fails("none", "echo 0; while read -r line; do echo 1; done", &["more lines than the 20 candidates", nothing]);
    fails("none", "exit 3", &["ended with exit status 3", nothing]);
    for no_number in ["while read -r line; do echo nan; done", "while read -r line; do echo -inf; done"] {
        fails("none", no_number, &["any of the last 60 candidates (in 3 rounds)", nothing]);
    }
    assert!(!bench.path("none").exists(), "the name is free for the next try");
    fails("one", "echo 1; echo oops", &["1 candidate was scored before; it and the model are in one"]);
    fails("two", "echo 1; echo 2; echo oops", &["2 candidates were scored before; they and the model are in two"]);
    assert_eq!(bench.read_text("two/candidates.csv").lines().count(), 3, "what was read is kept");
    // A first round with scores, among them one that is none, then nothing more.
    let once = "while read -r line; do if test -e begun; then echo nan; else echo ${#line}; fi; done | sed '1s/.*/inf/'; touch begun";
    fails("once", once, &["1 candidate of this round got inf or -inf", "19 candidates were scored before"]);
    let scores = bench.read_text("once/candidates.csv");
    assert!(scores.lines().count() == 81 && scores.lines().nth(20).unwrap().ends_with(','), "{scores}");
    assert_eq!(bench.run(&["generate", "--model", "once", "--n", "3"]).lines().count(), 3);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_the_scores_and_the_model() {
    let bench = trained();
    let hangs = ["--objective-command", "echo 1; sleep 1; touch begun; sleep 100"];
    let optimize = ["optimize", "--model", "run", "--output", "better", "--calls", "60", "--per-round", "20"];
    let mut child = bench.command(&[&optimize[..], &hangs].concat()).spawn().unwrap();
    while !bench.path("begun").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let told = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Stopped after 1 of 60 candidates"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(bench.read_text("better/candidates.csv").lines().count(), 2);
    assert_eq!(bench.run(&["generate", "--model", "better", "--n", "3"]).lines().count(), 3);
}

#[test]
fn molecules_in_columns_are_found_and_hostile_files_explained() {
    let bench = Bench::new();
    let rows: String =
        molecules().lines().take(300).map(|line| format!("1;{}\n", line.split(' ').next().unwrap())).collect();
    bench.write("table.csv", format!("id;SMILES\n{rows}"));
    let set = ["--set", "molecule.encoding=robust", "--set", "molecule.randomised=1"];
    let train = ["train", "--data", "table.csv", "--minutes", "0.01", "--run", "run"];
    let said = bench.run(&[&train[..], &SMALL[..8], &set].concat());
    assert!(said.contains("its column \"SMILES\" holds molecules"), "{said}");
    assert_eq!(bench.run(&["generate", "--model", "run", "--n", "7"]).lines().count(), 7);
    let check = |file: &str, contents: &[u8], part: &str| {
        bench.write(file, contents);
        let message = bench.refusal(&["train", "--data", file, "--run", "refused"]);
        assert!(message.contains(part), "{message}");
        assert!(!bench.path("refused").exists());
    };
    check("none.smi", b"hello\nworld\n", "no document of none.smi is left to train on");
    check("none.smi", b"hello\nworld\n", "\ndropped none.smi, number 2: no SMILES: ");
    check("long.smi", &vec![b'C'; 10 << 20], "the line is too long");
    check("latin.smi", b"CCO caf\xe9\n", "not valid UTF-8");
    check("bad.sdf", b"a\nb\nc\nd\nM  END\n$$$$\n", "bad.sdf, number 1: no block of a molecule (MDL V2000): line 4");
    let later = b"a\nb\nc\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\nM  END\n$$$$\n";
    check("later.sdf", later, "V3000 is not read; write V2000");
}
