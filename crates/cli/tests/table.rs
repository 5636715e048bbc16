//! Tables from a csv file to rows, fillings and a judgement.

mod common;

use common::Bench;

const SMALL: [&str; 8] =
    ["--set", "train.steps=6", "--set", "model.d_model=16", "--set", "model.n_layers=1", "--set", "model.n_heads=2"];

/// 300 people, of whom those of Rome are over 50.
fn people() -> String {
    let row = |i: usize| {
        let city = ["Oslo", "Rome, Italy", ""][i % 3];
        let age = if i % 3 == 1 { 51 + i % 30 } else { 20 + i % 40 };
        format!("P-{i:04};{age};\"{city}\";{}.50;2024-0{}-11\n", 100 + 7 * i, 1 + i % 9)
    };
    "id;age;city;pay;since\n".to_owned() + &(0..300).map(row).collect::<String>()
}

fn trained() -> Bench {
    let bench = Bench::new();
    bench.write("people.csv", people());
    let data = ["train", "--data", "people.csv", "--minutes", "0.02", "--run", "run"];
    let said = bench.run(&[&data[..], &SMALL, &["--set", "generate.max_tokens=3", "--json"]].concat());
    let summary: serde_json::Value = serde_json::from_str(&said).expect("one object for machines");
    assert_eq!(summary["complete"], true);
    for figure in ["shape_error", "trend_error", "related_trend_error", "likelihood_membership_auc"] {
        assert!(summary["table"][figure].is_f64(), "{figure} in {summary}");
    }
    bench
}

#[test]
fn a_table_is_learned_made_filled_and_judged() {
    let bench = trained();
    let made = bench.read_text("run/synthetic.csv");
    let mut lines = made.lines();
    assert_eq!(lines.next(), Some("id,age,city,pay,since"));
    assert_eq!(lines.count(), 270, "as many as were learned from");
    assert!(bench.read_text("run/report.html").contains("Correlation, synthetic"));
    let rows = bench.run(&["generate", "--model", "run", "--n", "40", "--where", "age = 30..33, city = missing"]);
    let rows: Vec<&str> = rows.lines().skip(1).collect();
    assert_eq!(rows.len(), 40);
    for row in rows {
        let cells: Vec<&str> = row.split(',').collect();
        assert!((30..=33).contains(&cells[1].parse::<u32>().unwrap()) && cells[2].is_empty(), "{row}");
    }
    // No row that it learned from is like this, and its columns are not given one by one.
    let impossible =
        ["generate", "--model", "run", "--n", "30", "--where", "age = 20..49, city = \"Rome, Italy\", pay < 900"];
    let rows = bench.run(&impossible);
    assert_eq!(rows.lines().count(), 31);
    for row in rows.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        assert!((20..=49).contains(&cells[1].parse::<u32>().unwrap()) && row.contains("\"Rome, Italy\""), "{row}");
        assert!(cells[4].parse::<f64>().unwrap() < 900.0 && cells[4].ends_with(".50"), "{row}");
    }
    bench.write("gaps.csv", "since,id,age,city,pay\n2024-03-11,mine,,Oslo,107.50\n,yours,25,Oslo,\n");
    let filled = bench.run(&["generate", "--model", "run", "--complete", "gaps.csv"]);
    let filled: Vec<&str> = filled.lines().collect();
    assert!(filled[1].starts_with("mine,") && filled[1].ends_with(",Oslo,107.50,2024-03-11"), "{filled:?}");
    assert!(filled[2].starts_with("yours,25,Oslo,") && !filled[2].contains(",,"), "{filled:?}");
    // What is not learned need not be there, and what the column never held is counted and stays.
    bench.write("gaps.csv", "since,age,city,pay\n2024-03-11,,Oslo,107.50\n,999,Oslo,\n");
    let output = bench.output(&["generate", "--model", "run", "--complete", "gaps.csv"]);
    let [filled, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let filled: Vec<&str> = filled.lines().collect();
    assert!(
        filled[1].starts_with("P-") && filled[2].starts_with("P-") && filled[2].contains(",999,Oslo,"),
        "{filled:?}"
    );
    assert!(said.contains("1 cells hold what their columns never held, first age = 999 in row 2"), "{said}");
    let rows = bench.run(&["generate", "--model", "run", "--n", "2", "--where", "city = missing", "--json"]);
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().expect("two rows")).unwrap();
    assert!(row["age"].is_u64() && row["pay"].is_f64() && row["city"].is_null() && row["id"].is_string(), "{row}");
    let judged =
        bench.run(&["evaluate", "--task", "table", "--synthetic", "people.csv", "--real", "people.csv", "--json"]);
    let judged: serde_json::Value = serde_json::from_str(&judged).unwrap();
    assert_eq!((judged["shape_error"].as_f64(), judged["trend_error"].as_f64()), (Some(0.0), Some(0.0)));
    assert_eq!(judged["copies"].as_f64(), Some(1.0));
    let says = |arguments: &[&str], part: &str| {
        let message = bench.refusal(arguments);
        assert!(message.contains(part), "{message}");
    };
    says(&["generate", "--model", "run", "--where", "city = Paris"], "city is one of");
    says(&["generate", "--model", "run", "--where", "town = Rome"], "no column \"town\". The columns are id, age");
    says(&["generate", "--model", "run", "--where", "Rome"], "write for example \"age = ");
    says(&["generate", "--model", "run", "--where", "id = P-0001"], "not learned, so it takes no condition");
    says(&["generate", "--model", "run", "--where", "age == 30"], "one = is enough");
    says(&["generate", "--model", "run", "--where", "city = Oslo and age > 30"], "a comma stands between conditions");
    says(&["generate", "--model", "run", "--output", "rows.parquet"], "name it .csv");
    bench.write("lacking.csv", "age,city\n30,Oslo\n");
    says(&["generate", "--model", "run", "--complete", "lacking.csv", "--output", "people.csv"], "no column");
    assert_eq!(bench.read_text("people.csv"), people(), "what was there stays");
    says(&["train", "--data", "people.csv", "--set", "table.target=town", "--run", "other"], "no column \"town\"");
    says(&["generate", "--model", "run", "--prompt", "x"], "--where");
    says(&["generate", "--model", "run", "--stop", "x", "--chat"], "--chat, --stop: without effect on a table");
    says(&["generate", "--model", "run", "--where", "age = 30.4"], "near it are 30 and 31");
    if cfg!(unix) {
        // A row is as long as its columns need, whatever the recipe says of texts.
        let score = ["--objective-command", "while read -r line; do echo ${#line}; done"];
        let small = ["--calls", "40", "--per-round", "20", "--experts", "10", "--output", "better"];
        let said = bench.run(&[&["optimize", "--model", "run"], &score[..], &small].concat());
        assert!(said.contains("of 40 candidates"), "{said}");
    }
}

#[test]
fn numbers_with_a_decimal_comma_are_numbers() {
    let bench = Bench::new();
    let rows = |more: usize| -> String {
        "kind;price\n".to_owned()
            + &(0..120).map(|i| format!("{};{},{:02}\n", ["a", "b"][i % 2], i + more, 3 * i % 100)).collect::<String>()
    };
    bench.write("real.csv", rows(0));
    bench.write("other.csv", rows(60));
    let judged = |synthetic: &str| {
        bench.json(&["evaluate", "--task", "table", "--synthetic", synthetic, "--real", "real.csv", "--json"])
    };
    let (same, other) = (judged("real.csv"), judged("other.csv"));
    assert_eq!((same["shape_error"].as_f64(), same["copies"].as_f64()), (Some(0.0), Some(1.0)));
    assert_eq!(other["copies"].as_f64(), Some(0.0));
    assert!(other["shape_error"].as_f64().unwrap() > 10.0, "{other}");
    bench.run(&[&["train", "--data", "real.csv", "--minutes", "0.02", "--run", "run"], &SMALL[..]].concat());
    let asked = ["generate", "--model", "run", "--n", "9", "--json", "--where"];
    for condition in ["price = \"20,00\"..\"40,00\"", "price >= \"20,00\", price <= 40.00", "price = \"20,00..40,00\""]
    {
        for row in bench.run(&[&asked[..], &[condition]].concat()).lines() {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            assert!((20.0..=40.0).contains(&row["price"].as_f64().expect("a number")), "{condition}: {row}");
        }
    }
}

#[test]
fn hostile_tables_are_explained() {
    let bench = Bench::new();
    let check = |file: &str, contents: &[u8], part: &str| {
        bench.write(file, contents);
        let message = bench.refusal(&["train", "--data", file, "--run", "refused"]);
        assert!(message.contains(part), "{message}");
        assert!(!bench.path("refused").exists());
    };
    check("uneven.csv", b"a,b\n1,2\n3\n", "line 3");
    check("one.csv", b"a,b\n1,2\n", "1 row to learn from");
    check("latin.csv", b"a,b\n1,2\n3,caf\xe9\n", "not valid UTF-8");
    check("same.csv", b"a,b\nx,\n", "1 row to learn from");
    check("quote.csv", b"a,b\n1,\"2\n3,4\n5,6\n\"\n", "a double quote that is left open");
    check("constant.csv", format!("a,b\n{}", "x,\n".repeat(100)).as_bytes(), "none of them can be learned");
}

/// What is known of the people without looking at them.
const DOMAINS: &str = "table.domains=[\"age = 0..120\", \"city = Oslo | Rome, Italy | missing\", \"pay = 0.00..5000.00\", \
                       \"since = 2000-01-01..2030-12-31\"]";

#[test]
fn a_private_model_says_what_it_spends_and_refuses_what_would_show_rows() {
    let bench = Bench::new();
    bench.write("people.csv", people());
    let data = ["train", "--data", "people.csv", "--minutes", "0.02", "--run", "run", "--dp-epsilon", "3", "--json"];
    let sizes = ["--set", "train.batch_size=20", "--set", "table.skip=[\"id\"]"];
    let summary = bench.json(&[&data[..], &SMALL, &sizes, &["--set", DOMAINS]].concat());
    let spent = summary["privacy"]["epsilon"].as_f64().unwrap();
    assert!(spent > 2.9 && spent <= 3.0, "{summary}");
    let card = bench.read_text("run/model/README.md");
    assert!(card.contains("differential privacy") && !card.contains("documents"), "{card}");
    assert!(!bench.read_text("run/data/table.json").contains("P-0"), "nothing of the rows");
    let says = |arguments: &[&str], part: &str| {
        let message = bench.refusal(arguments);
        assert!(message.contains(part), "{message}");
    };
    says(&["generate", "--model", "run", "--no-copies"], "was trained with privacy");
    let recipe = bench.read_text("run/recipe.toml");
    let secret = |text: &str| text.lines().find(|line| line.starts_with("secret")).unwrap().to_owned();
    bench.json(&["train", "run/recipe.toml", "--set", "train.steps=3", "--run", "again", "--json"]);
    assert_ne!(secret(&recipe), secret(&bench.read_text("again/recipe.toml")), "noise is never used twice");
    bench.write("run/recipe.toml", recipe.replace("batch_size = 20 ", "batch_size = 10 "));
    says(&["resume", "run"], "train.batch_size cannot change within a run with differential privacy");
    bench.write("run/recipe.toml", recipe.as_bytes());
    let again = [&["train", "--data", "people.csv", "--run", "no", "--dp-epsilon", "3"][..], &SMALL].concat();
    says(&again, "nothing is said of id, age, city, pay, since");
    says(&[&again[..], &["--set", "model.family=gan"]].concat(), "privacy cannot be promised");
    says(&[&again[..], &["--set", "data.deduplicate=true"]].concat(), "data.deduplicate");
    bench.write("text.txt", "some text\n".repeat(200));
    says(&["train", "--data", "text.txt", "--run", "no", "--dp-epsilon", "3"], "only tables");
    says(&["train", "--data", "people.csv", "--run", "no", "--dp-epsilon", "0"], "expected above 0");
}

#[test]
fn a_gan_is_trained_resumed_and_asked_by_the_same_commands() {
    let bench = Bench::new();
    bench.write("people.csv", people());
    let recipe = |steps: u32| {
        format!(
            "[data]\nkind = \"table\"\nfiles = [\"people.csv\"]\nvalidation_fraction = 0.1\n[model]\nfamily = \"gan\"\n\
             n_layers = 2\nd_model = 16\n[train]\nsteps = {steps}\nbatch_size = 20\nlearning_rate = 0.001\nema_decay = 0.9\n"
        )
    };
    bench.write("gan.toml", recipe(8));
    let summary = bench.json(&["train", "gan.toml", "--run", "whole", "--json"]);
    assert!(summary["table"]["shape_error"].is_f64(), "{summary}");
    assert_eq!(bench.read_text("whole/synthetic.csv").lines().count(), 271);
    let rows = bench.run(&["generate", "--model", "whole", "--n", "20", "--where", "city = \"Rome, Italy\", age < 60"]);
    assert_eq!(rows.lines().count(), 21);
    assert!(rows.lines().skip(1).all(|row| row.contains("Rome, Italy")), "{rows}");
    let model = bench.run(&["generate", "--model", "whole/model", "--n", "5"]);
    assert_eq!(model, bench.run(&["generate", "--model", "whole", "--n", "5"]), "the model is all that it takes");
    bench.run(&["report", "whole", "--output", "gan.html"]);
    let page = bench.read_text("gan.html");
    assert!(page.contains("<td>GAN, 2 layers, width 16</td>") && page.contains("8 of 8"), "{page:.4000}");
    assert!(page.contains("discriminator finds real and made rows"), "its curves are drawn");
    let made = bench.read("whole/synthetic.csv");
    bench.json(&["resume", "whole", "--json"]);
    assert!(bench.read("whole/synthetic.csv") == made, "it goes on from what it was");
    let message = bench.refusal(&["generate", "--model", "whole", "--complete", "people.csv"]);
    assert!(message.contains("cannot fill gaps"), "{message}");
    let message = bench.refusal(&["generate", "--model", "whole", "--temperature", "0.5"]);
    assert!(message.contains("--temperature: without effect on a GAN"), "{message}");
    bench.write("odd.toml", recipe(8).replace("batch_size = 20", "batch_size = 16"));
    assert!(bench.refusal(&["train", "odd.toml", "--run", "odd"]).contains("multiple"));
}
